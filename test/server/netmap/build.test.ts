import t from 'tap';
import { formatPrefix, parseIp } from '#lib/ip.ts';
import { asId, type GroupId, type PeerId, type PublicKey } from '#model/ids.ts';
import { admitsInbound, type NetworkMap } from '#model/network-map.ts';
import type { Group, Peer, Policy, PolicyRule } from '#model/network.ts';
import { buildMap } from '../../../src/server/netmap/build.ts';
import { indexNetwork, type NetworkState, type Publication } from '../../../src/server/netmap/snapshot.ts';

/** Peers a to d at 100.64.0.1 to .4; gw serves proxy.test. Each group has the peers that its name spells. */
const names = ['a', 'b', 'c', 'd'];

function peer(name: string, more: Partial<Peer> = {}): Peer {
  const host = names.includes(name) ? names.indexOf(name) + 1 : 99;
  return {
    id: asId(name),
    publicKey: asId(`key-${name}`),
    name,
    dnsLabel: name,
    ipv4: `100.64.0.${host}`,
    ipv6: `fd00::${host}`,
    meta: { hostname: name, os: '', osVersion: '', kernel: '', platform: '', version: `v-${name}`, uiVersion: '', ipv6: false },
    userId: undefined,
    loginExpirationEnabled: false,
    loginExpired: false,
    ephemeral: false,
    proxyCluster: undefined,
    connected: false,
    connectionIp: '',
    lastSeen: 0,
    lastLogin: 0,
    createdAt: 0,
    ...more,
  };
}

const gateway = peer('gw', { proxyCluster: 'proxy.test', ipv4: '100.64.0.99' });

function group(members: string): Group {
  return { id: asId(members), name: members, peers: [...new Set(members.split(''))].map((name) => asId<PeerId>(name)), resources: [], system: false };
}

interface RuleText extends Partial<Omit<PolicyRule, 'sources' | 'destinations'>> {
  readonly from: string;
  readonly to: string;
}

function rule({ from, to, ...more }: RuleText): PolicyRule {
  return {
    id: 'r',
    name: 'r',
    description: '',
    enabled: true,
    action: 'accept',
    bidirectional: false,
    protocol: 'all',
    ports: [],
    sources: [asId<GroupId>(from)],
    destinations: [asId<GroupId>(to)],
    ...more,
  };
}

function policy(rules: readonly RuleText[], enabled = true): Policy {
  return { id: asId('p'), name: 'p', description: '', enabled, rules: rules.map(rule) };
}

function state(policies: readonly Policy[], more: Partial<NetworkState> = {}): NetworkState {
  const named = policies.flatMap((entry) => entry.rules.flatMap((rule) => [...rule.sources, ...rule.destinations]));
  return {
    serial: 7n,
    dnsDomain: 'mesh.test',
    networkBits: { v4: 16, v6: 64 },
    peers: [...names.map((name) => peer(name)), gateway],
    groups: [...new Set(named)].map(group),
    policies,
    publications: [],
    ...more,
  };
}

function mapOf(network: NetworkState, name: string): NetworkMap {
  const map = buildMap(indexNetwork(network), asId<PublicKey>(`key-${name}`));
  if (map === undefined) throw new TypeError(`no map for ${name}`);
  return map;
}

const sees = (map: NetworkMap): string =>
  map.peers
    .map((entry) => entry.publicKey.replace('key-', ''))
    .sort()
    .join('');

/** Rules as `accept tcp 100.64.0.1/32 80-81`. */
function rules(map: NetworkMap): readonly string[] {
  if (map.filter.kind !== 'rules') return ['open'];
  return map.filter.rules.map(({ direction, action, protocol, peer, ports }) => {
    const parts = [action, protocol, peer === undefined ? 'any' : formatPrefix(peer), ports === undefined ? '' : `${ports.start}-${ports.end}`];
    return `${direction === 'in' ? '' : 'out '}${parts.join(' ').trim()}`;
  });
}

interface Row {
  readonly name: string;
  readonly policies: readonly Policy[];
  /** Peer → whom it sees, and what comes in. Peers that are left out see nobody and let nothing in. */
  readonly expect: Readonly<Record<string, readonly [sees: string, ...rules: string[]]>>;
}

const table: readonly Row[] = [
  { name: 'no policy: nobody', policies: [], expect: {} },
  {
    name: 'one way: both see each other, only the destination lets in',
    policies: [policy([{ from: 'a', to: 'b' }])],
    expect: { a: ['b'], b: ['a', 'accept all 100.64.0.1/32'] },
  },
  {
    name: 'bidirectional: both let in',
    policies: [policy([{ from: 'a', to: 'b', bidirectional: true }])],
    expect: { a: ['b', 'accept all 100.64.0.2/32'], b: ['a', 'accept all 100.64.0.1/32'] },
  },
  {
    name: 'ports and ranges: one rule each',
    policies: [
      policy([
        {
          from: 'a',
          to: 'b',
          protocol: 'tcp',
          ports: [
            { start: 80, end: 80 },
            { start: 8000, end: 8100 },
          ],
        },
      ]),
    ],
    expect: { a: ['b'], b: ['a', 'accept tcp 100.64.0.1/32 80-80', 'accept tcp 100.64.0.1/32 8000-8100'] },
  },
  {
    name: 'a group with itself: everybody but oneself',
    policies: [policy([{ from: 'abc', to: 'abc' }])],
    expect: {
      a: ['bc', 'accept all 100.64.0.2/32', 'accept all 100.64.0.3/32'],
      b: ['ac', 'accept all 100.64.0.1/32', 'accept all 100.64.0.3/32'],
      c: ['ab', 'accept all 100.64.0.1/32', 'accept all 100.64.0.2/32'],
    },
  },
  {
    name: 'several policies: their union, each rule once',
    policies: [policy([{ from: 'a', to: 'c' }]), policy([{ from: 'ab', to: 'c' }])],
    expect: { a: ['c'], b: ['c'], c: ['ab', 'accept all 100.64.0.1/32', 'accept all 100.64.0.2/32'] },
  },
  {
    name: 'what is disabled does not count',
    policies: [policy([{ from: 'a', to: 'b' }], false), policy([{ from: 'c', to: 'd', enabled: false }])],
    expect: {},
  },
  {
    name: 'a drop rule takes from an accept rule, and stands first',
    policies: [
      policy([
        { from: 'a', to: 'b' },
        { from: 'a', to: 'b', action: 'drop', protocol: 'tcp', ports: [{ start: 22, end: 22 }] },
      ]),
    ],
    expect: { a: ['b'], b: ['a', 'drop tcp 100.64.0.1/32 22-22', 'accept all 100.64.0.1/32'] },
  },
  {
    name: 'a drop rule alone connects nobody',
    policies: [policy([{ from: 'a', to: 'b', action: 'drop', bidirectional: true }])],
    expect: {},
  },
  {
    name: 'a group of nobody connects nobody',
    policies: [policy([{ from: '', to: 'b', bidirectional: true }])],
    expect: {},
  },
];

