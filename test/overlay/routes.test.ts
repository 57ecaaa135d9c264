// Networks behind peers, over real tunnels: the way through a routing peer, its rules, its names, and another one where it is lost.
import { once } from 'node:events';
import { type Duplex, duplexPair } from 'node:stream';
import t, { type Test } from 'tap';
import { generatePrivateKey } from '#crypto/x25519.ts';
import { formatHostPort } from '#lib/net.ts';
import type { DnsConfig } from '#model/dns.ts';
import type { PacketFilter } from '#model/network-map.ts';
import type { Route, RouteRule, Routing } from '#model/routes.ts';
import type { Carrier, OverlayOptions } from '#overlay/index.ts';
import { decodeDns, DNS_RCODE, encodeDnsAnswer, encodeDnsQuery } from '#wire/dns.ts';
import { mapFor, member, type Member, pathKind, TestSignal, until } from './pair.ts';
import { ip, prefix } from './words.ts';

// A machine with much else to do finds paths late.
t.setTimeout(180_000);

/** Ports behind every router: nobody listens at one, and nobody answers at the other. */
const refusedPort = 9;
const silentPort = 10;

/** What a router's host would have behind it: everything echoes, with the name of the router and the target in front. */
function carrierOf(router: Member, names: Readonly<Record<string, readonly string[]>>, open: Duplex[]): Carrier {
  return {
    dial: async ({ port }, { signal }) => {
      if (port === refusedPort) throw new TypeError('nobody listens there');
      if (port === silentPort) await once(signal, 'abort');
      return duplexPair()[0];
    },
    connection: ({ stream, local }, upstream) => {
      upstream.destroy();
      open.push(stream);
      stream.on('error', () => undefined);
      stream.on('data', (chunk: Buffer) => stream.write(`${router.name} ${formatHostPort(local.address, local.port)}: ${chunk.toString()}`));
    },
    // The one service with UDP: a name server.
    openUdp: (to, received) => ({
      send: (bytes) => {
        const query = decodeDns(bytes);
        if (query === undefined || to.port !== 53) return;
        const found = names[`${to.address} ${query.question?.name ?? ''}`];
        const answer = encodeDnsAnswer(query, found === undefined ? DNS_RCODE.unknownName : DNS_RCODE.ok, (found ?? []).map(ip), 60);
        setImmediate(() => received(answer));
      },
      close: () => undefined,
    }),
    resolve: (name, family) =>
      Promise.resolve(names[name] === undefined ? undefined : { addresses: family === 4 ? names[name] : [], ttlSeconds: 60 }),
  };
}

interface World {
  readonly a: Member;
  readonly b: Member;
  readonly c: Member;
  /** Streams that routers carry. */
  readonly open: Duplex[];
  /** Gives all three the same routes and rules. */
  apply(routes: readonly Route[], rules: readonly RouteRule[], dns?: DnsConfig, filter?: PacketFilter): void;
}

async function world(t: Test, names: Readonly<Record<string, readonly string[]>> = {}, options: Partial<OverlayOptions> = {}): Promise<World> {
  const signal = new TestSignal();
  const [a, b, c] = [await member(signal, 'a', options), await member(signal, 'b', options), await member(signal, 'c', options)];
  t.teardown(() => Promise.all([a, b, c].map(({ overlay }) => overlay.close())));
  const open: Duplex[] = [];
  for (const router of [b, c]) router.overlay.carry(carrierOf(router, names, open));
  const apply: World['apply'] = (routes, rules, dns, filter = { kind: 'rules', rules: [] }) => {
    const routing: Routing = { routes, rules, resolveAtRouter: true, forwarderPort: 5353 };
    for (const self of [a, b, c]) self.overlay.apply({ ...mapFor(self, [a, b, c], filter), routing, ...(dns === undefined ? {} : { dns }) });
  };
  return { a, b, c, open, apply };
}

function route(to: string, router: Member, metric = 100): Route {
  const destination: Route['destination'] = to.includes('/') ? { kind: 'prefix', prefix: prefix(to) } : { kind: 'domains', domains: to.split(' ') };
  const base = { netId: to, masquerade: true, keepAddresses: false, autoApply: true };
  return { ...base, id: `${to} ${router.name}`, destination, peer: router.publicKey, metric };
}

