// Which routing peer carries what: reachability, metric, staying; what a change takes along and what it leaves.
import t from 'tap';
import { formatPrefix, type IpAddress } from '#lib/ip.ts';
import type { PublicKey } from '#model/ids.ts';
import type { Route, Routing } from '#model/routes.ts';
import { MAX_NAMED_ADDRESSES, MAX_PREFIXES_TAKEN } from '../../src/overlay/constants.ts';
import { type Reach, TakenRoutes } from '../../src/overlay/routes-taken.ts';
import { ip, key, prefix } from './words.ts';

const [self, p, q] = [key(1), key(2), key(3)];
const network = [prefix('100.92.0.1/16')];

function route(to: string, peer: PublicKey, change: Partial<Route> = {}): Route {
  const destination: Route['destination'] = /^[0-9a-f:.]+\//.test(to)
    ? { kind: 'prefix', prefix: prefix(to) }
    : { kind: 'domains', domains: to.split(' ') };
  const base = { netId: 'net', metric: 100, masquerade: true, keepAddresses: false, autoApply: true };
  return { id: `${to} ${peer} ${change.netId ?? ''}`, destination, peer, ...base, ...change };
}

function routing(...routes: readonly Route[]): Routing {
  return { routes, rules: [], resolveAtRouter: true, forwarderPort: 5353 };
}

class World {
  readonly reach = new Map<PublicKey, Reach>([
    [p, 'direct'],
    [q, 'direct'],
  ]);
  open: { readonly peer: PublicKey; readonly ip: IpAddress }[] = [];
  now = 0;
  readonly taken: TakenRoutes;

  constructor(exitNodes = false) {
    this.taken = new TakenRoutes({ exitNodes, reach: (peer) => this.reach.get(peer) ?? 'gone', open: () => this.open });
  }

  set(...routes: readonly Route[]): readonly PublicKey[] {
    this.taken.set(routing(...routes), self, network);
    return this.choose();
  }

  choose(): readonly PublicKey[] {
    return [...this.taken.choose(this.now)];
  }

  of(peer: PublicKey): readonly string[] {
    return this.taken.prefixesOf(peer).map((entry) => formatPrefix(entry));
  }

  via(text: string): string | undefined {
    const peer = this.taken.routerOf(ip(text));
    return peer === p ? 'p' : peer === q ? 'q' : undefined;
  }
}

void t.test('the choice among the peers of one route', async (t) => {
  const to = '10.7.0.0/16';
  const cases: readonly (readonly [string, Reach, number, Reach, number, 'p' | 'q' | undefined])[] = [
    ['the lower metric', 'direct', 100, 'direct', 10, 'q'],
    ['a path before the metric', 'direct', 100, 'seeking', 10, 'p'],
    ['one that sleeps can be reached', 'direct', 100, 'idle', 10, 'q'],
    ['the metric before the kind of path', 'direct', 100, 'relay', 10, 'q'],
    ['a direct path before a relay', 'relay', 100, 'direct', 100, 'q'],
    ['a fixed order', 'direct', 100, 'direct', 100, 'p'],
    ['not one that is not there', 'gone', 1, 'seeking', 100, 'q'],
    ['nobody', 'gone', 1, 'gone', 1, undefined],
  ];
  for (const [name, reachP, metricP, reachQ, metricQ, expected] of cases) {
    const world = new World();
    world.reach.set(p, reachP).set(q, reachQ);
    world.set(route(to, p, { metric: metricP }), route(to, q, { metric: metricQ }));
    t.equal(world.via('10.7.1.1'), expected, name);
  }
});

void t.test('whoever carries it goes on, until it is lost or a better one is there', async (t) => {
  const world = new World();
  world.reach.set(p, 'seeking');
  t.same(world.set(route('10.7.0.0/16', p), route('10.7.0.0/16', q)), [q]);
  world.reach.set(p, 'direct');
  t.same(world.choose(), []);
  t.equal(world.via('10.7.1.1'), 'q', 'no better metric');
  world.reach.set(q, 'seeking');
  t.same(new Set(world.choose()), new Set([p, q]));
  t.equal(world.via('10.7.1.1'), 'p');
  world.reach.set(p, 'seeking');
  t.same(world.choose(), [], 'all lost: the last one stays, as its path may be back');
  t.equal(world.via('10.7.1.1'), 'p');
});

void t.test('going back to a better peer leaves open connections where they are; a loss takes them along', async (t) => {
  const world = new World();
  world.reach.set(p, 'seeking');
  const routes = [route('10.7.0.0/16', p, { metric: 1 }), route('10.7.0.0/16', q, { metric: 2 }), route('10.8.0.0/16', q)];
  world.set(...routes);
  world.open = [
    { peer: q, ip: ip('10.7.1.1') },
    { peer: q, ip: ip('10.8.1.1') },
  ];
  world.reach.set(p, 'relay');
  world.choose();
  t.equal(world.via('10.7.1.1'), 'q', 'an open connection');
  t.equal(world.via('10.7.1.2'), 'p', 'everything new');
  t.same(world.of(q), ['10.8.0.0/16', '10.7.1.1/32']);
  world.taken.set(routing(...routes), self, network);
  t.same(world.choose(), [], 'a new map with the same routes changes nothing');
  world.open = [];
  world.choose();
  t.equal(world.via('10.7.1.1'), 'p', 'the connection has ended');
  world.open = [{ peer: p, ip: ip('10.7.1.1') }];
  world.reach.set(p, 'seeking');
  world.choose();
  t.equal(world.via('10.7.1.1'), 'q', 'lost: its connections cannot go on');
  world.open = [{ peer: q, ip: ip('10.7.1.1') }];
  world.reach.set(p, 'relay');
  world.choose();
  world.set(route('10.7.0.0/16', p, { metric: 1 }));
  t.equal(world.via('10.7.1.1'), 'p', 'q is no router any more');
});

