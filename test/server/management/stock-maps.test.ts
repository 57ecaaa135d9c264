// What a stock client reads out of our maps, row by row of netbird-wire §2.4–2.8: the real domain, its encoder, and the decoded message.
// No real client has confirmed any of these rows; they hold our server to the recorded facts.
import { fromBinary, type MessageShape } from '@bufbuild/protobuf';
import t, { type Test } from 'tap';
import { asId, type GroupId, type PeerId, type PublicKey } from '#model/ids.ts';
import type { Network, NetworkId, PlannedRoute } from '#model/network-plan.ts';
import type { PeerMeta, PolicyRule } from '#model/network.ts';
import type { OpenControlDomain } from '#server/domain/index.ts';
import type { ResourceInput, RouterInput } from '#server/domain/plan-contract.ts';
import { MapEncoder, syncResponseBytes } from '#server/management/map-bytes.ts';
import { NetworkMapSchema, RuleAction, RuleDirection, RuleProtocol, SyncResponseSchema } from '#wire/proto/gen/management_pb.ts';
import { addCluster, addOwner, addPeer, keyOf, metaOf, openDomain, ruleOf, serviceOf, system, targetOf } from '../domain/support.ts';

type StockMap = MessageShape<typeof NetworkMapSchema>;

interface StockPeer {
  readonly key: PublicKey;
  readonly id: PeerId;
  readonly ip: string;
  readonly ipv6: string;
  /** A group of its own. */
  readonly group: GroupId;
}

/** A network of peers, each in a group of its own, and short ways to plan. */
async function openNetwork<Name extends string>(t: Test, names: readonly Name[], meta: Partial<Record<Name, Partial<PeerMeta>>> = {}) {
  const { domain, clock } = await openDomain();
  t.teardown(() => domain.close());
  const peers = {} as Record<Name, StockPeer>;
  for (const name of names) peers[name] = await describe(domain, name, await addPeer(domain, name, { version: '0.70.0', ...meta[name] }));
  const encoder = new MapEncoder();
  return {
    domain,
    clock,
    peers,
    map: async (peer: StockPeer): Promise<StockMap> => fromBinary(NetworkMapSchema, encoder.encode(await domain.maps.build(peer.key)).bytes),
    allow: (from: StockPeer, to: readonly GroupId[], more: Partial<Omit<PolicyRule, 'id'>> = {}) =>
      domain.policies.create(
        { name: 'p', description: '', enabled: true, rules: [ruleOf({ sources: [from.group], destinations: to, ...more })] },
        system,
      ),
    network: (name: string): Promise<Network> => domain.networks.create({ name, description: '' }, system),
    resource: (network: NetworkId, address: string, more: Partial<ResourceInput> = {}) =>
      domain.resources.create(network, { name: address, description: '', address, enabled: true, groups: [], ...more }, system),
    router: (network: NetworkId, more: Partial<RouterInput>) =>
      domain.routers.create(network, { peer: undefined, peerGroups: [], metric: 9999, masquerade: true, enabled: true, ...more }, system),
    route: (more: Partial<PlannedRoute>) =>
      domain.routes.create(
        {
          netId: 'net',
          description: '',
          enabled: true,
          network: undefined,
          domains: [],
          peer: undefined,
          peerGroups: [],
          metric: 9999,
          masquerade: true,
          groups: [],
          keepRoute: false,
          accessControlGroups: [],
          skipAutoApply: false,
          ...more,
        },
        system,
      ),
  };
}

async function describe(domain: OpenControlDomain, name: string, key: PublicKey): Promise<StockPeer> {
  const { peer } = await domain.peers.self(key);
  const group = await domain.groups.create({ name: `g-${name}`, peers: [peer.id] }, system);
  return { key, id: peer.id, ip: peer.ipv4, ipv6: peer.ipv6, group: group.id };
}

const remoteKeys = (map: StockMap): readonly string[] => map.remotePeers.map(({ wgPubKey }) => wgPubKey).toSorted();
const keys = (...peers: readonly StockPeer[]): readonly string[] => peers.map(({ key }) => key as string).toSorted();

