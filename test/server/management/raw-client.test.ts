// The management service as a stock client meets it: sealed bodies, status codes, small print (netbird-wire §2.10–2.11).
import type { MessageShape } from '@bufbuild/protobuf';
import t, { type Test } from 'tap';
import { RpcChannel, parseRpcUrl } from '#rpc/client.ts';
import {
  EmptySchema,
  LoginRequestSchema,
  LoginResponseSchema,
  ManagementService,
  PKCEAuthorizationFlowSchema,
  SyncRequestSchema,
  SyncResponseSchema,
} from '#wire/proto/gen/management_pb.ts';
import { asId, type UserId } from '#model/ids.ts';
import { systemClock, type Clock } from '#lib/clock.ts';
import { goodKey } from '../../control/peer-helpers.ts';
import { FakeDomain } from './fake-domain.ts';
import { startServer, type FakeServerOptions } from './fake-server.ts';
import { StockClient } from './stock-client.ts';

const never = new AbortController().signal;
const api = ManagementService.method;
const meta = { hostname: 'stock', goOS: 'linux', netbirdVersion: '0.70.0' };

async function stock(t: Test, options: FakeServerOptions = {}): Promise<{ client: StockClient; domain: FakeDomain }> {
  const server = await startServer(options);
  t.teardown(() => server.close());
  const channel = new RpcChannel(parseRpcUrl(server.url, server.ca.caPem));
  t.teardown(() => channel.close());
  const client = new StockClient(channel);
  await client.fetchKey();
  return { client, domain: server.domain };
}

void t.test('the server key survives a restart', async (t) => {
  const { client } = await stock(t);
  const { client: later } = await stock(t);
  t.equal(await client.fetchKey(), await later.fetchKey());
});

void t.test('login answers what a stock client cannot do without', async (t) => {
  const { client } = await stock(t);
  await t.rejects(client.call(api.login, LoginRequestSchema, { meta }, LoginResponseSchema), { code: 'RPC_PERMISSION_DENIED' });
  const answer = await client.call(api.login, LoginRequestSchema, { meta, setupKey: goodKey }, LoginResponseSchema);
  t.match(answer, { netbirdConfig: { signal: { uri: /^control\.localhost:\d+$/ }, relay: {} }, peerConfig: { address: '100.92.0.1/16' } });
  await t.rejects(client.call(api.login, LoginRequestSchema, {}, LoginResponseSchema), { code: 'RPC_FAILED_PRECONDITION' }, 'without meta');
});

void t.test('the address is the same text at login and in every map; the first Sync answer has everything', async (t) => {
  const { client, domain } = await stock(t);
  const login = await client.call(api.login, LoginRequestSchema, { meta, setupKey: goodKey }, LoginResponseSchema);
  const stream = await client.channel.serverStream(api.sync, client.seal(SyncRequestSchema, { meta }), { signal: never });
  const iterator = stream[Symbol.asyncIterator]();
  const next = async (): Promise<MessageShape<typeof SyncResponseSchema>> => {
    const { value, done } = await iterator.next();
    if (done === true) throw new TypeError('ended');
    return client.open(SyncResponseSchema, value.body);
  };
  const first = await next();
  t.equal(first.NetworkMap?.peerConfig?.address, login.peerConfig?.address);
  t.match(first, { netbirdConfig: { relay: { urls: [/^rels:/] } }, NetworkMap: { remotePeersIsEmpty: true, firewallRulesIsEmpty: true } });
  t.equal(first.Version, 0);
  domain.serial += 1n;
  domain.emit({ kind: 'network', peers: undefined });
  domain.filter = { kind: 'open' };
  domain.serial += 1n;
  domain.emit({ kind: 'network', peers: [...domain.known.keys()] });
  const second = await next();
  t.equal(second.NetworkMap?.Serial, domain.serial, 'changes that come together are told together');
  t.equal(second.netbirdConfig, undefined);
  stream.cancel();
});

void t.test('a sync of an unknown peer, bodies for another key, and names that are none', async (t) => {
  const { client } = await stock(t);
  const sync = await client.channel.serverStream(api.sync, client.seal(SyncRequestSchema, { meta }), { signal: never });
  t.match(
    await sync[Symbol.asyncIterator]()
      .next()
      .catch((error: unknown) => error),
    { code: 'RPC_PERMISSION_DENIED' },
  );
  const bent = client.seal(LoginRequestSchema, { meta });
  bent.body = bent.body.map((byte, i) => (i === 50 ? byte ^ 1 : byte));
  for (const envelope of [bent, { wgPubKey: 'nobody', body: bent.body }, { wgPubKey: client.key, body: new Uint8Array(0) }]) {
    await t.rejects(client.channel.unary(api.login, envelope, { signal: never }), { code: 'RPC_INVALID_ARGUMENT' });
  }
});