function allow(from: Member, to: string, change: Partial<RouteRule> = {}): RouteRule {
  const destination: RouteRule['destination'] = to.includes('/')
    ? { kind: 'prefix', prefix: prefix(to) }
    : { kind: 'domains', domains: to.split(' ') };
  const base = { action: 'accept', protocol: 'all', ports: undefined, routeId: '' } as const;
  return { ...base, sources: [prefix(`${from.address}/32`)], destination, ...change };
}

const dial = (from: Member, host: string, port: number): Promise<Duplex> =>
  from.overlay.dial({ host, port }, { signal: AbortSignal.timeout(40_000) });

async function says(stream: Duplex, text: string): Promise<string> {
  // It may end later, with its router.
  if (stream.listenerCount('error') === 0) stream.on('error', () => undefined);
  const answer = once(stream, 'data');
  stream.write(text);
  return String((await answer)[0]);
}

const connected = (of: Member, to: Member): boolean => pathKind(of, to) !== undefined;

t.test('a dial into a routed network goes through its router, as far as the rules say', async (t) => {
  const { a, b, c, apply } = await world(t);
  apply([route('10.7.0.0/16', b), route('10.8.0.0/16', c)], [allow(a, '10.7.1.0/24', { ports: { start: 80, end: 80 } }), allow(a, '10.8.0.0/16')]);
  const stream = await dial(a, '10.7.1.5', 80);
  t.equal(await says(stream, 'hello'), 'b 10.7.1.5:80: hello');
  t.equal(await says(await dial(a, '10.8.0.1', 443), 'hello'), 'c 10.8.0.1:443: hello');
  await t.rejects(dial(a, '10.7.1.5', 81), { code: 'ECONNREFUSED' }, 'a port without a rule');
  await t.rejects(dial(a, '10.7.2.5', 80), { code: 'ECONNREFUSED' }, 'an address without a rule');
  await t.rejects(dial(c, '10.7.1.5', 80), { code: 'ECONNREFUSED' }, 'a peer without a rule');
  await t.rejects(dial(a, '10.9.1.5', 80), { code: 'EHOSTUNREACH' }, 'nobody leads there');
  t.match(a.overlay.status().routes, [
    { to: '10.7.0.0/16', router: b.publicKey },
    { to: '10.8.0.0/16', router: c.publicKey },
  ]);
});

t.test('a connection is open when its destination is: one that refuses refuses, one that is silent is silent', async (t) => {
  const { a, b, apply } = await world(t);
  apply([route('10.7.0.0/16', b)], [allow(a, '10.7.0.0/16')]);
  await t.rejects(dial(a, '10.7.0.1', refusedPort), { code: 'ECONNREFUSED' });
  await t.rejects(a.overlay.dial({ host: '10.7.0.1', port: silentPort }, { signal: AbortSignal.timeout(2500) }), { code: 'ABORT_ERR' });
  t.equal(await says(await dial(a, '10.7.0.1', 80), 'x'), 'b 10.7.0.1:80: x');
});

t.test('a change of rules or routes ends what it concerns, and nothing else', async (t) => {
  const { a, b, c, apply } = await world(t);
  const routes = [route('10.7.0.0/16', b), route('10.8.0.0/16', b), route('10.9.0.0/16', c)];
  apply(routes, [allow(a, '10.7.0.0/16'), allow(a, '10.8.0.0/16'), allow(a, '10.9.0.0/16')]);
  const [seven, eight, nine] = [await dial(a, '10.7.0.1', 80), await dial(a, '10.8.0.1', 80), await dial(a, '10.9.0.1', 80)];
  const sevenEnds = once(seven, 'error');
  apply(routes, [allow(a, '10.8.0.0/16'), allow(a, '10.9.0.0/16')]);
  t.match((await sevenEnds)[0], { code: 'ECONNRESET' }, 'its rule has gone');
  t.equal(await says(eight, 'still'), 'b 10.8.0.1:80: still');
  const eightEnds = once(eight, 'error');
  apply([route('10.7.0.0/16', b), route('10.9.0.0/16', c)], [allow(a, '10.8.0.0/16'), allow(a, '10.9.0.0/16')]);
  t.match((await eightEnds)[0], { code: 'EHOSTUNREACH' }, 'its route has gone');
  t.equal(await says(nine, 'still'), 'c 10.9.0.1:80: still');
  const nineEnds = once(nine, 'error');
  apply([route('10.9.0.0/16', c)], [allow(a, '10.9.0.0/16')], undefined, {
    kind: 'rules',
    rules: [{ direction: 'out', action: 'drop', protocol: 'tcp', peer: prefix('10.9.0.0/24'), ports: { start: 80, end: 90 } }],
  });
  t.match((await nineEnds)[0], { code: 'ECONNRESET' }, 'we are forbidden to go there');
  await t.rejects(dial(a, '10.9.0.1', 80), { code: 'ECONNREFUSED' });
  t.equal(await says(await dial(a, '10.9.0.1', 91), 'x'), 'c 10.9.0.1:91: x');
});

