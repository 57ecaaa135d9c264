// The code flow as a browser and a gateway go through it, over TLS.
import t from 'tap';
import { authorize, credentials, gatewayClient, payloadOf, redirectUri, signIn, startHarness, trade } from './support/harness.ts';

t.test('a browser signs in with a password and the gateway gets an ID token', async (t) => {
  const { issuer, domain, browser: newBrowser, provider } = await startHarness(t);
  domain.add({ id: 'u1', name: 'Ada', ...credentials, groups: ['admins', 'devs'] });
  const browser = newBrowser();
  const attempt = authorize(issuer);

  const page = await signIn(browser, attempt.url);
  t.equal(`${page.location?.origin}${page.location?.pathname}`, redirectUri);
  t.equal(page.location?.searchParams.get('state'), attempt.state);
  t.equal(page.location?.searchParams.get('iss'), issuer);

  const tokens = await trade(browser, issuer, page, attempt);
  t.equal(tokens.status, 200, tokens.error ?? '');
  t.match(payloadOf(tokens.id_token), {
    iss: issuer,
    aud: gatewayClient.id,
    sub: 'u1',
    email: credentials.email,
    name: 'Ada',
    groups: ['admins', 'devs'],
    nonce: attempt.nonce,
  });
  t.equal((await provider().verifyIdToken(tokens.id_token, attempt.nonce, gatewayClient.id)).userId, 'u1');

  const again = authorize(issuer);
  const second = await browser.follow(browser.get(again.url));
  t.equal(second.location?.searchParams.get('state'), again.state, 'the second service asks nothing');
  t.equal((await trade(browser, issuer, second, again)).status, 200);
});
