// What a gateway token may do, call by call: its own cluster's, and nothing of another's. Over the real domain and a real port, on each engine.
import t, { type Test } from 'tap';
import { tokenDigest } from '#crypto/tokens.ts';
import { errorCode, MeshgateError } from '#lib/errors.ts';
import { asId, type ServiceId, type SessionId, type UserId } from '#model/ids.ts';
import { RpcChannel, parseRpcUrl } from '#rpc/client.ts';
import type { Headers } from '#rpc/method.ts';
import { GatewayService } from '#wire/proto/gen/meshgate_pb.ts';
import { ProxyService, ProxyStatus } from '#wire/proto/gen/proxy_service_pb.ts';
import { postgresMissing, startPostgres } from '../store/postgres-cluster.ts';
import { addPeer, keyOf, openDomain, serviceOf, system, type Fixture } from '../domain/support.ts';
import { startServerOver } from './fake-server.ts';

const seconds = (count: number): AbortSignal => AbortSignal.timeout(count * 1_000);
const proxy = ProxyService.method;
const own = GatewayService.method;
const keyAuthorization = `tok.${'x'.repeat(43)}`;
const box = { senderKey: new Uint8Array(32).fill(4), recipientKey: new Uint8Array(32).fill(2), box: Buffer.from('sealed') };

/** Two clusters with a service and a gateway each; `a` holds what the gateway of `b` must not get at. */
interface Clusters extends Fixture {
  readonly channel: RpcChannel;
  /** Metadata of each cluster's gateway. */
  readonly a: Headers;
  readonly b: Headers;
  readonly appA: ServiceId;
  readonly appB: ServiceId;
  readonly userId: UserId;
  readonly sessionA: SessionId;
  readonly machineToken: string;
  /** The names of the services that a mapping stream of these headers begins with. */
  snapshot(headers: Headers, cluster: string): Promise<readonly string[]>;
}

async function open(t: Test, storeUrl: string): Promise<Clusters> {
  const fixture = await openDomain({ storeUrl });
  const { domain } = fixture;
  t.teardown(() => domain.close());
  const server = await startServerOver(domain, {
    management: {
      verifyIdToken: async () => ({ userId, signIn: '', methods: [] }),
      relyingParty: (cluster) => ({
        issuer: 'https://idp.test',
        clientId: cluster,
        clientSecret: `secret of ${cluster}`,
        stateKey: new Uint8Array(32),
      }),
    },
  });
  t.teardown(() => server.close());
  const channel = new RpcChannel(parseRpcUrl(server.url, server.ca.caPem));
  t.teardown(() => channel.close());
  const gateway = async (name: string, cluster: string): Promise<Headers> => {
    const { plain } = await domain.tokens.createProxy({ name, expiresInSeconds: 0, cluster }, system);
    return { authorization: `Bearer ${plain}`, 'x-meshgate-proxy-id': name };
  };
  const [a, b] = [await gateway('gateway-a', 'a.test'), await gateway('gateway-b', 'b.test')];
  const openings = new AbortController();
  t.teardown(() => openings.abort());
  const snapshot: Clusters['snapshot'] = async (headers, cluster) => {
    const init = { proxyId: headers['x-meshgate-proxy-id'] ?? '', version: '1', address: cluster, capabilities: { meshgateWeb: 1 } };
    const stream = await channel.duplex(proxy.syncMappings, { signal: openings.signal, headers });
    await stream.send({ msg: { case: 'init', value: init } });
    const first = await stream[Symbol.asyncIterator]().next();
    await stream.send({ msg: { case: 'ack', value: {} } });
    return first.done === true ? [] : first.value.mapping.map((mapping) => mapping.domain);
  };
  for (const [headers, cluster] of [
    [a, 'a.test'],
    [b, 'b.test'],
  ] as const)
    t.same(await snapshot(headers, cluster), [], `${cluster} is known, and empty`);
  const peerId = (await domain.peers.self(await addPeer(domain, 'web'))).peer.id;
  const service = async (host: string): Promise<ServiceId> =>
    (await domain.services.create(serviceOf(peerId, { name: host, domain: host }), system)).id;
  const [appA, appB] = [await service('app.a.test'), await service('app.b.test')];
  const request = { email: 'u@example.com', name: 'U', role: 'user', autoGroups: [], service: false, password: 'long enough' } as const;
  const userId = (await domain.users.create(request, system)).user.id;
  const machine = (await domain.users.create({ ...request, email: '', name: 'm', service: true, password: undefined }, system)).user.id;
  const machineToken = (await domain.tokens.create(machine, 'm', 1, system)).plain;
  const sessionA = (await domain.sessions.create(appA, userId, 'a.test')).id;
  return { ...fixture, channel, a, b, appA, appB, userId, sessionA, machineToken, snapshot };
}

