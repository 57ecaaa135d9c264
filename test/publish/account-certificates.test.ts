// HTTPS with certificates of the account's own authority: whose each is says somebody else, and a bad one denies whatever else is shown.
import { connect } from 'node:tls';
import t from 'tap';
import { plainAccess } from '#model/access.ts';
import type { CredentialCheck } from '#model/identity.ts';
import { defaultWeb } from '#model/web.ts';
import { createTestCa } from '../support/test-ca.ts';
import { alice, FakeIdentity, mapping, path, readAll, startEcho, startFixture } from './harness.ts';

void t.test('a request is its certificate’s holder’s, and nobody’s without one', async (t) => {
  const echo = await startEcho();
  t.teardown(() => echo.close());
  const authority = await createTestCa();
  const own = await authority.issue(['alice']);
  let check: CredentialCheck = { kind: 'valid', identity: { ...alice, method: 'certificate' } };
  const identity = new FakeIdentity();
  identity.verifyCredential = () => Promise.resolve(check);
  const web = { ...defaultWeb, clientCertificate: { account: true, ca: authority.caPem, required: false } };
  const fixture = await startFixture([mapping('a.test', [path(echo.port)], { web, access: { ...plainAccess, proofs: [['certificate']] } })], {
    backend: identity,
  });
  t.teardown(() => fixture.close());
  const ask = async (pair: object): Promise<string> => {
    const socket = connect({ host: '127.0.0.1', port: fixture.port, servername: 'a.test', rejectUnauthorized: false, ...pair });
    socket.write('GET / HTTP/1.1\r\nHost: a.test\r\nAccept: application/json\r\nConnection: close\r\n\r\n');
    return (await readAll(socket)).slice(0, 12);
  };
  const shown = { cert: own.certPem, key: own.keyPem };
  t.equal(await ask(shown), 'HTTP/1.1 200');
  t.match(fixture.entries.at(-1), { userId: alice.userId, authMethod: 'certificate' });
  t.not(await ask({}), 'HTTP/1.1 200');
  check = { kind: 'denied', why: 'wrong', retryAfterMs: 0 };
  t.not(await ask(shown), 'HTTP/1.1 200', 'revoked');
});
