// Attack rows R: no address that a visitor brings along leads a browser off the host it is on.
import { connect } from 'node:net';
import t, { type Test } from 'tap';
import { listenPlainHttp } from '../../src/gateway/listen/plain-http.ts';
import { mapping, path, withLogin } from '../publish/harness.ts';
import { Seeded } from '../support/hostile.ts';
import { pick, Range, rounds, seed, startRecorder, variants, type Recorder } from './harness.ts';
import { openDoor } from '../support/open-door.ts';

async function start(t: Test): Promise<{ range: Range; recorder: Recorder }> {
  const recorder = await startRecorder(t);
  return {
    range: await Range.start(t, [mapping('a.test', [path(recorder.port)], withLogin), mapping('b.test', [path(recorder.port)])], [recorder]),
    recorder,
  };
}

/** The Location of an answer on HTTP/1.1. */
const locationOf = (text: string): string => /^Location: (.*)\r$/im.exec(text)?.[1] ?? '';

/** Addresses that some browser or library once took for another host. */
function hostile(random: Seeded): string {
  const evil = pick(random, [
    'evil.test',
    'evil.test:443',
    'a.test.evil.test',
    'evil.test%00.a.test',
    '[::ffff:6.6.6.6]',
    '0x7f000001',
    'evil\u3002test',
    'a.test@evil.test',
    'evil.test\\@a.test',
    'evil.test#@a.test',
    'evil.test?a.test',
  ]);
  const white = pick(random, ['', '', ' ', '\t', '\n', '\r\n', '%09', '%0a', '%0d%0a', '\u00a0', '\u2028', '\0', '%00', '\x0b']);
  const slashes = pick(random, [
    '//',
    '///',
    '/\\',
    '\\/',
    '\\\\',
    '/\t/',
    '/ /',
    '/%09/',
    '/.//',
    '/..//',
    '/%2f',
    '%2f%2f',
    '/\u2215',
    '/;//',
    '/%5c',
    '////',
    '/\n/',
    './/',
    '../..//',
    ':/',
    '\u3000//',
  ]);
  return pick(random, [
    white + slashes + evil,
    `https:${slashes}${evil}`,
    `${pick(random, ['http', 'HTTPS', 'hTTp', 'ftp', 'ws', 'x'])}:${white}//${evil}`,
    `javascript:${white}alert(1)//${evil}`,
    `java\nscript:alert(1)`,
    `data:text/html,<script>location='//${evil}'</script>`,
    `/x${slashes}${evil}`,
    `/${white}${slashes}${evil}`,
    `https://a.test${pick(random, ['.evil.test', '@evil.test', '%40evil.test', '\\@evil.test', ':443@evil.test', '%2eevil.test'])}/`,
    `?//${evil}`,
    `#//${evil}`,
    `@${evil}`,
    `.${evil}`,
    evil,
    '',
  ]);
}

void t.test('R-1: after sign-in a visitor is on the same host, whatever address was brought along', async (t) => {
  const { range } = await start(t);
  const random = new Seeded(seed);
  for (let i = 0; i < rounds(250); i++) {
    const to = hostile(random);
    const variant = pick(random, ['h1 direct', 'h1 behind'] as const);
    const got = await range.ask(variant, { target: `/.meshgate/callback?to=${encodeURIComponent(to)}` });
    const location = locationOf(got.text);
    // As a browser reads it: the host is ours, and no script runs.
    const read = new URL(location, 'https://a.test/.meshgate/callback');
    if (got.status !== 302 || read.origin !== 'https://a.test' || !/^https:\/\/a\.test\/[\x21-\x7e]*$/.test(location))
      t.fail(`${JSON.stringify(to)} became ${JSON.stringify(location)} (${got.status})`);
  }
  const kept = await range.ask('h1 direct', { target: `/.meshgate/callback?to=${encodeURIComponent('/x/y?z=1&u=//evil.test')}` });
  t.equal(locationOf(kept.text), 'https://a.test/x/y?z=1&u=//evil.test');
});

void t.test('R-2: only the exact host is ours, never one that contains it', async (t) => {
  const { range, recorder } = await start(t);
  for (const host of [
    'a.test.evil.test',
    'eviLa.test',
    'xa.test',
    'a.testx',
    'a-test',
    'a.test.',
    'sub.a.test',
    'a.test@evil.test',
    'evil.test/a.test',
  ]) {
    for (const got of await range.all({ host, serverName: 'a.test', fields: [['Accept', 'text/html']] })) {
      const own = host === 'a.test.';
      t.ok(own ? [302].includes(got.status) : [0, 400, 421].includes(got.status), `${got.variant} ${host} ${got.status}`);
      if (!own) t.notMatch(locationOf(got.text), /./);
    }
  }
  // The origin that is signed in for is the host's own, with any port that was asked for.
  const got = await range.ask('h1 direct', { target: '/.meshgate/callback?to=/x', host: 'A.TEST.:8443', serverName: 'a.test' });
  t.equal(locationOf(got.text), 'https://a.test:8443/x');
  t.equal(recorder.bytes(), 0);
});

void t.test('R-4: hostile Host and forwarding fields lead no redirect of ours elsewhere', async (t) => {
  const { range } = await start(t);
  const names = [
    'X-Forwarded-Host',
    'X-Forwarded-Proto',
    'X-Forwarded-Port',
    'X-Forwarded-Prefix',
    'Forwarded',
    'X-Original-URL',
    'X-Rewrite-URL',
    'X-Host',
    'X-Forwarded-Server',
  ];
  for (const variant of ['h1 direct', 'h1 behind'] as const) {
    for (const name of names) {
      const value = name === 'Forwarded' ? 'for=1.2.3.4;host=evil.test;proto=http' : 'evil.test';
      const sent = await range.ask(variant, {
        target: '/page',
        fields: [
          ['Accept', 'text/html'],
          [name, value],
        ],
      });
      t.equal(sent.status, 302);
      t.equal(locationOf(sent.text), `https://idp.test/authorize?to=${encodeURIComponent('/page')}`, name);
      const back = await range.ask(variant, { target: '/.meshgate/callback?to=/page', fields: [[name, value]] });
      t.equal(locationOf(back.text), 'https://a.test/page', name);
    }
  }
});