t.test('the next router takes over where one is lost, and gives back without cutting anything', { timeout: 90_000 }, async (t) => {
  const { a, b, c, apply } = await world(t);
  const routes = [route('10.7.0.0/16', b, 1), route('10.7.0.0/16', c, 2), route('10.8.0.0/16', c)];
  apply(routes, [allow(a, '10.7.0.0/16'), allow(a, '10.8.0.0/16')]);
  await until(() => connected(a, b) && connected(a, c), 10_000);
  const other = await dial(a, '10.8.0.1', 80);
  const first = await dial(a, '10.7.0.1', 80);
  t.equal(await says(first, 'x'), 'b 10.7.0.1:80: x', 'the lower metric');
  const ended = once(first, 'error');
  b.port.blocked = true;
  const lostAt = performance.now();
  t.match((await ended)[0], { code: 'EHOSTUNREACH' }, 'its way is gone');
  const second = await dial(a, '10.7.0.1', 80);
  t.equal(await says(second, 'x'), 'c 10.7.0.1:80: x');
  t.comment(`figure: another router carries after ${(performance.now() - lostAt).toFixed(0)} ms without a packet`);
  b.port.blocked = false;
  await until(() => a.overlay.status().routes.some(({ router }) => router === b.publicKey), 60_000);
  t.equal(await says(await dial(a, '10.7.0.2', 80), 'x'), 'b 10.7.0.2:80: x', 'back at the better one');
  t.equal(await says(second, 'still'), 'c 10.7.0.1:80: still', 'open connections stay where they are');
  t.equal(await says(other, 'still'), 'c 10.8.0.1:80: still', 'and were never concerned');
});

t.test('a router that leaves the map is replaced at once', async (t) => {
  const { a, b, c, apply } = await world(t);
  apply([route('10.7.0.0/16', b, 1), route('10.7.0.0/16', c, 2)], [allow(a, '10.7.0.0/16')]);
  await until(() => connected(a, b) && connected(a, c), 10_000);
  const stream = await dial(a, '10.7.0.1', 80);
  const ended = once(stream, 'error');
  const routing: Routing = {
    routes: [route('10.7.0.0/16', b, 1), route('10.7.0.0/16', c, 2)],
    rules: [],
    resolveAtRouter: true,
    forwarderPort: 5353,
  };
  a.overlay.apply({ ...mapFor(a, [a, c], { kind: 'rules', rules: [] }), routing });
  await ended;
  t.equal(await says(await dial(a, '10.7.0.1', 80), 'x'), 'c 10.7.0.1:80: x');
});

