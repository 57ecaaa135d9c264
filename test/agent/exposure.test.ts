// The life of one exposed service, in virtual time: renewals, outages, lapses and ends.
import t from 'tap';
import { defineErrors } from '#lib/errors.ts';
import type { DialTarget } from '#lib/net.ts';
import type { ExposeAnswer, ExposedService, ExposeRequest } from '#model/exposure.ts';
import { exposeRefusedRetryMs, renewJitter, renewShare } from '../../src/agent/constants.ts';
import { Exposure, type ExposureState, type ExposeResume, type ExposeWish } from '../../src/agent/exposure.ts';
import { ManualClock } from '../support/manual-clock.ts';
import { seeded } from '../support/seeded.ts';

const away = defineErrors('test/exposure', { AWAY: { text: 'The control plane cannot be reached.', origin: 'peer', retry: true, status: 503 } });
const ttlMs = 90_000;

function serviceOf(id: string, more: Partial<ExposedService> = {}): ExposedService {
  const openTo = { everybody: false, signIn: true, groups: [], password: false, pin: false };
  return { id, name: id, url: `https://${id}.test`, domain: `${id}.test`, ttlMs, endsAt: undefined, state: 'active', reason: '', openTo, ...more };
}

const wish: ExposeWish = {
  target: { host: '127.0.0.1', port: 8080 },
  remote: false,
  patient: false,
  request: { protocol: 'http', place: { kind: 'random', name: '' }, listenPort: undefined, access: { kind: 'public' }, endsAfterMs: undefined },
};

/** A control plane whose next answers the test says; by default all is well. */
function world(change: Partial<ExposeWish> = {}, resume?: ExposeResume) {
  const clock = new ManualClock();
  const calls: { readonly what: string; readonly at: number; readonly request?: ExposeRequest }[] = [];
  const answers = {
    expose: (): ExposeAnswer => ({ kind: 'open', service: serviceOf('first') }),
    renew: (id: string): ExposeAnswer => ({ kind: 'open', service: serviceOf(id) }),
  };
  const states: ExposureState[] = [];
  const leads = new Map<number, DialTarget>();
  const exposure = new Exposure({ ...wish, ...change }, resume, {
    control: {
      expose: async (request) => {
        calls.push({ what: 'expose', at: clock.now(), request });
        return answers.expose();
      },
      renewExposure: async (id) => {
        calls.push({ what: `renew ${id}`, at: clock.now() });
        return answers.renew(id);
      },
      stopExposure: async (id) => void calls.push({ what: `stop ${id}`, at: clock.now() }),
    },
    lead: async (target, port) => {
      const own = port ?? target.port;
      leads.set(own, target);
      return { port: own, end: () => void leads.delete(own) };
    },
    clock,
    random: seeded(7),
  });
  exposure.onState((state) => states.push(state));
  const settle = async (): Promise<void> => {
    for (let i = 0; i < 50; i++) await Promise.resolve();
  };
  /** Time passes in small steps, and what was due is done. */
  const pass = async (ms: number): Promise<void> => {
    for (let left = ms; left > 0; left -= 100) {
      clock.advance(Math.min(100, left));
      await settle();
    }
  };
  return { clock, calls, answers, states, leads, exposure, settle, pass };
}

const fail = (): never => {
  throw away('AWAY');
};

void t.test('it is renewed three times in its life and more, never at the same distance', async (t) => {
  const { calls, states, leads, exposure, settle, pass } = world();
  await settle();
  t.match(states, [{ kind: 'open', service: { id: 'first' }, port: 8080, again: false, away: '' }]);
  t.match(calls, [{ what: 'expose', request: { port: 8080, host: undefined } }]);
  t.same(leads.get(8080), wish.target);
  await pass(10 * ttlMs);
  const renewals = calls.filter(({ what }) => what === 'renew first').map(({ at }) => at);
  const gaps = renewals.slice(1).map((at, i) => at - (renewals[i] ?? 0));
  t.ok(
    gaps.every((gap) => gap <= ttlMs * renewShare + 100 && gap >= ttlMs * renewShare * (1 - renewJitter) - 100),
    gaps.join(' '),
  );
  t.ok(new Set(gaps).size > 5, 'jitter');
  t.equal(states.length, 1, 'nothing to tell');
  await exposure.stop();
  t.equal(calls.at(-1)?.what, 'stop first');
  t.match(states.at(-1), { kind: 'ended', reason: 'stopped' });
  t.equal(leads.size, 0, 'and nothing is forwarded any more');
});

void t.test('renewals that fail are tried again, soon and then seldom, and nothing is asked for anew', async (t) => {
  const { calls, answers, states, exposure, settle, pass } = world();
  await settle();
  answers.renew = fail;
  await pass(ttlMs - 10_000);
  const tries = calls.filter(({ what }) => what === 'renew first').length;
  t.ok(tries >= 4, `${tries} tries`);
  t.match(states.at(-1), { kind: 'open', away: 'The control plane cannot be reached.' });
  answers.renew = (id) => ({ kind: 'open', service: serviceOf(id) });
  await pass(20_000);
  t.match(states.at(-1), { kind: 'open', service: { id: 'first' }, again: false, away: '' });
  t.equal(calls.filter(({ what }) => what === 'expose').length, 1);
  await exposure.stop();
});

