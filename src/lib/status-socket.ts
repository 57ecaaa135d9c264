// Each process tells its state to the people of its machine: HTTP over a UNIX socket in its state directory, for `meshgate status`.
import { chmod, rm } from 'node:fs/promises';
import { createServer } from 'node:http';
import { join } from 'node:path';
import type { Closable } from './lifecycle.ts';

/** The kernel's limit for a UNIX socket's path (sun_path, without the final zero). */
const maxPathBytes = 107;

export type StatusSocket = Closable & { readonly path: string };

/**
 * Serves `read()` as JSON at `<stateDir>/status.sock`, mode 0600. Returns undefined where the directory's path is too long for a
 * socket: the process works without, and the caller says so. A stale socket of a killed process is replaced.
 */
export async function serveStatus(stateDir: string, read: () => unknown): Promise<StatusSocket | undefined> {
  const path = join(stateDir, 'status.sock');
  if (Buffer.byteLength(path) > maxPathBytes) return undefined;
  await rm(path, { force: true });
  const server = createServer((_request, response) => {
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
