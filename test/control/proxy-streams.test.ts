import t, { type Test } from 'tap';
import { createProxyControl } from '#control/index.ts';
import type { ProxyControl, ProxyControlHandlers } from '#control/types.ts';
import { systemClock } from '#lib/clock.ts';
import { silentLogger } from '#lib/log.ts';
import { asId, type AccountId, type ProxyId, type PublicKey, type ServiceId, type SessionId, type UserId } from '#model/ids.ts';
import type { Revocation } from '#model/identity.ts';
import { defaultTargetOptions, noRestrictions, type MappingChange, type ServiceMapping } from '#model/service.ts';
import { defaultStream } from '#model/stream.ts';
import { defaultWeb } from '#model/web.ts';
import { FakeDomain } from '../server/management/fake-domain.ts';
import { startServer, type FakeServer } from '../server/management/fake-server.ts';
import { RpcChannel, parseRpcUrl } from '#rpc/client.ts';
import { revocationHeartbeatMs } from '#server/management/constants.ts';
import { GatewayService } from '#wire/proto/gen/meshgate_pb.ts';
import { ManualClock } from '../support/manual-clock.ts';
import { Queue } from './peer-helpers.ts';
import { plainAccess, signInProofs } from '#model/access.ts';

const token = 'nbx_abcdefghijklmnopqrstuvwxyz012345678A';
const cluster = 'apps.test';
const never = new AbortController().signal;

function mappingNamed(name: string): ServiceMapping {
  const options = {
    ...defaultTargetOptions,
    skipTlsVerify: true,
    requestTimeoutMs: 1500,
    pathRewrite: 'preserve' as const,
    customHeaders: { 'x-a': '1' },
  };
  return {
    id: asId<ServiceId>(name),
    accountId: asId<AccountId>('account-1'),
    domain: `${name}.apps.test`,
    mode: 'http',
    listenPort: undefined,
    paths: [{ path: '/', targets: [{ protocol: 'https', host: '100.92.0.9', port: 8443, basePath: '/base', weight: 1 }], options }],
    access: { ...plainAccess, proofs: [...signInProofs, ['pin']] },
    passHostHeader: true,
    rewriteRedirects: true,
    restrictions: { ...noRestrictions, allowedCidrs: ['10.0.0.0/8'], crowdsecMode: 'enforce' },
    private: false,
    web: defaultWeb,
    stream: defaultStream,
    authToken: `one-time-${name}`,
  };
}

class Collected implements ProxyControlHandlers {
  readonly changes = new Queue<MappingChange>();
  readonly revocations = new Queue<Revocation>();
  readonly resyncs = new Queue<true>();
  begins = 0;
  change(change: MappingChange): Promise<void> {
    if (change.kind === 'snapshot-begin') this.begins += 1;
    else this.changes.put(change);
    return Promise.resolve();
  }
  revoked(revocation: Revocation): void {
    this.revocations.put(revocation);
  }
  peersChanged(): void {}
  resynced(): void {
    this.resyncs.put(true);
  }
}

function gateway(t: Test, server: FakeServer, withToken = token, proxyId = 'gateway-1'): { control: ProxyControl; got: Collected } {
  const options = {
    address: { url: server.url, ca: server.ca.caPem },
    token: withToken,
    proxyId: asId<ProxyId>(proxyId),
    cluster,
    publicPort: 443,
    version: '0.1.0',
  };
  const control = createProxyControl(options, { log: silentLogger, clock: systemClock });
  t.teardown(() => control.close());
  return { control, got: new Collected() };
}

async function setup(t: Test, services: readonly ServiceMapping[] = []): Promise<{ server: FakeServer; domain: FakeDomain }> {
  const domain = new FakeDomain();
  domain.addProxyToken(token);
  for (const service of services) domain.mappingTable.set(service.id, service);
  const server = await startServer({ domain });
  t.teardown(() => server.close());
  return { server, domain };
}

void t.test('an empty snapshot is complete at once', async (t) => {
  const { server, domain } = await setup(t);
  const { control, got } = gateway(t, server);
  control.start(got);
  t.same(await got.changes.next(), { kind: 'snapshot-complete' });
  t.equal(got.begins, 1, 'each stream begins with a mark of its own');
  t.equal(control.status().connected, true);
  t.match(domain.connections, [{ proxyId: 'gateway-1', tokenId: 'token-1', cluster, version: '0.1.0' }]);
});