/** The code and the words of a refusal; `allowed` where there was none. */
async function outcome(answer: Promise<unknown>): Promise<{ readonly code: string; readonly words: string }> {
  return await answer.then(
    () => ({ code: 'allowed', words: '' }),
    (error: unknown) => ({ code: errorCode(error) ?? '', words: error instanceof MeshgateError ? error.detail : '' }),
  );
}

const denied = { code: 'RPC_PERMISSION_DENIED', words: /belongs to another cluster.*proxy-token create/ };
const certificate = { cluster: 'a.test', names: ['app.a.test'] };
const names = ['app.a.test'];

/** What the gateway of cluster B tries at each method, and what comes of it; then that of A, where it may. */
type Attempt = (t: Test, clusters: Clusters) => Promise<void>;

const proxyRows: Readonly<Record<keyof typeof proxy, Attempt>> = {
  syncMappings: async (t, { b, snapshot, domain }) => {
    t.match(await outcome(snapshot(b, 'a.test')), denied);
    t.match(await outcome(snapshot(b, 'A.Test.')), denied, 'in any spelling');
    t.match(
      (await domain.clusters.clusters()).map(({ address, connectedProxies }) => [address, connectedProxies]),
      [
        ['a.test', 1],
        ['b.test', 1],
      ],
      'its own stream goes on',
    );
  },
  getMappingUpdate: async (t, { channel, b }) => {
    const stream = await channel.serverStream(
      proxy.getMappingUpdate,
      { proxyId: 'gateway-b', address: 'a.test' },
      { signal: seconds(10), headers: b },
    );
    t.match(await outcome(stream[Symbol.asyncIterator]().next()), denied);
  },
  sendAccessLog: async (t, { channel, a, b, appA, domain }) => {
    const log = (logId: string, host = 'app.a.test', serviceId: string = appA, accountId: string = domain.accountId) => ({
      log: { logId, accountId, serviceId, host },
    });
    const send = (headers: Headers, request: ReturnType<typeof log>) =>
      outcome(channel.unary(proxy.sendAccessLog, request, { signal: seconds(10), headers }));
    t.match(await send(b, log('1', 'app.a.test', appA, 'another account')), { code: 'RPC_PERMISSION_DENIED' });
    for (const request of [log('2'), log('3', 'app.b.test'), log('4', 'app.a.test', ''), log('5', 'gone.APP.a.test', 'gone')]) await send(b, request);
    await send(a, log('6'));
    const { entries } = await domain.events.accessLog({ page: 1, pageSize: 10 });
    t.same(
      entries.map(({ id }) => id),
      ['6'],
    );
  },
  authenticate: async (t, { channel, b, appA, domain }) => {
    const request = { id: appA, accountId: domain.accountId, request: { case: 'password', value: { password: 'x' } } } as const;
    t.equal((await channel.unary(proxy.authenticate, request, { signal: seconds(10), headers: b })).success, false);
  },
  sendStatusUpdate: async (t, { channel, a, b, appA, domain }) => {
    const report = (headers: Headers, accountId: string, certificateIssued: boolean) =>
      outcome(
        channel.unary(
          proxy.sendStatusUpdate,
          { serviceId: appA, accountId, status: ProxyStatus.ERROR, errorMessage: 'a lie', certificateIssued },
          { signal: seconds(10), headers },
        ),
      );
    t.match(await report(b, 'another account', true), { code: 'RPC_PERMISSION_DENIED' });
    await report(b, domain.accountId, true);
    t.match(await domain.services.get(appA), { status: { state: 'pending' }, certificateIssuedAt: undefined });
    await report(a, domain.accountId, false);
    t.match(await domain.services.get(appA), { status: { state: 'error' } });
  },
  createProxyPeer: async (t, { channel, a, b, appA, appB, domain }) => {
    const create = async (headers: Headers, cluster: string, service: ServiceId, accountId: string = domain.accountId) => {
      const token = (await domain.services.mapping(service, service === appA ? 'a.test' : 'b.test'))?.authToken ?? '';
      const request = { serviceId: service, accountId, token, wireguardPublicKey: keyOf('gw'), cluster };
      return await outcome(channel.unary(proxy.createProxyPeer, request, { signal: seconds(10), headers }));
    };
    t.match(await create(b, 'a.test', appA), denied, 'with a one-time token of A that leaked');
    t.match(await create(b, 'b.test', appA), { code: 'RPC_PERMISSION_DENIED' });
    t.match(await create(b, 'b.test', appB, 'another account'), { code: 'RPC_PERMISSION_DENIED' });
    t.notOk(await domain.peers.isKnown(keyOf('gw')));
    t.match(await create(a, 'a.test', appA), { code: 'allowed' });
    t.match(await create(b, 'b.test', appB), { code: 'RPC_ALREADY_EXISTS' }, 'the key is a gateway of A');
  },
  getOIDCURL: async (t, { channel, b, appA, domain }) => {
    const request = { id: appA, accountId: domain.accountId, redirectUrl: 'https://app.a.test/' };
    t.match(await outcome(channel.unary(proxy.getOIDCURL, request, { signal: seconds(10), headers: b })), { code: 'RPC_UNIMPLEMENTED' });
  },
  validateSession: async (t, { channel, b, sessionA }) => {
    const request = { domain: 'app.a.test', sessionToken: sessionA };
    t.match(await channel.unary(proxy.validateSession, request, { signal: seconds(10), headers: b }), { valid: false, userId: '' });
  },
  validateTunnelPeer: async (t, { channel, b }) => {
    const request = { tunnelIp: '100.64.0.1', domain: 'app.a.test' };
    t.match(await channel.unary(proxy.validateTunnelPeer, request, { signal: seconds(10), headers: b }), { valid: false, userId: '' });
  },
};