void t.test('a newer Sync of the same peer takes over, and the peer stays connected', async (t) => {
  const { client, domain } = await stock(t);
  await client.call(api.login, LoginRequestSchema, { meta, setupKey: goodKey }, LoginResponseSchema);
  const open = async (): Promise<AsyncIterator<unknown>> => {
    const stream = await client.channel.serverStream(api.sync, client.seal(SyncRequestSchema, { meta }), { signal: never });
    const iterator = stream[Symbol.asyncIterator]();
    await iterator.next();
    return iterator;
  };
  const older = await open();
  await open();
  t.match(await older.next().catch((error: unknown) => error), { detail: /took over/ });
  t.notOk(domain.log.includes('disconnected peer-1'));
});

void t.test('a login that expires ends the stream with the words that stock clients look for', async (t) => {
  const { client, domain } = await stock(t);
  await client.call(api.login, LoginRequestSchema, { meta, setupKey: goodKey }, LoginResponseSchema);
  const stream = await client.sync(meta);
  t.equal((await stream.next()).sessionExpiresAt?.seconds, 0n, 'never, for a machine');
  for (const publicKey of domain.known.keys()) domain.emit({ kind: 'peer-expired', publicKey });
  t.match(await stream.next().catch((error: unknown) => error), { code: 'RPC_PERMISSION_DENIED', detail: /peer login has expired/ });
});

void t.test('relay tokens are renewed in time, without a map', async (t) => {
  const timers: (() => void)[] = [];
  const clock: Clock = {
    ...systemClock,
    after: (delayMs, fire) => {
      if (delayMs !== 750) return systemClock.after(delayMs, fire);
      timers.push(fire);
      return { cancel: () => undefined };
    },
  };
  const { client } = await stock(t, { clock, management: { relayTokenMs: 1000 } });
  await client.call(api.login, LoginRequestSchema, { meta, setupKey: goodKey }, LoginResponseSchema);
  const stream = await client.channel.serverStream(api.sync, client.seal(SyncRequestSchema, { meta }), { signal: never });
  const iterator = stream[Symbol.asyncIterator]();
  await iterator.next();
  timers.shift()?.();
  const { value } = await iterator.next();
  const renewed = value === undefined ? undefined : client.open(SyncResponseSchema, value.body);
  t.match(renewed, { netbirdConfig: { relay: { tokenPayload: '1893456000' } } });
  t.equal(renewed?.NetworkMap, undefined);
  t.equal(timers.length, 1, 'and again');
  stream.cancel();
});

void t.test('health, sync meta, logout, flows, sign-in tokens, and what is not offered', async (t) => {
  const pkce = {
    clientId: 'cli',
    audience: 'cli',
    scope: 'openid',
    tokenEndpoint: 'https://i/token',
    authorizationEndpoint: 'https://i/auth',
    redirectUrls: ['http://localhost:53000/'],
  };
  const verifyLoginToken = async () => ({ userId: asId<UserId>('ada'), digest: 'd', expiresAt: 1 });
  const { client, domain } = await stock(t, { management: { flows: { pkce }, verifyLoginToken } });
  await client.channel.unary(api.isHealthy, {}, { signal: never });
  t.match(await client.call(api.getPKCEAuthorizationFlow, EmptySchema, {}, PKCEAuthorizationFlowSchema), {
    ProviderConfig: { ClientID: 'cli', RedirectURLs: ['http://localhost:53000/'] },
  });
  await t.rejects(client.call(api.getDeviceAuthorizationFlow, EmptySchema, {}, EmptySchema), { code: 'RPC_NOT_FOUND' });
  await client.call(api.login, LoginRequestSchema, { meta, setupKey: '00000000-0000-0000-0000-000000000000', jwtToken: 'jwt' }, LoginResponseSchema);
  await client.channel.unary(api.syncMeta, client.seal(SyncRequestSchema, { meta: { ...meta, hostname: 'renamed\u0000' } }), { signal: never });
  t.equal([...domain.known.values()][0]?.peer.meta.hostname, 'renamed');
  const job = await client.channel.duplex(api.job, { signal: never });
  t.match(
    await job[Symbol.asyncIterator]()
      .next()
      .catch((error: unknown) => error),
    { code: 'RPC_UNIMPLEMENTED' },
    'stock clients stop quietly',
  );
  await client.channel.unary(api.logout, client.seal(EmptySchema, {}), { signal: never });
  t.equal(domain.known.size, 0);
  const { client: without } = await stock(t);
  await t.rejects(without.call(api.login, LoginRequestSchema, { meta, jwtToken: 'jwt' }, LoginResponseSchema), { code: 'RPC_INVALID_ARGUMENT' });
});
