// What a browser carries through a sign-in, and what of it is believed on return.
import t from 'tap';
import { randomBytes } from 'node:crypto';
import { loginMs, loginsParallel } from '#identity/constants.ts';
import { LoginStates } from '#identity/login-state.ts';
import { seal, unseal } from '#identity/seal.ts';
import { ManualClock } from '../support/manual-clock.ts';

const cookie = { prefix: '__Host-login-', path: '/' };
const start = (clock = new ManualClock(), key = randomBytes(32)) => ({ clock, states: new LoginStates({ key, clock, cookie }) });
const pair = (setCookie: string): string => setCookie.split(';')[0] ?? '';

t.test('a sign-in comes back with what it began with', async (t) => {
  const { states } = start();
  const begun = states.begin('/page?a=1', undefined);
  const [set = ''] = begun.setCookies;
  t.match(set, /^__Host-login-[\w-]+=[\w-]+; Path=\/; Max-Age=600; Secure; HttpOnly; SameSite=Lax$/);
  const { state, nonce, codeVerifier } = begun;
  const done = states.finish(state, `a=b; ${pair(set)}; c=d`);
  t.match(done, { state, nonce, codeVerifier, target: '/page?a=1' });
  t.match(done?.setCookies, [/Max-Age=0/]);
  t.notOk(set.includes(state) || set.includes(nonce) || set.includes(codeVerifier), 'the browser learns none of it from the cookie');
});

t.test('state of another browser, another attempt or another key does not fit', async (t) => {
  const { states } = start();
  const mine = states.begin('/', undefined);
  const other = states.begin('/', undefined);
  t.equal(states.finish(mine.state, undefined), undefined);
  t.equal(states.finish(mine.state, pair(other.setCookies[0] ?? '')), undefined);
  const renamed = `${pair(mine.setCookies[0] ?? '').split('=')[0]}=${pair(other.setCookies[0] ?? '').split('=')[1]}`;
  t.equal(states.finish(mine.state, renamed), undefined);
  t.equal(start().states.finish(mine.state, pair(mine.setCookies[0] ?? '')), undefined);
  for (const state of ['', '.', 'x'.repeat(53), `${mine.state}x`, mine.state.toUpperCase()])
    t.equal(states.finish(state, pair(mine.setCookies[0] ?? '')), undefined);
});

t.test('after ten minutes it is over', async (t) => {
  const { clock, states } = start();
  const { state, setCookies } = states.begin('/', undefined);
  clock.advance(loginMs - 1);
  t.ok(states.finish(state, pair(setCookies[0] ?? '')));
  clock.advance(1);
  t.equal(states.finish(state, pair(setCookies[0] ?? '')), undefined);
});

t.test('several can be under way; beyond four the oldest is let go', async (t) => {
  const { clock, states } = start();
  const jar: string[] = [];
  for (let i = 0; i < loginsParallel; i++) {
    const { setCookies } = states.begin(`/${i}`, jar.join('; '));
    t.equal(setCookies.length, 1);
    jar.push(pair(setCookies[0] ?? ''));
    clock.advance(1000);
  }
  const fifth = states.begin('/5', jar.join('; '));
  t.equal(fifth.setCookies.length, 2);
  t.ok(fifth.setCookies[0]?.startsWith(`${jar[0]?.split('=')[0]}=;`), 'the oldest is cleared');
});

t.test('a single sealed value serves a caller with one cookie', async (t) => {
  const { states } = start();
  const { value, ...login } = states.seal('/x');
  t.same(states.open(value, login.state), { ...login, target: '/x' });
  t.equal(states.open(value, states.seal('/').state), undefined);
  t.equal(states.open(`${value.slice(0, -2)}AA`, login.state), undefined);
  t.equal(states.open('', login.state), undefined);
  t.equal(states.seal('/'.padEnd(4000, 'x')).value.length < 3900, true, 'fits into a cookie');
});

t.test('sealed text opens with its key and purpose only', async (t) => {
  const key = randomBytes(32);
  t.equal(unseal(key, 'a', seal(key, 'a', 'täxt')), 'täxt');
  t.equal(unseal(key, 'b', seal(key, 'a', 'täxt')), undefined);
  t.equal(unseal(randomBytes(32), 'a', seal(key, 'a', 'täxt')), undefined);
  t.throws(() => seal(randomBytes(16), 'a', ''), { code: 'IDENTITY_BAD_KEY' });
});
