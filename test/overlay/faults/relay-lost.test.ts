// The relay is killed in the middle of a transfer: another takes over, or the same one comes back. The TCP connection stays.
import t from 'tap';
import { connect, member, type Member, pathKind, TestRelay, TestSignal, until } from '../pair.ts';
import { echo, Flow } from './flow.ts';

t.setTimeout(300_000);

const remoteOf = (of: Member): string | undefined => of.overlay.status().peers[0]?.path?.remote;

t.test('a second relay takes over', async (t) => {
  const relays = [await new TestRelay().start(), await new TestRelay().start()] as const;
  const signal = new TestSignal();
  const [a, b] = [await member(signal, 'a', { forceRelay: true }), await member(signal, 'b', { forceRelay: true })];
  t.teardown(async () => {
    await Promise.all([a.overlay.close(), b.overlay.close()]);
    await Promise.all(relays.map((relay) => relay.stop()));
  });
  const endpoints = relays[0].endpoints();
  const urls = relays.map(({ url }) => url);
  for (const { overlay } of [a, b])
    overlay.setEndpoints({ ...endpoints, relay: endpoints.relay === undefined ? undefined : { ...endpoints.relay, urls } });
  echo(b);
  connect([a, b]);
  const flow = await Flow.open(a, b);
  flow.trickle();
  await until(() => flow.received > 1e6, 10_000);
  const used = relays.find(({ url }) => url === remoteOf(a));
  const other = relays.find((relay) => relay !== used);
  if (used === undefined || other === undefined) throw new TypeError('a relay is in use');
  flow.takeSilence();
  const begun = performance.now();
  await used.kill();
  await until(() => remoteOf(a) === other.url && remoteOf(b) === other.url, 15_000);
  const switchedMs = performance.now() - begun;
  const mark = flow.received;
  await until(() => flow.received > mark + 1e6, 20_000);
  t.comment(`figure: relay killed, the second one carries on after ${switchedMs.toFixed(0)} ms; no data for ${flow.takeSilence().toFixed(0)} ms`);
  t.equal(pathKind(a, b), 'relay');
  t.match(a.overlay.status().peers[0], { lastSwitch: { to: 'relay' } });
  await flow.finish(t);
});

t.test('the only relay is killed and started again', async (t) => {
  const relay = await new TestRelay().start();
  const signal = new TestSignal();
  const [a, b] = [await member(signal, 'a', { forceRelay: true }), await member(signal, 'b', { forceRelay: true })];
  t.teardown(async () => {
    await Promise.all([a.overlay.close(), b.overlay.close()]);
    await relay.stop();
  });
  for (const { overlay } of [a, b]) overlay.setEndpoints(relay.endpoints());
  echo(b);
  connect([a, b]);
  const flow = await Flow.open(a, b);
  flow.trickle();
  await until(() => flow.received > 1e6, 10_000);
  await relay.kill();
  await until(() => pathKind(a, b) === undefined && pathKind(b, a) === undefined, 5000);
  await new Promise((resolve) => setTimeout(resolve, 3000));
  await relay.start();
  const begun = performance.now();
  await until(() => pathKind(a, b) === 'relay' && pathKind(b, a) === 'relay', 30_000);
  const pathMs = performance.now() - begun;
  const mark = flow.received;
  await until(() => flow.received > mark, 60_000);
  t.comment(`figure: relay away for 3 s and back: path after ${pathMs.toFixed(0)} ms, data after ${(performance.now() - begun).toFixed(0)} ms`);
  await flow.finish(t);
});

t.test('the controller’s own relay is lost: its peer follows it to another, which is foreign to it', async (t) => {
  const [first, second, third] = [await new TestRelay().start(), await new TestRelay().start(), await new TestRelay().start()];
  const signal = new TestSignal();
  const members = [await member(signal, 'a', { forceRelay: true }), await member(signal, 'b', { forceRelay: true })];
  const [controller, other] = members.sort((x, y) => (x.publicKey > y.publicKey ? -1 : 1)) as [Member, Member];
  t.teardown(async () => {
    await Promise.all(members.map(({ overlay }) => overlay.close()));
    await Promise.all([first, second, third].map((relay) => relay.stop()));
  });
  const at = (...relays: readonly TestRelay[]) => {
    const endpoints = first.endpoints();
    return { ...endpoints, relay: endpoints.relay === undefined ? undefined : { ...endpoints.relay, urls: relays.map(({ url }) => url) } };
  };
  controller.overlay.setEndpoints(at(first));
  other.overlay.setEndpoints(at(third));
  echo(other);
  connect(members);
  const flow = await Flow.open(controller, other);
  flow.trickle();
  await until(() => flow.received > 1e6, 10_000);
  t.equal(remoteOf(other), first.url);
  t.match(other.overlay.status().figures.foreignRelays, [{ connected: true, address: first.url }]);
  flow.takeSilence();
  controller.overlay.setEndpoints(at(first, second));
  await first.kill();
  await until(() => remoteOf(controller) === second.url && remoteOf(other) === second.url, 20_000);
  const mark = flow.received;
  await until(() => flow.received > mark + 1e6, 20_000);
  t.comment(`figure: the controller moved to its second relay and its peer followed: no data for ${flow.takeSilence().toFixed(0)} ms`);
  await flow.finish(t);
});
