// Two ICE agents in virtual time: finding pairs, nominating, keeping consent, and being lied to.
import t from 'tap';
import { decodeStun, encodeStun } from '#wire/stun.ts';
import { IceAgent, type IceAgentOptions } from '../../src/overlay/path/ice-agent.ts';
import { candidatePriority, formatCandidate, localCandidate, pairPriority, parseCandidate } from '../../src/overlay/path/ice-candidate.ts';
import { hostCandidates } from '../../src/overlay/path/host-addresses.ts';
import type { TransportAddress } from '../../src/overlay/path/path.ts';
import {
  ICE_CHECKING_LIMIT_MS,
  ICE_DISCONNECTED_MS,
  ICE_FAILED_MS,
  ICE_MAX_REFLEXIVE_CANDIDATES,
  ICE_MAX_REMOTE_CANDIDATES,
} from '../../src/overlay/constants.ts';
import { ManualClock } from '../support/manual-clock.ts';
import { seeded, seededBytes } from '../support/seeded.ts';

const credentials = { a: { ufrag: 'aaaa', pwd: 'pwd-of-a' }, b: { ufrag: 'bbbb', pwd: 'pwd-of-b' } };

/** Both agents and a network between them, with its own idea of what arrives and from where. */
class World {
  readonly clock = new ManualClock();
  readonly agents: { readonly a: IceAgent; readonly b: IceAgent };
  /** Where a datagram to an address goes, and the address that it seems to come from; undefined loses it. */
  route: (from: 'a' | 'b', to: TransportAddress) => TransportAddress | undefined;
  sent = 0;
  delayMs = 10;

  constructor(route: World['route']) {
    this.route = route;
    const make = (self: 'a' | 'b', other: 'a' | 'b'): IceAgent => {
      const options: IceAgentOptions = {
        controlling: self === 'a',
        local: credentials[self],
        remote: credentials[other],
        tag: 1,
        random: seededBytes(self === 'a' ? 1 : 2),
        send: (datagram, to) => this.#send(self, other, Buffer.from(datagram), to),
      };
      return new IceAgent(options, 0);
    };
    this.agents = { a: make('a', 'b'), b: make('b', 'a') };
  }

  run(ms: number): void {
    for (let passed = 0; passed < ms; passed += 5) {
      this.clock.advance(5);
      for (const agent of [this.agents.a, this.agents.b]) if (agent.pollAt() <= this.clock.now()) agent.poll(this.clock.now());
    }
  }

  #send(self: 'a' | 'b', other: 'a' | 'b', datagram: Buffer, to: TransportAddress): void {
    this.sent++;
    const from = this.route(self, to);
    if (from === undefined) return;
    this.clock.after(this.delayMs, () => {
      const message = decodeStun(datagram);
      if (message !== undefined) this.agents[other].receive(message, from, this.clock.now());
    });
  }
}

const at = { a: { address: '10.0.0.1', port: 1 }, b: { address: '10.0.0.2', port: 2 } };
const open: World['route'] = (from, to) => (to.address === at[from === 'a' ? 'b' : 'a'].address ? at[from] : undefined);

function exchange(world: World): void {
  for (const [self, other] of [
    ['a', 'b'],
    ['b', 'a'],
  ] as const) {
    const candidate = localCandidate('host', at[self], 65_535);
    world.agents[self].addLocal(candidate, world.clock.now());
    world.agents[other].addRemote(candidate, world.clock.now());
  }
}

t.test('both connect on the only pair that works, and measure it', async (t) => {
  const world = new World(open);
  exchange(world);
  for (const agent of [world.agents.a, world.agents.b]) {
    agent.addRemote(localCandidate('host', { address: '10.9.9.9', port: 9 }, 65_535), 0);
    agent.addRemote(localCandidate('host', { address: '127.0.0.1', port: 9 }, 1), 0);
  }
  world.run(1000);
  t.equal(world.agents.a.state, 'connected');
  t.equal(world.agents.b.state, 'connected');
  t.match(world.agents.a.selected, at.b);
  t.match(world.agents.b.selected, at.a);
  t.ok((world.agents.a.latencyMs ?? 0) >= 20);
});