void t.test('§2.4 PeerConfig, §2.6 NetworkMap: the frame', async (t) => {
  const { domain, peers, map, allow } = await openNetwork(t, ['a', 'b'], { b: { ipv6: true } });
  const before = await map(peers.a);
  t.same(
    [before.remotePeersIsEmpty, before.firewallRulesIsEmpty, before.routesFirewallRulesIsEmpty],
    [true, true, true],
    'an empty list says that it is meant',
  );
  t.match(before.peerConfig, { address: new RegExp(`^${peers.a.ip}/16$`), fqdn: 'a.mesh.test', addressV6: new Uint8Array() });
  t.equal(before.peerConfig?.RoutingPeerDnsResolutionEnabled, true);
  t.equal(before.peerConfig?.LazyConnectionEnabled, false);
  await allow(peers.a, [peers.b.group], { protocol: 'tcp', ports: [{ start: 80, end: 80 }] });
  const [a, b] = [await map(peers.a), await map(peers.b)];
  t.equal(a.peerConfig?.address, before.peerConfig?.address, 'the address is the same text in every map');
  t.ok(a.Serial > before.Serial, '§2.8 the serial grows');
  t.same([remoteKeys(a), remoteKeys(b)], [keys(peers.b), keys(peers.a)], '§2.7 both ends of a one-way rule see each other, never themselves');
  t.same(a.remotePeers[0]?.allowedIps, [`${peers.b.ip}/32`], 'no IPv6 for who has none');
  t.same(b.remotePeers[0]?.allowedIps, [`${peers.a.ip}/32`, `${peers.a.ipv6}/128`], 'IPv4 first');
  t.match(a.remotePeers[0], { fqdn: 'b.mesh.test', agentVersion: '0.70.0' });
  t.equal(b.peerConfig?.addressV6.length, 17);
  t.equal(b.peerConfig?.addressV6[16], 64);
  await domain.settings.update({ lazyConnections: true, routingPeerDns: false }, system);
  t.match((await map(peers.a)).peerConfig, { LazyConnectionEnabled: true, RoutingPeerDnsResolutionEnabled: false });
});

void t.test('§2.6 FirewallRule, §2.7 rule directions', async (t) => {
  const { peers, map, allow } = await openNetwork(t, ['a', 'b']);
  await allow(peers.a, [peers.b.group], {
    protocol: 'tcp',
    ports: [
      { start: 80, end: 80 },
      { start: 8000, end: 8100 },
    ],
  });
  await allow(peers.a, [], { protocol: 'icmp', action: 'drop', destinationResource: { type: 'peer', id: peers.b.id } });
  const [a, b] = [await map(peers.a), await map(peers.b)];
  t.same([a.FirewallRules.length, a.firewallRulesIsEmpty], [0, true], 'the source lets nothing in');
  t.equal(b.firewallRulesIsEmpty, false);
  t.match(b.FirewallRules, [
    { Action: RuleAction.DROP, Protocol: RuleProtocol.ICMP },
    { Action: RuleAction.ACCEPT, Protocol: RuleProtocol.TCP, Port: '80', PortInfo: { portSelection: { case: 'port', value: 80 } } },
    { Action: RuleAction.ACCEPT, Protocol: RuleProtocol.TCP, PortInfo: { portSelection: { case: 'range', value: { start: 8000, end: 8100 } } } },
  ]);
  t.equal(b.FirewallRules.length, 3);
  for (const rule of b.FirewallRules) {
    t.match(rule, { Direction: RuleDirection.IN, PeerIP: peers.a.ip });
    t.same(rule.sourcePrefixes, [Uint8Array.of(...peers.a.ip.split('.').map(Number), 32)], 'one prefix a rule, 5 bytes');
  }
});