const ownRows: Readonly<Record<keyof typeof own, Attempt>> = {
  relyingParty: async (t, { channel, a, b }) => {
    const ask = (headers: Headers, cluster: string) => channel.unary(own.relyingParty, { cluster }, { signal: seconds(10), headers });
    t.match(await outcome(ask(b, 'a.test')), denied);
    t.match(await ask(a, 'a.test'), { clientSecret: 'secret of a.test' });
  },
  createSession: async (t, { channel, a, b, appA, domain, userId }) => {
    const create = (headers: Headers, cluster: string) =>
      channel.unary(own.createSession, { serviceId: appA, idToken: 'good', nonce: 'n', cluster }, { signal: seconds(10), headers });
    const before = (await domain.events.audit()).length;
    t.match(await outcome(create(b, 'a.test')), denied);
    t.match(await outcome(create(b, 'b.test')), { code: 'RPC_NOT_FOUND' }, 'the service does not exist for it');
    t.equal((await domain.events.audit()).length, before, 'nobody was signed in');
    t.match(await create(a, 'a.test'), { result: { case: 'session', value: { identity: { userId } } } });
  },
  findSession: async (t, { channel, a, b, appA, appB, sessionA }) => {
    const find = (headers: Headers, serviceId: ServiceId) =>
      channel.unary(own.findSession, { sessionId: sessionA, serviceId }, { signal: seconds(10), headers });
    for (const service of [appA, appB]) t.match(await find(b, service), { result: { case: 'missing', value: 'unknown' } });
    t.match(await find(a, appA), { result: { case: 'session' } });
  },
  endSession: async (t, { channel, a, b, appA, sessionA, domain }) => {
    const end = (headers: Headers) => channel.unary(own.endSession, { sessionId: sessionA }, { signal: seconds(10), headers });
    await end(b);
    t.match(await domain.sessions.find(sessionA, appA, 'a.test'), { session: { id: sessionA } });
    await end(a);
    t.same(await domain.sessions.find(sessionA, appA, 'a.test'), { missing: 'revoked' });
  },
  verifyServiceToken: async (t, { channel, a, b, appA, machineToken }) => {
    const verify = (headers: Headers) =>
      channel.unary(own.verifyServiceToken, { token: machineToken, serviceId: appA }, { signal: seconds(10), headers });
    t.match(await verify(b), { result: { case: 'denied', value: 'token_invalid' } });
    t.match(await verify(a), { result: { case: 'identity' } });
  },
  verifyPeer: async (t, { channel, a, b, appA, domain }) => {
    const key = await addPeer(domain, 'laptop');
    const { peer } = await domain.peers.self(key);
    const group = await domain.groups.create({ name: 'visitors', peers: [peer.id] }, system);
    const { targets } = await domain.services.get(appA);
    const input = serviceOf('', { name: 'app.a.test', domain: 'app.a.test', targets });
    const nobody = { oidc: { enabled: false, groups: [] }, password: undefined, pin: undefined, headers: [] };
    await domain.services.update(appA, { ...input, auth: nobody, private: true, accessGroups: [group.id] }, system);
    const verify = (headers: Headers) => channel.unary(own.verifyPeer, { publicKey: key, serviceId: appA }, { signal: seconds(10), headers });
    t.match(await verify(b), { result: { case: 'denied', value: 'token_invalid' } });
    t.match(await verify(a), { result: { case: 'identity', value: { name: peer.name, method: 'peer' } } });
    await domain.groups.update(group.id, { name: 'visitors', peers: [] }, system);
    t.match(await verify(a), { result: { case: 'denied', value: 'group_not_allowed' } });
  },
  redeemDiagnosis: async (t, { channel, a, b, appA, domain }) => {
    const { token } = await domain.diagnoses.issue(appA, system);
    const redeem = (headers: Headers) => channel.unary(own.redeemDiagnosis, { token, serviceId: appA }, { signal: seconds(10), headers });
    t.match(await redeem(b), { valid: false });
    t.match(await redeem(a), { valid: true }, 'and it was not used up');
    t.match(await redeem(a), { valid: false }, 'once');
  },
  prove: async (t, { channel, a, b, appA, domain }) => {
    const { targets } = await domain.services.get(appA);
    const input = serviceOf('', { name: 'app.a.test', domain: 'app.a.test', targets });
    const auth = { ...input.auth, password: { enabled: true, password: 'open sesame' } };
    await domain.services.update(appA, { ...input, auth }, system);
    const prove = (headers: Headers, secret: string) =>
      channel.unary(own.prove, { serviceId: appA, kind: 'password', secret, address: '192.0.2.1' }, { signal: seconds(10), headers });
    for (let guess = 0; guess < 30; guess++)
      t.match(await prove(b, guess === 0 ? 'open sesame' : 'wrong'), { result: { case: 'refused', value: { why: 'not_asked' } } });
    t.match(await prove(a, 'open sesame'), { result: { case: 'granted' } }, 'and its guesses lock nobody out');
  },
  verifyCredential: async (t, { channel, a, b, appA, domain }) => {
    const { targets } = await domain.services.get(appA);
    const input = serviceOf('', { name: 'app.a.test', domain: 'app.a.test', targets });
    const auth = { ...input.auth, basic: { enabled: true, users: [{ name: 'ann', password: 'open sesame' }] } };
    await domain.services.update(appA, { ...input, auth }, system);
    const verify = (headers: Headers, secret: string) =>
      channel.unary(
        own.verifyCredential,
        { serviceId: appA, kind: 'basic', name: 'ann', secret, address: '192.0.2.1' },
        { signal: seconds(10), headers },
      );
    for (let guess = 0; guess < 30; guess++)
      t.match(await verify(b, guess === 0 ? 'open sesame' : 'wrong'), { result: { case: 'denied', value: { why: 'wrong' } } });
    t.match(await verify(a, 'open sesame'), { result: { case: 'identity' } }, 'and its guesses lock nobody out');
  },
  pairDevice: async (t, clusters) => await ofDevices(t, clusters),
  listDevices: async (t, clusters) => await ofDevices(t, clusters),
  revokeDevice: async (t, clusters) => await ofDevices(t, clusters),
  watchRevocations: async (t, { channel, a, b, appA, appB, userId, domain }) => {
    const watch = async (headers: Headers) => {
      const stream = await channel.serverStream(own.watchRevocations, {}, { signal: seconds(20), headers });
      const messages = stream[Symbol.asyncIterator]();
      t.match(await messages.next(), { value: { event: { case: 'ready' } } });
      return async () => (await messages.next()).value?.event;
    };
    const [atA, atB] = [await watch(a), await watch(b)];
    const session = await domain.sessions.create(appA, userId, 'a.test');
    await domain.sessions.end(session.id, 'a.test');
    await domain.services.delete(appA, system);
    await domain.services.delete(appB, system);
    await domain.users.update(userId, { blocked: true }, system);
    t.match(await atA(), { case: 'sessionDigest', value: tokenDigest(session.id) });
    t.match(await atA(), { case: 'serviceId', value: appA });
    t.match(await atA(), { case: 'userId', value: userId });
    t.match(await atB(), { case: 'serviceId', value: appB }, 'nothing of A came before');
    t.match(await atB(), { case: 'userId', value: userId }, 'people are the account’s');
  },
  sendAccessLogs: async (t, { channel, b, appA, appB, domain }) => {
    const log = (logId: string, serviceId: string, host: string, accountId: string = domain.accountId) => ({ logId, serviceId, host, accountId });
    const send = (logs: ReturnType<typeof log>[]) => outcome(channel.unary(own.sendAccessLogs, { logs }, { signal: seconds(10), headers: b }));
    t.match(await send([log('1', appB, 'app.b.test'), log('2', appB, 'app.b.test', 'another account')]), { code: 'RPC_PERMISSION_DENIED' });
    t.match(await send([log('3', appB, 'app.b.test'), log('4', appA, 'app.a.test'), log('5', appB, 'app.a.test')]), { code: 'allowed' });
    const { entries } = await domain.events.accessLog({ page: 1, pageSize: 10 });
    t.same(
      entries.map(({ id }) => id),
      ['3'],
    );
  },
  leaseCertificate: async (t, { channel, a, b }) => {
    const lease = (headers: Headers, seal: number) =>
      channel.unary(own.leaseCertificate, { ...certificate, sealKey: new Uint8Array(32).fill(seal) }, { signal: seconds(10), headers });
    t.match(await lease(a, 1), { result: { case: 'granted' } });
    await share(channel, a);
    t.match(await outcome(lease(b, 2)), denied, 'although a copy lies there for its key');
    const asA = { ...b, 'x-meshgate-proxy-id': 'gateway-a' };
    t.match(await outcome(lease(asA, 2)), { code: /RPC_(PERMISSION_DENIED|ALREADY_EXISTS)/ }, 'nor under the name of A’s gateway');
  },
  releaseCertificate: async (t, clusters) => {
    const { channel, a, b } = clusters;
    await leaseAndPresent(clusters);
    t.match(await outcome(channel.unary(own.releaseCertificate, certificate, { signal: seconds(10), headers: b })), denied);
    t.equal(await challenge(clusters, a), keyAuthorization);
  },
  presentChallenges: async (t, clusters) => {
    const { channel, a, b } = clusters;
    await leaseAndPresent(clusters);
    const forged = { type: 'http-01', name: 'app.a.test', token: 'tok', keyAuthorization: `tok.${'y'.repeat(43)}` };
    const request = { ...certificate, answers: [forged] };
    t.match(await outcome(channel.unary(own.presentChallenges, request, { signal: seconds(10), headers: b })), denied);
    t.equal(await challenge(clusters, a), keyAuthorization);
  },
  findChallenge: async (t, clusters) => {
    await leaseAndPresent(clusters);
    t.match(await outcome(challenge(clusters, clusters.b)), denied);
    t.equal(await challenge(clusters, clusters.b, 'b.test'), undefined, 'its own cluster has none of that name');
    t.equal(await challenge(clusters, clusters.a), keyAuthorization);
  },
  certificateRecipients: async (t, { channel, b }) => {
    t.match(await outcome(channel.unary(own.certificateRecipients, { cluster: 'a.test' }, { signal: seconds(10), headers: b })), denied);
  },
  shareCertificate: async (t, clusters) => {
    await leaseAndPresent(clusters);
    t.match(await outcome(share(clusters.channel, clusters.b)), denied);
    t.match(await outcome(share(clusters.channel, clusters.a)), { code: 'allowed' });
  },
  reportCertificates: async (t, { channel, a, b, domain }) => {
    const state = (issuer: string) => ({ names, source: 'acme', state: 'valid', reason: '', issuer, nextAction: '' });
    const report = (headers: Headers, issuer: string, gone: string[]) =>
      outcome(channel.unary(own.reportCertificates, { cluster: 'a.test', changed: [state(issuer)], gone }, { signal: seconds(10), headers }));
    t.match(await report(a, 'the CA', []), { code: 'allowed' });
    t.match(await report(b, 'a lie', ['acme app.a.test']), denied);
    t.match(await domain.certificates.list(), [{ proxyId: 'gateway-a', status: { issuer: 'the CA' } }]);
  },
};

