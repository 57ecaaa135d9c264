// ICE in virtual time: loss, repetition, reordering, trickle, conflicts of roles, relays, and NATs that change their mind.
import t from 'tap';
import { decodeStun, encodeStun, type StunMessage } from '#wire/stun.ts';
import { candidatePriority, localCandidate } from '../../../src/overlay/path/ice-candidate.ts';
import { ICE_CHECKING_LIMIT_MS, ICE_CONSENT_BUSY_MS, ICE_MAX_PAIRS, PATH_MOVED_MS } from '../../../src/overlay/constants.ts';
import { IceAgent } from '../../../src/overlay/path/ice-agent.ts';
import { CheckList } from '../../../src/overlay/path/ice-checklist.ts';
import type { TransportAddress } from '../../../src/overlay/path/path.ts';
import { seeded, seededBytes } from '../../support/seeded.ts';
import { at, fakeBase, IceWorld, open, other, type Route, type Side } from './ice-world.ts';

t.setTimeout(300_000);

void t.test('20 % loss, repetition and reordering, both role orders, late candidates: 200 seeds connect, and stay so', async (t) => {
  const times: number[] = [];
  let interruptions = 0;
  for (let seed = 1; seed <= 200; seed++) {
    const aControls = seed % 2 === 0;
    const world = new IceWorld(open, { seed, loss: 0.2, duplicate: 0.1, delayMs: [5, 150], controlling: { a: aControls, b: !aControls } });
    world.exchange([0, 1500]);
    for (let i = 0; i < 6; i++) world.announce('a', localCandidate('host', { address: `10.9.0.${i + 1}`, port: 9 }, 60_000), 300 * i);
    times.push(world.run(ICE_CHECKING_LIMIT_MS, () => world.connected));
    if (!world.connected) t.fail(`seed ${seed} did not connect`);
    world.run(60_000);
    interruptions += world.states.filter(({ state }) => state === 'disconnected').length;
    if (!world.connected) t.fail(`seed ${seed}: ${world.agents.a.state} and ${world.agents.b.state} after a minute`);
  }
  times.sort((x, y) => x - y);
  t.comment(
    `figure: 20 % loss: half connected after ${times[100]} ms, all after ${times[199]} ms; ${interruptions} interruptions of consent in 200 minutes`,
  );
  t.ok(interruptions <= 2, `${interruptions} interruptions`);
});

void t.test('both claim one role: tie-breakers leave one of each, whatever is lost', async (t) => {
  for (let seed = 1; seed <= 40; seed++) {
    const same = seed % 2 === 0;
    const world = new IceWorld(open, { seed, loss: 0.2, delayMs: [5, 60], controlling: { a: same, b: same } });
    world.exchange();
    world.run(ICE_CHECKING_LIMIT_MS, () => world.connected);
    if (!world.connected || world.agents.a.controlling === world.agents.b.controlling) t.fail(`seed ${seed}: ${world.agents.a.state}`);
  }
  t.pass('40 conflicts settled');
});

/** Both behind NATs: what they announce is not where they are seen, and each lets in only whom it has sent to. */
function natted(outer: Record<Side, TransportAddress>): Route {
  const sentTo: Record<Side, Set<string>> = { a: new Set(), b: new Set() };
  const name = (x: TransportAddress): string => `${x.address} ${x.port}`;
  return (self, to) => {
    const seen = { ...outer[self] };
    sentTo[self].add(`${name(seen)} ${name(to)}`);
    const target = outer[other[self]];
    const reached = name(to) === name(target) && sentTo[other[self]].has(`${name(target)} ${name(seen)}`);
    return reached ? { from: seen } : undefined;
  };
}

void t.test('peer-reflexive at either side: one address is not announced', async (t) => {
  for (const hidden of ['a', 'b'] as const) {
    const outer = { a: { address: '192.0.2.1', port: 41_000 }, b: { address: '192.0.2.2', port: 42_000 } };
    // The other one's NAT lets everybody in, or the hidden one could never meet it.
    const strict = natted(outer);
    const world = new IceWorld((self, to, base, request) => {
      const strictly = strict(self, to, base, request);
      return self === hidden && to.address === outer[other[self]].address ? { from: outer[self] } : strictly;
    });
    for (const side of ['a', 'b'] as const) {
      world.agents[side].addLocal(localCandidate('host', at[side], 65_535), 0);
      if (side !== hidden) world.announce(side, localCandidate('srflx', outer[side], 65_535));
    }
    world.run(5000, () => world.connected);
    t.ok(world.connected);
    t.match(world.agents[other[hidden]].selected, { kind: 'prflx', ...outer[hidden] });
  }
});

