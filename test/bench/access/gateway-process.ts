// Our publisher with the same application behind no checks, behind a sign-in, and behind a sign-in and ten access rules; and with WebSockets behind one.
import { randomBytes } from 'node:crypto';
import { anything, plainAccess, signInProofs, type AccessPolicy, type AccessRule } from '#model/access.ts';
import { systemClock } from '#lib/clock.ts';
import { silentLogger } from '#lib/log.ts';
import { SessionCache } from '#identity/session-cache.ts';
import { asId, type GroupId, type ServiceId, type SessionId } from '#model/ids.ts';
import type { ServiceMapping } from '#model/service.ts';
import { mapping, path } from '../../publish/harness.ts';
import { answerQuestions } from '../http/asking.ts';
import { hosts } from './hosts.ts';
import { caller, startPublisher, type RunningPublisher } from '../http/publisher.ts';

export interface GatewaySetup {
  readonly certPem: string;
  readonly keyPem: string;
  readonly sessionId: string;
  readonly upstreamPort: number;
  /** Each takes a share of the WebSockets: connections to one upstream are bounded. */
  readonly socketPorts: readonly number[];
}

const groups = (...names: string[]): readonly GroupId[] => names.map((name) => asId<GroupId>(name));

function rule(name: string, action: AccessRule['action'], when: Partial<AccessRule['when']>): AccessRule {
  return { name, action, observe: false, when: { ...anything, ...when }, proofs: [] };
}

/** As somebody has them who publishes an application for two departments; a request for the benchmark's page is decided by the last one. */
const tenRules: readonly AccessRule[] = [
  rule('no-dumps', 'deny', { paths: ['/.git', '/.env', '/backup'] }),
  rule('no-trace', 'deny', { methods: ['TRACE', 'CONNECT'] }),
  rule('bad-network', 'deny', { addresses: ['192.0.2.0/24', '198.51.100.0/24', '2001:db8::/32'] }),
  rule('health', 'bypass', { paths: ['/healthz'], methods: ['GET'] }),
  rule('admin-from-inside', 'deny', { paths: ['/admin'], addresses: ['0.0.0.0/1', '128.0.0.0/1'] }),
  rule('admins', 'allow', { paths: ['/admin'], groups: groups('administrators') }),
  rule('uploads', 'allow', { paths: ['/upload'], methods: ['POST', 'PUT'], groups: groups('editors') }),
  rule('nights', 'deny', {
    paths: ['/reports'],
    times: [{ days: [1, 2, 3, 4, 5], from: 22 * 60, to: 6 * 60, timeZone: 'Europe/Berlin' }],
  }),
  rule('guests', 'allow', { users: ['guest@example.test'], paths: ['/public'] }),
  rule('staff', 'allow', { groups: groups('developers', 'operations') }),
];

const signedIn: AccessPolicy = { ...plainAccess, proofs: signInProofs };
let publisher: RunningPublisher | undefined;
let sockets: ServiceMapping | undefined;

async function start({ upstreamPort, socketPorts, ...setup }: GatewaySetup): Promise<number> {
  const application = path(upstreamPort, { directUpstream: true });
  const shared = path(0, { directUpstream: true });
  const [target] = shared.targets;
  if (target === undefined) throw new Error('no target');
  sockets = mapping(hosts.sockets, [{ ...shared, targets: socketPorts.map((port) => ({ ...target, port })) }], { access: signedIn });
  publisher = await startPublisher({
    ...setup,
    mappings: [
      mapping(hosts.open, [application]),
      mapping(hosts.signedIn, [application], { access: signedIn }),
      mapping(hosts.ruled, [application], { access: { ...signedIn, rules: tenRules, otherwise: 'deny' } }),
      sockets,
    ],
  });
  return publisher.port;
}

const wall = (): number => performance.timeOrigin + performance.now();

/** As the control plane's word arrives; when that was, in wall-clock milliseconds. */
function revoke(): number {
  const at = wall();
  publisher?.sessions.revoke({ kind: 'user', userId: caller.userId });
  return at;
}

/** A new version of the service, whose rules let the caller in no more. */
function change(): number {
  const at = wall();
  if (sockets !== undefined) publisher?.routes.set({ ...sockets, access: { ...signedIn, rules: [rule('nobody', 'deny', {})] } });
  return at;
}

/** The service as it was. */
function restore(): void {
  if (sockets !== undefined) publisher?.routes.set(sockets);
}

/** Bytes for each of so many sessions in a gateway's cache, of people with an e-mail address and groups of their own. */
async function sessionBytes(count: number): Promise<{ readonly bytes: number; readonly kept: number }> {
  const service = asId<ServiceId>('service');
  const nobody = (): Promise<never> => Promise.reject(new Error('asked'));
  const cache = new SessionCache({
    authority: {
      createSession: nobody,
      findSession: nobody,
      verifyPeer: nobody,
      endSession: nobody,
      verifyServiceToken: nobody,
    },
    clock: systemClock,
    log: silentLogger,
  });
  const before = await keptBytes();
  for (let i = 0; i < count; i++) {
    const text = JSON.stringify({ ...caller, userId: `user-${i}`, email: `user-${i}@example.test`, name: `User Number ${i}` });
    const identity = JSON.parse(text) as typeof caller;
    const session = {
      id: asId<SessionId>(randomBytes(32).toString('base64url')),
      serviceId: service,
      identity,
      createdAt: Date.now(),
      expiresAt: Date.now() + 3_600_000,
      idleMs: undefined,
    };
    cache.remember(session, cache.revision);
  }
  const bytes = ((await keptBytes()) - before) / count;
  const kept = cache.size;
  await cache.close();
  return { bytes, kept };
}

async function keptBytes(): Promise<number> {
  for (let i = 0; i < 4; i++) {
    globalThis.gc?.();
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}

answerQuestions({ start, revoke, change, restore, sessionBytes });
