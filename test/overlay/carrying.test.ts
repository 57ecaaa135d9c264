// A routing peer's services without a network: names that are resolved for others, and UDP flows to hosts behind.
import t from 'tap';
import { formatIp, type IpAddress } from '#lib/ip.ts';
import type { RouteDestination, RouteRule, Routing } from '#model/routes.ts';
import { decodeDns, DNS_RCODE, DNS_TYPE, encodeDnsQuery } from '#wire/dns.ts';
import {
  CARRIED_FLOW_IDLE_MS,
  MAX_CARRIED_FLOWS,
  MAX_CARRIED_FLOWS_PER_PEER,
  MAX_FORWARDED_QUESTIONS,
  MAX_FORWARDED_QUESTIONS_PER_PEER,
  RESOLVED_GRACE_MS,
} from '../../src/overlay/constants.ts';
import { DnsForwarder } from '../../src/overlay/dns-forwarder.ts';
import { CarriedRoutes } from '../../src/overlay/routes-carried.ts';
import { CarriedFlows } from '../../src/overlay/routes-udp.ts';
import type { HostResolve } from '../../src/overlay/types.ts';
import { ManualClock } from '../support/manual-clock.ts';
import { ip, key, prefix } from './words.ts';

const self = key(1);
const network = [prefix('100.92.0.1/16')];
const everybody = [prefix('100.92.0.0/16')];
const to = (text: string): RouteDestination => (text.includes('/') ? { kind: 'prefix', prefix: prefix(text) } : { kind: 'domains', domains: [text] });

function routing(destination: string, rules: readonly Partial<RouteRule>[]): Routing {
  const route = { id: 'r', netId: 'n', metric: 1, masquerade: true, keepAddresses: false, autoApply: true, peer: self, destination: to(destination) };
  const base = { action: 'accept', sources: everybody, destination: to(destination), protocol: 'all', ports: undefined, routeId: 'r' } as const;
  return { routes: [route], rules: rules.map((rule) => ({ ...base, ...rule })), resolveAtRouter: true, forwarderPort: 5353 };
}

function carriedOf(map: Routing): CarriedRoutes {
  const carried = new CarriedRoutes({ hostAddresses: () => [], admitsToSelf: () => false, isOpen: () => false });
  carried.set(map, self, network);
  return carried;
}

