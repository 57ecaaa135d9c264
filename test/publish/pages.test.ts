// Our own pages: in the visitor's language, in the operator's brand, neutral to strangers, and plain about the reason to administrators.
import t, { type Test } from 'tap';
import { noRestrictions, type ServiceMapping } from '#model/service.ts';
import { emptyFields } from '#wire/http1-fields.ts';
import { logoUrl, plainBrand } from '#publish/index.ts';
import { Pages } from '#publish/pages/document.ts';
import { fixOf } from '#publish/pages/fixes.ts';
import { pageLanguage } from '#publish/pages/language.ts';
import { type OwnReason, publicReason } from '#publish/pages/reasons.ts';
import { failedStage } from '#publish/pages/stages.ts';
import { alice, exchange, type Fixture, mapping, path, session, startFixture, withLogin } from './harness.ts';

const html = 'Accept: text/html\r\n';

function language(accept: string | undefined): string {
  const fields = emptyFields();
  if (accept !== undefined) {
    fields.names.push('Accept-Language');
    fields.keys.push('accept-language');
    fields.values.push(accept);
  }
  return pageLanguage(fields);
}

void t.test('the language is the one that the browser wants most, of those that there are', async (t) => {
  for (const [accept, expected] of [
    [undefined, 'en'],
    ['de', 'de'],
    ['de-AT, en;q=0.5', 'de'],
    ['en-GB,de;q=0.9', 'en'],
    ['fr, de;q=0.3, en;q=0.2', 'de'],
    ['de;q=0, en;q=0.1', 'en'],
    ['fr', 'en'],
    ['de;q=x', 'en'],
    [`${'x,'.repeat(500)}de`, 'en'],
  ] as const) {
    t.equal(language(accept), expected, accept ?? 'none');
  }
});

async function deadService(t: Test, brand = plainBrand, changes: Partial<ServiceMapping> = {}): Promise<Fixture> {
  const closed = 1; // nothing listens there
  const service = mapping('a.test', [path(closed)], { ...withLogin, ...changes });
  const fixture = await startFixture([service], { brand });
  t.teardown(() => fixture.close());
  const administrator = { ...session('admin', service.id), identity: { ...alice, administrator: true } };
  fixture.identity.sessions.set('admin', { kind: 'live', session: administrator });
  fixture.identity.sessions.set('plain', { kind: 'live', session: session('plain', service.id) });
  return fixture;
}

const ask = (fixture: Fixture, cookie: string, more = html, target = '/x'): Promise<string> =>
  exchange(fixture, `GET ${target} HTTP/1.1\r\nHost: a.test\r\nCookie: __Host-meshgate=${cookie}\r\n${more}Connection: close\r\n\r\n`);

void t.test('row L-6: a visitor learns nothing of what is behind, an administrator the stage, the reason and the fix', async (t) => {
  const fixture = await deadService(t);
  const visitor = await ask(fixture, 'plain');
  t.match(visitor, /^HTTP\/1\.1 502 /);
  t.match(visitor, /The service could not be reached/);
  t.notMatch(visitor, /127\.0\.0\.1|upstream_|meshgate peer|<table>/);
  t.match(visitor, fixture.entries.at(-1)?.id ?? '?', 'the id that the log has');

  const page = await ask(fixture, 'admin');
  t.match(page, /^HTTP\/1\.1 502 /);
  t.match(page, /upstream_refused/);
  t.match(page, /127\.0\.0\.1:1/);
  t.match(page, /Look at the target on its machine/);
  t.match(page, /<tr class="passed"><td>Access policy<td>passed<td>[0-9.]+ ms<tr class="passed"><td>Path[^<]*<td>passed<td><tr class="failed">/);
  const german = await ask(fixture, 'admin', `${html}Accept-Language: de\r\n`);
  t.match(german, /<html lang="de">/);
  t.match(german, /Content-Language: de\r\n/);
  t.match(german, /Sehen Sie auf der Maschine des Ziels nach/);

  const problem = await ask(fixture, 'admin', '');
  const facts = JSON.parse(problem.slice(problem.indexOf('\r\n\r\n') + 4)) as { failed: { stage: string; fix: string } };
  t.match(facts, { reason: 'upstream_failed', failed: { stage: 'dial', reason: 'upstream_refused', fix: /target/ }, upstream: '127.0.0.1:1' });
  const stranger = await ask(fixture, 'plain', '');
  t.notMatch(stranger, /stages|upstream_refused/);
});

