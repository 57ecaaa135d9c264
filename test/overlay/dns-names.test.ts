// What a name stands for: who is asked, in which order, how often, and how long an answer is kept.
import t from 'tap';
import { formatIp, type IpAddress } from '#lib/ip.ts';
import type { DnsConfig, DnsRecord, NameServer } from '#model/dns.ts';
import type { PublicKey } from '#model/ids.ts';
import type { Route } from '#model/routes.ts';
import { decodeDns, DNS_TYPE, encodeDnsAnswer } from '#wire/dns.ts';
import { MAX_CACHED_ANSWERS, MAX_OPEN_QUESTIONS, QUESTION_ATTEMPTS, QUESTION_RETRY_MS } from '../../src/overlay/constants.ts';
import { Names } from '../../src/overlay/dns-names.ts';
import { Questions } from '../../src/overlay/dns-questions.ts';
import { type Reach, TakenRoutes } from '../../src/overlay/routes-taken.ts';
import { ManualClock } from '../support/manual-clock.ts';
import { seededBytes } from '../support/seeded.ts';
import { ip, key, prefix } from './words.ts';

const [self, p, q] = [key(1), key(2), key(3)];
const never = new AbortController().signal;

/** What a server says of a name: addresses, a code, or nothing at all. */
type Says = readonly string[] | number | 'silence';

/** Names over servers that answer from a table, by `address name`. */
class World {
  readonly clock = new ManualClock();
  readonly asked: string[] = [];
  readonly says = new Map<string, Says>();
  readonly reach = new Map<PublicKey, Reach>();
  ttlSeconds = 60;
  readonly taken = new TakenRoutes({ exitNodes: false, reach: (peer) => this.reach.get(peer) ?? 'direct', open: () => [] });
  readonly questions: Questions;
  readonly names: Names;

