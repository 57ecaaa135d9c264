// Who is not one of ours, or is one of ours and wants more: strangers that knock, and gateways that take another's name.
import { once } from 'node:events';
import t, { type Test } from 'tap';
import { createProxyControl } from '#control/index.ts';
import type { ProxyControl } from '#control/types.ts';
import { generatePrivateKey, publicFromPrivate } from '#crypto/x25519.ts';
import { toBase64 } from '#lib/bytes.ts';
import { systemClock } from '#lib/clock.ts';
import { errorCode } from '#lib/errors.ts';
import { silentLogger } from '#lib/log.ts';
import { asId, type AccountId, type ProxyId, type PublicKey, type ServiceId } from '#model/ids.ts';
import { RpcChannel, parseRpcUrl } from '#rpc/client.ts';
import { Sealer } from '#rpc/sealed.ts';
import { strangerBurst } from '#server/management/constants.ts';
import { Strangers } from '#server/management/strangers.ts';
import { LoginRequestSchema, ManagementService, SyncRequestSchema } from '#wire/proto/gen/management_pb.ts';
import { goodKey } from '../../control/peer-helpers.ts';
import { startServer, type FakeServer } from './fake-server.ts';

const never = new AbortController().signal;
const { login, sync, getServerKey } = ManagementService.method;
const meta = { hostname: 'box', goOS: 'linux', netbirdVersion: '0.70.0' };
const key = (name: string): PublicKey => asId(name);

void t.test('strangers share what their address has; peers that were let in do not pay', (t) => {
  let now = 0;
  const strangers = new Strangers(() => now, { burst: 3, perSecond: 1, maxProven: 2 });
  strangers.admit(key('peer'), '192.0.2.1');
  strangers.prove(key('peer'));
  for (const name of ['a', 'b']) strangers.admit(key(name), '192.0.2.1');
  t.throws(() => strangers.admit(key('c'), '192.0.2.1'), { code: 'MANAGEMENT_STRANGERS' });
  strangers.admit(key('peer'), '192.0.2.1');
  strangers.admit(key('c'), '192.0.2.2');
  now += 1_000;
  strangers.admit(key('c'), '192.0.2.1');
  strangers.forget(key('peer'));
  t.throws(() => strangers.admit(key('peer'), '192.0.2.1'), { code: 'MANAGEMENT_STRANGERS' }, 'a removed peer is a stranger');

  for (const name of ['one', 'two', 'three']) strangers.prove(key(name));
  t.throws(() => strangers.admit(key('one'), '192.0.2.1'), { code: 'MANAGEMENT_STRANGERS' }, 'the table is bounded');
  strangers.admit(key('three'), '192.0.2.1');

  for (const suffix of ['1', '2', '3']) strangers.admit(key('x'), `2001:db8:1:1::${suffix}`);
  t.throws(() => strangers.admit(key('x'), '2001:db8:1:1:ffff::1'), { code: 'MANAGEMENT_STRANGERS' }, 'a /64 counts as one address');
  t.end();
});

void t.test('a flood of unknown keys is told to wait, a peer beside it is served', async (t) => {
  const server = await startServer();
  t.teardown(() => server.close());
  const channel = new RpcChannel(parseRpcUrl(server.url, server.ca.caPem));
  t.teardown(() => channel.close());
  const serverKey = (await channel.unary(getServerKey, {}, { signal: never })).key;
  const knock = async (privateKey: Uint8Array, setupKey: string): Promise<string> => {
    const wgPubKey = toBase64(publicFromPrivate(privateKey));
    const body = new Sealer(privateKey).seal(LoginRequestSchema, { meta, setupKey }, serverKey);
    return channel.unary(login, { wgPubKey, body }, { signal: never }).then(
      () => 'in',
      (error: unknown) => errorCode(error) ?? '',
    );
  };
  const ours = generatePrivateKey();
  t.equal(await knock(ours, goodKey), 'in');

  const tally = new Map<string, number>();
  const begun = performance.now();
  while ((tally.get('RPC_RESOURCE_EXHAUSTED') ?? 0) === 0 && performance.now() - begun < 20_000) {
    for (const outcome of await Promise.all(Array.from({ length: 100 }, () => knock(generatePrivateKey(), '')))) {
      tally.set(outcome, (tally.get(outcome) ?? 0) + 1);
    }
  }
  const ms = performance.now() - begun;
  const refused = tally.get('RPC_PERMISSION_DENIED') ?? 0;
  t.comment(`figure: ${refused} unknown keys refused, ${(ms / refused).toFixed(2)} ms each with the client's share, then told to wait`);
  t.ok(refused >= strangerBurst - 1 && (tally.get('RPC_RESOURCE_EXHAUSTED') ?? 0) > 0);
  t.equal(await knock(ours, ''), 'in', 'a known peer signs in from the same address');
  const body = new Sealer(ours).seal(SyncRequestSchema, { meta }, serverKey);
  const stream = await channel.serverStream(sync, { wgPubKey: toBase64(publicFromPrivate(ours)), body }, { signal: AbortSignal.timeout(5_000) });
  t.ok((await stream[Symbol.asyncIterator]().next()).value, 'and gets its map');
  stream.cancel();
});

function gateway(t: Test, server: FakeServer, token: string): ProxyControl {
  const control = createProxyControl(
    {
      address: { url: server.url, ca: server.ca.caPem },
      token,
      proxyId: asId<ProxyId>('gateway-1'),
      cluster: 'apps.test',
      publicPort: 443,
      version: '0.1.0',
    },
    { log: silentLogger, clock: systemClock },
  );
  t.teardown(() => control.close());
  return control;
}

void t.test('a token cannot take the name of another token’s gateway, nor speak for it', async (t) => {
  const server = await startServer();
  t.teardown(() => server.close());
  const [own, foreign] = ['nbx_abcdefghijklmnopqrstuvwxyz012345678A', 'nbx_abcdefghijklmnopqrstuvwxyz012345678B'];
  for (const token of [own, foreign]) server.domain.addProxyToken(token);
  const first = gateway(t, server, own);
  const complete = new AbortController();
  const handlers = { revoked: () => undefined, resynced: () => undefined, peersChanged: () => undefined };
  first.start({
    ...handlers,
    change: async (change) => {
      if (change.kind === 'snapshot-complete') complete.abort();
    },
  });
  if (!complete.signal.aborted) await once(complete.signal, 'abort');

  const second = gateway(t, server, foreign);
  const status = { state: 'error', reason: 'a lie' } as const;
  const report = { serviceId: asId<ServiceId>('app'), accountId: asId<AccountId>('account-1'), status, certificateIssued: false };
  await t.rejects(second.reportStatus(report, never), { code: 'RPC_ALREADY_EXISTS' });
  second.start({ ...handlers, change: () => Promise.resolve() });
  const begun = performance.now();
  while (second.status().reason === 'not connected yet' && performance.now() - begun < 5_000) await new Promise(setImmediate);
  t.match(second.status(), { connected: false, reason: /another token/ });
  t.equal(first.status().connected, true, 'the first one goes on');
  await first.reportStatus(report, never);
});