void t.test('the forwarder', async (t) => {
  const clock = new ManualClock();
  const carried = carriedOf(routing('*.corp.test', [{ sources: [prefix('100.92.0.2/32'), prefix('100.92.1.0/24')] }]));
  const waiting: (() => void)[] = [];
  const resolve: HostResolve = async (name, family) => {
    if (name.startsWith('slow')) await new Promise<void>((done) => waiting.push(done));
    if (name.startsWith('broken')) throw new TypeError('the resolver is away');
    if (name.startsWith('none')) return undefined;
    return { addresses: family === 4 ? ['10.7.0.1', '127.0.0.1', 'fd07::1'] : ['fd07::1', 'fe80::1'], ttlSeconds: 30 };
  };
  const forwarder = new DnsForwarder({ clock, carried, resolve });
  const answers: ReturnType<typeof decodeDns>[] = [];
  const send = (name: string, type: number = DNS_TYPE.a, from = '100.92.0.2'): void =>
    forwarder.receive(encodeDnsQuery(1, { name, type }) ?? new Uint8Array(0), { ip: ip(from), port: 4000 }, (bytes) =>
      answers.push(decodeDns(bytes)),
    );
  const ask = async (name: string, type?: number, from?: string): Promise<readonly [number | undefined, readonly string[] | undefined]> => {
    send(name, type, from);
    await new Promise((done) => setImmediate(done));
    const answer = answers.pop();
    return [answer?.rcode, answer?.answers.map(({ data }) => (data.kind === 'address' ? formatIp(data.ip) : ''))];
  };

  await t.test('answers for those who have a rule, and lets them through for a while', async (t) => {
    t.same(await ask('wiki.corp.test'), [DNS_RCODE.ok, ['10.7.0.1']], 'of the family asked for, and nothing special');
    t.same(await ask('wiki.corp.test', DNS_TYPE.aaaa), [DNS_RCODE.ok, ['fd07::1']]);
    t.ok(carried.admits('tcp', ip('100.92.0.2'), ip('10.7.0.1'), 443, clock.now()));
    t.ok(carried.admits('tcp', ip('100.92.1.77'), ip('10.7.0.1'), 443, clock.now()), 'another who has the same rule');
    t.notOk(carried.admits('tcp', ip('100.92.0.3'), ip('10.7.0.1'), 443, clock.now()));
    t.ok(carried.admits('tcp', ip('100.92.0.2'), ip('10.7.0.1'), 443, 29_999 + RESOLVED_GRACE_MS));
    t.notOk(carried.admits('tcp', ip('100.92.0.2'), ip('10.7.0.1'), 443, 30_000 + RESOLVED_GRACE_MS));
  });

  await t.test('everybody and everything else is told no', async (t) => {
    t.same(await ask('wiki.corp.test', DNS_TYPE.a, '100.92.0.3'), [DNS_RCODE.refused, []], 'no rule');
    t.same(await ask('wiki.other.test'), [DNS_RCODE.refused, []], 'not ours');
    t.same(await ask('none.corp.test'), [DNS_RCODE.unknownName, []]);
    t.same(await ask('broken.corp.test'), [DNS_RCODE.serverFailure, []]);
    t.same(await ask('wiki.corp.test', 15), [DNS_RCODE.ok, []], 'MX');
    const raw = (hex: string): void =>
      forwarder.receive(Buffer.from(hex, 'hex'), { ip: ip('100.92.0.2'), port: 1 }, (bytes) => answers.push(decodeDns(bytes)));
    raw('000101');
    raw('00018180000100000000000001610000010001');
    t.same(answers, [], 'neither half a message nor an answer');
    raw('000128000001000000000000016100 00010001'.replace(' ', ''));
    raw('000101000000000000000000');
    t.same(
      answers.splice(0).map((answer) => answer?.rcode),
      [DNS_RCODE.notImplemented, DNS_RCODE.formatError],
    );
  });

  await t.test('bounded, and silent when it is closed', async (t) => {
    for (let i = 0; i < MAX_FORWARDED_QUESTIONS_PER_PEER + 5; i++) send(`slow${i}.corp.test`);
    t.equal(waiting.length, MAX_FORWARDED_QUESTIONS_PER_PEER);
    for (let i = 0; i < MAX_FORWARDED_QUESTIONS; i++) send('slow.corp.test', DNS_TYPE.a, `100.92.1.${i & 255}`);
    t.equal(waiting.length, MAX_FORWARDED_QUESTIONS);
    for (const done of waiting.splice(0)) done();
    await new Promise((done) => setImmediate(done));
    t.equal(answers.splice(0).length, MAX_FORWARDED_QUESTIONS);
    send('slow.corp.test');
    forwarder.close();
    for (const done of waiting.splice(0)) done();
    await new Promise((done) => setImmediate(done));
    send('wiki.corp.test');
    t.same(answers, []);
  });
});