void t.test('an administrator whom a check has refused is told why', async (t) => {
  const fixture = await deadService(t, plainBrand, { restrictions: { ...noRestrictions, blockedCidrs: ['127.0.0.0/8'] } });
  const page = await ask(fixture, 'admin');
  t.match(page, /^HTTP\/1\.1 403 /);
  t.match(page, /<code>ip_denied<\/code> blocked/);
  t.match(page, /meshgate service show/);
  for (const cookie of ['plain', 'none']) t.notMatch(await ask(fixture, cookie), /ip_denied|service show/, cookie);
});

void t.test('the brand stands on every page, and nothing of it can break out', async (t) => {
  const brand = {
    name: '<b>ACME & "Sons"',
    logo: logoUrl(Buffer.from('89504e470d0a', 'hex')) ?? '',
    color: '#aa0000',
    contact: "it's help@example.com",
  };
  const fixture = await deadService(t, brand);
  const page = await ask(fixture, 'none');
  t.match(page, /^HTTP\/1\.1 302 /);
  const failed = await ask(fixture, 'plain');
  t.match(failed, /<header><img src="data:image\/png;base64,iVBORw0K" alt="">&#60;b&#62;ACME &#38; &#34;Sons&#34;<\/header>/);
  t.match(failed, /it&#39;s help@example\.com/);
  t.match(failed, /#aa0000/);
  t.match(
    failed,
    /Content-Security-Policy: default-src 'none'; style-src 'sha256-[^']+'; img-src data:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'/,
  );
  t.match(failed, /Cache-Control: no-store/);
  t.equal(logoUrl(Buffer.from('<svg xmlns="http://www.w3.org/2000/svg"/>')), undefined, 'SVG can hold scripts');
});

void t.test('row L-5: whatever stands in a page is escaped', async (t) => {
  const hostile = `"><script>alert(1)</script><img src=x onerror='x'>`;
  const text = { en: hostile, de: hostile };
  const { body, contentPolicy } = new Pages({ ...plainBrand, name: hostile, contact: hostile }).render(
    {
      status: 502,
      title: text,
      texts: [text],
      forms: [{ action: hostile, fields: [{ name: hostile, label: text, type: 'text', value: hostile, autocomplete: hostile }], submit: text }],
      links: [{ href: hostile, text }],
      code: hostile,
      reference: hostile,
      diagnosis: {
        id: hostile,
        stages: [],
        failed: { stage: 'dial', reason: 'upstream_refused', detail: hostile },
        upstream: hostile,
      },
    },
    'de',
  );
  t.notMatch(body.toString(), /<script|<img|onerror='/);
  t.match(contentPolicy, /form-action 'self'/);
});

void t.test('every reason has its texts, and each failure a stage', async (t) => {
  const reasons: readonly OwnReason[] = [
    'bad_request',
    'ip_denied',
    'unknown_host',
    'upstream_refused',
    'upstream_unreachable',
    'host_mismatch',
    'loop',
  ];
  for (const reason of reasons) {
    const { title, text } = publicReason(reason);
    t.not(title.en, title.de);
    t.not(text.en, text.de);
    t.type(failedStage(reason, ''), 'string', reason);
  }
  t.equal(failedStage('upstream_unreachable', 'EHOSTUNREACH No peer of the network has that address or name.'), 'path');
  t.equal(failedStage('upstream_unreachable', 'the path to it was lost'), 'path');
  t.equal(failedStage('upstream_unreachable', 'ECONNABORTED'), 'dial');
  t.equal(failedStage('signed_out', ''), undefined);
  t.equal(fixOf('bad_request'), undefined);
});
