// What a gateway may believe about sessions and tokens, for how long, and what ends it.
import t, { type Test } from 'tap';
import { silentLogger } from '#lib/log.ts';
import { tokenDigest } from '#crypto/tokens.ts';
import { asId, type PublicKey, type ServiceId, type SessionId, type UserId } from '#model/ids.ts';
import type { Session, SessionAuthority, SessionLookup, TokenCheck } from '#model/identity.ts';
import {
  authorityMs,
  authorityParallel,
  missTableSize,
  sessionFreshMs,
  sessionGraceMs,
  sessionMissMs,
  sessionTableSize,
  sessionWaitMs,
} from '#identity/constants.ts';
import { SessionCache, sessionKey, type EndedTrust } from '#identity/session-cache.ts';
import { ManualClock } from '../support/manual-clock.ts';

const app = asId<ServiceId>('app');
const ada = asId<UserId>('ada');
const id = (text: string): SessionId => asId<SessionId>(text);
const never = new AbortController().signal;

function start(t: Test) {
  const clock = new ManualClock();
  const answers = new Map<string, SessionLookup | TokenCheck>();
  const ended: EndedTrust[] = [];
  const state = { asked: 0, away: false, hold: undefined as Promise<void> | undefined };
  const answer = async (key: string): Promise<SessionLookup | TokenCheck | undefined> => {
    state.asked++;
    const found = answers.get(key);
    await state.hold;
    if (state.away) throw new TypeError('no connection');
    return found;
  };
  const authority: SessionAuthority = {
    createSession: async () => ({ kind: 'refused', why: 'token_invalid' }),
    findSession: async (session) => ((await answer(session)) as SessionLookup | undefined) ?? { kind: 'none', why: 'unknown' },
    verifyPeer: async (key) => ((await answer(key)) as TokenCheck | undefined) ?? { kind: 'denied', why: 'token_invalid' },
    endSession: async () => undefined,
    verifyServiceToken: async (plain) => ((await answer(plain)) as TokenCheck | undefined) ?? { kind: 'denied', why: 'token_invalid' },
  };
  const cache = new SessionCache({ authority, clock, log: silentLogger });
  cache.onEnd((one) => ended.push(one));
  t.teardown(() => cache.close());
  const session = (name: string, expiresInMs = 24 * 3_600_000, serviceId = app): Session => ({
    id: id(name),
    serviceId,
    identity: { userId: ada, email: 'ada@example.com', name: 'Ada', groups: [], method: 'oidc' },
    createdAt: clock.wall(),
    expiresAt: clock.wall() + expiresInMs,
    idleMs: undefined,
  });
  const add = (name: string, expiresInMs?: number): void => void answers.set(name, { kind: 'live', session: session(name, expiresInMs) });
  const find = (name: string) => cache.findSession(id(name), app, never);
  return { clock, answers, ended, state, cache, session, add, find };
}

const settle = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

t.test('a known session costs no promise and no question', async (t) => {
  const { state, add, find } = start(t);
  add('s');
  t.match(await find('s'), { kind: 'live' });
  t.notOk(find('s') instanceof Promise);
  t.equal(state.asked, 1);
});

t.test('parallel requests of a new session ask once', async (t) => {
  const { state, add, find } = start(t);
  add('s');
  const found = await Promise.all([find('s'), find('s'), find('s')]);
  t.equal(found.filter((one) => one.kind === 'live').length, 3);
  t.equal(state.asked, 1);
});

t.test('a session just made is known at once', async (t) => {
  const { state, cache, session, find } = start(t);
  cache.remember(session('s'), cache.revision);
  t.match(find('s'), { kind: 'live' });
  t.equal(state.asked, 0);
});

t.test('after 30 seconds it still serves while it is asked for in the background', async (t) => {
  const { clock, state, answers, ended, add, find } = start(t);
  add('s');
  await find('s');
  clock.advance(sessionFreshMs);
  answers.set('s', { kind: 'none', why: 'revoked' });
  t.match(find('s'), { kind: 'live' }, 'nobody waits');
  await settle();
  t.equal(state.asked, 2);
  t.match(find('s'), { kind: 'none', why: 'revoked' });
  t.match(ended, [{ kind: 'session', sessionKey: sessionKey('s'), reason: 'revoked' }]);
});

