// What a stock client must find, and must never find (netbird-wire §8), checked on the bytes' own meaning.
import { create, fromBinary, type MessageInitShape, toBinary } from '@bufbuild/protobuf';
import t from 'tap';
import { maxRules } from '#control/constants.ts';
import { networkMapFrom } from '#control/translate.ts';
import { hostPrefix, parseIp, parsePrefix, type IpPrefix } from '#lib/ip.ts';
import { silentLogger } from '#lib/log.ts';
import { asId, type PublicKey } from '#model/ids.ts';
import type { DnsConfig } from '#model/dns.ts';
import type { NetworkMap, PacketRule } from '#model/network-map.ts';
import type { Route, RouteRule, Routing } from '#model/routes.ts';
import { MapEncoder, syncResponseBytes } from '#server/management/map-bytes.ts';
import { maxMetaFiles, maxMetaNetworks } from '#server/management/constants.ts';
import { configOf, metaOf, networkMapOf, peerConfigOf } from '#server/management/translate.ts';
import {
  FirewallRuleSchema,
  HostConfig_Protocol,
  NetbirdConfigSchema,
  type NetworkMap as NetworkMapMessage,
  NetworkMapSchema,
  PeerSystemMetaSchema,
  RuleAction,
  RuleDirection,
  RuleProtocol,
  SyncResponseSchema,
} from '#wire/proto/gen/management_pb.ts';

const own = asId<PublicKey>(Buffer.alloc(32, 1).toString('base64'));
const other = asId<PublicKey>(Buffer.alloc(32, 2).toString('base64'));

function prefix(text: string): IpPrefix {
  const parsed = parsePrefix(text);
  if (parsed === undefined) throw new TypeError(text);
  return parsed;
}

function host(text: string): IpPrefix {
  const ip = parseIp(text);
  if (ip === undefined) throw new TypeError(text);
  return hostPrefix(ip);
}

const rule: PacketRule = { direction: 'in', action: 'accept', protocol: 'tcp', peer: host('100.92.0.2'), ports: { start: 80, end: 80 } };
const map: NetworkMap = {
  lazy: false,
  serial: 7n,
  self: { v4: prefix('100.92.0.1/16'), v6: prefix('fd00::1/64'), fqdn: 'a.mesh.test' },
  peers: [{ publicKey: other, allowedIps: [host('100.92.0.2'), host('fd00::2')], fqdn: 'b.mesh.test', agentVersion: '0.70.0' }],
  filter: { kind: 'rules', rules: [rule, { ...rule, action: 'drop', protocol: 'all', peer: host('fd00::2'), ports: undefined }] },
};

const lan = { kind: 'prefix' as const, prefix: prefix('10.0.0.0/24') };
const names = { kind: 'domains' as const, domains: ['example.com', '*.example.org'] };
const route: Route = {
  id: 'r1:p1',
  netId: 'lan',
  destination: lan,
  peer: other,
  metric: 100,
  masquerade: true,
  keepAddresses: true,
  autoApply: true,
};
const routeRule: RouteRule = {
  action: 'accept',
  sources: [host('100.92.0.2')],
  destination: lan,
  protocol: 'tcp',
  ports: { start: 443, end: 443 },
  routeId: 'r1:p1',
};
const routing: Routing = {
  routes: [route, { ...route, id: 'r2', netId: 'web', destination: names, peer: own, masquerade: false, keepAddresses: false, autoApply: false }],
  rules: [
    { ...routeRule, action: 'drop', ports: { start: 1, end: 1024 } },
    routeRule,
    { ...routeRule, destination: names, protocol: 'all', ports: undefined, sources: [prefix('0.0.0.0/0')] },
    { ...routeRule, destination: { kind: 'prefix', prefix: prefix('fd01::/64') }, sources: [host('fd00::2')], protocol: 'icmp', ports: undefined },
  ],
  resolveAtRouter: true,
  forwarderPort: 22_054,
};
const nine = parseIp('9.9.9.9') ?? host('9.9.9.9').address;
const dns: DnsConfig = {
  zones: [
    {
      domain: 'mesh.test',
      records: [
        { name: 'a.mesh.test', type: 'A', ttlSeconds: 300, data: '100.92.0.1' },
        { name: 'a.mesh.test', type: 'AAAA', ttlSeconds: 300, data: 'fd00::1' },
      ],
      authoritative: true,
      searchDisabled: false,
    },
    {
      domain: 'lab.test',
      records: [{ name: '*.lab.test', type: 'CNAME', ttlSeconds: 60, data: 'web.test' }],
      authoritative: false,
      searchDisabled: true,
    },
  ],
  nameServerGroups: [
    { servers: [{ ip: nine, port: 53 }], primary: true, domains: [], searchDomains: false },
    { servers: [{ ip: nine, port: 5353 }], primary: false, domains: ['corp.test'], searchDomains: true },
  ],
};
const whole: NetworkMap = { ...map, routing, dns };