void t.test('the snapshot carries services whole, and changes follow', async (t) => {
  const wiki = mappingNamed('wiki');
  const { server, domain } = await setup(t, [wiki]);
  const { control, got } = gateway(t, server);
  control.start(got);
  t.same(await got.changes.next(), { kind: 'set', mapping: wiki });
  t.same(await got.changes.next(), { kind: 'snapshot-complete' });
  const startedAt = performance.now();
  domain.setMapping(mappingNamed('mail'), cluster);
  t.match(await got.changes.next(), { kind: 'set', mapping: { id: 'mail' } });
  domain.removeMapping(wiki.id, cluster);
  t.same(await got.changes.next(), { kind: 'remove', id: 'wiki' });
  t.ok(performance.now() - startedAt < 1000);
  domain.setMapping(mappingNamed('elsewhere'), 'other.test');
  domain.setMapping(mappingNamed('mail'), cluster);
  t.match(await got.changes.next(), { kind: 'set', mapping: { id: 'mail' } }, 'another cluster is no concern of ours');
});

void t.test('a snapshot of more than one batch waits for its acknowledgements', async (t) => {
  const many = Array.from({ length: 1201 }, (_, i) => mappingNamed(`s${i}`));
  const { server } = await setup(t, many);
  const { control, got } = gateway(t, server);
  control.start(got);
  for (let i = 0; i < many.length; i++) t.equal((await got.changes.next()).kind, 'set');
  t.same(await got.changes.next(), { kind: 'snapshot-complete' });
});

void t.test('a revoked token ends its streams within a second, and a wrong one opens none', async (t) => {
  const { server, domain } = await setup(t);
  const { control, got } = gateway(t, server);
  control.start(got);
  await got.changes.next();
  const startedAt = performance.now();
  domain.revokeProxyToken(token);
  while (!domain.log.includes('proxy disconnected gateway-1')) await new Promise((resolve) => setImmediate(resolve));
  t.ok(performance.now() - startedAt < 1000);
  await t.rejects(control.endSession(asId<SessionId>('x'), never), { code: 'RPC_UNAUTHENTICATED' });
  const wrong = gateway(t, server, 'nbx_wrong').control;
  await t.rejects(wrong.relyingParty(never), { code: 'RPC_UNAUTHENTICATED' });
  let last: unknown;
  for (let i = 0; i < 30; i++) last = await wrong.relyingParty(never).catch((error: unknown) => error);
  t.match(last, { code: 'RPC_RESOURCE_EXHAUSTED' }, 'an address that guesses has to wait');
});

void t.test('a newer stream of the same gateway replaces the older', async (t) => {
  const { server, domain } = await setup(t);
  const first = gateway(t, server);
  first.control.start(first.got);
  await first.got.changes.next();
  const second = gateway(t, server);
  second.control.start(second.got);
  await second.got.changes.next();
  while (first.control.status().connected) await new Promise((resolve) => setImmediate(resolve));
  t.match(first.control.status().reason, /took over/);
  t.notOk(domain.log.includes('proxy disconnected gateway-1'), 'the gateway itself is still there');
  await first.control.close();
});

void t.test('a gateway registers its peer by the one-time token, reports and logs', async (t) => {
  const { server, domain } = await setup(t, [mappingNamed('wiki')]);
  const { control } = gateway(t, server);
  const publicKey = asId<PublicKey>(Buffer.alloc(32, 5).toString('base64'));
  const [serviceId, accountId] = [asId<ServiceId>('wiki'), asId<AccountId>('account-1')];
  await t.rejects(control.createProxyPeer({ serviceId, accountId, oneTimeToken: 'wrong', publicKey }, never), { code: 'RPC_PERMISSION_DENIED' });
  await control.createProxyPeer({ serviceId, accountId, oneTimeToken: 'one-time-wiki', publicKey }, never);
  t.ok(domain.known.has(publicKey));
  const status = { state: 'certificate_failed', reason: 'no DNS' } as const;
  await control.reportStatus({ serviceId, accountId, status, certificateIssued: false }, never);
  t.same(domain.statusReports, [{ serviceId, proxyId: 'gateway-1', cluster, status, certificateIssued: false }]);
  await t.rejects(control.reportStatus({ serviceId, accountId: asId<AccountId>('other'), status, certificateIssued: false }, never), {
    code: 'RPC_PERMISSION_DENIED',
  });
  const entry = {
    id: 'log-1',
    serviceId,
    timestamp: 1_700_000_000_123,
    protocol: 'http',
    method: 'GET',
    host: 'wiki.apps.test',
    path: '/x',
    durationMs: 12,
    status: 200,
    sourceIp: '192.0.2.1',
    userId: 'u1',
    authMethod: 'oidc',
    authSuccess: true,
    bytesUp: 10,
    bytesDown: 20,
    reason: 'session',
  } as const;
  await control.sendAccessLog([{ entry, accountId }], never);
  t.same(domain.accessLog, [entry]);
  const many = Array.from({ length: 150 }, (_, i) => ({ entry: { ...entry, id: `log-${i + 2}` }, accountId }));
  await control.sendAccessLog(many, never);
  t.same(
    domain.accessLog.slice(1),
    many.map((record) => record.entry),
    'in calls of a bounded size, in order',
  );
  await t.rejects(control.sendAccessLog([{ entry, accountId: asId<AccountId>('another') }], never));
});

