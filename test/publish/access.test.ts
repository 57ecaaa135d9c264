// Who gets in: every reason to be refused, with nothing of the request reaching the upstream.
import { parsePrefix } from '#lib/ip.ts';
import { isTrustedPeer } from '#publish/access/client-address.ts';
import type { PublicKey } from '#model/ids.ts';
import t, { type Test } from 'tap';
import type { ServiceMapping } from '#model/service.ts';
import { noRestrictions } from '#model/service.ts';
import { exchange, mapping, path, session, startEcho, startFixture, withLogin, type Echo, type Fixture } from './harness.ts';
import { plainAccess } from '#model/access.ts';

async function start(t: Test, changes: Partial<ServiceMapping> = {}): Promise<{ fixture: Fixture; echo: Echo }> {
  const echo = await startEcho();
  const fixture = await startFixture([mapping('a.test', [path(echo.port)], changes), mapping('b.test', [path(echo.port)])]);
  t.teardown(() => Promise.all([fixture.close(), echo.close()]));
  return { fixture, echo };
}

const request = (extra = '', target = '/', method = 'GET', host = 'a.test'): string =>
  `${method} ${target} HTTP/1.1\r\nHost: ${host}\r\n${extra}Connection: close\r\n\r\n`;
const id = mapping('a.test', []).id;