void t.test('§2.7 network resources: routes at sources, routes, rules and source peers at routers', async (t) => {
  const { domain, peers, map, allow, network, resource, router } = await openNetwork(t, ['a', 'b', 'r1', 'r2', 'x'], { r2: { ipv6: true } });
  const { id: office } = await network('office');
  const things = await domain.groups.create({ name: 'things', peers: [] }, system);
  const host = await resource(office, '10.0.0.9', { groups: [things.id] });
  const lan = await resource(office, '10.0.1.0/24');
  const wild = await resource(office, '*.corp.test', { groups: [things.id] });
  await router(office, { peer: peers.r1.id, metric: 10 });
  await router(office, { peerGroups: [peers.r2.group], metric: 20, masquerade: false });
  t.same([(await map(peers.a)).Routes, (await map(peers.r1)).Routes], [[], []], 'without a policy there is no way');
  await allow(peers.a, [things.id], { protocol: 'tcp', ports: [{ start: 443, end: 443 }] });
  await allow(peers.b, [], { destinationResource: { type: 'subnet', id: lan.id } });

  const a = await map(peers.a);
  t.same(remoteKeys(a), keys(peers.r1, peers.r2), 'the routers are seen');
  t.equal(a.firewallRulesIsEmpty, true, 'and let in nowhere by that');
  t.equal(a.routesFirewallRulesIsEmpty, true);
  const ids = [host, wild].flatMap(({ id }) => [peers.r1, peers.r2].map((by) => `${id}:${by.id}`));
  t.same(a.Routes.map(({ ID }) => ID).toSorted(), ids.toSorted(), 'one route for each resource and router, resource:peer');
  const through = a.Routes.find(({ ID }) => ID === `${host.id}:${peers.r1.id}`);
  t.match(through, { Network: '10.0.0.9/32', NetworkType: 1n, Peer: peers.r1.key, Metric: 10n, Masquerade: true, NetID: '10.0.0.9' });
  t.match(through, { Domains: [], keepRoute: true, skipAutoApply: false });
  t.match(
    a.Routes.find(({ ID }) => ID === `${host.id}:${peers.r2.id}`),
    { Metric: 20n, Masquerade: false },
  );
  t.match(
    a.Routes.find(({ ID }) => ID === `${wild.id}:${peers.r1.id}`),
    { Network: '192.0.2.0/32', NetworkType: 3n, Domains: ['*.corp.test'] },
    'names have a placeholder for a network',
  );
  t.same(
    (await map(peers.b)).Routes.map(({ Network }) => Network),
    ['10.0.1.0/24', '10.0.1.0/24'],
  );
  t.same((await map(peers.x)).Routes, [], 'nobody else hears of it');
  t.equal((await map(peers.x)).remotePeersIsEmpty, true);

  const r1 = await map(peers.r1);
  t.equal(r1.routesFirewallRules.length, 3);
  t.same(remoteKeys(r1), keys(peers.a, peers.b), 'a router sees those who may come');
  t.same(new Set(r1.Routes.map(({ Peer }) => Peer)), new Set([peers.r1.key]), 'its own ways only');
  t.equal(r1.routesFirewallRulesIsEmpty, false);
  t.match(
    r1.routesFirewallRules.toSorted((one, two) => one.destination.localeCompare(two.destination)),
    [
      {
        sourceRanges: [`${peers.a.ip}/32`],
        action: RuleAction.ACCEPT,
        destination: '10.0.0.9/32',
        protocol: RuleProtocol.TCP,
        portInfo: { portSelection: { case: 'port', value: 443 } },
        isDynamic: false,
        RouteID: `${host.id}:${peers.r1.id}`,
      },
      {
        sourceRanges: [`${peers.b.ip}/32`],
        destination: '10.0.1.0/24',
        protocol: RuleProtocol.ALL,
        portInfo: { portSelection: { case: undefined } },
      },
      { sourceRanges: [`${peers.a.ip}/32`], destination: '192.0.2.0/32', isDynamic: true, domains: ['*.corp.test'] },
    ],
  );
  const dynamic = (await map(peers.r2)).routesFirewallRules.filter(({ isDynamic }) => isDynamic);
  t.same(
    dynamic.map(({ sourceRanges }) => sourceRanges),
    [[`${peers.a.ip}/32`], [`${peers.a.ipv6}/128`]],
    'both families where the router has both',
  );

  await domain.resources.update(office, host.id, { ...host, enabled: false }, system);
  t.equal((await map(peers.a)).Routes.length, 2);
  await domain.peers.delete(peers.r1.id, system);
  t.same(
    (await map(peers.a)).Routes.map(({ Peer }) => Peer),
    [peers.r2.key],
    'a router that is gone leads nowhere',
  );
});

