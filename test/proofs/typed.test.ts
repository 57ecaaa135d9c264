// Passwords and PINs of services, from the page to the upstream: with the control domain and the publisher of the product.
import t from 'tap';
import { hiddenOf, noAuth, openFrontDoor, Visitor } from '../support/front-door.ts';

const password = { enabled: true, password: 'open sesame' };
const pin = { enabled: true, pin: '482915' };

void t.test('a password opens the page that was asked for, query included', async (t) => {
  const door = await openFrontDoor(t, { password });
  const visitor = new Visitor(door);
  const page = await visitor.ask('/deep//path?a=1&b=%20x');
  t.equal(page.status, 401);
  for (const field of [
    /^Cache-Control: no-store\r$/m,
    /^Vary: Cookie, Accept, Accept-Language\r$/m,
    /^Content-Security-Policy: .*frame-ancestors 'none'.*form-action 'self'\r$/m,
    /^Set-Cookie: __Host-meshgate-form=[\w-]{43}; Path=\/; Secure; HttpOnly; SameSite=Lax\r$/m,
  ])
    t.match(page.text, field);
  t.notMatch(page.text, /name="secret" type="password" inputmode|WWW-Authenticate: Basic/, 'no PIN is asked for');
  const wrong = await visitor.fill(page, 'password', 'open says me');
  t.match(wrong, { status: 401, text: /That was wrong/ });
  t.equal(visitor.session, undefined);
  t.equal(door.recorder.bytes(), 0, 'nothing has reached the upstream');

  const right = await visitor.fill(wrong, 'password', 'open sesame');
  t.match(right, { status: 303, location: 'https://a.test/deep//path?a=1&b=%20x' });
  t.match(right.text, /^Set-Cookie: __Host-meshgate=[\w-]{43}; Path=\/; Secure; HttpOnly; SameSite=Lax; Max-Age=86[34]\d\d\r$/m);
  t.notMatch(right.text, /sesame/);
  t.match(await visitor.ask('/deep//path?a=1&b=%20x'), { status: 200 });
  const [request = ''] = door.recorder.requests;
  t.match(request, /^GET \/deep\/\/path\?a=1&b=%20x HTTP\/1\.1\r\n/);
  t.match(request, /\r\nX-Meshgate-User: password:[0-9a-v]{20}\r\n[^]*X-Meshgate-Name: Shared password\r\n/);
  t.notMatch(request, /sesame|__Host-meshgate|X-Meshgate-Email/);
  t.match(door.fixture.entries.at(-1), { userId: /^password:/, authMethod: 'password', authSuccess: true });
  t.notMatch(JSON.stringify(door.fixture.entries), /sesame/);
});

void t.test('clients that are no browsers are told the ways in, and see no page', async (t) => {
  const door = await openFrontDoor(t, { password, pin, oidc: { enabled: true, groups: [] } });
  const answer = await new Visitor(door).ask('/x', { fields: ['Accept: application/json'] });
  t.equal(answer.status, 401);
  t.match(answer.text, /^Content-Type: application\/problem\+json\r$/m);
  t.same(JSON.parse(answer.text.slice(answer.text.indexOf('\r\n\r\n') + 4)), {
    type: 'about:blank',
    title: 'Sign-in needed',
    status: 401,
    detail: 'Sign in to open this page.',
    reason: 'not_signed_in',
    id: /[\w-]+/.exec(answer.text.slice(answer.text.indexOf('"id":"') + 6))?.[0],
    proofs: [['oidc'], ['token'], ['password'], ['pin']],
  });
  t.equal(door.recorder.bytes(), 0);
});

