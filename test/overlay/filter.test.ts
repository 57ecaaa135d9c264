// The packet filter on hand-made packets: TCP is left to the stack, answers pass, the rest needs a rule.
import t from 'tap';
import { parseIp, type IpAddress } from '#lib/ip.ts';
import type { PacketProtocol, PacketRule } from '#model/network-map.ts';
import { writeIpv4 } from '#wire/ipv4.ts';
import { writeIpv6 } from '#wire/ipv6.ts';
import { FLOW_LIFETIME_MS, MAX_TRACKED_FLOWS } from '../../src/overlay/constants.ts';
import { OverlayFilter } from '../../src/overlay/filter.ts';
import { prefix } from './pair.ts';

const me = '100.92.0.1';
const peer = '100.92.0.2';

function ip(text: string): IpAddress {
  const parsed = parseIp(text);
  if (parsed === undefined) throw new TypeError(text);
  return parsed;
}

/** An IP packet with this payload; transport checksums are not the filter's business. */
function packet(protocol: number, from: string, to: string, payload: readonly number[]): Uint8Array {
  const [source, destination] = [ip(from).bytes, ip(to).bytes];
  const header = source.length === 4 ? 20 : 40;
  const bytes = new Uint8Array(header + payload.length);
  bytes.set(payload, header);
  (source.length === 4 ? writeIpv4 : writeIpv6)(bytes, bytes.length, protocol, source, destination);
  return bytes;
}

const ports = (from: number, to: number): number[] => [from >> 8, from & 255, to >> 8, to & 255, 0, 8, 0, 0];
const udp = (from: string, to: string, fromPort: number, toPort: number): Uint8Array => packet(17, from, to, ports(fromPort, toPort));
const echo = (from: string, to: string, type: number, id: number): Uint8Array => packet(1, from, to, [type, 0, 0, 0, id >> 8, id & 255, 0, 1]);

function rule(action: 'accept' | 'drop', protocol: PacketProtocol, from?: string, port?: number): PacketRule {
  return {
    direction: 'in',
    action,
    protocol,
    peer: from === undefined ? undefined : prefix(from),
    ports: port === undefined ? undefined : { start: port, end: port },
  };
}

t.test('before the first map nothing gets in but what the stack itself judges', async (t) => {
  const filter = new OverlayFilter();
  t.notOk(filter.admitsTcp(ip(peer), 80));
  t.notOk(filter.admitsPacket(udp(peer, me, 5, 53), 0));
  t.notOk(filter.admitsPacket(echo(peer, me, 8, 1), 0));
  t.notOk(filter.admitsPacket(packet(47, peer, me, [0, 0, 0, 0, 0, 0, 0, 0]), 0), 'another protocol');
  t.notOk(filter.admitsPacket(Uint8Array.of(), 0));
  t.notOk(filter.admitsPacket(Uint8Array.of(0x45, 1, 2), 0));
  t.ok(filter.admitsPacket(packet(6, peer, me, ports(1, 2)), 0), 'TCP is judged at its SYN');
});

t.test('rules by address, protocol and port; a drop wins', async (t) => {
  const filter = new OverlayFilter();
  filter.set({
    kind: 'rules',
    rules: [
      rule('accept', 'tcp', '100.92.0.2/32', 80),
      rule('accept', 'all', '100.92.1.0/24'),
      rule('drop', 'tcp', '100.92.1.9/32'),
      rule('accept', 'icmp'),
      { ...rule('accept', 'all', '100.92.0.3/32'), direction: 'out' },
    ],
  });
  t.ok(filter.admitsTcp(ip(peer), 80));
  t.notOk(filter.admitsTcp(ip(peer), 81));
  t.notOk(filter.admitsTcp(ip('100.92.0.3'), 80), 'a rule for outbound admits nothing');
  t.ok(filter.admitsTcp(ip('100.92.1.8'), 1));
  t.notOk(filter.admitsTcp(ip('100.92.1.9'), 1));
  t.ok(filter.admitsPacket(udp('100.92.1.9', me, 1, 2), 0));
  t.notOk(filter.admitsPacket(udp(peer, me, 1, 80), 0));
  t.ok(filter.admitsPacket(echo(peer, me, 8, 1), 0));
  filter.set({ kind: 'open' });
  t.ok(filter.admitsTcp(ip(peer), 81));
});