void t.test('§2.6 Route, §2.7 routes: carried, distributed, and not told twice', async (t) => {
  const { peers, map, allow, route } = await openNetwork(t, ['a', 'r1', 'r2', 'x'], { a: { ipv6: true }, r1: { ipv6: true } });
  const lan = await route({ netId: 'lan', network: '10.0.0.0/24', peer: peers.r1.id, groups: [peers.a.group, peers.r2.group] });
  const shared = await route({ netId: 'lan', network: '10.0.0.0/24', peerGroups: [peers.r2.group], groups: [peers.a.group], metric: 5 });
  const exit = await route({ netId: 'exit', network: '0.0.0.0/0', peer: peers.r1.id, groups: [peers.a.group], skipAutoApply: true });
  const six = await route({ netId: 'six', network: 'fd01::/64', peer: peers.r1.id, groups: [peers.a.group, peers.x.group] });
  await route({ netId: 'off', network: '10.9.0.0/16', peer: peers.r1.id, groups: [peers.a.group], enabled: false });
  t.same((await map(peers.a)).Routes, [], 'only through peers that a policy connects with');
  for (const from of [peers.a, peers.x, peers.r2]) await allow(from, [peers.r1.group, peers.r2.group]);
  const a = await map(peers.a);
  t.equal(a.Routes.length, 5);
  t.match(
    a.Routes.toSorted((one, two) => one.ID.localeCompare(two.ID)),
    [
      { ID: lan.id, NetID: 'lan', Network: '10.0.0.0/24', NetworkType: 1n, Peer: peers.r1.key, Metric: 9999n, keepRoute: false },
      { ID: `${shared.id}:${peers.r2.id}`, Peer: peers.r2.key, Metric: 5n },
      { ID: exit.id, NetID: 'exit', Network: '0.0.0.0/0', skipAutoApply: true },
      { ID: `${exit.id}-v6-default`, NetID: 'exit-v6', Network: '::/0', NetworkType: 2n, skipAutoApply: true },
      { ID: six.id, Network: 'fd01::/64', NetworkType: 2n },
    ].toSorted((one, two) => one.ID.localeCompare(two.ID)),
  );
  t.same((await map(peers.x)).Routes, [], 'IPv6 is not for who has none');
  const r2 = await map(peers.r2);
  t.same(
    r2.Routes.map(({ ID }) => ID),
    [`${shared.id}:${peers.r2.id}`],
    'who leads there is not led there',
  );
  t.match(r2.routesFirewallRules, [
    { sourceRanges: ['0.0.0.0/0'], destination: '10.0.0.0/24', protocol: RuleProtocol.ALL, RouteID: `${shared.id}:${peers.r2.id}` },
  ]);
  const r1 = await map(peers.r1);
  t.same(
    r1.routesFirewallRules.map(({ sourceRanges, destination, RouteID }) => `${sourceRanges.join()} ${destination} ${RouteID}`).toSorted(),
    [`0.0.0.0/0 0.0.0.0/0 ${exit.id}`, `0.0.0.0/0 10.0.0.0/24 ${lan.id}`, `::/0 ::/0 ${exit.id}-v6-default`, `::/0 fd01::/64 ${six.id}`].toSorted(),
    'without access control groups everybody may pass who has the route',
  );
});

void t.test('§2.7 route firewall with access control groups: the policy decides, for those who have the route', async (t) => {
  const { domain, peers, map, allow, route } = await openNetwork(t, ['a', 'b', 'r']);
  const guarded = await domain.groups.create({ name: 'guarded', peers: [] }, system);
  const domains = ['db.corp.test'];
  await route({ netId: 'db', domains, peer: peers.r.id, groups: [peers.a.group], accessControlGroups: [guarded.id], keepRoute: true });
  for (const from of [peers.a, peers.b]) await allow(from, [peers.r.group]);
  const closed = await map(peers.r);
  t.same([closed.routesFirewallRules, closed.routesFirewallRulesIsEmpty], [[], true], 'no policy: nobody');
  for (const from of [peers.a, peers.b]) await allow(from, [guarded.id], { protocol: 'udp', ports: [{ start: 5000, end: 5010 }] });
  t.match((await map(peers.r)).routesFirewallRules, [
    {
      sourceRanges: [`${peers.a.ip}/32`],
      isDynamic: true,
      domains,
      destination: '192.0.2.0/32',
      protocol: RuleProtocol.UDP,
      portInfo: { portSelection: { case: 'range', value: { start: 5000, end: 5010 } } },
    },
  ]);
  t.match((await map(peers.a)).Routes, [{ NetworkType: 3n, Domains: domains, keepRoute: true }]);
  t.same((await map(peers.b)).Routes, []);
});