void t.test('sessions are kept by the control plane', async (t) => {
  const { server, domain } = await setup(t);
  const { control } = gateway(t, server);
  const wiki = asId<ServiceId>('wiki');
  const visitor = { address: '192.0.2.1', userAgent: 'curl' };
  t.match(await control.relyingParty(never), { issuer: 'https://idp.test', clientId: 'gateway', stateKey: { length: 32 } });
  const grant = await control.createSession(wiki, 'id-token-of-ada', 'nonce', visitor, undefined, never);
  t.match(grant, { kind: 'granted', session: { serviceId: 'wiki', identity: { userId: 'ada', groups: ['All', 'Staff'], method: 'oidc' } } });
  if (grant.kind !== 'granted') return;
  t.match(await control.findSession(grant.session.id, wiki, never), { kind: 'live', session: { id: grant.session.id, serviceId: wiki } });
  await control.endSession(grant.session.id, never);
  t.same(await control.findSession(grant.session.id, wiki, never), { kind: 'none', why: 'unknown' });
  t.same(await control.createSession(wiki, 'forged', 'nonce', visitor, undefined, never), { kind: 'refused', why: 'token_invalid' });
  domain.blockedUsers.add(asId<UserId>('ada'));
  t.same(await control.createSession(wiki, 'id-token-of-ada', 'nonce', visitor, undefined, never), { kind: 'refused', why: 'user_blocked' });
  t.match(await control.verifyServiceToken('nbp_good', wiki, never), { kind: 'valid', identity: { method: 'token' } });
  t.same(await control.verifyServiceToken('nbp_bad', wiki, never), { kind: 'denied', why: 'token_invalid' });
});

void t.test('revocations arrive within a second, and a broken stream says so when it is back', async (t) => {
  const { server, domain } = await setup(t);
  const { control, got } = gateway(t, server);
  control.start(got);
  await got.changes.next();
  const all: readonly Revocation[] = [
    { kind: 'session', digest: 'c2Vzc2lvbg==' },
    { kind: 'user', userId: asId<UserId>('u') },
    { kind: 'service', serviceId: asId<ServiceId>('x') },
    { kind: 'token', digest: 'ZGlnZXN0' },
  ];
  while (domain.watching < 2) await new Promise((resolve) => setImmediate(resolve));
  const startedAt = performance.now();
  for (const revocation of all) domain.emit({ kind: 'revocation', revocation, cluster: undefined });
  for (const revocation of all) t.same(await got.revocations.next(), revocation);
  t.ok(performance.now() - startedAt < 1000);
  await server.close();
  const again = await startServer({ domain, port: server.port });
  t.teardown(() => again.close());
  t.equal(await got.resyncs.next(), true);
  while (got.begins < 2) await new Promise((resolve) => setImmediate(resolve));
});

void t.test('the revocation stream does not outlive its token', async (t) => {
  const clock = new ManualClock();
  const domain = new FakeDomain();
  domain.addProxyToken(token);
  const server = await startServer({ domain, clock });
  t.teardown(() => server.close());
  const channel = new RpcChannel(parseRpcUrl(server.url, server.ca.caPem));
  t.teardown(() => channel.close());
  const options = { signal: AbortSignal.timeout(10_000), headers: { authorization: `Bearer ${token}` } };
  const stream = await channel.serverStream(GatewayService.method.watchRevocations, {}, options);
  const messages = stream[Symbol.asyncIterator]();
  t.match((await messages.next()).value, { event: { case: 'ready' } });
  clock.advance(revocationHeartbeatMs);
  t.match((await messages.next()).value, { event: { case: 'heartbeat' } });
  domain.proxyTokens.delete(token); // as time does: nobody is told
  clock.advance(revocationHeartbeatMs);
  await t.rejects(
    async () => {
      while ((await messages.next()).done !== true);
    },
    { code: 'RPC_UNAUTHENTICATED' },
  );
});