t.test('after 90 seconds without use the answer is waited for', async (t) => {
  const { clock, answers, add, find } = start(t);
  add('s');
  await find('s');
  clock.advance(sessionWaitMs);
  answers.delete('s');
  t.match(await find('s'), { kind: 'none' });
});

t.test('a session ends at its hour though nobody asks', async (t) => {
  const { clock, ended, add, find } = start(t);
  add('s', 10_000);
  await find('s');
  clock.advance(11_000);
  t.match(ended, [{ kind: 'session', reason: 'expired' }], 'the sweep has seen it');
  add('t', 500);
  await find('t');
  clock.advance(500);
  t.match(find('t'), { kind: 'none', why: 'expired' });
});

t.test('a "no such session" is believed for a short time only', async (t) => {
  const { clock, state, add, find } = start(t);
  t.match(await find('s'), { kind: 'none', why: 'unknown' });
  add('s');
  t.match(find('s'), { kind: 'none' });
  t.equal(state.asked, 1);
  clock.advance(sessionMissMs);
  t.match(await find('s'), { kind: 'live' });
});

t.test('a revocation ends a session, a user, a service before it returns', async (t) => {
  for (const revocation of [
    { kind: 'session', digest: sessionKey('s') },
    { kind: 'user', userId: ada },
    { kind: 'service', serviceId: app },
  ] as const) {
    const { cache, ended, answers, add, find } = start(t);
    add('s');
    await find('s');
    answers.delete('s');
    cache.revoke(revocation);
    t.match(ended, [{ sessionKey: sessionKey('s'), userId: ada, serviceId: app, reason: 'revoked' }], revocation.kind);
    t.match(await find('s'), { kind: 'none' });
  }
});

t.test('a revocation leaves what it does not name', async (t) => {
  const { cache, ended, add, find } = start(t);
  add('s');
  await find('s');
  cache.revoke({ kind: 'session', digest: sessionKey('other') });
  cache.revoke({ kind: 'user', userId: asId<UserId>('bob') });
  cache.revoke({ kind: 'service', serviceId: asId<ServiceId>('other') });
  t.match(find('s'), { kind: 'live' });
  t.same(ended, []);
});

t.test('an answer that was on its way when the revocation came is not believed', async (t) => {
  const { cache, state, add, find } = start(t);
  add('s');
  let release = (): void => undefined;
  state.hold = new Promise((resolve) => (release = resolve));
  const found = find('s');
  cache.revoke({ kind: 'user', userId: ada });
  release();
  t.match(await found, { kind: 'none', why: 'revoked' });
  t.equal(cache.size, 0);
});

t.test('while the authority is away known sessions go on for an hour, unknown ones are refused', async (t) => {
  const { clock, state, ended, add, find } = start(t);
  add('s');
  await find('s');
  state.away = true;
  clock.advance(sessionWaitMs);
  t.match(await find('s'), { kind: 'live' });
  t.match(find('s'), { kind: 'live' }, 'the next ones do not even wait');
  await t.rejects(Promise.resolve(find('unknown')), { code: 'IDENTITY_AUTHORITY_UNREACHABLE' });
  clock.advance(sessionGraceMs - sessionWaitMs - 2);
  t.match(find('s'), { kind: 'live' });
  await settle();
  clock.advance(2);
  await t.rejects(Promise.resolve(find('s')), { code: 'IDENTITY_AUTHORITY_UNREACHABLE' });
  t.match(ended, [{ reason: 'unconfirmed' }]);
});

t.test('an authority that does not answer counts as away', async (t) => {
  const { clock, state, add, find } = start(t);
  add('s');
  state.hold = new Promise(() => undefined);
  const found = Promise.resolve(find('s'));
  clock.advance(authorityMs);
  await t.rejects(found, { code: 'IDENTITY_AUTHORITY_UNREACHABLE' });
});

t.test('a caller who gives up does not take the others along', async (t) => {
  const { cache, add, find } = start(t);
  add('s');
  const impatient = new AbortController();
  const mine = Promise.resolve(cache.findSession(id('s'), app, impatient.signal));
  const other = find('s');
  impatient.abort(new TypeError('gone'));
  await t.rejects(mine, { message: 'gone' });
  t.match(await other, { kind: 'live' });
});