void t.test('§2.6 DNSConfig: the peers, zones, name servers, and who keeps his own', async (t) => {
  const { domain, peers, map, allow } = await openNetwork(t, ['a', 'b', 'c'], { a: { ipv6: true }, b: { ipv6: true } });
  await allow(peers.a, [peers.b.group, peers.c.group]);
  const zone = await domain.zones.create(
    { name: 'lab', domain: 'lab.test', enabled: true, enableSearchDomain: false, distributionGroups: [peers.a.group] },
    system,
  );
  await domain.zones.createRecord(zone.id, { name: 'www.lab.test', type: 'CNAME', content: 'web.test', ttl: 60 }, system);
  const servers = { description: '', enabled: true, searchDomainsEnabled: false };
  await domain.nameservers.create(
    { ...servers, name: 'out', nameservers: [{ ip: '9.9.9.9', port: 53 }], groups: [peers.a.group, peers.b.group], primary: true, domains: [] },
    system,
  );
  await domain.nameservers.create(
    {
      ...servers,
      name: 'corp',
      nameservers: [{ ip: peers.b.ip, port: 53 }],
      groups: [peers.a.group, peers.b.group],
      primary: false,
      domains: ['corp.test'],
      searchDomainsEnabled: true,
    },
    system,
  );
  const record = (name: string, Type: bigint, RData: string): object => ({ Name: `${name}.mesh.test`, Type, Class: 'IN', TTL: 300n, RData });
  const { DNSConfig: a } = await map(peers.a);
  t.equal(a?.ServiceEnable, true);
  t.equal(a?.ForwarderPort, 22_054n);
  t.match(a?.CustomZones, [
    { Domain: 'mesh.test.', NonAuthoritative: false, SearchDomainDisabled: false },
    {
      Domain: 'lab.test.',
      NonAuthoritative: true,
      SearchDomainDisabled: true,
      Records: [{ Name: 'www.lab.test.', Type: 5n, Class: 'IN', TTL: 60n, RData: 'web.test.' }],
    },
  ]);
  // Of peers that were made in one millisecond either may come first.
  t.match(
    a?.CustomZones[0]?.Records.toSorted((one, two) => one.Name.localeCompare(two.Name) || Number(one.Type - two.Type)),
    [
      record('a', 1n, peers.a.ip),
      record('a', 28n, peers.a.ipv6),
      record('b', 1n, peers.b.ip),
      record('b', 28n, peers.b.ipv6),
      record('c', 1n, peers.c.ip),
    ],
    'itself and whom it sees; AAAA where both can use it',
  );
  t.equal(a?.CustomZones[0]?.Records.length, 5);
  t.match(
    a?.NameServerGroups.toSorted((one, two) => Number(two.Primary) - Number(one.Primary)),
    [
      { Primary: true, Domains: [], SearchDomainsEnabled: false, NameServers: [{ IP: '9.9.9.9', NSType: 1n, Port: 53n }] },
      { Primary: false, Domains: ['corp.test'], SearchDomainsEnabled: true, NameServers: [{ IP: peers.b.ip }] },
    ],
  );
  const { DNSConfig: b } = await map(peers.b);
  t.match(b?.NameServerGroups, [{ Primary: true }], 'a name server is not told to ask itself');
  t.equal(b?.CustomZones.length, 1);
  const { DNSConfig: c } = await map(peers.c);
  t.match(c?.CustomZones[0]?.Records, [record('a', 1n, peers.a.ip), record('c', 1n, peers.c.ip)], 'no AAAA for who has no IPv6');
  await domain.nameservers.setSettings([peers.c.group], system);
  const { DNSConfig: off } = await map(peers.c);
  t.same([off?.ServiceEnable, off?.CustomZones, off?.NameServerGroups], [false, [], []]);
});