for (const row of table) {
  t.test(row.name, async (t) => {
    const network = state(row.policies);
    for (const name of [...names, 'gw']) {
      const [visible = '', ...accepted] = row.expect[name] ?? [];
      const map = mapOf(network, name);
      t.equal(sees(map), visible, `${name} sees`);
      t.same(rules(map), accepted, `${name} lets in`);
    }
  });
}

t.test('the filter means what the policy says', async (t) => {
  const network = state([
    policy([
      { from: 'a', to: 'b' },
      { from: 'a', to: 'b', action: 'drop', protocol: 'tcp', ports: [{ start: 22, end: 22 }] },
    ]),
  ]);
  const { filter } = mapOf(network, 'b');
  const [a, c] = [parseIp('100.64.0.1'), parseIp('100.64.0.3')];
  if (a === undefined || c === undefined) throw new TypeError('addresses');
  t.equal(admitsInbound(filter, 'tcp', a, 80), true);
  t.equal(admitsInbound(filter, 'tcp', a, 22), false);
  t.equal(admitsInbound(filter, 'udp', a, 22), true);
  t.equal(admitsInbound(filter, 'tcp', c, 80), false);
});

const publication: Publication = { cluster: 'proxy.test', targetPeer: asId('b'), protocol: 'tcp', ports: { start: 8080, end: 8080 } };

t.test('a gateway sees its targets and nobody else; they let it in at the target port', async (t) => {
  const network = state([policy([{ from: 'ab', to: 'abc' }])], {
    publications: [publication, { ...publication, protocol: 'udp', ports: { start: 53, end: 53 } }],
  });
  const map = mapOf(network, 'gw');
  t.equal(sees(map), 'b');
  t.same(rules(map), [], 'nothing comes in at a gateway');
  t.same(rules(mapOf(network, 'b')).slice(-2), ['accept tcp 100.64.0.99/32 8080-8080', 'accept udp 100.64.0.99/32 53-53']);
  t.equal(sees(mapOf(network, 'c')), 'ab');
});

t.test('a gateway of another cluster, or in a group by mistake, gets nothing', async (t) => {
  const other = peer('gx', { proxyCluster: 'other.test', ipv4: '100.64.0.98' });
  const all: Group = { id: asId('all'), name: 'All', peers: [...names, 'gw', 'gx'].map((name) => asId<PeerId>(name)), resources: [], system: true };
  const everything = { ...policy([]), rules: [{ ...rule({ from: '', to: '' }), sources: [all.id], destinations: [all.id] }] };
  const network = { ...state([]), peers: [peer('a'), peer('b'), gateway, other], groups: [all], policies: [everything], publications: [publication] };
  t.equal(sees(mapOf(network, 'gx')), '');
  t.equal(sees(mapOf(network, 'gw')), 'b');
  t.equal(sees(mapOf(network, 'a')), 'b');
  t.equal(sees(mapOf(network, 'b')), 'agw');
});

t.test('IPv6 is for peers that can use it', async (t) => {
  const base = state([policy([{ from: 'a', to: 'b', bidirectional: true }])]);
  const modern = base.peers.map((entry) => (entry.name === 'a' ? { ...entry, meta: { ...entry.meta, ipv6: true } } : entry));
  const network = { ...base, peers: modern };
  const [a, b] = [mapOf(network, 'a'), mapOf(network, 'b')];
  t.same(a.peers[0]?.allowedIps.map(formatPrefix), ['100.64.0.2/32', 'fd00::2/128']);
  t.same(b.peers[0]?.allowedIps.map(formatPrefix), ['100.64.0.1/32']);
  t.same(rules(a), ['accept all 100.64.0.2/32', 'accept all fd00::2/128']);
  t.same(rules(b), ['accept all 100.64.0.1/32']);
  t.equal(a.self.v6 && formatPrefix(a.self.v6), 'fd00::1/64');
  t.equal(b.self.v6, undefined);
});

t.test('a map names its peers and carries the serial', async (t) => {
  const map = mapOf(state([policy([{ from: 'a', to: 'b' }])]), 'a');
  t.equal(map.serial, 7n);
  t.equal(formatPrefix(map.self.v4), '100.64.0.1/16');
  t.equal(map.self.fqdn, 'a.mesh.test');
  t.match(map.peers, [{ fqdn: 'b.mesh.test', agentVersion: 'v-b' }]);
  t.equal(buildMap(indexNetwork(state([])), asId<PublicKey>('stranger')), undefined);
});
