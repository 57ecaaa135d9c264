// Our HTTP publisher as a gateway runs it: listener, TLS, session check, identity headers, access log; upstreams are dialled directly.
import { AssertionSigner } from '#identity/assertion.ts';
import { SessionCache } from '#identity/session-cache.ts';
import { systemClock } from '#lib/clock.ts';
import { makeObjectsYoung } from '#lib/heap.ts';
import { hostDial } from '#lib/host-dial.ts';
import { silentLogger } from '#lib/log.ts';
import type { Identity, Session, SessionAuthority } from '#model/identity.ts';
import { asId, type GroupId, type ServiceId, type SessionId, type UserId } from '#model/ids.ts';
import type { ServiceMapping } from '#model/service.ts';
import {
  buildRouteTable,
  createAccessBackend,
  createAccessLog,
  createBatchSink,
  createHttpPublisher,
  createIdentityHeaders,
  readCertificate,
  Unlocks,
  type RouteTable,
  type SignIn,
} from '#publish/index.ts';
import { listenTcp } from '../../../src/gateway/listen/tcp.ts';

// As the command does.
makeObjectsYoung();

export const caller: Identity = {
  userId: asId<UserId>('u-alice'),
  email: 'alice@example.test',
  name: 'Alice Example',
  groups: ['developers', 'operations'],
  groupIds: [asId<GroupId>('developers'), asId<GroupId>('operations')],
  method: 'oidc',
};

export interface PublisherSetup {
  readonly certPem: string;
  readonly keyPem: string;
  readonly mappings: readonly ServiceMapping[];
  /** Of the caller, good for every service. */
  readonly sessionId: string;
}

export interface RunningPublisher {
  readonly port: number;
  readonly sessions: SessionCache;
  readonly routes: RouteTable;
}

export async function startPublisher({ certPem, keyPem, mappings, sessionId }: PublisherSetup): Promise<RunningPublisher> {
  const session = (serviceId: ServiceId): Session => ({
    id: asId<SessionId>(sessionId),
    serviceId,
    identity: caller,
    createdAt: Date.now(),
    expiresAt: Date.now() + 3_600_000,
    idleMs: undefined,
  });
  const nobody = (): Promise<never> => Promise.reject(new Error('nobody signs in here'));
  const authority: SessionAuthority = {
    createSession: nobody,
    findSession: (id, serviceId) =>
      Promise.resolve(id === sessionId ? { kind: 'live', session: session(serviceId) } : { kind: 'none', why: 'unknown' }),
    verifyPeer: () => Promise.resolve({ kind: 'denied', why: 'token_invalid' }),
    endSession: nobody,
    verifyServiceToken: () => Promise.resolve({ kind: 'denied', why: 'token_invalid' }),
  };
  const signIn: SignIn = { start: nobody, prove: nobody, finish: nobody, logout: nobody };
  const clock = systemClock;
  const log = silentLogger;
  let keys: string | undefined;
  const signer = await AssertionSigner.open({
    store: {
      load: () => Promise.resolve(keys),
      save: (text) => {
        keys = text;
        return Promise.resolve();
      },
    },
    clock,
    log,
  });
  const certificate = readCertificate('bench', certPem, keyPem);
  if ('problem' in certificate) throw new Error(certificate.problem);
  const accessLog = createAccessLog([createBatchSink({ send: () => Promise.resolve(), clock, log, random: () => 0.5 })]);
  const routes = buildRouteTable(mappings);
  const sessions = new SessionCache({ authority, clock, log });
  const publisher = createHttpPublisher({
    unlocks: new Unlocks({ clock, log }),
    routes: () => routes,
    dial: hostDial,
    directDial: hostDial,
    backend: createAccessBackend(sessions, { verifyCredential: nobody, keyOf: () => '' }),
    signIn,
    devices: { pairDevice: nobody, listDevices: nobody, revokeDevice: nobody },
    identityHeaders: createIdentityHeaders(signer),
    accessLog: (entry) => accessLog.push(entry),
    certificates: { find: (name) => (routes.service(name) === undefined ? undefined : certificate) },
    log,
    clock,
  });
  sessions.onEnd(({ sessionKey, serviceId }) => {
    publisher.endStreams((stream) => stream.trustKey === sessionKey && stream.serviceId === serviceId);
  });
  const listener = await listenTcp({ host: '127.0.0.1', port: 0 }, (socket, remote) =>
    publisher.handleConnection(socket, { remote, local: { address: socket.localAddress ?? '', port: listener.port } }),
  );
  return { port: listener.port, sessions, routes };
}
