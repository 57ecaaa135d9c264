// What a routing peer lets through: rules by source, destination, protocol, port and name; default deny; and never where no route points.
import t from 'tap';
import type { RouteDestination, RouteRule, Routing } from '#model/routes.ts';
import { MAX_NAMES_OF_ADDRESS, MAX_RESOLVED_ADDRESSES, RESOLVED_GRACE_MS } from '../../src/overlay/constants.ts';
import { CarriedRoutes } from '../../src/overlay/routes-carried.ts';
import { ip, key, prefix } from './words.ts';

const [self, other] = [key(1), key(2)];
const network = [prefix('100.92.0.1/16'), prefix('fd00::1/64')];
const caller = '100.92.0.2';

const to = (text: string): RouteDestination =>
  /^[0-9a-f:.]+\//.test(text) ? { kind: 'prefix', prefix: prefix(text) } : { kind: 'domains', domains: [text] };

function rule(destination: string, change: Partial<RouteRule> = {}): RouteRule {
  const base = { action: 'accept', sources: [prefix('100.92.0.2/32')], protocol: 'tcp', ports: undefined, routeId: '' } as const;
  return { ...base, destination: to(destination), ...change };
}

function routing(routes: readonly string[], rules: readonly RouteRule[]): Routing {
  const base = { netId: 'n', metric: 1, masquerade: true, keepAddresses: false, autoApply: true };
  return {
    routes: [
      ...routes.map((text, i) => ({ ...base, id: String(i), peer: self, destination: to(text) })),
      { ...base, id: 'x', peer: other, destination: to('172.16.0.0/12') },
    ],
    rules,
    resolveAtRouter: true,
    forwarderPort: 5353,
  };
}

interface Own {
  addresses?: readonly string[];
  admits?: boolean;
  open?: string;
}

function carried(routes: readonly string[], rules: readonly RouteRule[], own: Own = {}): CarriedRoutes {
  const made = new CarriedRoutes({
    hostAddresses: () => own.addresses ?? [],
    admitsToSelf: () => own.admits ?? false,
    isOpen: (address) => address.bytes.join('.') === own.open,
  });
  made.set(routing(routes, rules), self, network);
  return made;
}

type Row = readonly [what: string, protocol: 'tcp' | 'udp', from: string, to: string, port: number, admitted: boolean];

function table(t: { equal(a: unknown, b: unknown, name: string): void }, routes: CarriedRoutes, rows: readonly Row[], now = 0): void {
  for (const [what, protocol, from, target, port, admitted] of rows)
    t.equal(routes.admits(protocol, ip(from), ip(target), port, now), admitted, what);
}

void t.test('rules over prefixes', async (t) => {
  const rules = [
    rule('10.7.0.0/16', { ports: { start: 80, end: 90 } }),
    rule('10.7.1.0/24', { protocol: 'all', sources: [prefix('100.92.4.0/24'), prefix('100.92.5.5/32')] }),
    rule('10.7.1.9/32', { action: 'drop', protocol: 'all', sources: [prefix('0.0.0.0/0')] }),
    rule('172.16.0.0/12'),
    rule('0.0.0.0/0', { protocol: 'icmp' }),
    rule('fd07::/64', { sources: [prefix('fd00::2/128')] }),
  ];
  table(t, carried(['10.7.0.0/16', 'fd07::/64'], rules), [
    ['in the range', 'tcp', caller, '10.7.3.4', 80, true],
    ['its last port', 'tcp', caller, '10.7.3.4', 90, true],
    ['below the ports', 'tcp', caller, '10.7.3.4', 79, false],
    ['above the ports', 'tcp', caller, '10.7.3.4', 91, false],
    ['another protocol', 'udp', caller, '10.7.3.4', 80, false],
    ['another caller', 'tcp', '100.92.0.3', '10.7.3.4', 80, false],
    ['a range of callers', 'udp', '100.92.4.77', '10.7.1.1', 53, true],
    ['a second source', 'udp', '100.92.5.5', '10.7.1.1', 53, true],
    ['a narrower destination', 'udp', '100.92.4.77', '10.7.2.1', 53, false],
    ['a drop wins', 'tcp', caller, '10.7.1.9', 80, false],
    ['a rule without a route of ours', 'tcp', caller, '172.16.0.1', 80, false],
    ['the overlay itself', 'tcp', caller, '100.92.0.1', 80, false],
    ['version 6', 'tcp', 'fd00::2', 'fd07::1', 443, true],
    ['version 6, another', 'tcp', 'fd00::3', 'fd07::1', 443, false],
  ]);
  table(t, carried(['10.7.0.0/16'], []), [['no rules', 'tcp', caller, '10.7.3.4', 80, false]]);
  table(t, carried([], rules), [['no routes', 'tcp', caller, '10.7.3.4', 80, false]]);
});

