import t, { type Test } from 'tap';
import { createPeerControl } from '#control/index.ts';
import type { PeerControl } from '#control/types.ts';
import { systemClock, type Clock } from '#lib/clock.ts';
import { silentLogger } from '#lib/log.ts';
import type { PublicKey } from '#model/ids.ts';
import type { SignalMessage } from '#model/signal.ts';
import { startServer, type FakeServer } from '../server/management/fake-server.ts';
import { goodKey, Inbound, peerOptions, publicKeyOf, Queue } from './peer-helpers.ts';

const never = new AbortController().signal;

interface Peer {
  readonly control: PeerControl;
  readonly key: PublicKey;
  readonly got: Queue<{ readonly from: PublicKey; readonly message: SignalMessage }>;
  readonly connects: Queue<true>;
}

async function peer(t: Test, server: FakeServer, clock: Clock = systemClock): Promise<Peer> {
  const options = peerOptions(server, goodKey);
  const control = createPeerControl(options, { log: silentLogger, clock });
  t.teardown(() => control.close());
  const [got, connects] = [new Queue<{ readonly from: PublicKey; readonly message: SignalMessage }>(), new Queue<true>()];
  control.onSignal((from, message) => got.put({ from, message }));
  control.onSignalConnected(() => connects.put(true));
  const outcome = await control.login(never);
  if (outcome.kind !== 'signed-in') throw new TypeError(outcome.reason);
  control.start(outcome.endpoints, new Inbound());
  await connects.next();
  return { control, key: publicKeyOf(options), got, connects };
}

void t.test('two peers talk through signal, each proven by its key', async (t) => {
  const server = await startServer();
  t.teardown(() => server.close());
  const [a, b] = [await peer(t, server), await peer(t, server)];
  const offer = { ice: undefined, wgListenPort: 51_820, version: '0.1.0', relayAddress: undefined };
  a.control.sendSignal(b.key, { kind: 'offer', offer });
  t.same(await b.got.next(), { from: a.key, message: { kind: 'offer', offer } });
  b.control.sendSignal(a.key, { kind: 'go-idle' });
  t.same(await a.got.next(), { from: b.key, message: { kind: 'go-idle' } });
  t.match(a.control.status()[1], { name: 'signal', connected: true, reason: '' });
});

void t.test('the stream is opened again after the server was away, and everybody is told', async (t) => {
  const server = await startServer();
  const a = await peer(t, server);
  await server.close();
  const again = await startServer({ port: server.port, domain: server.domain });
  t.teardown(() => again.close());
  t.equal(await a.connects.next(), true);
});

void t.test('after silence a heartbeat goes to oneself and keeps the stream; nothing of it is handed on', async (t) => {
  const server = await startServer();
  t.teardown(() => server.close());
  let ahead = 0;
  const looks: (() => void)[] = [];
  const clock: Clock = {
    ...systemClock,
    now: () => systemClock.now() + ahead,
    after: (delayMs, fire) => {
      if (delayMs !== 10_000) return systemClock.after(delayMs, fire);
      looks.push(fire);
      return { cancel: () => undefined };
    },
  };
  const a = await peer(t, server, clock);
  ahead = 31_000;
  looks.shift()?.(); // silence: asks
  const b = await peer(t, server);
  b.control.sendSignal(a.key, { kind: 'go-idle' }); // behind the echo, so the echo has come when this has
  await a.got.next();
  t.equal(a.got.length, 0);
  ahead = 45_000;
  looks.shift()?.(); // the frames count as life
  t.equal(a.control.status()[1]?.connected, true);
  ahead = 90_000;
  looks.shift()?.();
  t.equal(a.connects.length, 0, 'never reconnected');
});
