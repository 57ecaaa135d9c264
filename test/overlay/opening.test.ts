// Ways that a routing peer opens before it answers: held, open, refused, given up; and their bounds.
import { type Duplex, duplexPair } from 'node:stream';
import t from 'tap';
import type { DialTarget } from '#lib/net.ts';
import { FLAG, writeTcp } from '#wire/tcp.ts';
import { writeIpv4 } from '#wire/ipv4.ts';
import { writeIpv6 } from '#wire/ipv6.ts';
import { MAX_OPENINGS, MAX_OPENINGS_PER_PEER, OPENING_KEPT_MS } from '../../src/overlay/constants.ts';
import { Openings } from '../../src/overlay/routes-opening.ts';
import { readSyn } from '../../src/overlay/syn.ts';
import { ManualClock } from '../support/manual-clock.ts';
import { seeded } from '../support/seeded.ts';
import { ip } from './words.ts';

interface Asked {
  readonly target: DialTarget;
  readonly signal: AbortSignal;
  readonly open: (upstream: Duplex) => void;
  readonly fail: (error: Error) => void;
}

const turn = (): Promise<void> => new Promise((done) => setImmediate(done));
const at = (address: string, port: number) => ({ ip: ip(address), port });

function world(): { readonly clock: ManualClock; readonly openings: Openings; readonly asked: Asked[] } {
  const clock = new ManualClock();
  const asked: Asked[] = [];
  const openings = new Openings(clock, (target, { signal }) => new Promise((open, fail) => asked.push({ target, signal, open, fail })));
  return { clock, openings, asked };
}

t.test('held until the way is open, then let through and handed over once', async (t) => {
  const { openings, asked } = world();
  const [local, remote] = [at('10.7.0.1', 80), at('100.92.0.2', 1000)];
  let again = 0;
  t.equal(openings.isOpen(local, remote), false);
  t.equal(
    openings.holds(local, remote, () => again++),
    true,
  );
  t.equal(
    openings.holds(local, remote, () => t.fail('the first one is called')),
    true,
    'a repeated SYN',
  );
  t.match(asked, [{ target: { host: '10.7.0.1', port: 80 } }]);
  const upstream = duplexPair()[0];
  asked[0]?.open(upstream);
  await turn();
  t.equal(again, 1);
  t.equal(
    openings.holds(local, remote, () => again++),
    false,
  );
  t.equal(openings.isOpen(local, remote), true);
  t.equal(openings.isOpen(local, at('100.92.0.3', 1000)), false, 'somebody else');
  t.equal(openings.take(local, remote), upstream);
  t.equal(openings.take(local, remote), undefined);
  t.equal(openings.size, 0);
  t.equal(upstream.destroyed, false);
});

t.test('a refusal is told once, and the next try is a new one', async (t) => {
  const { openings, asked } = world();
  const [local, remote] = [at('10.7.0.1', 80), at('100.92.0.2', 1000)];
  let again = 0;
  openings.holds(local, remote, () => again++);
  asked[0]?.fail(new TypeError('refused'));
  await turn();
  t.equal(again, 1);
  t.equal(
    openings.holds(local, remote, () => undefined),
    false,
    'no longer held',
  );
  t.equal(openings.isOpen(local, remote), false, 'so it is refused');
  t.equal(openings.size, 0);
  t.equal(
    openings.holds(local, remote, () => undefined),
    true,
  );
  t.equal(asked.length, 2);
});

t.test('ways that nobody comes for are closed; closing gives up those that are being opened', async (t) => {
  const { clock, openings, asked } = world();
  openings.holds(at('10.7.0.1', 80), at('100.92.0.2', 1000), () => undefined);
  const upstream = duplexPair()[0];
  asked[0]?.open(upstream);
  await turn();
  clock.advance(OPENING_KEPT_MS);
  t.equal(upstream.destroyed, true);
  t.equal(openings.size, 0);
  openings.holds(at('10.7.0.1', 80), at('100.92.0.2', 1001), () => t.fail('closed'));
  openings.close();
  t.equal(asked[1]?.signal.aborted, true);
  const late = duplexPair()[0];
  asked[1]?.open(late);
  await turn();
  t.equal(late.destroyed, true, 'a way that opens too late');
});

t.test('bounded in all and for each caller', async (t) => {
  const { openings, asked } = world();
  const hold = (from: string, port: number): boolean => openings.holds(at('10.7.0.1', 80), at(from, port), () => undefined);
  for (let i = 0; i < MAX_OPENINGS_PER_PEER + 5; i++) t.equal(hold('100.92.0.2', 1000 + i), true);
  t.equal(asked.length, MAX_OPENINGS_PER_PEER);
  for (let i = 0; i < MAX_OPENINGS; i++) hold(`100.92.1.${i & 63}`, 1000 + i);
  t.equal(asked.length, MAX_OPENINGS);
  openings.close();
  t.equal(openings.size, 0);
  hold('100.92.0.2', 1);
  t.equal(openings.size, 1, 'and counted back');
});

t.test('what asks for a connection, and what does not', async (t) => {
  const packet = (flags: number, six: boolean): Uint8Array => {
    const [from, to] = six ? [ip('fd00::2'), ip('fd07::1')] : [ip('100.92.0.2'), ip('10.7.0.1')];
    const header = six ? 40 : 20;
    const bytes = new Uint8Array(header + 20);
    writeTcp(bytes, header, 20, 1000, 80, 1, 0, flags, 0);
    (six ? writeIpv6 : writeIpv4)(bytes, bytes.length, 6, from.bytes, to.bytes);
    return bytes;
  };
  for (const six of [false, true]) {
    t.match(readSyn(packet(FLAG.syn, six)), { local: { port: 80 }, remote: { port: 1000 } });
    for (const flags of [FLAG.ack, FLAG.syn | FLAG.ack, FLAG.rst, FLAG.fin | FLAG.ack, FLAG.syn | FLAG.rst])
      t.equal(readSyn(packet(flags, six)), undefined);
    const whole = packet(FLAG.syn, six);
    for (let length = 0; length < whole.length; length++) t.equal(readSyn(whole.subarray(0, length)), undefined);
  }
  const random = seeded(7);
  for (let i = 0; i < 50_000; i++) {
    const bytes = packet(FLAG.syn, (i & 1) === 1);
    for (let j = 0; j < 2; j++) bytes[Math.floor(random() * bytes.length)] = Math.floor(random() * 256);
    readSyn(bytes);
  }
  t.pass('random bytes throw nothing');
});