t.test('where two pairs work, the one of higher priority is nominated', async (t) => {
  const second = { address: '10.0.1.2', port: 2 };
  // b has two addresses and answers from the one that was asked.
  const world = new World((from, to) => {
    if (from === 'a') {
      seemsFrom = to;
      return at.a;
    }
    return seemsFrom;
  });
  let seemsFrom: TransportAddress = at.b;
  world.delayMs = 0;
  world.agents.a.addLocal(localCandidate('host', at.a, 65_535), 0);
  world.agents.b.addLocal(localCandidate('host', at.b, 65_535), 0);
  world.agents.a.addRemote(localCandidate('host', second, 100), 0);
  world.agents.a.addRemote(localCandidate('host', at.b, 65_535), 0);
  world.run(2000);
  t.equal(world.agents.a.state, 'connected');
  t.match(world.agents.a.selected, at.b);
});

t.test('an address that nobody announced becomes a candidate when its checks prove themselves', async (t) => {
  const outer = { address: '192.0.2.77', port: 40_000 };
  // b stands behind a NAT: its packets seem to come from `outer`, and only that reaches it.
  const world = new World((from, to) => {
    if (from === 'b') return to.address === at.a.address ? outer : undefined;
    return to.address === outer.address ? at.a : undefined;
  });
  exchange(world);
  world.run(4000);
  t.equal(world.agents.a.state, 'connected');
  t.match(world.agents.a.selected, { ...outer, kind: 'prflx' });
  t.equal(world.agents.b.state, 'connected');
});

t.test('consent ends after six seconds of silence, comes back with an answer, and fails after twelve', async (t) => {
  const world = new World(open);
  exchange(world);
  world.run(1000);
  world.route = () => undefined;
  world.run(ICE_DISCONNECTED_MS + 4000);
  t.equal(world.agents.a.state, 'disconnected');
  world.route = open;
  world.run(1000);
  t.equal(world.agents.a.state, 'connected');
  t.equal(world.agents.b.state, 'connected');
  world.route = () => undefined;
  world.run(ICE_DISCONNECTED_MS + ICE_FAILED_MS + 4000);
  t.equal(world.agents.a.state, 'failed');
  t.equal(world.agents.b.state, 'failed');
  t.equal(world.agents.a.pollAt(), Infinity);
});

t.test('a third of all packets lost: connected, and consent holds for ten minutes', async (t) => {
  const random = seeded(7);
  const world = new World((from, to) => (random() < 0.33 ? undefined : open(from, to)));
  exchange(world);
  world.run(5000);
  t.equal(world.agents.a.state, 'connected');
  let lost = 0;
  for (let i = 0; i < 600; i++) {
    world.run(1000);
    if (world.agents.a.state !== 'connected' || world.agents.b.state !== 'connected') lost++;
  }
  t.ok(lost < 30, `${lost} of 600 s without consent`);
});

t.test('nothing reachable: failed in time, with a bounded number of checks', async (t) => {
  const world = new World(() => undefined);
  exchange(world);
  for (let i = 0; i < 100; i++) world.agents.a.addRemote(localCandidate('host', { address: `10.1.0.${i + 1}`, port: 1 }, i), 0);
  world.run(ICE_CHECKING_LIMIT_MS + 100);
  t.equal(world.agents.a.state, 'failed');
  t.ok(world.sent <= (ICE_MAX_REMOTE_CANDIDATES + 1) * 12 * 2 && world.sent <= (ICE_CHECKING_LIMIT_MS / 50) * 2 + 10, `${world.sent} checks`);
});