void t.test('UDP flows', async (t) => {
  const clock = new ManualClock();
  const carried = carriedOf(routing('10.7.0.0/16', [{ protocol: 'udp', ports: { start: 53, end: 53 } }]));
  const owners = new Map([
    ['100.92.0.2', key(2)],
    ['100.92.0.3', key(3)],
  ]);
  const sockets: {
    readonly to: string;
    readonly sent: string[];
    readonly received: (bytes: Uint8Array) => void;
    readonly failed: () => void;
    closed: boolean;
  }[] = [];
  const back: string[] = [];
  const flows = new CarriedFlows({
    clock,
    carried,
    ownerOf: (address: IpAddress) => owners.get(formatIp(address)),
    send: (bytes, from, target) =>
      back.push(`${Buffer.from(bytes).toString()} ${formatIp(from.ip)} ${from.port} > ${formatIp(target.ip)} ${target.port}`),
    open: (target, received, failed) => {
      const socket = { to: `${target.address} ${target.port}`, sent: [] as string[], received, failed, closed: false };
      sockets.push(socket);
      return { send: (bytes) => socket.sent.push(Buffer.from(bytes).toString()), close: () => (socket.closed = true) };
    },
  });
  const datagram = (text: string, from: string, fromPort: number, target: string, port = 53): void =>
    flows.datagram(Buffer.from(text), { ip: ip(from), port: fromPort }, { ip: ip(target), port });

  datagram('one', '100.92.0.2', 1000, '10.7.0.53');
  datagram('two', '100.92.0.2', 1000, '10.7.0.53');
  datagram('three', '100.92.0.2', 1001, '10.7.0.53');
  datagram('no rule', '100.92.0.2', 1000, '10.7.0.53', 54);
  datagram('no route', '100.92.0.2', 1000, '10.8.0.53');
  datagram('no peer', '100.92.0.9', 1000, '10.7.0.53');
  t.same(
    sockets.map(({ to: target, sent }) => [target, sent]),
    [
      ['10.7.0.53 53', ['one', 'two']],
      ['10.7.0.53 53', ['three']],
    ],
  );
  sockets[0]?.received(Buffer.from('answer'));
  t.same(back, ['answer 10.7.0.53 53 > 100.92.0.2 1000']);
  t.ok(flows.isOpen(ip('10.7.0.53')));
  t.notOk(flows.isOpen(ip('10.7.0.54')));

  clock.advance(CARRIED_FLOW_IDLE_MS - 1);
  sockets[0]?.received(Buffer.from('late'));
  clock.advance(CARRIED_FLOW_IDLE_MS / 2);
  t.same(
    sockets.map(({ closed }) => closed),
    [false, true],
    'the one that was silent is over',
  );
  sockets[0]?.failed();
  t.equal(flows.counts.open, 0);

  datagram('again', '100.92.0.2', 1000, '10.7.0.53');
  datagram('another', '100.92.0.3', 1000, '10.7.0.53');
  carried.set(routing('10.7.0.0/16', [{ protocol: 'udp', sources: [prefix('100.92.0.3/32')] }]), self, network);
  flows.recheck();
  t.same(
    sockets.slice(2).map(({ closed }) => closed),
    [true, false],
    'a change ends what it concerns',
  );
  sockets[2]?.received(Buffer.from('too late'));
  owners.delete('100.92.0.3');
  carried.set(routing('10.7.0.0/16', [{ protocol: 'udp' }]), self, network);
  sockets[3]?.received(Buffer.from('who is that'));
  t.same(
    back.filter((line) => /late$|who/.test(line)),
    [],
  );
  t.equal(sockets[3]?.closed, true, 'the caller has left the network');

  datagram('mine', '100.92.0.2', 1000, '10.7.0.53');
  owners.set('100.92.0.2', key(5));
  carried.set(routing('10.7.0.0/16', [{ protocol: 'udp' }]), self, network);
  sockets[4]?.received(Buffer.from('not for the next who gets the address'));
  t.notOk(back.some((line) => line.startsWith('not for')));
  t.equal(sockets[4]?.closed, true, 'the address is another peer’s now');

  for (let i = 0; i < MAX_CARRIED_FLOWS_PER_PEER + 3; i++) datagram('x', '100.92.0.2', 2000 + i, '10.7.0.53');
  t.same(flows.counts, { open: MAX_CARRIED_FLOWS_PER_PEER, dropped: 3 });
  for (let i = 0; i < MAX_CARRIED_FLOWS; i++) {
    owners.set(`100.92.1.${i & 15}`, key(4));
    datagram('x', `100.92.1.${i & 15}`, 2000 + i, '10.7.0.53');
  }
  t.equal(flows.counts.open, MAX_CARRIED_FLOWS);
  flows.close();
  t.equal(flows.counts.open, 0);
  t.ok(sockets.every(({ closed }) => closed));
});