function wire(value: NetworkMap): NetworkMapMessage {
  return fromBinary(NetworkMapSchema, toBinary(NetworkMapSchema, create(NetworkMapSchema, networkMapOf(value))));
}

void t.test('a map comes back as it was', async (t) => {
  t.same(networkMapFrom(wire(map), own, silentLogger), map);
  t.same(networkMapFrom(wire(whole), own, silentLogger), whole, 'networks behind peers and names too');
  const ranges = { ...map, filter: { kind: 'rules' as const, rules: [{ ...rule, ports: { start: 1, end: 65_535 } }] } };
  t.same(networkMapFrom(wire(ranges), own, silentLogger), ranges);
});

void t.test('the IsEmpty flags are set exactly where a list is meant to be empty', async (t) => {
  const flags = (value: NetworkMap): unknown => {
    const { remotePeersIsEmpty, firewallRulesIsEmpty } = wire(value);
    return [remotePeersIsEmpty, firewallRulesIsEmpty];
  };
  t.same(flags(map), [false, false]);
  t.same(flags({ ...map, peers: [] }), [true, false]);
  t.same(flags({ ...map, filter: { kind: 'rules', rules: [] } }), [false, true]);
  t.same(flags({ ...map, filter: { kind: 'open' } }), [false, false], 'open is an empty list without the flag');
  t.equal(networkMapFrom(wire({ ...map, filter: { kind: 'open' } }), own, silentLogger)?.filter.kind, 'open');
});

void t.test('one rule per address, with the older field filled too', async (t) => {
  const [first, second] = wire(map).FirewallRules;
  t.match(first, { PeerIP: '100.92.0.2', Direction: RuleDirection.IN, Action: RuleAction.ACCEPT, Protocol: RuleProtocol.TCP, Port: '80' });
  t.same(first?.sourcePrefixes, [Uint8Array.of(100, 92, 0, 2, 32)]);
  t.equal(second?.sourcePrefixes[0]?.length, 17);
  const anywhere = { ...map, filter: { kind: 'rules' as const, rules: [{ ...rule, peer: undefined }] } };
  t.same(
    wire(anywhere).FirewallRules.map((entry) => entry.PeerIP),
    ['0.0.0.0', '::'],
  );
  const v4Only = { ...anywhere, self: { ...map.self, v6: undefined } };
  t.same(
    wire(v4Only).FirewallRules.map((entry) => entry.PeerIP),
    ['0.0.0.0'],
  );
});

void t.test('the own address is the same text everywhere, with the prefix length of the network', async (t) => {
  t.equal(peerConfigOf(map).address, '100.92.0.1/16');
  t.equal(wire(map).peerConfig?.address, '100.92.0.1/16');
  t.equal(wire(map).peerConfig?.addressV6.length, 17);
});

void t.test('signal without scheme and with port, the protocol by TLS, the relay always', async (t) => {
  const relay = { urls: ['rels://a.test:443'], tokenPayload: '1', tokenSignature: 'c2ln' };
  const config = (tls: boolean): unknown =>
    create(NetbirdConfigSchema, configOf({ signal: { host: 'a.test', port: 443, tls }, stunUrls: ['stun:a.test:3478'], relay }));
  t.match(config(true), { signal: { uri: 'a.test:443', protocol: HostConfig_Protocol.HTTPS }, relay, stuns: [{ uri: 'stun:a.test:3478' }] });
  t.match(config(false), { signal: { protocol: HostConfig_Protocol.HTTP } });
});

void t.test('a hostile map cannot open anything', async (t) => {
  const filterOf = (change: Parameters<typeof create<typeof FirewallRuleSchema>>[1]): unknown => {
    const message = wire({ ...map, filter: { kind: 'rules', rules: [] } });
    message.firewallRulesIsEmpty = false;
    message.FirewallRules = [create(FirewallRuleSchema, { PeerIP: '100.92.0.2', Protocol: RuleProtocol.TCP, ...change })];
    return networkMapFrom(message, own, silentLogger)?.filter;
  };
  const nothing = { kind: 'rules', rules: [] };
  for (const Protocol of [RuleProtocol.UNKNOWN, RuleProtocol.CUSTOM, RuleProtocol.NETBIRD_SSH, 99 as RuleProtocol])
    t.same(filterOf({ Protocol }), nothing);
  t.same(filterOf({ PeerIP: 'nonsense' }), nothing);
  t.same(filterOf({ PeerIP: '' }), nothing);
  t.same(filterOf({ sourcePrefixes: [new Uint8Array(3)] }), nothing);
  t.same(filterOf({ sourcePrefixes: [Uint8Array.of(1, 2, 3, 4, 33)] }), nothing);
  t.same(filterOf({ Port: '70000' }), nothing);
  t.same(filterOf({ PortInfo: { portSelection: { case: 'range', value: { start: 9, end: 1 } } } }), nothing);
  t.match(
    filterOf({ Protocol: RuleProtocol.CUSTOM, Action: RuleAction.DROP }),
    { rules: [{ action: 'drop', protocol: 'all' }] },
    'a drop is read as wide as it may be',
  );
  t.match(filterOf({ PeerIP: '0.0.0.0' }), { rules: [{ peer: undefined }] });
});