void t.test('requests that are refused as such', async (t) => {
  const { fixture, echo } = await start(t);
  const rows: [string, number, string][] = [
    [request('', '/', 'GET', 'b.test'), 421, 'host_mismatch'],
    [request('', '/', 'GET', 'unknown.test'), 421, 'host_mismatch'],
    [request('', '/', 'TRACE'), 405, 'method_not_allowed'],
    [request('', '/', 'TRACK'), 405, 'method_not_allowed'],
    [request('', 'a.test:443', 'CONNECT'), 405, 'method_not_allowed'],
    [request('', '*', 'OPTIONS'), 405, 'method_not_allowed'],
    [request('', '*'), 400, 'target_malformed'],
    [request('', 'x'), 400, 'target_malformed'],
    [request('', 'http://b.test/x'), 400, 'target_host_mismatch'],
    [request('', 'http://a.test@b.test/x'), 400, 'target_host_mismatch'],
    [request('', 'ftp://a.test/x'), 400, 'target_malformed'],
    [request('', '/x#y'), 400, 'target_malformed'],
    ...['', 'a.test/evil', 'x@a.test', 'a.test, b.test', 'a%2etest', '[::1', 'a.test:99999', 'a..test', 'a.test:', ' '].map(
      (host): [string, number, string] => [request('', '/', 'GET', host), 400, 'host_malformed'],
    ),
    ['GET / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n', 400, 'length_with_coding'],
    ['GET / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: gzip, chunked\r\n\r\n', 501, 'coding_unsupported'],
    ['POST / HTTP/1.1\r\nHost: a.test\r\nConnection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 3\r\n\r\nabc', 400, 'upgrade_with_body'],
    ['PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 505, 'version_unsupported'],
  ];
  for (const [bytes, status, reason] of rows) {
    const answer = await exchange(fixture, bytes);
    t.match(answer, new RegExp(`^HTTP/1\\.1 ${status} `), JSON.stringify(bytes.slice(0, 60)));
    t.match(answer, /Connection: close\r\n/);
    t.match(fixture.entries.at(-1), { status, reason }, JSON.stringify(bytes.slice(0, 60)));
  }
  t.equal(echo.received.length, 0);
  t.equal(echo.connections(), 0);
});

void t.test('one canonical host for routing and access', async (t) => {
  const { fixture, echo } = await start(t);
  for (const host of ['a.test', 'A.TEST', 'a.test.', 'a.test:443', 'A.Test.:8443', 'a.test:1']) {
    t.match(await exchange(fixture, request('', '/', 'GET', host)), /^HTTP\/1\.1 200/, host);
  }
  t.match(await exchange(fixture, request('', 'https://A.test:443/x?y')), /^HTTP\/1\.1 200/);
  t.match(echo.received.at(-1), /^GET \/x\?y HTTP\/1\.1\r\n/);
  t.match(await exchange(fixture, request('', '/', 'PROPFIND')), /^HTTP\/1\.1 200/);
});

void t.test('restrictions that hold, and those that cannot be checked', async (t) => {
  const rows: [Partial<ServiceMapping>, number, string][] = [
    [{ restrictions: { ...noRestrictions, allowedCidrs: ['127.0.0.0/8'] } }, 200, 'public_service'],
    [{ restrictions: { ...noRestrictions, allowedCidrs: ['10.0.0.0/8'] } }, 403, 'ip_denied'],
    [{ restrictions: { ...noRestrictions, blockedCidrs: ['127.0.0.1'] } }, 403, 'ip_denied'],
    [{ restrictions: { ...noRestrictions, allowedCidrs: ['127.0.0.1'], blockedCidrs: ['127.0.0.0/8'] } }, 403, 'ip_denied'],
    [{ restrictions: { ...noRestrictions, blockedCidrs: ['nonsense'] } }, 403, 'restriction_unsupported'],
    [{ restrictions: { ...noRestrictions, allowedCountries: ['DE'] } }, 403, 'country_unknown'],
    [{ restrictions: { ...noRestrictions, blockedCountries: ['DE'] } }, 403, 'country_unknown'],
    [{ restrictions: { ...noRestrictions, crowdsecMode: 'enforce' } }, 403, 'crowdsec_unavailable'],
    [{ private: true }, 403, 'private_service'],
    [{ access: { ...plainAccess, proofs: [['certificate']] } }, 403, 'auth_method_unsupported'],
    [{ paths: [] }, 404, 'no_route'],
  ];
  for (const [changes, status, reason] of rows) {
    const { fixture, echo } = await start(t, changes);
    t.match(await exchange(fixture, request()), new RegExp(`^HTTP/1\\.1 ${status} `), reason);
    t.match(fixture.entries.at(-1), { status, reason });
    t.equal(echo.received.length, status === 200 ? 1 : 0);
  }
});

void t.test('the ladder: a browser is sent to sign in, everything else is told', async (t) => {
  const { fixture, echo } = await start(t, withLogin);
  const html = 'Accept: text/html,*/*;q=0.8\r\n';
  const page = await exchange(fixture, request(html, '/x?y=1&z'));
  t.match(page, /^HTTP\/1\.1 302 Found\r\n/);
  t.match(page, /Location: https:\/\/idp\.test\/authorize\?to=%2Fx%3Fy%3D1%26z\r\n/);
  t.match(page, /Set-Cookie: __Host-meshgate-login1=/);
  t.match(page, /Cache-Control: no-store\r\nVary: Cookie, Accept, Accept-Language\r\n/);
  for (const bytes of [
    request(),
    request('Accept: application/json\r\n'),
    request('Accept: */*\r\n'),
    request('Accept: text/html;q=0\r\n'),
    request(html, '/', 'POST'),
    request(html, '/', 'HEAD'),
  ]) {
    const answer = await exchange(fixture, bytes);
    t.match(answer, /^HTTP\/1\.1 401 Sign-in needed\r\n/, bytes);
    t.match(answer, /WWW-Authenticate: Bearer realm="meshgate"\r\n/);
  }
  const problem = await exchange(fixture, request());
  t.match(JSON.parse(problem.slice(problem.indexOf('\r\n\r\n') + 4)), { status: 401, reason: 'not_signed_in', id: fixture.entries.at(-1)?.id });
  t.match(await exchange(fixture, request(html, '/', 'POST')), /Content-Type: text\/html/);
  t.equal(echo.received.length, 0);
});

void t.test('sessions: live ones pass, all others do not', async (t) => {
  const { fixture, echo } = await start(t, withLogin);
  const { sessions } = fixture.identity;
  sessions.set('live', { kind: 'live', session: session('live', id) });
  sessions.set('other', { kind: 'live', session: session('other', mapping('b.test', []).id) });
  sessions.set('old', { kind: 'none', why: 'expired' });
  sessions.set('cut', { kind: 'none', why: 'revoked' });
  const rows: [string, number, string][] = [
    ['Cookie: __Host-meshgate=live\r\n', 200, 'session'],
    ['Cookie: a=b; __Host-meshgate=live; c=d\r\n', 200, 'session'],
    ['Cookie: a=b\r\nCookie: __Host-meshgate=live\r\n', 200, 'session'],
    ['Cookie: __Host-meshgate=other\r\n', 401, 'not_signed_in'],
    ['Cookie: __Host-meshgate=old\r\n', 401, 'session_expired'],
    ['Cookie: __Host-meshgate=cut\r\n', 401, 'session_revoked'],
    ['Cookie: __Host-meshgate=no\r\n', 401, 'not_signed_in'],
    ['Cookie: __Host-meshgate=live; __Host-meshgate=live\r\n', 401, 'not_signed_in'],
    ['Cookie: meshgate=live\r\n', 401, 'not_signed_in'],
    [`Cookie: __Host-meshgate=${'x'.repeat(5000)}\r\n`, 401, 'not_signed_in'],
  ];
  for (const [cookie, status, reason] of rows) {
    t.match(await exchange(fixture, request(cookie)), new RegExp(`^HTTP/1\\.1 ${status} `), cookie);
    t.match(fixture.entries.at(-1), { status, reason, authSuccess: status === 200, userId: status === 200 ? 'u-alice' : '' });
  }
  t.equal(echo.received.length, 3);
  fixture.identity.fails = true;
  t.match(await exchange(fixture, request('Cookie: __Host-meshgate=live\r\n')), /^HTTP\/1\.1 503/);
  t.match(fixture.entries.at(-1), { reason: 'auth_unavailable' });
  t.equal(echo.received.length, 3);
});

void t.test('a check that throws denies', async (t) => {
  const { fixture, echo } = await start(t, withLogin);
  fixture.identity.findSession = () => {
    throw new TypeError('broken');
  };
  t.match(await exchange(fixture, request('Cookie: __Host-meshgate=live\r\n')), /^HTTP\/1\.1 500/);
  t.match(fixture.entries.at(-1), { reason: 'internal_error' });
  t.equal(echo.received.length, 0);
});

void t.test('our own paths are exact, and open to those that the address rules admit', async (t) => {
  const { fixture, echo } = await start(t, withLogin);
  const back = await exchange(fixture, request('', `/.meshgate/callback?to=${encodeURIComponent('/deep?a=1&b=%2F')}`));
  t.match(back, /^HTTP\/1\.1 302/);
  t.match(back, /Location: https:\/\/a\.test\/deep\?a=1&b=%2F\r\n/);
  t.match(back, /Set-Cookie: __Host-meshgate=s1; Path=\/; Secure; HttpOnly; SameSite=Lax\r\n/);
  for (const evil of ['//evil.test/x', '/\\evil.test', 'https://evil.test', '@evil.test', '/\tx', '.evil.test']) {
    const answer = await exchange(fixture, request('', `/.meshgate/callback?to=${encodeURIComponent(evil)}`));
    const location = new URL(/Location: (.*)\r\n/.exec(answer)?.[1] ?? '');
    t.equal(location.host, 'a.test', evil);
  }
  t.match(await exchange(fixture, request('', '/.meshgate/callback')), /^HTTP\/1\.1 400/);
  t.match(await exchange(fixture, request('', '/.meshgate/jwks.json')), /\{"keys":\[\]\}$/);
  t.match(
    await exchange(fixture, request('', '/.meshgate/logout')),
    /^HTTP\/1\.1 200 Signed out\r\n[^]*Set-Cookie: __Host-meshgate=; Path=\/; Max-Age=0\r\n/,
  );
  for (const target of ['/.meshgate/', '/.meshgate/jwks.json/', '/.meshgate/callback/x', '/.meshgate/../']) {
    t.match(await exchange(fixture, request('', target)), /^HTTP\/1\.1 404/, target);
  }
  t.match(await exchange(fixture, request('', '/.meshgate/callback', 'POST')), /^HTTP\/1\.1 405/);
  t.equal(echo.received.length, 0);
});

void t.test('pages are neutral, escaped and lead to the log by their id', async (t) => {
  const { fixture } = await start(t);
  const answer = await exchange(fixture, request('Accept: text/html\r\n', '/<script>', 'TRACE'));
  t.match(answer, /Content-Type: text\/html; charset=utf-8\r\n/);
  t.match(answer, /Content-Security-Policy: default-src 'none'; style-src 'sha256-[^']+'; frame-ancestors 'none'/);
  t.notMatch(answer, /script>|a\.test|meshgate<|127\.0/);
  t.ok(answer.includes(fixture.entries.at(-1)?.id ?? 'none'));
});

void t.test('a request that comes back a second time is a loop', async (t) => {
  const { fixture, echo } = await start(t);
  t.match(await exchange(fixture, request('Via: 1.1 meshgate, 1.1 meshgate\r\n')), /^HTTP\/1\.1 508/);
  t.match(await exchange(fixture, request('Via: 1.1 other\r\n')), /^HTTP\/1\.1 200/);
  t.match(echo.received[0], /Via: 1\.1 other\r\n/);
});

// Attack row C-4.
void t.test(
  'a browser whose session is over loses its cookie on the way to the sign-in; one without a cookie, or with a live one, does not',
  async (t) => {
    const { fixture, echo } = await start(t, withLogin);
    const html = 'Accept: text/html\r\n';
    const cleared = /\r\nSet-Cookie: __Host-meshgate=; [^\r]*Max-Age=0/;
    for (const why of ['expired', 'revoked', 'unknown'] as const) {
      fixture.identity.sessions.set('dead', { kind: 'none', why });
      const answer = await exchange(fixture, request(`${html}Cookie: __Host-meshgate=dead\r\n`));
      t.match(answer, /^HTTP\/1\.1 302 /, why);
      t.match(answer, cleared, why);
    }
    t.notMatch(await exchange(fixture, request(html)), cleared);
    fixture.identity.sessions.set('s1', { kind: 'live', session: session('s1', id) });
    t.notMatch(await exchange(fixture, request(`${html}Cookie: __Host-meshgate=s1\r\n`)), cleared);
    t.equal(echo.received.length, 1);
  },
);

void t.test('who comes over the mesh stands for itself, whatever ranges are trusted', async (t) => {
  const trusted = [parsePrefix('127.0.0.0/8')].filter((prefix) => prefix !== undefined);
  const remote = { address: '127.0.0.1', port: 1 };
  t.equal(isTrustedPeer({ remote, meshPeer: undefined }, trusted), true);
  t.equal(isTrustedPeer({ remote, meshPeer: 'key' as PublicKey }, trusted), false);
});
