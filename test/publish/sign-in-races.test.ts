// Sign-ins against time: a revocation that overtakes the answer, an attempt used twice or in another browser, and what becomes of the session before.
import t, { type Test } from 'tap';
import type { OidcClient } from '#identity/oidc-client.ts';
import { SessionCache } from '#identity/session-cache.ts';
import { silentLogger } from '#lib/log.ts';
import type { ProofAuthority, Session, SessionAuthority } from '#model/identity.ts';
import { asId, type SessionId } from '#model/ids.ts';
import { createLoginStates, createSignIn, type SignIn, type SignInPlace, type SignInResult } from '#publish/index.ts';
import { alice, exchange, mapping, session, startFixture, withLogin } from './harness.ts';
import { ManualClock } from '../support/manual-clock.ts';

const place: SignInPlace = { serviceId: mapping('a.test', []).id, domain: 'a.test', origin: 'https://a.test' };
const never = new AbortController().signal;
const visitor = { address: '192.0.2.1', userAgent: 'curl' };

interface Fixture {
  readonly signIn: SignIn;
  readonly cache: SessionCache;
  readonly live: Map<string, Session>;
  /** Runs while the authority's answer is on its way. */
  meanwhile: () => void;
  /** A whole sign-in of a browser with these cookies. */
  run(cookies: string): Promise<SignInResult>;
}

function start(t: Test): Fixture {
  const clock = new ManualClock();
  const live = new Map<string, Session>();
  let made = 0;
  let sent = new URL('https://idp.test/');
  const oidc: Omit<OidcClient, 'verifyLogoutToken'> = {
    authorizationUrl: async ({ state }) => (sent = new URL(`https://idp.test/?state=${state}`)),
    exchange: async () => ({ idToken: 'id-token', claims: { sub: alice.userId } }),
    endSessionUrl: async () => undefined,
    close: async () => undefined,
  };
  const authority: SessionAuthority & ProofAuthority = {
    prove: async () => ({ kind: 'refused', why: 'not_asked', retryAfterMs: 0 }),
    createSession: async (serviceId) => {
      const one = session(`made-${made++}`, serviceId, clock.wall() + 3_600_000);
      live.set(one.id, one);
      fixture.meanwhile();
      return { kind: 'granted', session: one };
    },
    findSession: async (id) => {
      const found = live.get(id);
      return found === undefined ? { kind: 'none', why: 'revoked' } : { kind: 'live', session: found };
    },
    verifyPeer: () => Promise.resolve({ kind: 'denied', why: 'token_invalid' }),
    endSession: async (id) => void live.delete(id),
    verifyServiceToken: async () => ({ kind: 'denied', why: 'token_invalid' }),
  };
  const cache = new SessionCache({ authority, clock, log: silentLogger });
  t.teardown(() => cache.close());
  const states = createLoginStates(new Uint8Array(32).fill(7), clock);
  const signIn = createSignIn({ relyingParty: () => ({ oidc, states }), authority, sessions: cache, clock, log: silentLogger });
  const fixture: Fixture = {
    signIn,
    cache,
    live,
    meanwhile: () => undefined,
    async run(cookies) {
      const begun = await signIn.start(place, '/', cookies, never);
      const attempt = begun.setCookies.map((cookie) => cookie.split(';', 1)[0] ?? '');
      return signIn.finish(place, `?code=c&state=${sent.searchParams.get('state')}`, [cookies, ...attempt].join('; '), visitor, never);
    },
  };
  return fixture;
}

function sessionIn(result: SignInResult): SessionId {
  const cookie = result.setCookies.find((one) => one.startsWith('__Host-meshgate='));
  return asId<SessionId>(/^__Host-meshgate=([^;]+)/.exec(cookie ?? '')?.[1] ?? '');
}

t.test('a revocation that overtakes the answer of a sign-in holds', async (t) => {
  const fixture = start(t);
  fixture.meanwhile = () => {
    fixture.cache.revoke({ kind: 'user', userId: alice.userId });
    fixture.live.clear();
  };
  const id = sessionIn(await fixture.run(''));
  t.match(await fixture.cache.findSession(id, place.serviceId, never), { kind: 'none' });
  fixture.meanwhile = () => undefined;
  const next = sessionIn(await fixture.run(''));
  t.match(fixture.cache.findSession(next, place.serviceId, never), { kind: 'live' }, 'at once, without a question');
});

// Attack row C-3.
t.test('a sign-in ends the session that the browser had before', async (t) => {
  const fixture = start(t);
  const first = sessionIn(await fixture.run(''));
  const second = sessionIn(await fixture.run(`x=1; __Host-meshgate=${first}`));
  t.not(second, first);
  t.equal(fixture.live.has(first), false);
  t.match(await fixture.cache.findSession(first, place.serviceId, never), { kind: 'none' });
  t.match(await fixture.cache.findSession(second, place.serviceId, never), { kind: 'live' });
});

// Attack row A-16.
t.test('an attempt is worth nothing in another browser, nor with another state', async (t) => {
  const fixture = start(t);
  const begun = await fixture.signIn.start(place, '/', undefined, never);
  const state = new URL(begun.location).searchParams.get('state');
  const cookie = begun.setCookies[0]?.split(';', 1)[0];
  for (const [query, cookies] of [
    [`?code=c&state=${state}`, undefined],
    [`?code=c&state=${state}&state=${state}`, cookie],
    ['?code=c&state=__proto__', cookie],
    ['?code=c', cookie],
  ] as const) {
    t.match(await fixture.signIn.finish(place, query, cookies, visitor, never), { kind: 'refused', reason: 'login_invalid' }, query);
  }
  t.match(await fixture.signIn.finish(place, `?code=c&state=${state}`, cookie, visitor, never), { kind: 'signed-in' });
});

t.test('whatever a sign-in is told to return to, it stays on its host', async (t) => {
  const fixture = await startFixture([mapping('a.test', [], withLogin)]);
  t.teardown(fixture.close);
  const hostile = [
    '',
    'evil.test',
    'https://evil.test/',
    '//evil.test',
    '///evil.test',
    '/\\evil.test',
    '\\\\evil.test',
    '/\t/evil.test',
    '/\n/evil.test',
  ];
  const odd = [
    '/..//evil.test',
    '/.//evil.test',
    'javascript:alert(1)',
    '/a\r\nset-cookie: x',
    '/ a',
    '/%5cevil/../\\evil',
    '@evil.test',
    '.evil.test',
    ':1@evil.test/',
  ];
  for (const to of [...hostile, ...odd]) {
    const answer = await exchange(
      fixture,
      `GET /.meshgate/callback?to=${encodeURIComponent(to)} HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n`,
    );
    const location = /^Location: (.*)\r$/m.exec(answer)?.[1] ?? '';
    t.equal(new URL(location, 'https://elsewhere.test').origin, 'https://a.test', JSON.stringify(to));
    t.notMatch(answer, /^set-cookie: x/im);
  }
  const kept = await exchange(
    fixture,
    `GET /.meshgate/callback?to=${encodeURIComponent('/a/b?c=d&e=%2Fx')} HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n`,
  );
  t.match(kept, /\r\nLocation: https:\/\/a\.test\/a\/b\?c=d&e=%2Fx\r\n/);
});