t.test('after missed revocations everything is asked for again', async (t) => {
  const { cache, answers, add, find } = start(t);
  add('s');
  await find('s');
  answers.delete('s');
  cache.distrust();
  t.match(await find('s'), { kind: 'none' });
});

t.test('a session of another service is none, even if the authority says so', async (t) => {
  const { answers, session, find } = start(t);
  answers.set('s', { kind: 'live', session: session('s', 1000, asId<ServiceId>('other')) });
  t.match(await find('s'), { kind: 'none', why: 'unknown' });
});

t.test('service tokens follow the same rules and end by their digest', async (t) => {
  const { cache, state, answers, ended, session } = start(t);
  answers.set('nbp_token', { kind: 'valid', identity: { ...session('x').identity, method: 'token' } });
  const check = () => cache.verifyServiceToken('nbp_token', app, never);
  t.match(await check(), { kind: 'valid' });
  t.match(check(), { kind: 'valid' });
  t.equal(state.asked, 1);
  t.match(await cache.verifyServiceToken('nbp_wrong', app, never), { kind: 'denied', why: 'token_invalid' });
  answers.delete('nbp_token');
  cache.revoke({ kind: 'token', digest: tokenDigest('nbp_token') });
  t.match(ended, [{ kind: 'token', sessionKey: tokenDigest('nbp_token') }]);
  t.match(await check(), { kind: 'denied' });
});

t.test('what strangers send fills no table', async (t) => {
  const { cache, state, find } = start(t);
  t.match(find('x'.repeat(600)), { kind: 'none' }, 'too long to be looked at');
  t.equal(state.asked, 0);
  state.hold = new Promise(() => undefined);
  for (let i = 0; i < authorityParallel; i++) Promise.resolve(find(`s${i}`)).catch(() => undefined);
  await t.rejects(Promise.resolve(find('one too many')), { code: 'IDENTITY_AUTHORITY_UNREACHABLE' });
  t.equal(cache.size, 0);
});

t.test('the tables have an end', async (t) => {
  const { cache, session, find } = start(t);
  for (let i = 0; i < sessionTableSize + 10; i++) cache.remember(session(`s${i}`), cache.revision);
  t.equal(cache.size, sessionTableSize);
  for (let i = 0; i < missTableSize + 10; i++) await find(`unknown${i}`);
  t.equal(cache.size, sessionTableSize);
});

// Attack row C-8: what ends a session is time that passes, not what a clock says.
t.test('a session ends after the time without requests, and a clock that is set does not move its end', async (t) => {
  const { clock, cache, ended, answers, session } = start(t);
  const idleMs = 10 * 60_000;
  answers.set('s', { kind: 'live', session: { ...session('s', 3_600_000), idleMs } });
  const find = () => cache.findSession(id('s'), app, never);
  await find();
  for (let i = 0; i < 3; i++) {
    clock.advance(idleMs - 1_000);
    t.match(await find(), { kind: 'live' }, 'in use');
  }
  clock.advance(idleMs + 2_000);
  t.match(ended, [{ kind: 'session', reason: 'expired' }], 'the sweep has seen it, so open streams end too');

  const jumping = start(t);
  jumping.answers.set('s', { kind: 'live', session: jumping.session('s', 60_000) });
  await jumping.find('s');
  jumping.clock.setWall(jumping.clock.wall() - 3_600_000);
  jumping.clock.advance(61_000);
  t.match(jumping.ended, [{ kind: 'session', reason: 'expired' }], 'set back by an hour');
});

t.test('a peer that has left its group while it was asked for is asked for again', async (t) => {
  const { clock, answers, ended, state, cache, session } = start(t);
  const key = asId<PublicKey>('peer');
  answers.set(key, { kind: 'valid', identity: session('s').identity });
  t.match(await cache.verifyPeer(key, app, never), { kind: 'valid' });
  clock.advance(sessionFreshMs);
  const held = Promise.withResolvers<void>();
  state.hold = held.promise;
  t.match(await cache.verifyPeer(key, app, never), { kind: 'valid' }, 'served while it is asked for');
  t.equal(state.asked, 2);
  answers.delete(key);
  cache.recheckPeers();
  held.resolve();
  for (let i = 0; i < 5; i++) await settle();
  t.match(ended, [{ kind: 'token', sessionKey: sessionKey(key) }], 'what it has opened is closed without its next request');
  t.match(await cache.verifyPeer(key, app, never), { kind: 'denied' });
});
