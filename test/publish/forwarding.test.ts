// What upstreams are told of the way of a request, and whose address counts, with proxies before us that are believed and that are not.
import t, { type Test } from 'tap';
import { noRestrictions } from '#model/service.ts';
import { readChain } from '#publish/access/proxy-chain.ts';
import { addField, emptyFields } from '#wire/http1-fields.ts';
import { seeded } from '../support/seeded.ts';
import { ask, versions, type Question, type Version } from './ask.ts';
import { mapping, path, startEcho, startFixture, type Fixture } from './harness.ts';

const told = (received: string | undefined, name: string): string =>
  [...(received ?? '').matchAll(new RegExp(`^${name}: (.*)\\r$`, 'gim'))].map((match) => match[1]).join('|');

async function withProxies(
  t: Test,
  trustedProxies: readonly string[],
): Promise<{
  fixture: Fixture;
  see: (version: Version, headers: Question['headers'], host?: string) => Promise<(name: string) => string>;
}> {
  const echo = await startEcho();
  const restricted = { restrictions: { ...noRestrictions, allowedCidrs: ['203.0.113.0/24', '2001:db8::/32'] } };
  const fixture = await startFixture([mapping('a.test', [path(echo.port)]), mapping('b.test', [path(echo.port)], restricted)], { trustedProxies });
  t.teardown(() => Promise.all([fixture.close(), echo.close()]));
  return {
    fixture,
    see: async (version, headers, host = 'a.test') => {
      await ask(fixture, version, { headers: headers ?? [], host });
      const received = echo.received.at(-1);
      return (name) => told(received, name);
    },
  };
}

void t.test('the chain of a trusted proxy is continued, with addresses of both kinds, ports and hidden nodes', async (t) => {
  const { fixture, see } = await withProxies(t, ['127.0.0.0/8', '10.0.0.0/8', '2001:db8:ffff::/48']);
  const ours = 'for=127.0.0.1;host="a.test";proto=https';
  const cases: readonly (readonly [said: Question['headers'], source: string, all: string, forwarded: string])[] = [
    [[], '127.0.0.1', '127.0.0.1', ours],
    [[['X-Forwarded-For', '203.0.113.9']], '203.0.113.9', '203.0.113.9, 127.0.0.1', `for=203.0.113.9, ${ours}`],
    [
      [['X-Forwarded-For', '6.6.6.6, 203.0.113.9, 10.0.0.1']],
      '203.0.113.9',
      '6.6.6.6, 203.0.113.9, 10.0.0.1, 127.0.0.1',
      `for=6.6.6.6, for=203.0.113.9, for=10.0.0.1, ${ours}`,
    ],
    [
      [['X-Forwarded-For', '203.0.113.9:4711, [2001:db8:ffff::1]:80']],
      '203.0.113.9',
      '203.0.113.9, 2001:db8:ffff::1, 127.0.0.1',
      `for=203.0.113.9, for="[2001:db8:ffff::1]", ${ours}`,
    ],
    [[['X-Forwarded-For', '2001:DB8::7']], '2001:db8::7', '2001:db8::7, 127.0.0.1', `for="[2001:db8::7]", ${ours}`],
    [
      [
        ['X-Forwarded-For', '203.0.113.9'],
        ['X-Forwarded-Proto', 'http'],
        ['X-Forwarded-Host', 'shop.test:8080'],
      ],
      '203.0.113.9',
      '203.0.113.9, 127.0.0.1',
      `for=203.0.113.9;host="shop.test:8080";proto=http, ${ours}`,
    ],
    [
      [['Forwarded', 'for="[2001:db8::7]:4711";proto=http;by=_lb, For=10.0.0.1']],
      '2001:db8::7',
      '2001:db8::7, 10.0.0.1, 127.0.0.1',
      `for="[2001:db8::7]:4711";proto=http;by=_lb, For=10.0.0.1, ${ours}`,
    ],
    // Both, and they agree: what the proxies wrote is kept.
    [
      [
        ['X-Forwarded-For', '203.0.113.9, 10.0.0.1'],
        ['Forwarded', 'for=203.0.113.9;host=x.test'],
        ['Forwarded', 'for="10.0.0.1:1"'],
      ],
      '203.0.113.9',
      '203.0.113.9, 10.0.0.1, 127.0.0.1',
      `for=203.0.113.9;host=x.test, for="10.0.0.1:1", ${ours}`,
    ],
    // Both, and they differ: the one that most proxies keep is believed, and the other made anew.
    [
      [
        ['X-Forwarded-For', '203.0.113.9'],
        ['Forwarded', 'for=6.6.6.6'],
      ],
      '203.0.113.9',
      '203.0.113.9, 127.0.0.1',
      `for=203.0.113.9, ${ours}`,
    ],
    [
      [
        ['X-Forwarded-For', '203.0.113.9'],
        ['Forwarded', 'for=203.0.113.9, for='],
      ],
      '203.0.113.9',
      '203.0.113.9, 127.0.0.1',
      `for=203.0.113.9, ${ours}`,
    ],
    [[['Forwarded', 'for=_hidden, for=203.0.113.9']], '203.0.113.9', 'unknown, 203.0.113.9, 127.0.0.1', `for=_hidden, for=203.0.113.9, ${ours}`],
    // Nobody's address can be told: the proxy's own stands for it, and no list admits it.
    [[['Forwarded', 'for=unknown']], '127.0.0.1', 'unknown, 127.0.0.1', `for=unknown, ${ours}`],
    [[['X-Forwarded-For', 'junk"x']], '127.0.0.1', 'unknown, 127.0.0.1', `for=unknown, ${ours}`],
  ];
  for (const version of versions) {
    for (const [headers, source, all, forwarded] of cases) {
      const field = await see(version, headers);
      const name = `${version} ${JSON.stringify(headers)}`;
      t.equal(field('X-Real-IP'), source, name);
      t.equal(field('X-Forwarded-For'), all, name);
      t.equal(field('Forwarded'), forwarded, name);
      t.match(fixture.entries.at(-1), { sourceIp: source }, name);
    }
    for (const [headers, allowed] of [
      [[['X-Forwarded-For', '203.0.113.9']], true],
      [[['Forwarded', 'for="[2001:db8::7]"']], true],
      [[['Forwarded', 'for=203.0.113.9, for=_x']], false],
      [[['Forwarded', 'for=203.0.113.9;']], false],
      [[['Forwarded', 'for=203.0.113.9;for=6.6.6.6']], false],
      [[['Forwarded', 'for="203.0.113.9']], false],
      [[['X-Forwarded-For', '203.0.113.9, ']], false],
      [[], false],
    ] as const) {
      t.equal((await ask(fixture, version, { host: 'b.test', headers })).status, allowed ? 200 : 403, JSON.stringify(headers));
    }
  }
});