void t.test('which packets are taken at all', async (t) => {
  const routes = carried(['10.7.0.0/16', '100.0.0.0/8'], []);
  const takes = (text: string): boolean => routes.carries(Uint8Array.of(9, ...ip(text).bytes), 1, ip(text).family);
  t.ok(takes('10.7.255.255'));
  t.notOk(takes('10.8.0.0'));
  t.notOk(takes('172.16.0.1'), 'a route of another peer');
  t.notOk(takes('100.92.0.9'), 'a peer, though a wider route holds it');
  t.ok(takes('100.93.0.9'));
  t.notOk(carried([], []).carries(Uint8Array.of(10, 7, 0, 1), 0, 4));
});

void t.test('special addresses only where a route names them', async (t) => {
  const all = [rule('0.0.0.0/0', { protocol: 'all' }), rule('::/0', { protocol: 'all' })];
  const addresses = [
    '127.0.0.1',
    '169.254.169.254',
    '0.0.0.0',
    '224.0.0.1',
    '255.255.255.255',
    '::1',
    '::',
    'fe80::1',
    'ff02::1',
    '::ffff:127.0.0.1',
  ];
  const wide = carried(['0.0.0.0/0', '::/0'], all);
  table(
    t,
    wide,
    addresses.map((address): Row => [`${address} by a default route`, 'tcp', caller, address, 80, false]),
  );
  table(t, wide, [['any other', 'tcp', caller, '198.51.100.1', 80, true]]);
  table(t, carried(['127.0.0.0/24', '169.254.169.254/32'], all), [
    ['named', 'tcp', caller, '127.0.0.1', 80, true],
    ['named, the host alone', 'tcp', caller, '169.254.169.254', 80, true],
    ['beside it', 'tcp', caller, '127.0.1.1', 80, false],
  ]);
});

void t.test("this host's own addresses need the peers' own rules, or a route to just them", async (t) => {
  const all = [rule('0.0.0.0/0', { protocol: 'all' })];
  const addresses = ['10.7.0.2', 'fe80::1'];
  const row = (admitted: boolean): readonly Row[] => [
    ['the host itself', 'tcp', caller, '10.7.0.2', 22, admitted],
    ['a neighbour', 'tcp', caller, '10.7.0.3', 22, true],
  ];
  table(t, carried(['10.7.0.0/16'], all, { addresses }), row(false));
  table(t, carried(['10.7.0.0/16'], all, { addresses, admits: true }), row(true));
  table(t, carried(['10.7.0.0/16', '10.7.0.2/32'], all, { addresses }), row(true));
});

void t.test('names: resolved for whom a rule lets, reachable while the answer lasts and a while longer', async (t) => {
  const rules = [rule('*.corp.test'), rule('secret.corp.test', { action: 'drop', sources: [prefix('0.0.0.0/0')] }), rule('10.7.0.0/16')];
  const routes = carried(['*.corp.test', 'app.test'], rules);
  t.ok(routes.mayResolve(ip(caller), 'wiki.corp.test'));
  t.notOk(routes.mayResolve(ip('100.92.0.3'), 'wiki.corp.test'), 'another caller');
  t.notOk(routes.mayResolve(ip(caller), 'app.test'), 'carried, and no rule');
  t.notOk(routes.mayResolve(ip(caller), 'corp.test'), 'not below the wildcard');
  t.ok(routes.maySendQuestions(ip(caller)));
  t.notOk(routes.maySendQuestions(ip('100.92.0.3')));
  const wiki: readonly Row[] = [['the name', 'tcp', caller, '10.7.0.1', 443, true]];
  const none: readonly Row[] = [['the name', 'tcp', caller, '10.7.0.1', 443, false]];
  table(t, routes, none);
  const told = routes.learn('wiki.corp.test', ['10.7.0.1', '127.0.0.1', '100.92.0.5', '169.254.169.254', '::1'].map(ip), 60_000, 0);
  t.same(told, [ip('10.7.0.1')], 'no name leads into this host or the overlay');
  table(t, routes, wiki);
  t.ok(routes.carries(ip('10.7.0.1').bytes, 0, 4));
  table(t, routes, wiki, 59_999 + RESOLVED_GRACE_MS);
  table(t, routes, none, 60_000 + RESOLVED_GRACE_MS);
  routes.learn('secret.corp.test', [ip('10.7.0.1')], 60_000, 0);
  table(t, routes, none, 1);
  table(t, routes, [['a neighbour, by a rule without a route', 'tcp', caller, '10.7.0.2', 443, false]]);
  routes.set(routing(['app.test'], rules), self, network);
  t.equal(routes.resolvedCount, 0, 'names that are no longer carried are forgotten');
});