for (const moves of ['a', 'b'] as const) {
  void t.test(`the NAT of the ${moves === 'a' ? 'controlling' : 'controlled'} side gives another mapping: the pair follows`, async (t) => {
    const times: number[] = [];
    for (let seed = 1; seed <= 20; seed++) {
      const outer: Record<Side, TransportAddress> = { a: { address: '192.0.2.1', port: 41_000 }, b: { address: '192.0.2.2', port: 42_000 } };
      const world = new IceWorld(natted(outer), { seed, loss: 0.05, delayMs: [10, 30] });
      for (const side of ['a', 'b'] as const) {
        world.agents[side].addLocal(localCandidate('host', at[side], 65_535), 0);
        world.announce(side, localCandidate('srflx', { ...outer[side] }, 65_535));
      }
      world.run(5000, () => world.connected);
      world.run(3000 + seed * 100);
      // The other one is behind a NAT that asks only for the address: a stricter one needs a new run.
      outer[moves] = { address: outer[moves].address, port: 50_000 + seed };
      const loose: Route = (self, to) => {
        const target = outer[other[self]];
        return to.address === target.address && to.port === target.port ? { from: { ...outer[self] } } : undefined;
      };
      world.route = loose;
      times.push(world.run(12_000, () => world.agents[other[moves]].selected?.port === outer[moves].port));
      world.run(10_000);
      if (!world.connected) t.fail(`seed ${seed}: ${world.agents.a.state}, ${world.agents.b.state}`);
    }
    times.sort((x, y) => x - y);
    t.comment(
      `figure: followed a new mapping of the ${moves === 'a' ? 'controlling' : 'controlled'} side after ${times[10]} ms (median), ${times[19]} ms (worst)`,
    );
    t.ok((times[19] ?? 0) < 8000);
  });
}

void t.test('where the controlling side does not follow, the controlled one begins anew soon', async (t) => {
  let seen: TransportAddress = at.b;
  const world = new IceWorld((self, to) => (self === 'b' ? { from: seen } : to.address === at.b.address ? { from: at.a } : undefined));
  world.exchange();
  world.run(1000, () => world.connected);
  // Stock peers answer the check from the new address, and go on sending to the old one.
  const before = world.route;
  world.route = (self, to, base, request) => (self === 'a' && request ? undefined : before(self, to, base, request));
  seen = { address: '10.0.0.2', port: 998 };
  const noticed = world.run(12_000, () => world.agents.b.state === 'failed');
  t.ok(noticed < 4000 + PATH_MOVED_MS + 500, `${noticed} ms`);
});

void t.test('a relay is taken only when nothing better came, and left when something does', async (t) => {
  const base = fakeBase('turn test');
  const relayed = { address: '192.0.2.99', port: 50_000 };
  let direct = false;
  const world = new IceWorld((self, to, from, request) => {
    if (self === 'a' && from === base) return { from: relayed };
    if (self === 'b' && to.address === relayed.address) return { from: at.b, base };
    return direct ? open(self, to, from, request) : undefined;
  });
  world.exchange();
  world.announce('a', { ...localCandidate('relay', relayed, 65_535), base });
  const took = world.run(10_000, () => world.connected);
  t.ok(took >= 800 && took < 3000, `${took} ms: other pairs had their time`);
  t.ok(world.agents.a.relayed && world.agents.b.relayed);
  t.equal(world.agents.a.pair?.base, base);
  t.equal(world.agents.b.pair?.base, undefined);
  direct = true;
  // A candidate that comes late makes the direct way be tried again.
  world.announce('b', localCandidate('host', { address: at.b.address, port: 3 }, 65_000));
  world.announce('a', localCandidate('host', { address: at.a.address, port: 3 }, 65_000));
  world.run(10_000, () => !world.agents.a.relayed && !world.agents.b.relayed);
  t.ok(world.connected && !world.agents.a.relayed && !world.agents.b.relayed, 'direct now, without a restart');
});

void t.test('a relayed address that is lost takes its pair with it', async (t) => {
  const base = fakeBase('turn test');
  const relayed = { address: '192.0.2.99', port: 50_000 };
  const world = new IceWorld((self, to, from) => {
    if (self === 'a') return from === base ? { from: relayed } : undefined;
    return to.address === relayed.address ? { from: at.b, base } : undefined;
  });
  world.exchange();
  world.announce('a', { ...localCandidate('relay', relayed, 65_535), base });
  world.run(10_000, () => world.connected);
  t.ok(world.connected);
  world.agents.a.removeBase(base, world.clock.now());
  t.equal(world.agents.a.state, 'disconnected');
});