t.test('names of routes are resolved at the router, for those with a rule; wildcards too', async (t) => {
  const { a, b, c, apply } = await world(t, {
    'wiki.corp.test': ['10.20.0.1'],
    'deep.in.corp.test': ['10.20.0.2'],
    'evil.corp.test': ['127.0.0.1', '100.92.0.1'],
  });
  apply([route('*.corp.test', b)], [allow(a, '*.corp.test', { ports: { start: 443, end: 443 } })]);
  t.equal(await says(await dial(a, 'Wiki.Corp.test.', 443), 'x'), 'b 10.20.0.1:443: x');
  t.equal(await says(await dial(a, 'deep.in.corp.test', 443), 'x'), 'b 10.20.0.2:443: x');
  await t.rejects(dial(a, 'wiki.corp.test', 80), { code: 'ECONNREFUSED' }, 'a port without a rule');
  await t.rejects(dial(a, 'none.corp.test', 443), { code: 'EHOSTUNREACH' });
  await t.rejects(dial(a, 'evil.corp.test', 443), { code: 'EHOSTUNREACH' }, 'a name that leads to where no name may');
  await t.rejects(dial(a, 'corp.test', 443), { code: 'EHOSTUNREACH' }, 'not below the wildcard');
  await t.rejects(dial(c, 'wiki.corp.test', 443), { code: 'EAI_AGAIN' }, 'the router answers only those with a rule');
  await t.rejects(dial(a, '10.20.0.9', 443), { code: 'EHOSTUNREACH' }, 'an address that no name stands for');
});

t.test('a router that starts anew is asked again for its names', async (t) => {
  const signal = new TestSignal();
  const a = await member(signal, 'a');
  const privateKey = generatePrivateKey();
  const before = await member(signal, 'b', { privateKey });
  t.teardown(() => a.overlay.close());
  const names = { 'wiki.corp.test': ['10.20.0.1'] };
  const routing: Routing = { routes: [route('*.corp.test', before)], rules: [allow(a, '*.corp.test')], resolveAtRouter: true, forwarderPort: 22_054 };
  const start = (b: Member): void => {
    b.overlay.carry(carrierOf(b, names, []));
    for (const self of [a, b]) self.overlay.apply({ ...mapFor(self, [a, b], { kind: 'rules', rules: [] }), routing });
  };
  start(before);
  t.equal(await says(await dial(a, 'wiki.corp.test', 443), 'x'), 'b 10.20.0.1:443: x');
  await before.overlay.close();
  const after = { ...(await member(signal, 'b', { privateKey })), address: before.address };
  t.teardown(() => after.overlay.close());
  start(after);
  const begun = performance.now();
  let answer = '';
  while (answer === '') {
    // What is still under way to the one that was closed fails; whoever dials again gets through.
    answer = await a.overlay.dial({ host: 'wiki.corp.test', port: 443 }, { signal: AbortSignal.timeout(3000) }).then(
      (stream) => says(stream, 'x'),
      () => '',
    );
    if (performance.now() - begun > 25_000) break;
  }
  t.equal(answer, 'b 10.20.0.1:443: x');
  t.comment(`figure: a name is reached ${(performance.now() - begun).toFixed(0)} ms after its router started anew`);
});

t.test('names of zones, of peers, and of a name server behind a router', async (t) => {
  const { a, b, c, apply } = await world(t, { '10.7.0.53 db.corp.test': ['10.7.0.9'] });
  const dns: DnsConfig = {
    zones: [
      {
        domain: 'mesh.test',
        authoritative: true,
        searchDisabled: false,
        records: [
          { name: 'app.mesh.test', type: 'A', ttlSeconds: 300, data: '10.7.0.7' },
          { name: 'alias.mesh.test', type: 'CNAME', ttlSeconds: 300, data: 'db.corp.test' },
        ],
      },
    ],
    nameServerGroups: [{ servers: [{ ip: ip('10.7.0.53'), port: 53 }], primary: false, domains: ['corp.test'], searchDomains: false }],
  };
  apply([route('10.7.0.0/16', b)], [allow(a, '10.7.0.0/16')], dns, {
    kind: 'rules',
    rules: [{ direction: 'in', action: 'accept', protocol: 'tcp', peer: undefined, ports: undefined }],
  });
  t.equal(await says(await dial(a, 'app.mesh.test', 80), 'x'), 'b 10.7.0.7:80: x');
  t.equal(await says(await dial(a, 'app', 80), 'x'), 'b 10.7.0.7:80: x', 'a short name');
  t.equal(await says(await dial(a, 'db.corp.test', 5432), 'x'), 'b 10.7.0.9:5432: x', 'asked through the tunnel');
  t.equal(await says(await dial(a, 'alias.mesh.test', 5432), 'x'), 'b 10.7.0.9:5432: x');
  c.overlay.accept(
    () => true,
    ({ stream }) => void stream.end('c itself'),
  );
  for (const name of ['c.mesh.test', 'c', 'C.mesh.test.']) t.equal(String((await once(await dial(a, name, 1), 'data'))[0]), 'c itself', name);
  await t.rejects(dial(a, 'nobody.mesh.test', 80), { code: 'EHOSTUNREACH' });
  await t.rejects(dial(a, 'not a name', 80), { code: 'EHOSTUNREACH' });
});

