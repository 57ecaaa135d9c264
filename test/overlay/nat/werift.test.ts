// Our agent against werift's own ICE agent, over real UDP on loopback: both role orders, a role conflict, a reflexive address from our STUN
// server, IPv4 and IPv6. werift nominates aggressively, we regularly: each has to live with the other.
import { randomFillSync } from 'node:crypto';
import t, { type Test } from 'tap';
import { Candidate as TheirCandidate, Connection } from 'werift';
import { systemClock } from '#lib/clock.ts';
import { silentLogger } from '#lib/log.ts';
import { createStunServer } from '#server/stun/index.ts';
import { formatCandidate, localCandidate } from '../../../src/overlay/path/ice-candidate.ts';
import { DirectPath, IceRouter } from '../../../src/overlay/path/ice.ts';
import { UdpMux } from '../../../src/overlay/path/udp-mux.ts';
import { until } from '../pair.ts';

t.setTimeout(300_000);

interface Us {
  readonly mux: UdpMux;
  readonly path: DirectPath;
  readonly received: string[];
  readonly announced: string[];
  close(): Promise<void>;
}

async function us(controlling: boolean, address: string): Promise<Us> {
  const router = new IceRouter();
  const received: string[] = [];
  const announced: string[] = [];
  const mux = await UdpMux.open(
    0,
    {
      wireGuard: (run) => received.push(Buffer.from(run).toString()),
      stun: (message, source) => void router.route(message, source),
      turn: () => undefined,
    },
    silentLogger,
  );
  const path = new DirectPath({
    controlling,
    mux: () => mux,
    router,
    clock: systemClock,
    random: (target) => void randomFillSync(target),
    localCandidates: () => [localCandidate('host', { address, port: mux.port }, 65_535)],
    allowed: () => true,
    announce: (text) => announced.push(text),
    changed: () => undefined,
  });
  return {
    mux,
    path,
    received,
    announced,
    close: async () => {
      path.close();
      await mux.close();
    },
  };
}

interface Meeting {
  readonly weControl: boolean;
  readonly theyControl: boolean;
  readonly six?: boolean;
  readonly stunPort?: number;
}

async function meet(
  t: Test,
  { weControl, theyControl, six = false, stunPort }: Meeting,
): Promise<{ readonly ours: Us; readonly theirs: Connection }> {
  const address = six ? '::1' : '127.0.0.1';
  const ours = await us(weControl, address);
  const theirs = new Connection(theyControl, {
    useIpv4: !six,
    useIpv6: six,
    additionalHostAddresses: [address],
    ...(stunPort === undefined ? {} : { stunServer: ['127.0.0.1', stunPort] as [string, number] }),
  });
  t.teardown(async () => {
    await theirs.close();
    await ours.close();
  });
  const { ufrag, pwd } = ours.path.credentials;
  theirs.setRemoteParams({ iceLite: false, usernameFragment: ufrag, password: pwd });
  await theirs.gatherCandidates();
  const started = performance.now();
  ours.path.start({ ufrag: theirs.localUsername, pwd: theirs.localPassword, sessionId: undefined });
  ours.path.announce();
  for (const text of ours.announced) await theirs.addRemoteCandidate(TheirCandidate.fromSdp(text));
  await theirs.addRemoteCandidate(undefined);
  for (const candidate of theirs.localCandidates) ours.path.addRemote(candidate.toSdp());
  await Promise.all([theirs.connect(), until(() => ours.path.up, 10_000)]);
  t.comment(`figure: connected with werift after ${(performance.now() - started).toFixed(0)} ms`);
  const arrived: string[] = [];
  theirs.onData.subscribe((data) => arrived.push(data.toString()));
  await until(() => {
    ours.path.send(Buffer.from('from us'));
    void theirs.send(Buffer.from('from them'));
    return arrived.length > 0 && ours.received.length > 0;
  }, 3000);
  t.equal(arrived[0], 'from us');
  t.equal(ours.received[0], 'from them');
  return { ours, theirs };
}

for (const weControl of [true, false]) {
  void t.test(weControl ? 'we control' : 'werift controls', (t) => meet(t, { weControl, theyControl: !weControl }));
  void t.test(`${weControl ? 'we control' : 'werift controls'}, over IPv6`, (t) => meet(t, { weControl, theyControl: !weControl, six: true }));
  void t.test(`both ${weControl ? 'begin controlling' : 'begin controlled'}: tie-breakers decide`, async (t) => {
    const { ours, theirs } = await meet(t, { weControl, theyControl: weControl });
    await until(() => ours.path.controlling !== theirs.iceControlling, 3000);
    t.pass('one of each');
  });
}

void t.test('a reflexive address from our STUN server, and consent both ways for longer than it lasts', { timeout: 30_000 }, async (t) => {
  const stun = await createStunServer({ host: '127.0.0.1', port: 0, log: silentLogger });
  t.teardown(() => stun.close());
  const { ours, theirs } = await meet(t, { weControl: true, theyControl: false, stunPort: stun.port });
  // werift's own loopback address is its reflexive one too, and it announces both.
  t.ok(theirs.localCandidates.some(({ type, host }) => type === 'srflx' && host === '127.0.0.1'));
  const held = performance.now();
  await until(() => performance.now() - held > 8000, 10_000);
  t.ok(ours.path.up);
  t.match(theirs.state, /^(?:connected|completed)$/);
  const before = ours.received.length;
  await theirs.send(Buffer.from('still there'));
  await until(() => ours.received.length > before, 1000);
});

void t.test('a candidate line of ours is one that werift writes the same', async (t) => {
  const line = formatCandidate(localCandidate('host', { address: '192.0.2.1', port: 7 }, 65_535));
  t.match(TheirCandidate.fromSdp(line), { host: '192.0.2.1', port: 7, type: 'host', component: 1, priority: 2_130_706_431 });
});
