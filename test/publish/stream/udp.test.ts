// UDP services at the door: a flow for each client, ended in time, none for who may not pass, and room kept for those who are in use.
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import t, { type Test } from 'tap';
import type { Endpoint, OpenUdpFlow } from '#lib/net.ts';
import { silentLogger } from '#lib/log.ts';
import { openHostUdp } from '#lib/host-udp.ts';
import type { AccessLogEntry } from '#model/access-log.ts';
import { noRestrictions, type ServiceMapping } from '#model/service.ts';
import { buildStreamTable, Unlocks } from '#publish/index.ts';
import { defaultStream, type StreamLimits } from '#model/stream.ts';
import { UDP_FLOWS, UDP_FLOWS_PER_ADDRESS, UDP_IDLE_MS, UDP_SWEEP_MS } from '#publish/constants.ts';
import { plainSurroundings } from '#publish/access/surroundings.ts';
import { UdpFlows } from '#publish/stream/udp-flows.ts';
import { ManualClock } from '../../support/manual-clock.ts';
import { readProxyHeader } from '#wire/proxy-protocol.ts';
import { dialTcp, mapping, path } from '../harness.ts';
import { OpenConnections } from '#publish/stream/open-connections.ts';
import { StreamTargets } from '#publish/stream/targets.ts';
import { anything, plainAccess, signInProofs } from '#model/access.ts';

function udp(name: string, hosts: readonly string[], change: Partial<ServiceMapping> = {}): ServiceMapping {
  const targets = hosts.map((host) => ({ protocol: 'udp' as const, host, port: 53, basePath: '', weight: 1 }));
  return mapping(name, [{ ...path(53), targets }], { mode: 'udp', listenPort: 53, ...change });
}

interface Door {
  readonly clock: ManualClock;
  readonly flows: UdpFlows;
  readonly unlocks: Unlocks;
  readonly entries: AccessLogEntry[];
  /** What each target got, and the way to let it answer. */
  readonly sent: { readonly to: Endpoint; readonly text: string; readonly bytes: Buffer; readonly answer: (text: string) => void }[];
  readonly answers: string[];
  closed: number;
  send(from: string, text: string, via?: string): void;
  apply(mappings: readonly ServiceMapping[]): void;
}

function open(t: Test, mappings: readonly ServiceMapping[]): Door {
  const clock = new ManualClock();
  const door: { -readonly [Key in keyof Door]: Door[Key] } = { clock, entries: [], sent: [], answers: [], closed: 0 } as never;
  const target: OpenUdpFlow = (to, received) => ({
    send: (bytes) =>
      void door.sent.push({ to, text: Buffer.from(bytes).toString(), bytes: Buffer.from(bytes), answer: (text) => received(Buffer.from(text)) }),
    close: () => void door.closed++,
  });
  door.unlocks = new Unlocks({ clock, log: silentLogger });
  const targets = new StreamTargets({ dial: dialTcp, directDial: dialTcp, clock, random: () => 0 });
  door.flows = new UdpFlows({
    targets,
    opened: new OpenConnections(),
    open: target,
    openDirect: target,
    unlocks: door.unlocks,
    around: plainSurroundings(clock),
    accessLog: (entry) => void door.entries.push(entry),
    clock,
  });
  let table = buildStreamTable(mappings, (id, problem) => t.fail(`${id} ${problem}`));
  targets.follow(table);
  door.apply = (next) => {
    table = buildStreamTable(next, () => undefined);
    targets.follow(table);
    door.flows.keep(table, () => false);
  };
  door.send = (from, text, via) => {
    const [viaAddress = '', viaPort = '1'] = via?.split(' ') ?? [];
    const [address = '', port = '1'] = from.split(' ');
    const service = table.udp.get(53);
    if (service === undefined) return;
    door.flows.datagrams(
      Buffer.from(text),
      text.length,
      { address, port: Number(port) },
      service,
      (bytes, _size, to) => {
        door.answers.push(`${to.address} ${to.port} ${Buffer.from(bytes).toString()}`);
      },
      via === undefined ? undefined : { address: viaAddress, port: Number(viaPort) },
    );
  };
  t.teardown(() => door.flows.close());
  return door;
}

