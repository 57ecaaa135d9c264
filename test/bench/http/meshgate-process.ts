// Our HTTP publisher as a gateway runs it: listener, TLS, session check, identity headers, access log; upstreams are dialled directly.
import { writeFileSync } from 'node:fs';
import { Session as Inspector } from 'node:inspector/promises';
import { AssertionSigner } from '#identity/assertion.ts';
import { SessionCache } from '#identity/session-cache.ts';
import { systemClock } from '#lib/clock.ts';
import { makeObjectsYoung } from '#lib/heap.ts';
import { hostDial } from '#lib/host-dial.ts';
import { silentLogger } from '#lib/log.ts';
import type { Identity, Session, SessionAuthority } from '#model/identity.ts';
import { asId, type ServiceId, type SessionId, type UserId } from '#model/ids.ts';
import {
  buildRouteTable,
  createAccessLog,
  createBatchSink,
  createHttpPublisher,
  Unlocks,
  createAccessBackend,
  createIdentityHeaders,
  readCertificate,
  type SignIn,
} from '#publish/index.ts';
import { listenTcp } from '../../../src/gateway/listen/tcp.ts';
import { mapping, path } from '../../publish/harness.ts';
import { answerQuestions } from './asking.ts';
import type { SubjectSetup } from './subjects.ts';
import { plainAccess, signInProofs } from '#model/access.ts';

const identity: Identity = {
  userId: asId<UserId>('u-alice'),
  email: 'alice@example.test',
  name: 'Alice Example',
  groups: ['developers', 'operations'],
  method: 'oidc',
};

async function start({ host, certPem, keyPem, upstreamPort, endlessPort, sessionId }: SubjectSetup): Promise<number> {
  const session: Session = {
    id: asId<SessionId>(sessionId),
    serviceId: asId<ServiceId>(`s-${host}`),
    identity,
    createdAt: Date.now(),
    expiresAt: Date.now() + 3_600_000,
    idleMs: undefined,
  };
  const nobody = (): Promise<never> => Promise.reject(new Error('nobody signs in here'));
  const authority: SessionAuthority = {
    createSession: nobody,
    findSession: (id) => Promise.resolve(id === session.id ? { kind: 'live', session } : { kind: 'none', why: 'unknown' }),
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
  const routes = buildRouteTable([
    mapping(host, [path(upstreamPort, { directUpstream: true }), path(endlessPort, { path: '/endless', directUpstream: true })], {
      access: { ...plainAccess, proofs: signInProofs },
    }),
  ]);
  const unlocks = new Unlocks({ clock: systemClock, log: silentLogger });
  const publisher = createHttpPublisher({
    unlocks,
    routes: () => routes,
    dial: hostDial,
    directDial: hostDial,
    backend: createAccessBackend(new SessionCache({ authority, clock, log }), { verifyCredential: nobody, keyOf: () => '' }),
    signIn,
    identityHeaders: createIdentityHeaders(signer),
    accessLog: (entry) => accessLog.push(entry),
    certificates: { find: (name) => (name === host ? certificate : undefined) },
    log,
    clock,
  });
  const listener = await listenTcp({ host: '127.0.0.1', port: 0 }, (socket, remote) =>
    publisher.handleConnection(socket, { remote, local: { address: socket.localAddress ?? '', port: listener.port } }),
  );
  return listener.port;
}

// As the command does.
makeObjectsYoung();

const inspector = new Inspector();

answerQuestions({
  start,
  collect: () => {
    globalThis.gc?.();
  },
  startProfile: async () => {
    inspector.connect();
    await inspector.post('Profiler.enable');
    await inspector.post('Profiler.setSamplingInterval', { interval: 200 });
    await inspector.post('Profiler.start');
  },
  stopProfile: async (file: string) => {
    const { profile } = await inspector.post('Profiler.stop');
    inspector.disconnect();
    writeFileSync(file, JSON.stringify(profile));
  },
});
