// Networks behind many peers: what a map costs grows with what the peer may reach, not with what others may.
import t from 'tap';
import { formatPrefix, parseIp, prefixContains, type IpAddress } from '#lib/ip.ts';
import { asId, type GroupId, type PeerId, type PublicKey } from '#model/ids.ts';
import type { NetworkResource, NetworkRouter } from '#model/network-plan.ts';
import type { Group, Peer, Policy } from '#model/network.ts';
import { MapEncoder } from '#server/management/map-bytes.ts';
import { buildMap } from '../../../src/server/netmap/build.ts';
import { emptyPlan } from '../../../src/server/netmap/plan.ts';
import { indexNetwork } from '../../../src/server/netmap/snapshot.ts';
import { coverOf } from '../../../src/server/netmap/sources.ts';
import { seeded } from '../../support/seeded.ts';

function peer(index: number): Peer {
  return {
    id: asId(`p${index}`),
    publicKey: asId(`key-${index}`),
    name: `p${index}`,
    dnsLabel: `p${index}`,
    ipv4: `100.64.${index >> 8}.${index & 255}`,
    ipv6: '',
    meta: { hostname: '', os: '', osVersion: '', kernel: '', platform: '', version: '0.70.0', uiVersion: '', ipv6: false },
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
  };
}

const [peerCount, resourceCount] = [2_000, 500];
const peers = Array.from({ length: peerCount }, (_, index) => peer(index));
const all: Group = { id: asId('all'), name: 'All', peers: peers.map(({ id }) => id), resources: [], system: true };
const things = asId<GroupId>('things');
const resources = Array.from({ length: resourceCount }, (_, index): NetworkResource => ({
  id: asId(`r${index}`),
  networkId: asId('n'),
  name: `r${index}`,
  description: '',
  type: 'host',
  address: `10.0.${index >> 8}.${index & 255}/32`,
  enabled: true,
  groups: [things],
}));
const router: NetworkRouter = {
  id: asId('w'),
  networkId: asId('n'),
  peer: asId<PeerId>('p0'),
  peerGroups: [],
  metric: 1,
  masquerade: true,
  enabled: true,
};
const policy: Policy = {
  id: asId('p'),
  name: 'p',
  description: '',
  enabled: true,
  rules: [
    {
      id: 'r',
      name: 'r',
      description: '',
      enabled: true,
      action: 'accept',
      bidirectional: false,
      protocol: 'tcp',
      ports: [{ start: 443, end: 443 }],
      sources: [all.id],
      destinations: [things],
    },
  ],
};

t.test(`${resourceCount} resources for ${peerCount} peers`, async (t) => {
  const begun = performance.now();
  const snapshot = indexNetwork({
    serial: 1n,
    dnsDomain: 'mesh.test',
    networkBits: { v4: 16, v6: 64 },
    peers,
    groups: [all, { id: things, name: 'things', peers: [], resources: resources.map(({ id }) => id), system: false }],
    policies: [policy],
    publications: [],
    plan: { ...emptyPlan, resources, routers: [router] },
  });
  const indexed = performance.now();
  const encoder = new MapEncoder();
  const mapOf = (name: string) => {
    const map = buildMap(snapshot, asId<PublicKey>(name));
    if (map === undefined) throw new TypeError(name);
    return { map, bytes: encoder.encode(map).bytes.length };
  };
  const client = mapOf('key-7');
  const asked = performance.now();
  const led = mapOf('key-0');
  const done = performance.now();
  t.equal(client.map.routing?.routes.length, resourceCount);
  t.equal(client.map.routing?.rules.length, 0);
  t.equal(client.map.peers.length, 1, 'the router and nobody else');
  t.equal(led.map.routing?.rules.length, resourceCount);
  t.equal(led.map.peers.length, peerCount - 1);
  const [first] = led.map.routing?.rules ?? [];
  t.same(first?.sources.map(formatPrefix), ['100.64.0.0/16'], 'nobody else is there: one range is enough');
  t.equal(first?.destination.kind === 'prefix' ? formatPrefix(first.destination.prefix) : '', '10.0.0.0/32');
  t.equal(led.map.routing?.rules[1]?.sources, first?.sources, 'the sources are listed once');
  t.comment(`figure: indexing took ${(indexed - begun).toFixed(0)} ms`);
  t.comment(`figure: a client's map took ${(asked - indexed).toFixed(1)} ms and has ${client.bytes} bytes`);
  t.comment(`figure: the router's map took ${(done - asked).toFixed(1)} ms and has ${led.bytes} bytes`);
});

const addresses = (texts: readonly string[]): readonly IpAddress[] => texts.flatMap((text) => parseIp(text) ?? []);
const cover = (inside: readonly string[], outside: readonly string[], bits = 16): unknown =>
  coverOf(addresses(inside), addresses(outside), bits)?.map(formatPrefix);

t.test('ranges hold all sources and nobody else', async (t) => {
  t.same(cover([], ['100.64.0.1']), []);
  t.same(cover(['100.64.0.1'], []), ['100.64.0.0/16']);
  t.same(cover(['100.64.0.1'], ['100.64.128.1']), ['100.64.0.0/17']);
  t.same(cover(['100.64.0.2', '100.64.0.3'], ['100.64.0.1']), ['100.64.0.2/31']);
  t.same(cover(['100.64.0.0', '100.64.0.2'], ['100.64.0.1', '100.64.0.3']), ['100.64.0.0/32', '100.64.0.2/32']);
  t.same(cover(['100.64.0.1'], ['100.65.0.1', 'fd00::1']), ['100.64.0.0/16'], 'what is elsewhere does not count');
  t.equal(cover(['100.64.0.1', '100.65.0.1'], []), undefined, 'not of one network');
  t.same(cover(['100.64.0.1', '100.64.0.2'], ['100.64.0.1']), ['100.64.0.2/31'], 'an address on both sides is not let in');
  t.same(cover(['fd00::1'], ['fd00::2'], 64), ['fd00::/127']);
  const random = seeded(20_261_123);
  for (let round = 0; round < 50; round++) {
    const taken = [...new Set(Array.from({ length: 400 }, () => Math.floor(random() * 65_536)))].map((host) => `100.64.${host >> 8}.${host & 255}`);
    const cut = Math.floor(random() * taken.length) + 1;
    const [inside, outside] = [addresses(taken.slice(0, cut)), addresses(taken.slice(cut))];
    const covers = coverOf(inside, outside, 16) ?? [];
    const holds = (address: IpAddress): boolean => covers.some((prefix) => prefixContains(prefix, address));
    if (!inside.every(holds) || outside.some(holds) || covers.length > inside.length) t.fail(`round ${round}`);
  }
  t.pass('50 networks of 400 peers');
});