void t.test('each client has a flow of its own, and answers go to whom they belong', async (t) => {
  const door = open(t, [udp('dns.test', ['10.0.0.1'])]);
  door.send('192.0.2.1 1000', 'a');
  door.send('192.0.2.1 1001', 'b');
  door.send('192.0.2.1 1000', 'c');
  t.same(
    door.sent.map(({ to, text }) => `${to.address}:${to.port} ${text}`),
    ['10.0.0.1:53 a', '10.0.0.1:53 b', '10.0.0.1:53 c'],
  );
  door.sent[1]?.answer('B');
  door.sent[0]?.answer('A');
  t.same(door.answers, ['192.0.2.1 1001 B', '192.0.2.1 1000 A']);
  t.equal(door.flows.counts.open, 2);
});

void t.test('flows are reaped in time, by whoever speaks last, and leave one record', async (t) => {
  const door = open(t, [udp('dns.test', ['10.0.0.1'])]);
  door.send('192.0.2.1', 'a');
  door.clock.advance(UDP_IDLE_MS - UDP_SWEEP_MS * 2);
  door.sent[0]?.answer('late');
  door.clock.advance(UDP_IDLE_MS - UDP_SWEEP_MS);
  t.equal(door.flows.counts.open, 1, 'the answer counts');
  door.clock.advance(UDP_SWEEP_MS * 2);
  t.equal(door.flows.counts.open, 0);
  t.equal(door.closed, 1);
  t.match(door.entries, [{ protocol: 'udp', host: 'dns.test', reason: 'idle', bytesUp: 1, bytesDown: 4 }]);
  door.sent[0]?.answer('too late');
  t.same(door.answers, ['192.0.2.1 1 late']);
  const quick = open(t, [udp('dns.test', ['10.0.0.1'], {})]);
  quick.apply([
    {
      ...udp('dns.test', ['10.0.0.1']),
      paths: udp('dns.test', ['10.0.0.1']).paths.map((one) => ({ ...one, options: { ...one.options, sessionIdleTimeoutMs: 2_000 } })),
    },
  ]);
  quick.send('192.0.2.1', 'a');
  quick.clock.advance(2_000 + UDP_SWEEP_MS);
  t.equal(quick.flows.counts.open, 0, 'the service’s own time counts');
});

void t.test('who may not pass reaches nothing', async (t) => {
  const changes: readonly Partial<ServiceMapping>[] = [
    { restrictions: { ...noRestrictions, allowedCidrs: ['10.0.0.0/8'] } },
    { restrictions: { ...noRestrictions, blockedCountries: ['DE'] } },
    { access: { ...plainAccess, proofs: signInProofs } },
    { private: true },
    { paths: udp('', ['10.0.0.1']).paths.map((one) => ({ ...one, options: { ...one.options, proxyProtocol: true, proxyProtocolVersion: 1 } })) },
  ];
  for (const change of changes) {
    const door = open(t, [udp('dns.test', ['10.0.0.1'], change)]);
    door.send('192.0.2.1', 'a');
    t.equal(door.sent.length, 0);
    t.match(door.flows.counts, { open: 0, dropped: 1 });
  }
});

void t.test('a flood of invented addresses is held in bounds and leaves those alone who are in use', async (t) => {
  const door = open(t, [udp('dns.test', ['10.0.0.1'])]);
  door.send('198.51.100.1 7', 'real');
  door.sent[0]?.answer('yes');
  for (let i = 0; i < 100_000; i++) door.send(`10.${i >> 16}.${(i >> 8) & 255}.${i & 255} ${1 + (i % 60_000)}`, 'x');
  t.equal(door.flows.counts.open, UDP_FLOWS);
  door.send('198.51.100.1 7', 'still');
  t.match(door.sent.at(-1), { text: 'still' });
  door.sent[0]?.answer('here');
  t.same(door.answers, ['198.51.100.1 7 yes', '198.51.100.1 7 here']);
});

