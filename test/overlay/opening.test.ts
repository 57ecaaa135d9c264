// Ways that a routing peer opens before it answers: held, open, refused, given up; and their bounds.
import { type Duplex, duplexPair } from 'node:stream';
import t from 'tap';
import { formatIp } from '#lib/ip.ts';
import type { DialTarget } from '#lib/net.ts';
import { MAX_OPENINGS, OPENING_KEPT_MS, OPENING_MS } from '../../src/overlay/constants.ts';
import { Openings } from '../../src/overlay/openings.ts';
import { ManualClock } from '../support/manual-clock.ts';
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
  const openings = new Openings(
    clock,
    ({ ip, port }, signal) => new Promise((open, fail) => asked.push({ target: { host: formatIp(ip), port }, signal, open, fail })),
  );
  return { clock, openings, asked };
}

t.test('held until the way is open, then let through and handed over once', async (t) => {
  const { openings, asked } = world();
  const [local, remote] = [at('10.7.0.1', 80), at('100.92.0.2', 1000)];
  let again = 0;
  t.equal(openings.judge(local, remote, undefined), 'refuse', 'the last step of a handshake opens nothing');
  t.equal(
    openings.judge(local, remote, () => again++),
    'hold',
  );
  t.equal(
    openings.judge(local, remote, () => t.fail('the first one is called')),
    'hold',
    'a repeated SYN',
  );
  t.match(asked, [{ target: { host: '10.7.0.1', port: 80 } }]);
  const upstream = duplexPair()[0];
  asked[0]?.open(upstream);
  await turn();
  t.equal(again, 1);
  t.equal(
    openings.judge(local, remote, () => again++),
    'accept',
  );
  t.equal(openings.judge(local, remote, undefined), 'accept', 'where nothing but a cookie was kept, too');
  t.equal(openings.judge(local, at('100.92.0.3', 1000), undefined), 'refuse', 'somebody else');
  t.equal(openings.take(local, remote), upstream);
  t.equal(openings.take(local, remote), undefined);
  t.equal(openings.size, 0);
  t.equal(upstream.destroyed, false);
});

t.test('a refusal is told once, and the next try is a new one', async (t) => {
  const { openings, asked } = world();
  const [local, remote] = [at('10.7.0.1', 80), at('100.92.0.2', 1000)];
  let again = 0;
  openings.judge(local, remote, () => again++);
  asked[0]?.fail(new TypeError('refused'));
  await turn();
  t.equal(again, 1);
  t.equal(
    openings.judge(local, remote, () => undefined),
    'refuse',
    'no longer held',
  );
  t.equal(openings.size, 0);
  t.equal(
    openings.judge(local, remote, () => undefined),
    'hold',
  );
  t.equal(asked.length, 2);
});

t.test('ways that nobody comes for are closed; closing gives up those that are being opened', async (t) => {
  const { clock, openings, asked } = world();
  openings.judge(at('10.7.0.1', 80), at('100.92.0.2', 1000), () => undefined);
  const upstream = duplexPair()[0];
  asked[0]?.open(upstream);
  await turn();
  clock.advance(OPENING_KEPT_MS);
  t.equal(upstream.destroyed, true);
  t.equal(openings.size, 0);
  openings.judge(at('10.7.0.1', 80), at('100.92.0.2', 1001), () => t.fail('closed'));
  openings.close();
  t.equal(asked[1]?.signal.aborted, true);
  const late = duplexPair()[0];
  asked[1]?.open(late);
  await turn();
  t.equal(late.destroyed, true, 'a way that opens too late');
});

t.test('what the target says is what the caller hears; silence stays silence, and is not asked again for a while', async (t) => {
  const { clock, openings, asked } = world();
  const local = at('10.7.0.1', 80);
  for (const [index, [code, verdict]] of (
    [
      ['ECONNREFUSED', 'refuse'],
      ['ECONNRESET', 'refuse'],
      ['EHOSTUNREACH', 'unreachable'],
      ['ENETUNREACH', 'unreachable'],
      ['ETIMEDOUT', 'hold'],
    ] as const
  ).entries()) {
    const remote = at('100.92.0.2', 1000 + index);
    openings.judge(local, remote, () => undefined);
    asked[index]?.fail(Object.assign(new Error(code), { code }));
    await turn();
    t.equal(
      openings.judge(local, remote, () => undefined),
      verdict,
      code,
    );
  }
  t.equal(asked.length, 5);
  t.equal(openings.size, 1, 'the silent one');
  const slow = at('100.92.0.2', 2000);
  openings.judge(local, slow, () => undefined);
  clock.advance(OPENING_MS);
  t.equal(asked[5]?.signal.aborted, true, 'a target has its time');
  asked[5]?.fail(Object.assign(new Error('aborted'), { code: 'ABORT_ERR' }));
  await turn();
  t.equal(
    openings.judge(local, slow, () => t.fail('nothing is opened')),
    'hold',
  );
  clock.advance(OPENING_KEPT_MS);
  t.equal(openings.size, 0);
});

t.test('a caller that gives up takes its opening with it', async (t) => {
  const { openings, asked } = world();
  const [local, early, late] = [at('10.7.0.1', 80), at('100.92.0.2', 1000), at('100.92.0.2', 1001)];
  openings.judge(local, early, () => t.fail('nobody is there any more'));
  openings.withdraw(local, early);
  t.equal(asked[0]?.signal.aborted, true, 'while it is opened');
  openings.judge(local, late, () => undefined);
  const way = duplexPair()[0];
  asked[1]?.open(way);
  await turn();
  openings.withdraw(local, late);
  t.equal(way.destroyed, true, 'and when it is open');
  t.equal(openings.size, 0);
});

t.test('bounded in all; one caller leaves as much as he takes, and a newcomer always finds room', async (t) => {
  const { openings, asked } = world();
  const hold = (from: string, port: number): void => {
    if (openings.judge(at('10.7.0.1', 80), at(from, port), () => undefined) !== 'hold') t.fail('a SYN was not held');
  };
  for (let i = 0; i < MAX_OPENINGS; i++) hold('100.92.0.2', i);
  t.equal(asked.length, MAX_OPENINGS / 2, 'half of all for one alone');
  for (let i = 0; i < MAX_OPENINGS; i++) hold('100.92.0.3', i);
  t.equal(asked.length, (MAX_OPENINGS * 3) / 4, 'half of the rest for the next');
  for (let caller = 0; caller < 200; caller++) hold(`100.92.1.${caller}`, 1);
  t.equal(asked.length, (MAX_OPENINGS * 3) / 4 + 200, 'and room for everybody else');
  for (let caller = 0; caller < 64; caller++) for (let i = 0; i < MAX_OPENINGS / 16; i++) hold(`100.92.2.${caller}`, i);
  t.ok(asked.length <= MAX_OPENINGS, 'never more than all');
  openings.close();
  t.equal(openings.size, 0);
  hold('100.92.0.2', 1);
  t.equal(openings.size, 1, 'and counted back');
});