void t.test('after the end of candidates, checks that all failed are the end', async (t) => {
  const world = new IceWorld(() => undefined);
  world.exchange();
  world.run(100);
  world.agents.a.endRemote();
  const failed = world.run(ICE_CHECKING_LIMIT_MS + 1000, () => world.agents.a.state === 'failed');
  t.ok(failed < ICE_CHECKING_LIMIT_MS, `${failed} ms`);
});

void t.test('IPv4 pairs with IPv4, IPv6 with IPv6, relays with what they may reach; the list stays bounded', async (t) => {
  const list = new CheckList(true);
  const bases = [undefined, fakeBase('one'), fakeBase('two')];
  for (const base of bases) {
    for (const address of ['192.0.2.1', '2001:db8::1']) {
      list.addLocal(
        { ...localCandidate(base === undefined ? 'host' : 'relay', { address, port: 1 }, 65_535), ...(base === undefined ? {} : { base }) },
        0,
      );
    }
  }
  list.addRemote(localCandidate('host', { address: '127.0.0.1', port: 1 }, 1), 0);
  t.equal(list.pairs.length, 1, 'nothing behind a relay is on this host');
  list.addRemote(localCandidate('host', { address: '2001:db8::2', port: 1 }, 1), 0);
  t.equal(list.pairs.length, 4);
  const random = seeded(5);
  for (let i = 0; i < 500; i++) {
    list.addRemote(localCandidate('host', { address: `198.51.100.${i % 250}`, port: 1 + i }, Math.floor(random() * 65_535)), 0);
    list.pairOf({ address: `203.0.113.${i % 250}`, port: i + 1, base: bases[i % 3] }, candidatePriority('prflx', 1), 0);
  }
  t.ok(list.pairs.length <= ICE_MAX_PAIRS, `${list.pairs.length} pairs`);
  t.ok(
    list.pairs.every((pair, i) => i === 0 || pair.priority <= (list.pairs[i - 1]?.priority ?? 0n)),
    'best first',
  );
  const before = list.pairs.map((pair) => pair.priority);
  list.setRole(false);
  t.notSame(
    list.pairs.map((pair) => pair.priority),
    before,
    'priorities depend on the roles',
  );
});

void t.test('NetBird’s names of a pair are sent back turned round, and sent to nobody else', async (t) => {
  const sent: StunMessage[] = [];
  const agent = new IceAgent(
    {
      controlling: true,
      local: { ufrag: 'aaaa', pwd: 'pwd-of-a' },
      remote: { ufrag: 'bbbb', pwd: 'pwd-of-b' },
      tag: 1,
      random: seededBytes(1),
      send: (datagram) => {
        const message = decodeStun(Buffer.from(datagram));
        if (message !== undefined) sent.push(message);
      },
    },
    0,
  );
  agent.addLocal(localCandidate('host', at.a, 65_535), 0);
  agent.addRemote(localCandidate('host', at.b, 65_535), 0);
  agent.poll(0);
  t.equal(sent[0]?.candidatePair, undefined, 'a first check names nothing');
  const role = { controlling: false, tieBreaker: 1n };
  const check = encodeStun(
    { class: 'request', transactionId: Buffer.alloc(12, 5), username: 'aaaa:bbbb', role, candidatePair: 'theirs:ours' },
    'pwd-of-a',
  );
  const request = decodeStun(check);
  if (request !== undefined) agent.receive(request, at.b, 10);
  t.match(sent[1], { class: 'success', candidatePair: 'ours:theirs' });
  agent.poll(300);
  t.match(sent.at(-1), { class: 'request', candidatePair: 'ours:theirs' });
});

void t.test('consent is asked for sooner while something is being sent', async (t) => {
  const world = new IceWorld(open);
  world.exchange();
  world.run(2000, () => world.connected);
  world.run(100);
  const { a } = world.agents;
  const idle = a.pollAt() - world.clock.now();
  t.ok(idle > ICE_CONSENT_BUSY_MS, `${idle} ms`);
  t.equal(a.noteSent(world.clock.now()), true);
  t.equal(a.noteSent(world.clock.now()), false, 'once is enough until the next answer');
  t.ok(a.pollAt() - world.clock.now() <= ICE_CONSENT_BUSY_MS);
});