void t.test('one address has only so many flows', async (t) => {
  const door = open(t, [udp('dns.test', ['10.0.0.1'])]);
  for (let port = 1; port <= UDP_FLOWS_PER_ADDRESS + 10; port++) door.send(`192.0.2.1 ${port}`, 'x');
  t.match(door.flows.counts, { open: UDP_FLOWS_PER_ADDRESS, dropped: 10 });
  door.send('192.0.2.2 1', 'x');
  t.equal(door.flows.counts.open, UDP_FLOWS_PER_ADDRESS + 1);
  const wide = open(t, [udp('dns.test', ['10.0.0.1'])]);
  for (let host = 0; host < UDP_FLOWS_PER_ADDRESS + 10; host++) wide.send(`2001:db8::${host.toString(16)} 1`, 'x');
  t.match(wide.flows.counts, { open: UDP_FLOWS_PER_ADDRESS, dropped: 10 }, 'as has the /64 that one customer has');
  wide.apply([]);
  wide.apply([udp('dns.test', ['10.0.0.1'])]);
  wide.send('2001:db8::1 1', 'x');
  t.equal(wide.flows.counts.open, 1, 'what has ended is not counted');
});

void t.test('targets take turns by flow; a change ends what it concerns at once', async (t) => {
  const service = udp('dns.test', ['10.0.0.1', '10.0.0.2']);
  const door = open(t, [service]);
  door.send('192.0.2.1', 'a');
  door.send('192.0.2.2', 'b');
  door.send('192.0.2.1', 'c');
  t.same(
    door.sent.map(({ to }) => to.address),
    ['10.0.0.1', '10.0.0.2', '10.0.0.1'],
  );
  door.apply([{ ...service, authToken: 'new' }]);
  t.equal(door.flows.counts.open, 2);
  door.apply([]);
  t.equal(door.flows.counts.open, 0);
  t.match(door.entries, [{ reason: 'service_changed' }, { reason: 'service_changed' }]);
});

void t.test('a target of the host’s own network that refuses ends the flow', async (t) => {
  const probe = createSocket('udp4');
  probe.bind(0, '127.0.0.1');
  await once(probe, 'listening');
  const { port } = probe.address();
  await new Promise<void>((resolve) => void probe.close(() => resolve()));
  await new Promise<void>((resolve) => {
    const flow = openHostUdp({ address: '127.0.0.1', port }, () => undefined, resolve);
    flow.send(Buffer.from('x'));
  });
  t.pass('told');
});

void t.test('flows beyond a rate are dropped and nothing is opened for them; those that are open go on', async (t) => {
  const rateLimits = [
    { key: 'address', count: 1, perMs: 60_000, burst: 2 },
    { key: 'service', count: 1, perMs: 60_000, burst: 3 },
  ] as const;
  const door = open(t, [udp('dns.test', ['10.0.0.1'], { access: { ...plainAccess, rateLimits } })]);
  for (const from of ['192.0.2.1 1', '192.0.2.1 2', '192.0.2.1 3', '192.0.2.1 1', '192.0.2.2 1', '192.0.2.3 1']) door.send(from, from);
  t.same(
    door.sent.map(({ text }) => text),
    ['192.0.2.1 1', '192.0.2.1 2', '192.0.2.1 1', '192.0.2.2 1'],
  );
  t.same(door.flows.counts, { open: 3, dropped: 2 });
  door.clock.advance(60_000);
  door.send('192.0.2.1 4', 'again');
  t.equal(door.sent.at(-1)?.text, 'again');
});