  constructor(dns: DnsConfig | undefined, routes: readonly Route[] = [], resolveAtRouter = true, families: readonly (4 | 6)[] = [4]) {
    this.questions = new Questions({
      clock: this.clock,
      random: seededBytes(5),
      open: (server, received) => ({ send: (bytes) => this.#answer(server, bytes, received), close: () => undefined }),
    });
    this.names = new Names({
      clock: this.clock,
      taken: this.taken,
      ask: (servers, question, signal) => this.questions.ask(servers, question, signal),
      forwarderOf: (router) => ({ ip: ip(router === p ? '100.92.0.2' : '100.92.0.3'), port: 5353 }),
      bound: () => void this.taken.choose(this.clock.now()),
    });
    this.taken.set({ routes, rules: [], resolveAtRouter, forwarderPort: 5353 }, self, [prefix('100.92.0.1/16')]);
    this.taken.choose(0);
    this.names.set(dns, resolveAtRouter, families);
  }

  async find(name: string): Promise<readonly string[]> {
    return (await this.names.resolve(name, never)).map((address) => formatIp(address));
  }

  #answer(server: NameServer, bytes: Uint8Array, received: (bytes: Uint8Array) => void): void {
    const query = decodeDns(bytes);
    const name = query?.question?.name ?? '';
    this.asked.push(`${formatIp(server.ip)} ${name}`);
    const says = this.says.get(`${formatIp(server.ip)} ${name}`) ?? 3;
    if (query === undefined || says === 'silence') return;
    const family = query.question?.type === DNS_TYPE.a ? 4 : 6;
    const addresses: readonly IpAddress[] = typeof says === 'number' ? [] : says.map(ip).filter((address) => address.family === family);
    const answer = encodeDnsAnswer(query, typeof says === 'number' ? says : 0, addresses, this.ttlSeconds);
    queueMicrotask(() => received(answer));
  }
}

const record = (name: string, type: DnsRecord['type'], data: string): DnsRecord => ({ name, type, data, ttlSeconds: 300 });
const group = (server: string, domains: readonly string[], change: object = {}) => ({
  servers: server.split(' ').map((text) => ({ ip: ip(text), port: 53 })),
  domains,
  primary: domains.length === 0,
  searchDomains: false,
  ...change,
});
const route = (domains: string, peer: PublicKey, metric = 1): Route => ({
  id: `${domains} ${peer}`,
  netId: domains,
  destination: { kind: 'domains', domains: domains.split(' ') },
  peer,
  metric,
  masquerade: true,
  keepAddresses: false,
  autoApply: true,
});

const zones: DnsConfig['zones'] = [
  {
    domain: 'mesh.test',
    authoritative: true,
    searchDisabled: false,
    records: [
      record('db.mesh.test', 'A', '100.92.0.9'),
      record('db.mesh.test', 'AAAA', 'fd00::9'),
      record('db.mesh.test', 'A', '100.92.0.10'),
      record('*.db.mesh.test', 'CNAME', 'db.mesh.test'),
      record('www.mesh.test', 'CNAME', 'site.outside.test'),
      record('loop.mesh.test', 'CNAME', 'loop.mesh.test'),
    ],
  },
  { domain: 'own.test', authoritative: false, searchDisabled: true, records: [record('a.own.test', 'A', '10.1.1.1')] },
];

void t.test('zones: records, one label by a star, aliases, and what is not there', async (t) => {
  const world = new World({ zones, nameServerGroups: [group('9.9.9.9', [])] }, [], true, [4, 6]);
  world.says.set('9.9.9.9 site.outside.test', ['203.0.113.5']).set('9.9.9.9 b.own.test', ['203.0.113.6']);
  t.same(await world.find('db.mesh.test'), ['100.92.0.9', '100.92.0.10', 'fd00::9']);
  t.same(await world.find('shard1.db.mesh.test'), ['100.92.0.9', '100.92.0.10', 'fd00::9']);
  t.same(await world.find('a.b.db.mesh.test'), [], 'a star is one label');
  t.same(await world.find('none.mesh.test'), [], 'an authoritative zone has the last word');
  t.same(await world.find('loop.mesh.test'), [], 'aliases end');
  t.same(await world.find('a.own.test'), ['10.1.1.1']);
  t.same(world.asked, [], 'nobody was asked for any of these');
  t.same(await world.find('www.mesh.test'), ['203.0.113.5'], 'an alias that leads out');
  t.same(await world.find('b.own.test'), ['203.0.113.6'], 'a zone that is not the last word');
  t.same(world.names.searchDomains, ['mesh.test']);
});

void t.test('nameserver groups: the closest match, servers in turn, the primary last', async (t) => {
  const world = new World({
    zones: [],
    nameServerGroups: [
      group('9.9.9.9', []),
      group('10.7.0.53', ['corp.test']),
      group('10.8.0.53 10.8.0.54', ['deep.corp.test'], { searchDomains: true }),
    ],
  });
  for (const server of ['9.9.9.9', '10.7.0.53', '10.8.0.53'])
    for (const name of ['x.deep.corp.test', 'corp.test', 'out.test']) world.says.set(`${server} ${name}`, ['203.0.113.1']);
  await world.find('x.deep.corp.test');
  await world.find('corp.test');
  await world.find('out.test');
  t.same(world.asked.splice(0), ['10.8.0.53 x.deep.corp.test', '10.7.0.53 corp.test', '9.9.9.9 out.test']);
  t.same(world.names.searchDomains, ['deep.corp.test']);
  world.says.set('10.8.0.53 y.deep.corp.test', 2).set('10.8.0.54 y.deep.corp.test', ['203.0.113.2']);
  t.same(await world.find('y.deep.corp.test'), ['203.0.113.2'], 'a server that fails');
  world.says.set('10.8.0.53 z.deep.corp.test', 'silence').set('10.8.0.54 z.deep.corp.test', ['203.0.113.3']);
  const waiting = world.find('z.deep.corp.test');
  await new Promise((resolve) => setImmediate(resolve));
  world.clock.advance(QUESTION_RETRY_MS);
  t.same(await waiting, ['203.0.113.3'], 'a server that is silent');
  const alone = new World({ zones: [], nameServerGroups: [group('10.7.0.53', ['corp.test'])] });
  t.same(await alone.find('out.test'), [], 'no primary: nobody is asked');
  t.same(alone.asked, []);
  t.same(await new World(undefined).find('out.test'), []);
});

void t.test('servers that all stay silent, and callers that give up', async (t) => {
  const world = new World({ zones: [], nameServerGroups: [group('10.7.0.53 10.7.0.54', ['corp.test'])] });
  for (const server of ['10.7.0.53', '10.7.0.54']) world.says.set(`${server} a.corp.test`, 'silence');
  const waiting = world.find('a.corp.test');
  const refused = t.rejects(waiting, { code: 'EAI_AGAIN' });
  for (let i = 0; i < 2 * QUESTION_ATTEMPTS; i++) {
    await new Promise((resolve) => setImmediate(resolve));
    world.clock.advance(QUESTION_RETRY_MS);
  }
  await refused;
  t.equal(world.asked.length, 2 * QUESTION_ATTEMPTS);
  const leaving = new AbortController();
  const left = world.names.resolve('a.corp.test', leaving.signal);
  const stays = world.find('a.corp.test');
  leaving.abort();
  await t.rejects(left, { code: 'ABORT_ERR' });
  world.names.close();
  await t.rejects(stays, { code: 'ABORT_ERR' });
});

void t.test('answers are kept while they are good, unknown names for a short time, failures not at all; one question for all', async (t) => {
  const world = new World({ zones: [], nameServerGroups: [group('9.9.9.9', [])] });
  world.says.set('9.9.9.9 a.test', ['203.0.113.1']);
  await Promise.all([world.find('a.test'), world.find('a.test'), world.find('a.test')]);
  world.clock.advance(59_999);
  await world.find('a.test');
  t.equal(world.asked.length, 1);
  world.clock.advance(1);
  await world.find('a.test');
  t.equal(world.asked.splice(0).length, 2);
  t.same(await world.find('none.test'), []);
  t.same(await world.find('none.test'), []);
  t.equal(world.asked.length, 1);
  world.clock.advance(5000);
  await world.find('none.test');
  t.equal(world.asked.splice(0).length, 2);
  world.says.set('9.9.9.9 bad.test', 2);
  await t.rejects(world.find('bad.test'), { code: 'EAI_AGAIN' });
  world.says.set('9.9.9.9 bad.test', ['203.0.113.7']);
  t.same(await world.find('bad.test'), ['203.0.113.7']);
  world.asked.length = 0;
  world.names.set({ zones: [], nameServerGroups: [group('9.9.9.9', [])] }, true, [4]);
  await world.find('a.test');
  t.equal(world.asked.length, 0, 'the same servers: what they said goes on');
  world.says.set('8.8.8.8 a.test', ['203.0.113.8']);
  world.names.set({ zones: [], nameServerGroups: [group('8.8.8.8', [])] }, true, [4]);
  t.same(await world.find('a.test'), ['203.0.113.8']);
});

void t.test('the cache and the questions are bounded', async (t) => {
  const world = new World({ zones: [], nameServerGroups: [group('9.9.9.9', [])] });
  for (let i = 0; i < MAX_CACHED_ANSWERS + 10; i++) {
    world.says.set(`9.9.9.9 n${i}.test`, ['203.0.113.1']);
    await world.find(`n${i}.test`);
  }
  world.asked.length = 0;
  await world.find(`n${MAX_CACHED_ANSWERS + 9}.test`);
  t.equal(world.asked.length, 0);
  await world.find('n0.test');
  t.equal(world.asked.length, 1, 'the oldest was forgotten');
  for (let i = 0; i < MAX_OPEN_QUESTIONS; i++) {
    world.says.set(`9.9.9.9 s${i}.test`, 'silence');
    world.find(`s${i}.test`).catch(() => undefined);
  }
  await t.rejects(world.find('one-more.test'), { code: 'ENOBUFS' });
  world.names.close();
});

void t.test('routed names are asked for at their routing peer, and lead there', async (t) => {
  const routes = [route('*.corp.test', p), route('*.corp.test', q, 2)];
  const world = new World({ zones: [], nameServerGroups: [group('9.9.9.9', [])] }, routes);
  world.says.set('100.92.0.2 wiki.corp.test', ['10.7.0.1', '127.0.0.1', '100.92.0.7']).set('100.92.0.3 wiki.corp.test', ['10.7.0.1']);
  t.same(await world.find('wiki.corp.test'), ['10.7.0.1'], 'no address of the overlay or of this host');
  t.equal(world.taken.routerOf(ip('10.7.0.1')), p);
  t.same(world.asked, ['100.92.0.2 wiki.corp.test']);
  world.reach.set(p, 'seeking');
  world.taken.choose(world.clock.now());
  t.same(await world.find('wiki.corp.test'), ['10.7.0.1']);
  t.equal(world.taken.routerOf(ip('10.7.0.1')), q, 'the other router, which learns the name by being asked');
  t.same(world.asked, ['100.92.0.2 wiki.corp.test', '100.92.0.3 wiki.corp.test']);
  world.asked.length = 0;
  await world.find('wiki.corp.test');
  t.same(world.asked, [], 'kept');
  world.names.forgetRouter(q);
  await world.find('wiki.corp.test');
  world.names.forgetName('wiki.corp.test');
  await world.find('wiki.corp.test');
  world.names.forgetRouter(p);
  world.names.forgetName('corp.test');
  await world.find('wiki.corp.test');
  t.equal(world.asked.splice(0).length, 2, 'asked again where the way to the router is another, or nobody answered');
  world.ttlSeconds = 7200;
  world.names.forgetRouter(q);
  await world.find('wiki.corp.test');
  world.clock.advance(60_000);
  await world.find('wiki.corp.test');
  t.equal(world.asked.length, 2, 'what a router says is kept for a minute at most');
  const plain = new World({ zones: [], nameServerGroups: [group('9.9.9.9', [])] }, routes, false);
  plain.says.set('9.9.9.9 wiki.corp.test', ['10.7.0.1']);
  t.same(await plain.find('wiki.corp.test'), ['10.7.0.1'], 'a network whose routing peers do not resolve');
  t.equal(plain.taken.routerOf(ip('10.7.0.1')), p);
  const lost = new World(undefined, []);
  t.same(await lost.find('wiki.corp.test'), []);
});