void t.test('the longest prefix, exit nodes, the overlay itself, and what we carry ourselves', async (t) => {
  const routes = [
    route('0.0.0.0/0', q, { netId: 'exit' }),
    route('10.0.0.0/8', p, { netId: 'wide' }),
    route('10.7.0.0/16', q, { netId: 'narrow' }),
    route('100.92.0.9/32', q, { netId: 'thief' }),
    route('100.64.0.0/10', q, { netId: 'around' }),
    route('10.9.0.0/16', self, { netId: 'mine' }),
    route('10.9.0.0/16', q, { netId: 'mine' }),
    route('10.9.0.0/16', p, { netId: 'other' }),
  ];
  const world = new World();
  world.set(...routes);
  t.equal(world.via('10.7.0.1'), 'q');
  t.equal(world.via('10.6.0.1'), 'p');
  t.equal(world.via('8.8.8.8'), undefined, 'an exit node is taken only where it is asked for');
  t.notOk(world.of(q).includes('100.92.0.9/32'), 'a route does not take the address of a peer');
  t.ok(world.of(q).includes('100.64.0.0/10'), 'a wider one loses against the peers anyway');
  t.equal(world.via('10.9.0.1'), 'p', 'not by the group that we are a router of');
  const exit = new World(true);
  exit.set(...routes);
  t.equal(exit.via('8.8.8.8'), 'q');
  t.equal(exit.via('100.92.3.3'), undefined, 'what is the overlay’s own and nobody’s');
  exit.set(route('0.0.0.0/0', q, { autoApply: false }), route('::/0', q, { autoApply: false }));
  t.same([exit.via('8.8.8.8'), exit.via('2600::1')], [undefined, undefined], 'an exit node that is not to be taken by itself');
  exit.set(route('0.0.0.0/0', q, { autoApply: false }), route('0.0.0.0/0', p, { metric: 9999 }));
  t.equal(exit.via('8.8.8.8'), 'p', 'another one that may is taken, whatever its metric');
  exit.set(route('10.7.0.0/16', q, { autoApply: false }));
  t.equal(exit.via('10.7.0.1'), 'q', 'what is no exit node is taken');
  for (const special of ['127.0.0.1', '169.254.1.1', '224.0.0.1']) t.equal(exit.via(special), undefined, special);
  exit.set(route('169.254.7.0/24', p));
  t.equal(exit.via('169.254.7.1'), 'p', 'but where a route names it');
  const many = Array.from({ length: MAX_PREFIXES_TAKEN + 5 }, (_, i) => route(`${1 + (i >> 16)}.${(i >> 8) & 255}.${i & 255}.0/24`, p));
  world.set(...many);
  t.equal(world.of(p).length, MAX_PREFIXES_TAKEN);
});

void t.test('what a name stands for leads to the peer that said so', async (t) => {
  const world = new World();
  world.set(route('app.corp.test *.corp.test', p), route('*.deep.corp.test', q, { netId: 'deep' }), route('*.other.test', q, { netId: 'other' }));
  t.equal(world.taken.groupOf('app.corp.test')?.router, p);
  t.equal(world.taken.groupOf('x.deep.corp.test')?.router, q, 'the longer wildcard');
  t.equal(world.taken.groupOf('corp.test'), undefined, 'a wildcard is not its own name');
  const group = world.taken.groupOf('a.corp.test');
  if (group === undefined) throw new TypeError('no group');
  const asked = ['10.7.0.1', '100.92.0.7', '127.0.0.1', '169.254.169.254', '::1', 'fd00::7'].map((text) => ip(text));
  t.same(world.taken.bind(group, p, asked, 60_000), [ip('10.7.0.1'), ip('fd00::7')], 'not into the overlay or this host');
  t.same(world.taken.bind(group, q, asked, 60_000), [], 'q is not in the group');
  t.same(world.choose(), [p]);
  t.equal(world.via('10.7.0.1'), 'p');
  world.now = 60_000;
  world.open = [{ peer: p, ip: ip('10.7.0.1') }];
  world.choose();
  t.equal(world.via('10.7.0.1'), 'p', 'a connection holds it');
  t.equal(world.via('fd00::7'), undefined, 'its time is over');
  world.open = [];
  world.choose();
  t.equal(world.via('10.7.0.1'), undefined);
  const many = Array.from({ length: MAX_NAMED_ADDRESSES + 10 }, (_, i) => ip(`10.${i >> 16}.${(i >> 8) & 255}.${i & 255}`));
  t.equal(world.taken.bind(group, p, many, 120_000).length, MAX_NAMED_ADDRESSES);
  world.choose();
  t.equal(world.of(p).length, MAX_NAMED_ADDRESSES);
  world.set();
  t.same(world.of(p), [], 'the route has gone');
});

void t.test("a name whose router is lost is another router's from then on", async (t) => {
  const world = new World();
  world.set(route('app.corp.test', p, { metric: 1 }), route('app.corp.test', q, { metric: 2 }));
  const group = world.taken.groupOf('app.corp.test');
  if (group === undefined) throw new TypeError('no group');
  world.taken.bind(group, p, [ip('10.7.0.1')], 60_000);
  world.open = [{ peer: p, ip: ip('10.7.0.1') }];
  world.choose();
  world.reach.set(p, 'seeking');
  world.choose();
  t.equal(world.taken.groupOf('app.corp.test')?.router, q);
  t.equal(world.via('10.7.0.1'), undefined, 'until q has said what the name stands for');
  world.taken.bind(group, q, [ip('10.7.0.1')], 60_000);
  world.choose();
  t.equal(world.via('10.7.0.1'), 'q');
});