void t.test('a rule that is new ends the flows that it would not let in, and only them', async (t) => {
  const before = udp('dns.test', ['10.0.0.1']);
  const door = open(t, [before]);
  door.send('192.0.2.1 1', 'a');
  door.send('198.51.100.1 1', 'b');
  const when = { ...anything, addresses: ['192.0.2.0/24'] };
  door.apply([{ ...before, access: { ...plainAccess, rules: [{ name: 'net', action: 'deny', observe: false, when, proofs: [] }] } }]);
  t.equal(door.flows.counts.open, 1);
  t.match(door.entries, [{ sourceIp: '192.0.2.1', reason: 'rule_denied' }]);
  door.send('192.0.2.1 1', 'c');
  t.equal(door.sent.length, 2);
});

void t.test('a target that asks for it is told in each datagram whose it is', async (t) => {
  const service = udp('dns.test', ['10.0.0.1']);
  const door = open(t, [{ ...service, paths: service.paths.map((one) => ({ ...one, options: { ...one.options, proxyProtocol: true } })) }]);
  door.send('192.0.2.1 1000', 'a');
  door.send('192.0.2.1 1000', 'bc');
  door.send('2001:db8::1 1000', 'd');
  const told = door.sent.map(({ bytes }) => {
    const read = readProxyHeader(bytes);
    return read.kind === 'header' && read.header.kind === 'proxied'
      ? [
          read.header.transport,
          read.header.source.address,
          read.header.source.port,
          read.header.destination.port,
          bytes.toString('latin1', read.length),
        ]
      : read.kind;
  });
  t.same(told, [
    ['udp', '192.0.2.1', 1000, 53, 'a'],
    ['udp', '192.0.2.1', 1000, 53, 'bc'],
    ['udp', '2001:db8::1', 1000, 53, 'd'],
  ]);
  door.sent[0]?.answer('A');
  t.same(door.answers, ['192.0.2.1 1000 A'], 'answers come without');
  t.equal(door.flows.counts.open, 2);
});

void t.test('a flow is whose first datagram brought it: nobody else speaks for its client', async (t) => {
  const door = open(t, [udp('dns.test', ['10.0.0.1'])]);
  door.send('192.0.2.1 1000', 'a', '198.51.100.1 7');
  door.send('192.0.2.1 1000', 'b', '198.51.100.2 7');
  door.send('192.0.2.1 1000', 'c');
  door.send('192.0.2.1 1000', 'd', '198.51.100.1 7');
  t.same(
    door.sent.map(({ text }) => text),
    ['a', 'd'],
  );
  t.equal(door.flows.counts.dropped, 2);
});

void t.test('flows at once have a limit of the service, of each address, and are counted again when they end', async (t) => {
  const limited = (limits: Partial<StreamLimits>): ServiceMapping =>
    udp('dns.test', ['100.64.0.1'], { stream: { ...defaultStream, limits: { ...defaultStream.limits, ...limits } } });
  const door = open(t, [limited({ maxConnections: 3, maxPerAddress: 2 })]);
  for (const from of ['192.0.2.1 1', '192.0.2.1 2', '192.0.2.1 3', '192.0.2.2 1', '192.0.2.3 1']) door.send(from, from);
  t.same(
    door.sent.map(({ text }) => text),
    ['192.0.2.1 1', '192.0.2.1 2', '192.0.2.2 1'],
  );
  t.equal(door.flows.counts.dropped, 2);
  door.apply([limited({ maxPerAddress: 3 })]);
  door.send('192.0.2.1 3', 'later');
  door.send('192.0.2.1 4', 'too many');
  t.equal(door.sent.at(-1)?.text, 'later', 'what was open before the edit counts');
  door.clock.advance(UDP_IDLE_MS * 2);
  door.send('192.0.2.1 5', 'again');
  t.equal(door.sent.at(-1)?.text, 'again');
});