void t.test('§2.7 reverse-proxy policy: a gateway reaches what services name in networks, at their port and no further', async (t) => {
  const { domain, peers, map, network, resource, router } = await openNetwork(t, ['r', 'x']);
  await addCluster(domain);
  const { id } = await network('office');
  const [lan, name] = [await resource(id, '10.0.0.0/24'), await resource(id, 'db.corp.test')];
  await router(id, { peer: peers.r.id });
  const targets = [
    targetOf(lan.id, { targetType: 'subnet', host: '10.0.0.7', port: 8080 }),
    targetOf(name.id, { targetType: 'domain', path: '/db', port: 5432 }),
  ];
  const service = await domain.services.create(serviceOf('', { targets }), system);
  const oneTimeToken = (await domain.services.mapping(service.id, 'proxy.test'))?.authToken ?? '';
  const { peer } = await domain.peers.registerProxyPeer({
    oneTimeToken,
    serviceId: service.id,
    publicKey: keyOf('gw'),
    cluster: 'proxy.test',
    proxyId: asId('gateway-1'),
  });
  const gw: StockPeer = { key: peer.publicKey, id: peer.id, ip: peer.ipv4, ipv6: peer.ipv6, group: peers.x.group };
  await domain.settings.update({ routingPeerDns: false }, system);
  const [g, r] = [await map(gw), await map(peers.r)];
  t.same(remoteKeys(g), keys(peers.r));
  t.same(g.Routes.map(({ Network, NetID }) => `${NetID} ${Network}`).toSorted(), ['10.0.0.0/24 10.0.0.0/24', 'db.corp.test 192.0.2.0/32']);
  t.equal(g.firewallRulesIsEmpty, true, 'nothing comes in at a gateway');
  t.same(remoteKeys(r), keys(gw));
  t.same([r.FirewallRules.length, r.routesFirewallRules.length], [0, 2]);
  t.match(
    r.routesFirewallRules.toSorted((one, two) => one.destination.localeCompare(two.destination)),
    [
      { sourceRanges: [`${gw.ip}/32`], destination: '10.0.0.7/32', protocol: RuleProtocol.TCP, portInfo: { portSelection: { value: 8080 } } },
      { sourceRanges: [`${gw.ip}/32`], isDynamic: true, domains: ['db.corp.test'], portInfo: { portSelection: { value: 5432 } } },
    ],
  );
  t.same(
    [g, r, await map(peers.x)].map(({ peerConfig }) => peerConfig?.RoutingPeerDnsResolutionEnabled),
    [true, true, false],
    'names are asked for at the router, whatever the settings say',
  );
  await domain.services.delete(service.id, system);
  t.same([(await map(gw)).Routes, (await map(peers.r)).routesFirewallRules], [[], []]);
});

