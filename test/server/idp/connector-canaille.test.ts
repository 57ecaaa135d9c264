// Signing in through Canaille, an OpenID provider that others wrote, as a program of its own: what we expect of any compliant issuer.
import t, { type Test } from 'tap';
import type { ConnectorConfig } from '#server/idp/types.ts';
import { installCanaille, startCanaille, type Canaille } from '../../support/canaille.ts';
import { createTestCa } from '../../support/test-ca.ts';
import type { Browser, Page } from './support/browser.ts';
import { authorize, credentials, payloadOf, redirectUri, startHarness, trade, type Harness } from './support/harness.ts';

/** Our provider with Canaille behind three connectors: as it should be, with a wrong secret, and with the secret where Canaille wants none. */
async function startPair(t: Test, packages: string): Promise<{ readonly mesh: Harness; readonly corp: Canaille }> {
  const ca = await createTestCa();
  const connectors: ConnectorConfig[] = [];
  const mesh = await startHarness(t, { ca, connectors: () => connectors });
  const ids = ['corp', 'wrong', 'body'];
  const corp = await startCanaille(
    packages,
    ca,
    ids.map((id) => `${mesh.issuer}/connectors/${id}/callback`),
  );
  t.teardown(() => corp.stop());
  const { issuer, clientId, clientSecret } = corp;
  // Canaille says of no address that it has verified it.
  const base = { trustsEmail: true, name: 'Corp', issuer, clientId, clientSecret, ca: ca.caPem };
  connectors.push({ ...base, id: 'corp' }, { ...base, id: 'wrong', clientSecret: 'guessed' }, { ...base, id: 'body', clientAuth: 'post' });
  await mesh.restart();
  mesh.domain.add({ id: 'u1', name: 'Ada', ...credentials });
  return { mesh, corp };
}

/** From our sign-in page through the connector's button to the first page there. */
async function leave(browser: Browser, mesh: Harness, url: URL, connector = 'corp'): Promise<Page> {
  const form = await browser.follow(browser.get(url));
  const away = await browser.get(new URL(`${form.url.pathname}/${connector}`, mesh.issuer));
  return away.location === undefined ? away : browser.follow(browser.get(away.location));
}

/** Sends a form of Canaille's with its hidden token. */
function send(browser: Browser, page: Page, fields: Readonly<Record<string, string>>): Promise<Page> {
  const token = /name="csrf_token" value="([^"]*)"/.exec(page.text)?.[1] ?? '';
  return browser.follow(browser.postTo(page.url, { csrf_token: token, ...fields }, { referer: page.url.href }));
}

/** Canaille's access tokens hold the second of their making and nothing random: of two for one person in one second it refuses the latter. */
async function nextSecond(): Promise<void> {
  await new Promise((done) => setTimeout(done, 1000 - (Date.now() % 1000)));
}

/** The whole way: our page, theirs, and back to the redirect or page that ends it. */
async function through(
  browser: Browser,
  mesh: Harness,
  person: { readonly login: string; readonly password: string },
  url = authorize(mesh.issuer).url,
  connector = 'corp',
): Promise<Page> {
  const name = await leave(browser, mesh, url, connector);
  const password = await send(browser, name, { login: person.login });
  const back = await send(browser, password, { password: person.password });
  await nextSecond();
  return browser.follow(browser.get(back.location ?? back.url));
}

t.test('Canaille as a connector', async (t) => {
  const installed = await installCanaille();
  if ('missing' in installed) {
    t.plan(0, installed.missing);
    return;
  }
  const { mesh, corp } = await startPair(t, installed.folder);

  await t.test('its user becomes one of ours with address and name, and is the same at the second sign-in', async (t) => {
    const browser = mesh.browser();
    const attempt = authorize(mesh.issuer);
    const end = await through(browser, mesh, corp.dana, attempt.url);
    t.ok(end.location?.href.startsWith(redirectUri), end.text);
    const tokens = await trade(browser, mesh.issuer, end, attempt);
    t.match(payloadOf(tokens.id_token), { sub: 'ext-1', email: corp.dana.email, name: corp.dana.name });
    t.same([...mesh.domain.linked.keys()], ['corp dana']);

    const again = authorize(mesh.issuer);
    const elsewhere = mesh.browser();
    t.match(payloadOf((await trade(elsewhere, mesh.issuer, await through(elsewhere, mesh, corp.dana, again.url), again)).id_token), { sub: 'ext-1' });
    t.equal(mesh.domain.linked.size, 1);
  });

  await t.test('it checks our PKCE verifier', async (t) => {
    const browser = mesh.browser();
    const form = await browser.follow(browser.get(authorize(mesh.issuer).url));
    const { location } = await browser.get(new URL(`${form.url.pathname}/corp`, mesh.issuer));
    const url = new URL(location ?? '');
    t.equal(url.searchParams.get('code_challenge_method'), 'S256');
    url.searchParams.set('code_challenge', 'A'.repeat(43));
    const password = await send(browser, await browser.follow(browser.get(url)), { login: corp.dana.login });
    const back = await send(browser, password, { password: corp.dana.password });
    t.ok(back.location?.searchParams.has('code'), 'the code is for somebody with another verifier');
    const page = await browser.get(back.location ?? '');
    t.equal(page.status, 502);
    t.match(page.text, 'did not work');
  });

  await t.test('a wrong secret, and one sent in another way than was agreed, blame our set-up', async (t) => {
    for (const connector of ['wrong', 'body']) {
      const page = await through(mesh.browser(), mesh, corp.dana, undefined, connector);
      t.equal(page.status, 502);
      t.match(page.text, 'does not accept this server');
      t.notMatch(page.text, corp.clientSecret);
      t.match(page.text, 'name="password"', 'the sign-in page is there to go on');
    }
  });

  await t.test('an account without an address is told so', async (t) => {
    const page = await through(mesh.browser(), mesh, corp.eve);
    t.equal(page.status, 403);
    t.match(page.text, 'no verified e-mail');
    t.equal(mesh.domain.linked.size, 1);
  });

  await t.test('a blocked user is refused, and let in again afterwards', async (t) => {
    const [id] = [...mesh.domain.linked.values()];
    if (id === undefined) {
      t.fail('nobody signed in');
      return;
    }
    mesh.domain.change(id, { blocked: true });
    const page = await through(mesh.browser(), mesh, corp.dana);
    t.equal(page.status, 403);
    t.match(page.text, 'This user is blocked.');
    mesh.domain.change(id, { blocked: false });
    t.ok((await through(mesh.browser(), mesh, corp.dana)).location?.href.startsWith(redirectUri));
  });

  await t.test('when it goes away in the middle, and before, the page says that it does not answer', async (t) => {
    const browser = mesh.browser();
    const name = await leave(browser, mesh, authorize(mesh.issuer).url);
    const password = await send(browser, name, { login: corp.dana.login });
    const back = await send(browser, password, { password: corp.dana.password });
    await corp.stop();
    const late = await browser.get(back.location ?? '');
    t.equal(late.status, 502);
    t.match(late.text, 'The external sign-in does not answer');
    await mesh.restart();
    const early = await leave(mesh.browser(), mesh, authorize(mesh.issuer).url);
    t.equal(early.status, 502);
    t.match(early.text, 'The external sign-in does not answer');
  });
});