t.test('answers to our own UDP and pings pass for a while, and only those', async (t) => {
  const filter = new OverlayFilter();
  filter.noteOutbound(udp(me, peer, 4000, 53), 0);
  t.ok(filter.admitsPacket(udp(peer, me, 53, 4000), 1000));
  t.notOk(filter.admitsPacket(udp(peer, me, 54, 4000), 1000));
  t.notOk(filter.admitsPacket(udp('100.92.0.3', me, 53, 4000), 1000));
  t.notOk(filter.admitsPacket(udp(peer, me, 53, 4000), FLOW_LIFETIME_MS + 1));
  filter.noteOutbound(echo(me, peer, 8, 77), 0);
  t.ok(filter.admitsPacket(echo(peer, me, 0, 77), 1));
  t.notOk(filter.admitsPacket(echo(peer, me, 0, 78), 1), 'a reply that nobody asked for');
  t.ok(filter.admitsPacket(echo(peer, me, 3, 0), 1), 'errors go to the stack, which knows its connections');
  t.notOk(filter.admitsPacket(echo(peer, me, 5, 0), 1), 'redirects do not');
  const six = (from: string, to: string, type: number): Uint8Array => packet(58, from, to, [type, 0, 0, 0, 0, 9, 0, 1]);
  t.notOk(filter.admitsPacket(six('fd00::2', 'fd00::1', 128), 0));
  filter.noteOutbound(six('fd00::1', 'fd00::2', 128), 0);
  t.ok(filter.admitsPacket(six('fd00::2', 'fd00::1', 129), 1));
  t.notOk(filter.admitsPacket(six('fd00::2', 'fd00::1', 134), 1), 'nor router advertisements');
});

t.test('remembered flows are bounded: the oldest are forgotten', async (t) => {
  const filter = new OverlayFilter();
  for (let i = 0; i < MAX_TRACKED_FLOWS + 100; i++) filter.noteOutbound(udp(me, peer, 1 + (i % 60_000), 53), i / 1000);
  t.equal(filter.flowCount, MAX_TRACKED_FLOWS);
  t.notOk(filter.admitsPacket(udp(peer, me, 53, 1), 20));
  t.ok(filter.admitsPacket(udp(peer, me, 53, MAX_TRACKED_FLOWS + 100), 20));
});

t.test('what we may not begin ourselves: rules outward forbid, and never permit', async (t) => {
  const filter = new OverlayFilter();
  const out = (action: 'accept' | 'drop', protocol: PacketProtocol, to?: string, ports?: readonly [number, number]): PacketRule => ({
    ...rule(action, protocol, to),
    direction: 'out',
    ports: ports === undefined ? undefined : { start: ports[0], end: ports[1] },
  });
  const rows: readonly (readonly [string, readonly PacketRule[], 'tcp' | 'udp' | 'icmp', string, number, boolean])[] = [
    ['no rule', [], 'tcp', peer, 80, false],
    ['only another is permitted', [out('accept', 'tcp', '100.92.0.3/32')], 'tcp', peer, 80, false],
    ['an inbound drop', [rule('drop', 'tcp', '100.92.0.2/32')], 'tcp', peer, 80, false],
    ['dropped', [out('drop', 'tcp', '100.92.0.2/32')], 'tcp', peer, 80, true],
    ['dropped, whatever permits it too', [out('accept', 'all'), out('drop', 'tcp')], 'tcp', peer, 80, true],
    ['another protocol', [out('drop', 'tcp')], 'udp', peer, 80, false],
    ['all protocols', [out('drop', 'all')], 'icmp', peer, 0, true],
    ['first port of a range', [out('drop', 'tcp', undefined, [80, 90])], 'tcp', peer, 80, true],
    ['last port of a range', [out('drop', 'tcp', undefined, [80, 90])], 'tcp', peer, 90, true],
    ['beyond the range', [out('drop', 'tcp', undefined, [80, 90])], 'tcp', peer, 91, false],
    ['a network', [out('drop', 'tcp', '100.92.0.0/24')], 'tcp', peer, 80, true],
    ['beside the network', [out('drop', 'tcp', '100.92.1.0/24')], 'tcp', peer, 80, false],
  ];
  for (const [name, rules, protocol, to, port, expected] of rows) {
    filter.set({ kind: 'rules', rules });
    t.equal(filter.forbids(protocol, ip(to), port), expected, name);
  }
  filter.set({ kind: 'open' });
  t.notOk(filter.forbids('tcp', ip(peer), 80));
});

t.test('packets to networks that are carried are left to those who carry; questions for routed names need a rule there', async (t) => {
  const filter = new OverlayFilter();
  filter.set({ kind: 'rules', rules: [rule('accept', 'icmp')] });
  filter.setCarried({
    carries: (bytes, at) => bytes[at] === 10,
    maySendQuestions: (from) => from.bytes[3] === 2,
  });
  t.ok(filter.admitsPacket(udp(peer, '10.7.0.1', 5, 53), 0));
  t.notOk(filter.admitsPacket(udp(peer, me, 5, 53), 0));
  t.ok(filter.admitsPacket(echo(peer, me, 8, 1), 0));
  for (const type of [8, 0, 3]) t.notOk(filter.admitsPacket(echo(peer, '10.7.0.1', type, 1), 0), `ICMP ${type} is not carried`);
  for (const port of [22_054, 5353]) {
    t.ok(filter.admitsPacket(udp(peer, me, 5, port), 0), `a question at ${port}`);
    t.notOk(filter.admitsPacket(udp('100.92.0.3', me, 5, port), 0), 'from somebody without a rule');
    t.notOk(filter.admitsTcp(ip(peer), port), 'TCP is not asked for');
  }
});