async function share(channel: RpcChannel, headers: Headers): Promise<unknown> {
  const request = { ...certificate, notAfter: 4_000_000_000_000n, sealed: [box] };
  return await channel.unary(own.shareCertificate, request, { signal: seconds(10), headers });
}

async function leaseAndPresent({ channel, a }: Clusters): Promise<void> {
  const options = { signal: seconds(10), headers: a };
  await channel.unary(own.leaseCertificate, { ...certificate, sealKey: new Uint8Array(32).fill(1) }, options);
  await channel.unary(
    own.presentChallenges,
    { ...certificate, answers: [{ type: 'http-01', name: 'app.a.test', token: 'tok', keyAuthorization }] },
    options,
  );
}

async function challenge({ channel }: Clusters, headers: Headers, cluster = 'a.test'): Promise<string | undefined> {
  const request = { cluster, type: 'http-01', name: 'app.a.test', token: 'tok' };
  return (await channel.unary(own.findChallenge, request, { signal: seconds(10), headers })).keyAuthorization;
}

async function borders(t: Test, fresh: () => Promise<string>): Promise<void> {
  t.same(Object.keys(proxyRows).toSorted(), Object.keys(proxy).toSorted(), 'each method of NetBird’s service has a row');
  t.same(Object.keys(ownRows).toSorted(), Object.keys(own).toSorted(), 'and each of our own');
  for (const [name, attempt] of Object.entries({ ...proxyRows, ...ownRows })) {
    await t.test(name, async (t) => {
      await attempt(t, await open(t, await fresh()));
    });
  }

  await t.test('a service that moves to another cluster is taken from the gateways of the first', async (t) => {
    const { domain, channel, a, appA } = await open(t, await fresh());
    const headers = { ...a, 'x-meshgate-proxy-id': 'gateway-a2' };
    const stream = await channel.duplex(proxy.syncMappings, { signal: seconds(20), headers });
    await stream.send({ msg: { case: 'init', value: { proxyId: 'gateway-a2', version: '1', address: 'a.test', capabilities: { meshgateWeb: 1 } } } });
    const messages = stream[Symbol.asyncIterator]();
    t.match(await messages.next(), { value: { mapping: [{ id: appA, domain: 'app.a.test' }] } });
    await stream.send({ msg: { case: 'ack', value: {} } });
    const { id, targets } = await domain.services.get(appA);
    await domain.services.update(id, { ...serviceOf(''), targets, name: 'moved', domain: 'moved.b.test' }, system);
    const { value } = await messages.next();
    t.match(value?.mapping, [{ id: appA, domain: '', type: 2 }], 'and what it is now is not told to them');
    t.equal(value?.mapping.length, 1);
  });

  await t.test('a token without a cluster belongs to the first that it registers with, whoever else comes at the same time', async (t) => {
    const { domain, snapshot, channel } = await open(t, await fresh());
    const { token, plain } = await domain.tokens.createProxy({ name: 'new', expiresInSeconds: 0, cluster: undefined }, system);
    const headers = (name: string): Headers => ({ authorization: `Bearer ${plain}`, 'x-meshgate-proxy-id': name });
    const ask = (cluster: string) => outcome(channel.unary(own.relyingParty, { cluster }, { signal: seconds(10), headers: headers('x') }));
    t.match(await ask('a.test'), { code: 'RPC_FAILED_PRECONDITION' }, 'until then it is good for nothing');
    const race = await Promise.all(
      Array.from({ length: 12 }, async (_none, index) => {
        const cluster = index % 2 === 0 ? 'a.test' : 'b.test';
        return { cluster, ...(await outcome(snapshot(headers(`racer-${index}`), cluster))) };
      }),
    );
    const won = new Set(race.filter(({ code }) => code === 'allowed').map(({ cluster }) => cluster));
    t.equal(won.size, 1, 'one cluster has it');
    const [cluster = ''] = won;
    for (const { code, words } of race.filter((racer) => racer.cluster !== cluster)) t.match({ code, words }, denied);
    t.match(
      race.filter((racer) => racer.cluster === cluster),
      Array.from({ length: 6 }, () => ({ code: 'allowed' })),
    );
    t.match(
      (await domain.tokens.listProxy()).find(({ id }) => id === token.id),
      { cluster },
    );
    const bound = (await domain.events.audit()).filter(({ activityCode, targetId }) => activityCode === 'proxy.token.bind' && targetId === token.id);
    t.match(bound, [{ initiatorId: token.id, meta: { name: 'new', cluster } }], 'and it is in the audit log, once');
    t.equal(bound.length, 1);
    t.match(await ask(cluster), { code: 'allowed' });
  });

  await t.test('a revoked token cannot register between its check and its binding; nobody takes a live gateway’s name', async (t) => {
    const { domain } = await open(t, await fresh());
    const { token } = await domain.tokens.createProxy({ name: 'brief', expiresInSeconds: 0, cluster: 'a.test' }, system);
    await domain.tokens.revokeProxy(token.id, system);
    const connect = (tokenId: typeof token.id, proxyId: string) =>
      domain.clusters.proxyConnected({ proxyId: asId(proxyId), tokenId, cluster: 'a.test', version: '1' });
    await t.rejects(connect(token.id, 'brief'), { code: 'DOMAIN_NOT_FOUND' });
    const other = await domain.tokens.createProxy({ name: 'other', expiresInSeconds: 0, cluster: 'a.test' }, system);
    await t.rejects(connect(other.token.id, 'gateway-a'), { code: 'DOMAIN_PROXY_TAKEN' });
    await t.rejects(domain.tokens.createProxy({ name: 'x', expiresInSeconds: 0, cluster: 'not a name' }, system), { code: 'DOMAIN_INVALID' });
  });
}