void t.test('changing the password, disabling it and signing out end sessions', async (t) => {
  const door = await openFrontDoor(t, { password });
  const enter = async (secret: string): Promise<Visitor> => {
    const visitor = new Visitor(door);
    t.equal((await visitor.fill(await visitor.ask('/'), 'password', secret)).status, 303);
    t.equal((await visitor.ask('/')).status, 200);
    return visitor;
  };
  const first = await enter('open sesame');
  await door.update({ password: { enabled: true, password: 'another one' } });
  const closed = await first.ask('/');
  t.equal(closed.status, 401);
  t.match(closed.text, /Set-Cookie: __Host-meshgate=; [^\r]*Max-Age=0/, 'the cookie that is worth nothing goes');
  const second = await enter('another one');
  await door.update({ pin });
  t.equal((await second.ask('/')).status, 401);
  await door.update({ password: { enabled: true, password: 'another one' } });
  const third = await enter('another one');
  const kept = third.session ?? '';
  t.match(await third.ask('/.meshgate/logout'), { status: 200, text: /Signed out/ });
  t.equal(third.session, undefined);
  third.cookies.set('__Host-meshgate', kept);
  t.equal((await third.ask('/')).status, 401, 'and the session is over, whoever kept its cookie');
});

void t.test('proofs that are asked for together are collected, and half of them opens nothing', async (t) => {
  const door = await openFrontDoor(
    t,
    { password, pin, oidc: { enabled: true, groups: [] } },
    {
      proofs: [
        ['password', 'pin'],
        ['oidc', 'pin'],
      ],
    },
  );
  const visitor = new Visitor(door);
  const page = await visitor.ask('/in?x=1');
  t.match(page.text, /name="kind" value="password"[^]*name="kind" value="pin"[^]*Sign in with your account/);
  t.equal((await visitor.fill(page, 'pin', '482915')).status, 303);
  const half = visitor.session ?? '';
  const rest = await visitor.ask('/in?x=1');
  t.match(rest, { status: 401, text: /One more step/ });
  t.notMatch(rest.text, /value="pin"/);
  t.match((await visitor.ask('/in', { fields: ['Accept: application/json'] })).status, 401);
  t.equal(door.recorder.bytes(), 0, 'half a proof opens nothing');
  t.equal((await visitor.fill(rest, 'password', 'open sesame')).status, 303);
  t.not(visitor.session, half, 'a step gives a new id');
  t.equal((await visitor.ask('/in?x=1')).status, 200);
  const old = new Visitor(door);
  old.cookies.set('__Host-meshgate', half);
  t.equal((await old.ask('/in')).status, 401, 'and the old one is dead');

  const user = new Visitor(door);
  const away = await user.ask('/.meshgate/login?to=%2Fin%3Fx%3D2');
  const state = /state=(\S+)/.exec(away.location)?.[1] ?? '';
  const back = await user.ask(`/.meshgate/callback?code=${door.userId}&state=${state}`);
  t.match(back, { status: 302, location: 'https://a.test/in?x=2' });
  const left = await user.ask('/in?x=2');
  t.match(left, { status: 401, text: /One more step/ });
  t.equal((await user.fill(left, 'pin', '482915')).status, 303);
  door.recorder.clear();
  t.equal((await user.ask('/in?x=2')).status, 200);
  t.match(door.recorder.requests[0], /X-Meshgate-User: [0-9a-v]{20}\r\nX-Meshgate-Email: owner@example\.com/, 'the account is who it is');
});

void t.test('a form is good for the browser and the host that it was shown to', async (t) => {
  const door = await openFrontDoor(t, { pin });
  const visitor = new Visitor(door);
  const form = hiddenOf(await visitor.ask('/'), 'pin');
  const attempts: readonly (readonly [string, Visitor, Record<string, string>, readonly string[]])[] = [
    ['another browser', new Visitor(door), form, []],
    ['another browser with a page of its own', new Visitor(door), form, []],
    ['another site', new Visitor(door).from('https://evil.test'), form, []],
    ['a sandbox', new Visitor(door).from('null'), form, []],
    ['no seal', new Visitor(door), { ...form, seal: '' }, []],
    ['another site that hides where it is', new Visitor(door).from(undefined), form, ['Sec-Fetch-Site: cross-site']],
    ['a sibling', new Visitor(door).from(undefined), form, ['Sec-Fetch-Site: same-site']],
  ];
  await attempts[1]?.[1].ask('/');
  for (const [name, who, fields, more] of attempts) {
    if (name !== 'another browser' && name !== 'another browser with a page of its own')
      for (const [key, value] of visitor.cookies) who.cookies.set(key, value);
    const answer = await who.ask('/.meshgate/sign-in', { form: { ...fields, secret: '482915' }, fields: more });
    t.equal(answer.status, 403, name);
    t.equal(who.session, undefined, name);
  }
  t.equal((await visitor.ask('/.meshgate/sign-in')).status, 405);
  t.equal((await visitor.ask('/.meshgate/sign-in', { form: { ...form, secret: '482915', kind: 'link' } })).status, 404, 'what is not asked for');
  t.equal((await visitor.ask('/.meshgate/sign-in', { form: { ...form, secret: 'x'.repeat(70_000) } })).status, 413);
  t.equal((await visitor.ask('/.meshgate/sign-in', { form: { ...form, secret: '482915' } })).status, 303);
});

