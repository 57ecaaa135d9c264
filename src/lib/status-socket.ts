// Each process tells its state to the people of its machine: HTTP over a UNIX socket in its state directory, for `meshgate status`.
import { chmod, rm } from 'node:fs/promises';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { join } from 'node:path';
import type { Closable } from './lifecycle.ts';

/** The kernel's limit for a UNIX socket's path (sun_path, without the final zero). */
const maxPathBytes = 107;

export type StatusSocket = Closable & { readonly path: string };

/**
 * Serves `read()` as JSON at `<stateDir>/status.sock`, mode 0600. Returns undefined where the directory's path is too long for a
 * socket: the process works without, and the caller says so. A stale socket of a killed process is replaced. `handle` takes what else the
 * process does for its owner, and returns whether the request was one of it.
 */
export async function serveStatus(
  stateDir: string,
  read: () => unknown,
  handle?: (request: IncomingMessage, response: ServerResponse) => boolean,
): Promise<StatusSocket | undefined> {
  const path = join(stateDir, 'status.sock');
  if (Buffer.byteLength(path) > maxPathBytes) return undefined;
  await rm(path, { force: true });
  const server = createServer((request, response) => {
    if (handle?.(request, response) === true) return;
    response.setHeader('content-type', 'application/json');
    response.end(JSON.stringify(read(), (_key, value: unknown) => (typeof value === 'bigint' ? value.toString() : value)));
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(path, resolve);
  });
  await chmod(path, 0o600);
  return {
    path,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}