void t.test('over SQLite', (t) => borders(t, () => Promise.resolve('sqlite::memory:')));

const missing = postgresMissing();
if (missing === undefined) {
  const cluster = await startPostgres();
  t.teardown(() => cluster.stop());
  void t.test('over PostgreSQL', (t) => borders(t, () => cluster.createDatabase()));
} else void t.test(`over PostgreSQL, skipped: ${missing}`, { skip: missing }, (t) => t.end());

/** Another cluster's gateway neither pairs, sees nor removes devices of a session that it got to see. */
async function ofDevices(t: Test, { channel, a, b, appA, sessionA, domain }: Clusters): Promise<void> {
  const service = await domain.services.get(appA);
  const input = serviceOf('', { name: 'app.a.test', domain: 'app.a.test', targets: service.targets });
  await domain.services.update(appA, { ...input, access: { ...input.access, devices: true } }, system);
  const { userId } = await domain.sessions.list(undefined).then(([session]) => session ?? { userId: undefined });
  const holder = userId ?? (await domain.users.list())[0]?.id;
  if (holder === undefined) throw new TypeError('nobody');
  const { id: sessionId } = await domain.sessions.create(appA, holder, 'a.test');
  t.not(sessionId, sessionA);
  const place = { sessionId, serviceId: appA };
  const options = (headers: Headers) => ({ signal: seconds(10), headers });
  t.match(await channel.unary(own.pairDevice, { ...place, name: 'TV' }, options(b)), { result: { case: 'refused', value: 'not_signed_in' } });
  const { result } = await channel.unary(own.pairDevice, { ...place, name: 'TV' }, options(a));
  const device = result.case === 'paired' ? result.value.device : undefined;
  t.match(device, { name: 'TV' });
  t.same((await channel.unary(own.listDevices, place, options(b))).devices, []);
  await channel.unary(own.revokeDevice, { ...place, deviceId: device?.id ?? '' }, options(b));
  t.equal((await channel.unary(own.listDevices, place, options(a))).devices.length, 1);
  await channel.unary(own.revokeDevice, { ...place, deviceId: device?.id ?? '' }, options(a));
  t.same((await channel.unary(own.listDevices, place, options(a))).devices, []);
}