t.test('a lazy router is woken by the first dial', async (t) => {
  const { a, b, apply } = await world(t, {}, { lazy: true });
  apply([route('10.7.0.0/16', b)], [allow(a, '10.7.0.0/16')]);
  t.equal(await says(await dial(a, '10.7.0.1', 80), 'x'), 'b 10.7.0.1:80: x');
});

t.test('IPv6: a routed prefix over IPv6 overlay addresses', async (t) => {
  const { a, b } = await world(t);
  const six = (of: Member): string => `fd00::${of.address.split('.')[3] ?? ''}`;
  const rules = [allow(a, 'fd07::/64', { sources: [prefix(`${six(a)}/128`)] })];
  for (const self of [a, b]) {
    const map = mapFor(self, [a, b], { kind: 'rules', rules: [] });
    const peers = map.peers.map((peer) => ({ ...peer, allowedIps: [...peer.allowedIps, prefix(`${six(self === a ? b : a)}/128`)] }));
    const routing: Routing = { routes: [route('fd07::/64', b)], rules, resolveAtRouter: true, forwarderPort: 5353 };
    self.overlay.apply({ ...map, self: { ...map.self, v6: prefix(`${six(self)}/64`) }, peers, routing });
  }
  t.equal(await says(await dial(a, 'fd07::5', 80), 'x'), 'b [fd07::5]:80: x');
  await t.rejects(dial(a, 'fd08::5', 80), { code: 'EHOSTUNREACH' });
});

t.test('an exit node is taken only by those who ask for one, and leads to nothing special', async (t) => {
  for (const exitNodes of [false, true]) {
    const { a, b, apply } = await world(t, {}, { exitNodes });
    apply([route('0.0.0.0/0', b)], [allow(a, '0.0.0.0/0')]);
    if (!exitNodes) {
      await t.rejects(dial(a, '198.51.100.1', 80), { code: 'EHOSTUNREACH' });
      continue;
    }
    t.equal(await says(await dial(a, '198.51.100.1', 80), 'x'), 'b 198.51.100.1:80: x');
    for (const special of ['169.254.169.254', '224.0.0.1', '127.0.0.1']) await t.rejects(dial(a, special, 80), { code: 'EHOSTUNREACH' }, special);
    await t.rejects(dial(a, '100.92.255.1', 80), { code: 'EHOSTUNREACH' }, 'an overlay address that no peer has');
  }
});

t.test('UDP through a router, as far as the rules say', async (t) => {
  const { a, b, apply } = await world(t, { '10.7.0.53 db.corp.test': ['10.7.0.9'] });
  apply([route('10.7.0.0/16', b)], [allow(a, '10.7.0.53/32', { protocol: 'udp', ports: { start: 53, end: 53 } })]);
  await until(() => connected(a, b), 10_000);
  const got = Promise.withResolvers<string>();
  const heard: string[] = [];
  const socket = await a.overlay.bindUdp(0, (bytes, from) => {
    const answer = decodeDns(bytes);
    heard.push(formatHostPort(from.address, from.port));
    got.resolve(String(answer?.answers.length));
  });
  t.teardown(() => socket.close());
  const query = encodeDnsQuery(7, { name: 'db.corp.test', type: 1 }) ?? new Uint8Array(0);
  for (const [address, port] of [
    ['10.7.0.54', 53],
    ['10.7.0.53', 54],
    ['10.7.0.53', 53],
  ] as const)
    socket.send(query, { address, port });
  t.equal(await got.promise, '1');
  t.same(heard, ['10.7.0.53:53'], 'and nothing from where no rule leads');
});