void t.test('protocol, host and port of a trusted proxy are passed on where each is one plain value', async (t) => {
  const { see } = await withProxies(t, ['127.0.0.1']);
  for (const version of versions) {
    const kept = await see(version, [
      ['X-Forwarded-Proto', 'HTTP'],
      ['X-Forwarded-Host', 'shop.test'],
      ['X-Forwarded-Port', '8080'],
    ]);
    t.equal(kept('X-Forwarded-Proto'), 'http');
    t.equal(kept('X-Forwarded-Host'), 'shop.test');
    t.equal(kept('X-Forwarded-Port'), '8080');
    const odd = await see(version, [
      ['X-Forwarded-Proto', 'https, http'],
      ['X-Forwarded-Host', 'a"b'],
      ['X-Forwarded-Port', '99999'],
    ]);
    t.equal(odd('X-Forwarded-Proto'), 'https');
    t.equal(odd('X-Forwarded-Host'), 'a.test');
    t.equal(odd('X-Forwarded-Port'), '443');
  }
});

void t.test('what a stranger claims is nowhere, whichever proxies are believed', async (t) => {
  for (const trusted of [[], ['10.0.0.0/8']]) {
    const { fixture, see } = await withProxies(t, trusted);
    for (const version of versions) {
      const field = await see(version, [
        ['X-Forwarded-For', '203.0.113.9'],
        ['Forwarded', 'for=203.0.113.9;host=evil.test;proto=http'],
        ['X-Forwarded-Host', 'evil.test'],
        ['X-Forwarded-Proto', 'http'],
        ['X-Forwarded-Port', '1'],
      ]);
      t.equal(field('X-Forwarded-For'), '127.0.0.1');
      t.equal(field('Forwarded'), 'for=127.0.0.1;host="a.test";proto=https');
      t.equal(field('X-Forwarded-Host'), 'a.test');
      t.equal(field('X-Forwarded-Proto'), 'https');
      t.equal(field('X-Forwarded-Port'), '443');
      t.equal((await ask(fixture, version, { host: 'b.test', headers: [['X-Forwarded-For', '203.0.113.9']] })).status, 403);
    }
  }
});

void t.test('whatever Forwarded is made of, reading it ends, and its members are its own text', (t) => {
  const next = seeded(17);
  const pieces = ['for=', 'For=', '"', '\\', ';', ',', ' ', '1.2.3.4', '[::1]', '_x', 'by=a', '=', 'proto=https', ':80', '\t'];
  for (let round = 0; round < 5_000; round++) {
    const value = Array.from({ length: Math.floor(next() * 12) }, () => pieces[Math.floor(next() * pieces.length)]).join('');
    const fields = emptyFields();
    addField(fields, 'Forwarded', value);
    const chain = readChain(fields);
    for (const member of chain?.members ?? []) if (!value.includes(member)) t.fail(value);
    if (chain?.members !== undefined) t.equal(chain.members.length, chain.nodes.length);
  }
  const fields = emptyFields();
  addField(fields, 'Forwarded', `for="${'\\a'.repeat(15_000)}`);
  const start = process.cpuUsage();
  readChain(fields);
  t.ok(process.cpuUsage(start).user < 100_000, 'in linear time');
  t.end();
});
