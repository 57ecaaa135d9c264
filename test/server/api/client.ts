// The API on a real port with a domain in memory, and one small client.
import { createServer, type Server } from 'node:http';
import { connect, type AddressInfo } from 'node:net';
import { silentLogger } from '#lib/log.ts';
import type { Role, User } from '#model/identity.ts';
import type { UserId } from '#model/ids.ts';
import { createApi, type ApiOptions } from '#server/api/index.ts';
import { fakeDomain, start, type FakeDomain } from './fake-domain.ts';
import { ManualClock } from '../../support/manual-clock.ts';

export { ManualClock };

export interface Reply {
  readonly status: number;
  readonly headers: Headers;
  readonly body: unknown;
}

export interface Fixture extends FakeDomain {
  readonly port: number;
  /** A signed-in user of each role. */
  readonly as: Readonly<Record<Role, { readonly user: User; readonly token: string }>>;
  /** `token` undefined sends no Authorization; `nbp_` goes as Token, everything else as Bearer. */
  call(method: string, path: string, token?: string, body?: unknown, headers?: Readonly<Record<string, string>>): Promise<Reply>;
  /** Writes raw bytes and resolves with everything that came back until the server closed. */
  raw(text: string): Promise<string>;
  readonly clock: ManualClock;
}

export async function withApi(teardown: (close: () => Promise<void>) => void, options: Partial<ApiOptions> = {}): Promise<Fixture> {
  const fake = fakeDomain();
  const clock = new ManualClock(start);
  const verifyAccessToken = async (jwt: string): Promise<UserId | undefined> => (jwt.startsWith('jwt-') ? (jwt.slice(4) as UserId) : undefined);
  const api = createApi({ domain: fake.domain, verifyAccessToken, log: silentLogger, clock, version: '1.2.3', ...options });
  const server: Server = createServer(api.handle);
  await new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', resolve));
  teardown(
    () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  );
  const { port } = server.address() as AddressInfo;
  const roles: readonly Role[] = ['owner', 'admin', 'network_admin', 'auditor', 'user'];
  const as = Object.fromEntries(roles.map((role) => [role, fake.addUser(role, role)])) as Fixture['as'];
  return Object.assign(fake, {
    port,
    as,
    clock,
    async call(method: string, path: string, token?: string, body?: unknown, headers: Readonly<Record<string, string>> = {}): Promise<Reply> {
      const authorization = token === undefined ? undefined : token.startsWith('nbp_') ? `Token ${token}` : `Bearer ${token}`;
      const response = await fetch(`http://127.0.0.1:${port}${path}`, {
        method,
        headers: {
          ...(authorization === undefined ? {} : { authorization }),
          ...(body === undefined ? {} : { 'content-type': 'application/json' }),
          ...headers,
        },
        ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
        signal: AbortSignal.timeout(10_000),
      });
      const text = await response.text();
      return { status: response.status, headers: response.headers, body: text === '' ? undefined : (JSON.parse(text) as unknown) };
    },
    raw(text: string): Promise<string> {
      return new Promise((resolve, reject) => {
        const socket = connect(port, '127.0.0.1', () => socket.write(text));
        let answer = '';
        socket.on('data', (chunk) => (answer += chunk.toString('latin1')));
        socket.on('close', () => resolve(answer)).on('error', reject);
      });
    },
  });
}