t.test('only what is proven is answered or believed', async (t) => {
  const sent: { readonly datagram: Buffer; readonly to: TransportAddress }[] = [];
  const agent = new IceAgent(
    {
      controlling: true,
      local: credentials.a,
      remote: credentials.b,
      tag: 1,
      random: seededBytes(3),
      send: (datagram, to) => sent.push({ datagram: Buffer.from(datagram), to }),
    },
    0,
  );
  agent.addLocal(localCandidate('host', at.a, 65_535), 0);
  const transactionId = Buffer.alloc(12, 5);
  const receive = (bytes: Uint8Array, from: TransportAddress = at.b): void => {
    const message = decodeStun(bytes);
    if (message !== undefined) agent.receive(message, from, 0);
  };
  const role = { controlling: false, tieBreaker: 1n };
  receive(encodeStun({ class: 'request', transactionId, username: 'aaaa:bbbb', role }, 'guess'));
  receive(encodeStun({ class: 'request', transactionId, username: 'aaaa:cccc', role }, 'pwd-of-a'));
  receive(encodeStun({ class: 'request', transactionId, username: 'aaaa:bbbb', role }));
  receive(encodeStun({ class: 'success', transactionId, mapped: { ip: { family: 4, bytes: Uint8Array.of(1, 2, 3, 4) }, port: 1 } }, 'pwd-of-b'));
  t.equal(sent.length, 0);
  receive(encodeStun({ class: 'request', transactionId, username: 'aaaa:bbbb', role: { controlling: true, tieBreaker: 1n } }, 'pwd-of-a'));
  t.equal(decodeStun(sent[0]?.datagram ?? Buffer.of())?.errorCode, 487, 'both cannot be controlling');
  sent.length = 0;
  for (let i = 0; i < 100; i++) {
    receive(encodeStun({ class: 'request', transactionId, username: 'aaaa:bbbb', role }, 'pwd-of-a'), { address: '10.2.0.1', port: 1000 + i });
  }
  t.equal(sent.filter(({ datagram }) => decodeStun(datagram)?.class === 'success').length, 100, 'all are answered');
  agent.addRemote(localCandidate('host', at.b, 1), 0);
  for (let now = 0; now < 14_000; now += 10) agent.poll(now);
  const checked = new Set(sent.filter(({ datagram }) => decodeStun(datagram)?.class === 'request').map(({ to }) => `${to.address} ${to.port}`));
  t.equal(checked.size, ICE_MAX_REFLEXIVE_CANDIDATES + 1, 'and few remembered');
  const check = sent.find(({ datagram }) => decodeStun(datagram)?.class === 'request');
  const id = decodeStun(check?.datagram ?? Buffer.of())?.transactionId ?? transactionId;
  receive(encodeStun({ class: 'success', transactionId: id }, 'pwd-of-b'), { address: '10.3.0.1', port: 1 });
  t.equal(agent.state, 'checking', 'an answer from elsewhere proves nothing');
});

t.test('candidates: text and priorities', async (t) => {
  const host = localCandidate('host', at.a, 65_535);
  t.equal(host.priority, 2_130_706_431, 'RFC 8445’s own example');
  t.match(parseCandidate(formatCandidate(host)), at.a);
  t.match(parseCandidate('candidate:123 1 UDP 1694498815 192.0.2.5 4000 typ srflx raddr 10.0.0.1 rport 5 ufrag x cid y'), {
    kind: 'srflx',
    port: 4000,
  });
  t.match(parseCandidate('1 1 udp 1 ::ffff:192.0.2.5 4000 typ host'), { address: '192.0.2.5' });
  for (const text of [
    '',
    '1 2 udp 1 192.0.2.5 4000 typ host',
    '1 1 tcp 1 192.0.2.5 4000 typ host',
    '1 1 udp 1 name.local 4000 typ host',
    '1 1 udp 1 224.0.0.1 4000 typ host',
    '1 1 udp 1 0.0.0.0 4000 typ host',
    '1 1 udp 1 255.255.255.255 4000 typ host',
    '1 1 udp 1 169.254.1.1 4000 typ host',
    '1 1 udp 1 fe80::1 4000 typ host',
    '1 1 udp 1 ff02::1 4000 typ host',
    '1 1 udp 1 192.0.2.5 0 typ host',
    '1 1 udp 1 192.0.2.5 65536 typ host',
    '1 1 udp -1 192.0.2.5 1 typ host',
    '1 1 udp 1 192.0.2.5 1 typ other',
    `1 1 udp 1 192.0.2.5 1 typ host ${'x'.repeat(600)}`,
  ]) {
    t.equal(parseCandidate(text), undefined, text.slice(0, 60));
  }
  t.equal(pairPriority(2, 1), (1n << 32n) + 4n + 1n);
  t.ok(candidatePriority('host', 0) > candidatePriority('srflx', 65_535));
  const listed = hostCandidates(['192.0.2.1', '2001:db8::1', '127.0.0.1', '100.92.0.1'], 7, true, (address) => !address.startsWith('100.92.'));
  t.same(
    listed.map(({ address }) => address),
    ['192.0.2.1', '2001:db8::1', '127.0.0.1'],
  );
  t.ok(
    listed.every(({ priority }, i) => i === 0 || priority < (listed[i - 1]?.priority ?? 0)),
    'loopback last',
  );
  t.equal(hostCandidates(['2001:db8::1'], 7, false, () => true).length, 0);
});
