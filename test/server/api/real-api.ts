// The API over the real domain in an SQLite database in memory.
import { randomBytes } from 'node:crypto';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Test } from 'tap';
import { systemClock } from '#lib/clock.ts';
import { silentLogger } from '#lib/log.ts';
import { createApi } from '#server/api/index.ts';
import { openControlDomain } from '#server/domain/index.ts';

export type Json = Readonly<Record<string, unknown>>;

export async function openApi(t: Test) {
  const domain = await openControlDomain({
    storeUrl: 'sqlite::memory:',
    masterKey: randomBytes(32),
    dnsDomain: 'mesh.test',
    clock: systemClock,
    log: silentLogger,
    resolveCname: async () => ['apps.test'],
  });
  t.teardown(() => domain.close());
  const api = createApi({ domain, verifyAccessToken: async () => undefined, log: silentLogger, clock: systemClock, version: '1.0.0' });
  const server = createServer(api.handle);
  await new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', resolve));
  t.teardown(
    () =>
      new Promise<void>((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  );
  const base = `http://127.0.0.1:${(server.address() as AddressInfo).port}/api`;
  let token = '';
  const call = async (method: string, path: string, body?: unknown): Promise<{ readonly status: number; readonly body: Json }> => {
    const headers = {
      ...(token === '' ? {} : { authorization: `Token ${token}` }),
      ...(body === undefined ? {} : { 'content-type': 'application/json' }),
    };
    const sent = body === undefined ? {} : { body: JSON.stringify(body) };
    const response = await fetch(`${base}${path}`, { method, headers, signal: AbortSignal.timeout(20_000), ...sent });
    const text = await response.text();
    return { status: response.status, body: text === '' ? {} : (JSON.parse(text) as Json) };
  };
  return { domain, call, signIn: (plain: unknown) => void (token = String(plain)) };
}