void t.test('a map with more rules than we keep admits nothing', async (t) => {
  const message = wire(map);
  const [first] = message.FirewallRules;
  if (first === undefined) return;
  message.FirewallRules = Array.from({ length: maxRules + 1 }, () => first);
  t.same(networkMapFrom(message, own, silentLogger)?.filter, { kind: 'rules', rules: [] });
});

void t.test('peers that make no sense are left out, and a map without our address is none', async (t) => {
  const message = wire(map);
  const good = message.remotePeers[0];
  if (good === undefined) return;
  message.remotePeers = [
    { ...good, wgPubKey: 'no key' },
    { ...good, allowedIps: [] },
    { ...good, allowedIps: ['0.0.0.0/0'] },
    { ...good, wgPubKey: own },
    good,
    { ...good, fqdn: 'twice' },
  ];
  t.same(
    networkMapFrom(message, own, silentLogger)?.peers.map((peer) => peer.fqdn),
    ['b.mesh.test'],
  );
  delete message.peerConfig;
  t.equal(networkMapFrom(message, own, silentLogger), undefined);
});

void t.test('a map put together from kept bytes says the same as one that is encoded whole', async (t) => {
  const encoder = new MapEncoder();
  const v4Only = { ...map, self: { ...map.self, v6: undefined } };
  const cases: readonly NetworkMap[] = [
    map,
    { ...map, serial: 9n },
    whole,
    { ...whole, routing: { ...routing, rules: [] } },
    { ...whole, dns: { ...dns, zones: [] } },
    { ...whole, dns: { ...dns, zones: dns.zones.slice(0, 1) } },
    { ...map, serial: 8n },
    v4Only,
    { ...v4Only, filter: { kind: 'rules', rules: [{ ...rule, peer: host('fd00::2') }] } },
    { ...map, peers: [], filter: { kind: 'rules', rules: [] } },
    { ...map, filter: { kind: 'open' } },
    { ...map, filter: { kind: 'rules', rules: [{ ...rule, peer: undefined }] } },
  ];
  for (const value of cases) {
    t.same(fromBinary(NetworkMapSchema, encoder.encode(value).bytes), wire(value));
    const response = fromBinary(SyncResponseSchema, syncResponseBytes({ peerConfig: peerConfigOf(value) }, encoder.encode(value)));
    t.same(response.NetworkMap, wire(value));
    t.ok(response.peerConfig);
  }
  const digests = cases.map((value) => encoder.encode(value).digest);
  t.equal(digests[0], digests[1], 'the serial alone is no news');
  t.equal(new Set(digests).size, cases.length - 2, 'everything else is');
  t.notOk(fromBinary(SyncResponseSchema, syncResponseBytes({}, undefined)).NetworkMap);
});

void t.test('what a peer tells of its networks and programs is read, put in order and cut', async (t) => {
  const meta = (more: MessageInitShape<typeof PeerSystemMetaSchema>) => metaOf(create(PeerSystemMetaSchema, more));
  t.notOk('posture' in meta({ hostname: 'a' }), 'nothing said, nothing kept');
  const told = meta({
    networkAddresses: [{ netIP: '10.0.0.5/24' }, { netIP: '10.0.0.5/24' }, { netIP: 'nonsense' }, { netIP: 'fd00::1/64' }],
    files: [
      { path: '/usr/bin/guard', processIsRunning: true },
      { path: '/usr/bin/idle', exist: true },
      { path: 'x'.repeat(300), processIsRunning: true },
    ],
  });
  t.same(told.posture, { networks: ['10.0.0.5/24', 'fd00::1/64'], running: ['/usr/bin/guard'] });
  const much = meta({
    networkAddresses: Array.from({ length: 300 }, (_, index) => ({ netIP: `10.0.${index & 255}.${index >> 8}/32` })),
    files: Array.from({ length: 300 }, (_, index) => ({ path: `/${index}`, processIsRunning: true })),
  });
  t.same([much.posture?.networks.length, much.posture?.running.length], [maxMetaNetworks, maxMetaFiles]);
});