void t.test('what lapsed meanwhile is asked for anew, and that is said', async (t) => {
  const { answers, states, exposure, settle, pass } = world();
  await settle();
  answers.renew = fail;
  await pass(2 * ttlMs);
  answers.renew = () => ({ kind: 'lapsed' });
  answers.expose = () => ({ kind: 'open', service: serviceOf('second') });
  await pass(20_000);
  t.match(states.slice(-2), [
    { kind: 'asking', reason: 'it had lapsed' },
    { kind: 'open', service: { id: 'second' }, again: true },
  ]);
  await exposure.stop();
});

void t.test('a control plane that is away at the beginning is waited for', async (t) => {
  const { answers, states, exposure, settle, pass } = world();
  answers.expose = fail;
  await settle();
  await pass(30_000);
  t.match(states, [{ kind: 'asking', reason: 'The control plane cannot be reached.' }], 'said once');
  answers.expose = () => ({ kind: 'open', service: serviceOf('first') });
  await pass(20_000);
  t.match(states.at(-1), { kind: 'open', again: false });
  await exposure.stop();
});

void t.test('a refusal is the end, unless it was found: then it is asked for again; what somebody took away stays away', async (t) => {
  for (const patient of [false, true]) {
    const { answers, states, leads, exposure, settle, pass } = world({ patient });
    answers.expose = () => ({ kind: 'refused', reason: 'not permitted' });
    await settle();
    t.match(states.at(-1), { kind: patient ? 'asking' : 'ended', reason: 'not permitted' });
    t.equal(leads.size, patient ? 1 : 0);
    answers.expose = () => ({ kind: 'open', service: serviceOf('first') });
    await pass(exposeRefusedRetryMs + 1_000);
    t.equal(states.at(-1)?.kind, patient ? 'open' : 'ended');
    if (patient) {
      answers.renew = () => ({ kind: 'withdrawn', reason: 'an administrator' });
      await pass(ttlMs);
      t.match(states.at(-1), { kind: 'ended', reason: 'an administrator' });
      t.equal(leads.size, 0);
    }
    await exposure.stop();
  }
});

void t.test('it ends when its time is over', async (t) => {
  const { clock, answers, states, exposure, settle, pass } = world();
  answers.expose = () => ({ kind: 'open', service: serviceOf('first', { endsAt: clock.wall() + 5_000 }) });
  await settle();
  await pass(5_100);
  t.match(states.at(-1), { kind: 'ended', reason: 'its time is over' });
  await exposure.stop();
});

void t.test('it is looked at soon until a gateway serves it', async (t) => {
  const { calls, answers, states, exposure, settle, pass } = world();
  answers.expose = () => ({ kind: 'open', service: serviceOf('first', { state: 'pending', reason: 'not yet' }) });
  answers.renew = (id) => ({ kind: 'open', service: serviceOf(id, { state: 'pending', reason: 'not yet' }) });
  await settle();
  await pass(4_000);
  t.equal(calls.filter(({ what }) => what === 'renew first').length, 3, 'after 0.5, 1 and 2 s more');
  answers.renew = (id) => ({ kind: 'open', service: serviceOf(id) });
  await pass(5_000);
  t.match(states.at(-1), { kind: 'open', service: { state: 'active' } });
  await exposure.stop();
});

void t.test('what was there before a restart goes on; what is not there any more is asked for anew', async (t) => {
  const { calls, states, exposure, settle } = world({}, { id: 'old', port: 23_456 });
  await settle();
  t.match(states, [{ kind: 'open', service: { id: 'old' }, port: 23_456, again: false }]);
  t.match(calls, [{ what: 'renew old' }]);
  await exposure.leave();
  t.equal(calls.length, 1, 'left to whoever goes on with it');
  const later = world({}, { id: 'old', port: 23_456 });
  later.answers.renew = () => ({ kind: 'lapsed' });
  await later.settle();
  t.match(
    later.calls.map(({ what }) => what),
    ['renew old', 'expose'],
  );
  t.match(later.states.at(-1), { kind: 'open', port: 8080 });
  await later.exposure.stop();
});

void t.test('another host is not led through here', async (t) => {
  const { calls, leads, exposure, settle } = world({ remote: true, target: { host: '10.1.0.7', port: 3000 } });
  await settle();
  t.match(calls, [{ what: 'expose', request: { host: '10.1.0.7', port: 3000 } }]);
  t.equal(leads.size, 0);
  await exposure.stop();
});

void t.test('stopped while it is asked for, it is taken away when it has come', async (t) => {
  const { calls, answers, exposure, settle } = world();
  const answer = Promise.withResolvers<ExposeAnswer>();
  answers.expose = () => answer.promise as never;
  await settle();
  const stopped = exposure.stop();
  answer.resolve({ kind: 'open', service: serviceOf('late') });
  await stopped;
  t.equal(calls.at(-1)?.what, 'stop late');
});