void t.test('§2.7 posture checks: who fails one is no source, and who is asked is told', async (t) => {
  const { domain, peers, map, network, resource, router } = await openNetwork(t, ['a', 'b', 'r']);
  const processes = [{ linux: '/usr/bin/guard', mac: '/guard' }];
  const check = await domain.posture.create({ name: 'guarded', description: '', minVersion: '0.70.0', processes }, system);
  const { id } = await network('n');
  const target = await resource(id, '10.0.0.1');
  await router(id, { peer: peers.r.id });
  const sides = { sources: [peers.a.group], bidirectional: true };
  const rules = [
    ruleOf({ ...sides, destinations: [peers.b.group] }),
    ruleOf({ ...sides, destinations: [], destinationResource: { type: 'host', id: target.id } }),
  ];
  await domain.policies.create({ name: 'p', description: '', enabled: true, sourcePostureChecks: [check.id], rules }, system);
  const encoded = async (peer: StockPeer) => new MapEncoder().encode(await domain.maps.build(peer.key));
  const none = await map(peers.a);
  t.same([none.remotePeers, none.Routes], [[], []]);
  t.same((await map(peers.b)).FirewallRules, []);
  t.same((await map(peers.r)).routesFirewallRules, []);
  t.same((await encoded(peers.a)).files, ['/guard', '/usr/bin/guard'], 'who is a source is asked, on every system');
  t.same((await encoded(peers.b)).files, []);
  const sync = fromBinary(SyncResponseSchema, syncResponseBytes({}, await encoded(peers.a)));
  t.match(sync.Checks, [{ Files: ['/guard', '/usr/bin/guard'] }], 'beside every map');

  const running = { networks: [], running: ['/usr/bin/guard'] };
  await domain.peers.updateMeta(peers.a.key, metaOf('a', { version: '0.70.0', posture: running }));
  t.match(await map(peers.a), { remotePeers: [{}, {}], Routes: [{ Network: '10.0.0.1/32' }] });
  t.equal((await map(peers.b)).FirewallRules.length, 1);
  t.equal((await map(peers.r)).routesFirewallRules.length, 1);
  await domain.peers.updateMeta(peers.a.key, metaOf('a', { version: '0.69.0', posture: running }));
  t.equal((await map(peers.a)).remotePeersIsEmpty, true, 'an older client');
  await domain.posture.update(check.id, { name: 'guarded', description: '', processes }, system);
  t.equal((await map(peers.a)).remotePeers.length, 2);
  await t.rejects(domain.posture.delete(check.id, system), { code: 'DOMAIN_POSTURE_IN_USE', message: /policy "p"/ });

  const office = { networks: { action: 'allow' as const, ranges: ['192.0.2.0/24'] } };
  await domain.posture.update(check.id, { name: 'guarded', description: '', ...office }, system);
  t.equal((await map(peers.a)).remotePeersIsEmpty, true);
  await domain.peers.setConnected(peers.a.key, true, '192.0.2.9');
  t.equal((await map(peers.a)).remotePeers.length, 2, 'the address that it comes from counts at once');
});

void t.test('§2.7 expired peers are among the offline ones, and lead nowhere', async (t) => {
  const { domain, clock, peers, map, allow, network, resource, router } = await openNetwork(t, ['a']);
  const owner = await addOwner(domain);
  const token = { digest: 'd', expiresAt: Number.MAX_SAFE_INTEGER };
  await domain.peers.login({ publicKey: keyOf('u'), meta: metaOf('u'), setupKey: '', userId: owner, signInToken: token });
  const u = await describe(domain, 'u', keyOf('u'));
  await allow(peers.a, [u.group]);
  const { id } = await network('n');
  const target = await resource(id, '10.0.0.1');
  await router(id, { peer: u.id });
  await allow(peers.a, [], { destinationResource: { type: 'host', id: target.id } });
  const before = await map(peers.a);
  t.match(before, { remotePeers: [{ wgPubKey: u.key }], Routes: [{ Peer: u.key }] });
  t.same(before.offlinePeers, []);
  clock.advance(24 * 3_600_000);
  await domain.peers.reapAbandoned();
  const a = await map(peers.a);
  t.match(a, { remotePeersIsEmpty: true, offlinePeers: [{ wgPubKey: u.key, allowedIps: [`${u.ip}/32`] }] });
  t.same([a.remotePeers, a.Routes], [[], []]);
  t.ok(
    a.DNSConfig?.CustomZones[0]?.Records.some(({ RData }) => RData === u.ip),
    'their names stay',
  );
});

void t.test('§2.8 a change that is none to a peer is not told to it', async (t) => {
  const { domain, peers, route, allow } = await openNetwork(t, ['a', 'b', 'c']);
  const encoder = new MapEncoder();
  const digest = async (peer: StockPeer): Promise<string> => encoder.encode(await domain.maps.build(peer.key)).digest;
  await allow(peers.a, [peers.b.group]);
  const [a, c] = [await digest(peers.a), await digest(peers.c)];
  await route({ netId: 'x', network: '10.0.0.0/8', peer: peers.b.id, groups: [peers.a.group] });
  t.not(await digest(peers.a), a);
  t.equal(await digest(peers.c), c);
  await domain.routes.delete(asId((await domain.routes.list())[0]?.id ?? ''), system);
  t.equal(await digest(peers.a), a, 'and back again');
});