void t.test('what names stand for is bounded', async (t) => {
  const routes = carried(['*.corp.test'], [rule('*.corp.test')]);
  for (let i = 0; i < MAX_RESOLVED_ADDRESSES + 50; i++) routes.learn(`n${i}.corp.test`, [ip(`10.7.${i >> 8}.${i & 255}`)], 60_000, 0);
  t.equal(routes.resolvedCount, MAX_RESOLVED_ADDRESSES);
  table(t, routes, [
    ['the oldest is forgotten', 'tcp', caller, '10.7.0.1', 1, false],
    ['the newest is there', 'tcp', caller, `10.7.${(MAX_RESOLVED_ADDRESSES + 49) >> 8}.${(MAX_RESOLVED_ADDRESSES + 49) & 255}`, 1, true],
  ]);
  for (let i = 0; i < MAX_NAMES_OF_ADDRESS + 5; i++) routes.learn(`m${i}.corp.test`, [ip('10.9.9.9')], 60_000, 0);
  t.ok(routes.admits('tcp', ip(caller), ip('10.9.9.9'), 1, 0));
  routes.learn('late.corp.test', [], 0, 120_000 + RESOLVED_GRACE_MS);
  t.equal(routes.resolvedCount, 0, 'and forgotten when its time is over');

  const held = carried(['*.corp.test'], [rule('*.corp.test')], { open: '10.7.0.1' });
  held.learn('a.corp.test', [ip('10.7.0.1'), ip('10.7.0.2')], 60_000, 0);
  held.learn('b.corp.test', [], 0, 120_000 + RESOLVED_GRACE_MS);
  t.equal(held.resolvedCount, 1, 'an address that somebody is connected to is not forgotten');
  t.notOk(held.admits('tcp', ip(caller), ip('10.7.0.1'), 1, 120_000 + RESOLVED_GRACE_MS), 'though nothing new may start');
  t.ok(held.keeps('tcp', ip(caller), ip('10.7.0.1'), 1), 'and what is there goes on');
});

void t.test('metadata services of clouds, and IPv4 behind a translator, are special too', async (t) => {
  const any = [rule('0.0.0.0/0'), rule('::/0', { sources: [prefix('fd00::2/128')] }), rule('*.corp.test')];
  const routes = carried(['0.0.0.0/0', '::/0', '64:ff9b::/96', '*.corp.test'], any);
  const metadata = ['100.100.100.200', '168.63.129.16', '192.0.0.192', 'fd00:ec2::254', 'fd20:ce::254', '64:ff9b::a9fe:a9fe', '64:ff9b::7f00:1'];
  for (const target of metadata) t.notOk(routes.admits('tcp', ip(target.includes(':') ? 'fd00::2' : caller), ip(target), 80, 0), target);
  t.same(routes.learn('evil.corp.test', metadata.map(ip), 60_000, 0), [], 'no name leads there');
  t.ok(routes.admits('tcp', ip(caller), ip('100.100.100.201'), 80, 0));
  t.ok(routes.admits('tcp', ip('fd00::2'), ip('64:ff9b::808:808'), 80, 0));
  const named = carried(['168.63.129.16/32'], [rule('168.63.129.16/32')]);
  t.ok(named.admits('tcp', ip(caller), ip('168.63.129.16'), 80, 0), 'a route that names it');
});