void t.test('R-4: plain HTTP sends only configured hosts to https, and only to themselves', async (t) => {
  const plain = await listenPlainHttp(
    { host: '127.0.0.1', port: 0 },
    { known: (host) => host === 'a.test' || host === 'b.test', token: () => Promise.resolve(undefined), httpsPort: 443, door: openDoor },
  );
  t.teardown(() => plain.close());
  const random = new Seeded(seed);
  const ask = (text: string): Promise<string> =>
    new Promise((resolve) => {
      const socket = connect(plain.port, '127.0.0.1', () => socket.end(text, 'latin1'));
      let got = '';
      socket.on('error', () => undefined);
      socket.on('data', (chunk: Buffer) => (got += chunk.toString('latin1')));
      socket.once('close', () => resolve(got));
    });
  for (let i = 0; i < rounds(150); i++) {
    const host = pick(random, [
      'a.test',
      'A.TEST.',
      'a.test:80',
      'b.test:9',
      'evil.test',
      'a.test.evil.test',
      'a.test@evil.test',
      'evil.test/a.test',
      'a.test\r\nHost: evil.test',
      '',
      'a.test, evil.test',
      'a.test#',
      '[::1]',
      'a.test%00',
      'xa.test',
    ]);
    const target = pick(random, [
      '/',
      '/x?y=//evil.test',
      '//evil.test',
      '/\\\\evil.test',
      '/%0d%0aLocation:%20https://evil.test',
      'http://evil.test/',
      '*',
      '/.well-known/acme-challenge/x',
      '/.well-known/acme-challenge/../x',
      '@evil.test',
      '/\t/evil.test',
      '?x',
      'https://a.test/',
    ]);
    const extra = pick(random, [
      '',
      'X-Forwarded-Host: evil.test\r\n',
      'X-Forwarded-Port: 1\r\n',
      'X-Forwarded-Proto: https\r\n',
      'Forwarded: host=evil.test\r\n',
    ]);
    const answer = await ask(`${pick(random, ['GET', 'POST', 'HEAD', 'PROPFIND'])} ${target} HTTP/1.1\r\nHost: ${host}\r\n${extra}\r\n`);
    const location = locationOf(answer);
    const shown = `${JSON.stringify({ host, target, extra })} gave ${JSON.stringify(answer.slice(0, 200))}`;
    if (location === '') {
      if (!/^(?:HTTP\/1\.1 (?:400|404) |$)/.test(answer)) t.fail(shown);
      continue;
    }
    const name = host.toLowerCase().replace(/\.?(?::\d+)?$/, '');
    if (
      !answer.startsWith('HTTP/1.1 308 ') ||
      !['a.test', 'b.test'].includes(name) ||
      new URL(location).origin !== `https://${name}` ||
      location !== `https://${name}${target}`
    )
      t.fail(shown);
  }
  t.pass('none led elsewhere');
});

void t.test('R-5: path and query survive sign-in to the byte; a body is never lost without a word', async (t) => {
  const { range } = await start(t);
  const random = new Seeded(seed);
  for (let i = 0; i < rounds(30); i++) {
    const any = Array.from({ length: random.below(200) }, () => String.fromCharCode(0x21 + random.below(0x5e)))
      .join('')
      .replaceAll('#', '/');
    const target = i === 0 ? `/${'long'.repeat(2_000)}?q=1` : `/x${any.startsWith('.meshgate') ? '' : any}`;
    const got = await range.ask(pick(random, ['h1 direct', 'h1 behind'] as const), { target, fields: [['Accept', 'text/html']] });
    t.equal(got.status, 302);
    t.equal(new URL(locationOf(got.text)).searchParams.get('to'), target);
  }
  for (const method of ['POST', 'PUT', 'DELETE', 'PATCH']) {
    for (const got of await range.all({ method, body: 'x=1', fields: [['Accept', 'text/html']] }))
      t.equal(got.status, 401, `${got.variant} ${method}`);
  }
  const longer = await range.ask('h1 direct', { target: `/${'x'.repeat(8_300)}`, fields: [['Accept', 'text/html']] });
  t.equal(longer.status, 414);
});

void t.test('R-7: our own paths are one prefix, exact, and nothing else of an application is shadowed', async (t) => {
  const { range, recorder } = await start(t);
  for (const variant of variants) {
    for (const target of [
      '/.meshgate',
      '/.meshgatex/callback',
      '/x/.meshgate/callback',
      '/.Meshgate/callback',
      '/%2emeshgate/callback',
      '//.meshgate/callback',
      '/meshgate/callback',
    ]) {
      t.equal((await range.ask(variant, { target, host: 'b.test' })).upstream.length, 1, target);
    }
    recorder.clear();
    for (const target of [
      '/.meshgate/',
      '/.meshgate/callback/',
      '/.meshgate/callback/../../x',
      '/.meshgate/%63allback',
      '/.meshgate//callback',
      '/.meshgate/x',
      '/.meshgate/jwks.json/',
    ]) {
      const got = await range.ask(variant, { target, host: 'b.test' });
      t.same([got.status, got.upstream.length], [404, 0], target);
    }
  }
});