void t.test('nobody guesses a PIN, and strangers do not lock out who has been here', async (t) => {
  const door = await openFrontDoor(t, { pin });
  const known = new Visitor(door, '198.51.100.7');
  await known.fill(await known.ask('/'), 'pin', '482915');
  known.cookies.delete('__Host-meshgate');

  // Strangers from ever new addresses, as fast as they are let.
  let looked = 0;
  const begun = door.clock.wall();
  for (let i = 0; door.clock.wall() - begun < 7 * 86_400_000; i++) {
    const stranger = new Visitor(door, `2001:db8:${i.toString(16)}::1`);
    const answer = await stranger.fill(await stranger.ask('/'), 'pin', String(100_000 + i));
    if (answer.status === 401) looked++;
    else door.clock.advance(Number(/Retry-After: (\d+)/.exec(answer.text)?.[1] ?? 1) * 1_000);
  }
  t.comment(`figure: ${looked} guesses of a PIN in a week, ${(looked / 10_000).toFixed(4)} % of six digits`);
  t.ok(looked > 10 && looked < 100, 'long before a thousandth of the space');

  const newcomer = new Visitor(door, '203.0.113.1');
  const page = await newcomer.ask('/');
  const wrong = await newcomer.fill(page, 'pin', '000000');
  if (wrong.status === 401) t.equal((await newcomer.fill(page, 'pin', '482915')).status, 429, 'what is right has to wait, too');
  else t.match(wrong, { status: 429, text: /Retry-After: \d+\r\n[^]*Try again in [0-9]+ hours?/ });
  t.equal((await known.fill(await known.ask('/'), 'pin', '482915')).status, 303, 'a browser that was let in before does not wait for strangers');
  t.equal((await known.ask('/')).status, 200);
});

void t.test('one address is slowed at all services, by its /64', async (t) => {
  const door = await openFrontDoor(t, { password });
  for (let i = 0; i < 10; i++) {
    const stranger = new Visitor(door, `2001:db8:1:2::${(i + 1).toString(16)}`);
    t.equal((await stranger.fill(await stranger.ask('/'), 'password', 'guess')).status, 401);
  }
  const next = new Visitor(door, '2001:db8:1:2:ffff::1');
  t.match(await next.fill(await next.ask('/'), 'password', 'guess'), { status: 429, text: /^Retry-After: 1\r$/m });
  const other = new Visitor(door, '2001:db8:1:3::1');
  t.equal((await other.fill(await other.ask('/'), 'password', 'open sesame')).status, 303, 'its neighbour is not');
  const mapped = await Promise.all(
    Array.from({ length: 30 }, async (_each, i) => {
      const stranger = new Visitor(door, i % 2 === 0 ? '203.0.113.9' : '::ffff:203.0.113.9');
      return (await stranger.fill(await stranger.ask('/'), 'password', 'guess')).status;
    }),
  );
  t.equal(mapped.filter((status) => status === 401).length, 10, 'however it is spelled, and however many come at once');
});

void t.test('a secret that is switched off, or was never asked for, opens nothing', async (t) => {
  const door = await openFrontDoor(t, { ...noAuth, password: { enabled: false, password: 'open sesame' }, pin });
  const visitor = new Visitor(door);
  const page = await visitor.ask('/');
  t.notMatch(page.text, /value="password"/);
  const form = { ...hiddenOf(page, 'pin'), kind: 'password', secret: 'open sesame' };
  t.equal((await visitor.ask('/.meshgate/sign-in', { form })).status, 404);
  t.equal(door.recorder.bytes(), 0);
});
