// A control plane for tests: the real services over the domain in memory, on a real TLS port of loopback.
import { systemClock, type Clock } from '#lib/clock.ts';
import { Scope, type Closable } from '#lib/lifecycle.ts';
import { silentLogger } from '#lib/log.ts';
import { asId, type UserId } from '#model/ids.ts';
import type { MeshEndpoints } from '#model/network-map.ts';
import { rpcError } from '#rpc/errors.ts';
import { createRpcServer } from '#rpc/server.ts';
import { createManagementServices, type ManagementDomain, type ManagementOptions, type ManagementServices } from '#server/management/index.ts';
import { createSignalService } from '#server/signal/index.ts';
import { createTestCa, type TestCa } from '../../support/test-ca.ts';
import { FakeDomain } from './fake-domain.ts';

const testCa = createTestCa();

export interface FakeServer<D extends ManagementDomain = FakeDomain> extends Closable {
  readonly domain: D;
  readonly url: string;
  readonly port: number;
  readonly ca: TestCa;
  readonly pathsOf: ManagementServices['pathsOf'];
}

export interface FakeServerOptions {
  readonly port?: number;
  readonly clock?: Clock;
  readonly management?: Partial<ManagementOptions>;
  /** Without our extensions. */
  readonly stock?: boolean;
}

/** Names the server `control.localhost`, so that our own resolving of such names is part of every test. */
export async function startServer(options: FakeServerOptions & { readonly domain?: FakeDomain } = {}): Promise<FakeServer> {
  return await startServerOver(options.domain ?? new FakeDomain(), options);
}

/** The same over any domain. */
export async function startServerOver<D extends ManagementDomain>(domain: D, options: FakeServerOptions = {}): Promise<FakeServer<D>> {
  const ca = await testCa;
  const scope = new Scope();
  let port = options.port ?? 0;
  const endpoints = (): MeshEndpoints => ({
    signal: { host: 'control.localhost', port, tls: true },
    stunUrls: ['stun:control.localhost:3478'],
    relay: { urls: [`rels://control.localhost:${port}`], tokenPayload: '1893456000', tokenSignature: 'Fxt4' },
  });
  const management = scope.use(
    createManagementServices(
      domain,
      {
        privateKey: new Uint8Array(32).fill(7),
        endpoints,
        relayTokenMs: undefined,
        verifyIdToken: async (idToken) => {
          if (!idToken.startsWith('id-token-of-')) throw rpcError('RPC_UNAUTHENTICATED');
          return { userId: asId<UserId>(idToken.slice('id-token-of-'.length)), signIn: 'sign-in', methods: ['pwd'] };
        },
        relyingParty: () => ({ issuer: 'https://idp.test', clientId: 'gateway', clientSecret: 'secret', stateKey: new Uint8Array(32).fill(3) }),
        ...options.management,
      },
      { log: silentLogger, clock: options.clock ?? systemClock },
    ),
  );
  const signal = createSignalService({ log: silentLogger });
  const certificate = await ca.issue(['control.localhost']);
  const known = management.services.filter(({ desc }) => options.stock !== true || !desc.typeName.startsWith('meshgate.'));
  const server = scope.use(await createRpcServer({ host: '127.0.0.1', port, tls: certificate, services: [...known, signal.service] }, silentLogger));
  port = server.port;
  const { pathsOf } = management;
  return { domain, url: `https://control.localhost:${port}`, port, ca, pathsOf, close: () => scope.close() };
}
