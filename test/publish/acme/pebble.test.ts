// Automatic certificates against Pebble: every challenge and key type, its bad nonces, reuse and binding, and its death in the middle.
import { X509Certificate } from 'node:crypto';
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { connect as tlsConnect } from 'node:tls';
import t from 'tap';
import type { KeyType } from '#publish/certs/acme/types.ts';
import { startPebble, withoutPebble } from '../../support/pebble.ts';
import { until } from '../../support/until.ts';
import { answerHttp, answerTls, issued, openAutomatic, stateFolder } from './issue.ts';

void t.test('TLS-ALPN-01: a certificate for a wanted host, which the authority’s root proves', { skip: withoutPebble }, async (t) => {
  const pebble = await startPebble(t);
  const automatic = await openAutomatic(t, pebble);
  await answerTls(t, pebble.tlsPort, () => automatic);
  automatic.want(['app.example.com']);
  const ms = await issued(automatic, 'app.example.com');
  t.comment(`figure: wanted to issued by TLS-ALPN-01 in ${Math.round(ms)} ms`);
  const root = await pebble.root();
  const authorized = await new Promise((resolve, reject) => {
    const socket = tlsConnect({ host: '127.0.0.1', port: pebble.tlsPort, servername: 'app.example.com', ca: root }, () => {
      resolve(socket.authorized);
      socket.destroy();
    });
    socket.once('error', reject);
  });
  t.equal(authorized, true);
  t.match(automatic.list(), [{ names: ['app.example.com'], source: 'acme', state: 'valid', reason: '', nextAction: 'renew' }]);
  t.equal(automatic.find('other.example.com'), undefined);
});

void t.test('HTTP-01 with every key type', { skip: withoutPebble }, async (t) => {
  const pebble = await startPebble(t);
  const kinds: Readonly<Record<KeyType, string>> = { ec256: 'prime256v1', ec384: 'secp384r1', rsa2048: '2048' };
  for (const keyType of ['ec256', 'ec384', 'rsa2048'] as const) {
    await t.test(keyType, async (t) => {
      const automatic = await openAutomatic(t, pebble, { challenge: 'http-01', keyType });
      await answerHttp(t, pebble.httpPort, () => automatic);
      automatic.want([`${keyType}.example.com`]);
      await issued(automatic, `${keyType}.example.com`);
      const details = new X509Certificate(automatic.find(`${keyType}.example.com`)?.certPem ?? '').publicKey.asymmetricKeyDetails;
      t.equal(String(details?.namedCurve ?? details?.modulusLength), kinds[keyType]);
    });
  }
});

void t.test('an authority that refuses every second nonce', { skip: withoutPebble }, async (t) => {
  const pebble = await startPebble(t, { env: { PEBBLE_WFE_NONCEREJECT: '40' } });
  const automatic = await openAutomatic(t, pebble);
  await answerTls(t, pebble.tlsPort, () => automatic);
  automatic.want(['nonce.example.com']);
  await issued(automatic, 'nonce.example.com', 60_000);
});

void t.test('authorizations that are reused need no proof', { skip: withoutPebble }, async (t) => {
  const pebble = await startPebble(t, { env: { PEBBLE_AUTHZREUSE: '100' } });
  const folder = await stateFolder(t);
  const first = await openAutomatic(t, pebble, { folder });
  const server = await answerTls(t, pebble.tlsPort, () => first);
  first.want(['again.example.com']);
  await issued(first, 'again.example.com');
  await first.close();
  await new Promise((resolve) => server.close(resolve));
  const { rm } = await import('node:fs/promises');
  await rm(join(folder, 'certificates'), { recursive: true });
  const second = await openAutomatic(t, pebble, { folder });
  second.want(['again.example.com']);
  await issued(second, 'again.example.com');
});

void t.test('external account binding, and its absence told', { skip: withoutPebble }, async (t) => {
  const binding = { keyId: 'kid-1', hmacKey: 'zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W' };
  const pebble = await startPebble(t, { binding });
  const without = await openAutomatic(t, pebble);
  without.want(['eab.example.com']);
  await until('the refusal', () => without.status('eab.example.com')?.state === 'failed');
  t.match(without.status('eab.example.com')?.reason, /externalAccountRequired/i);
  t.match(without.status('eab.example.com')?.nextAction, 'order');
  await without.close();
  const automatic = await openAutomatic(t, pebble, { authorities: [{ directory: pebble.directory, ca: pebble.ca, binding }] });
  await answerTls(t, pebble.tlsPort, () => automatic);
  automatic.want(['eab.example.com']);
  await issued(automatic, 'eab.example.com');
});

void t.test('a proof that fails is told with the authority’s reason and tried later', { skip: withoutPebble }, async (t) => {
  const pebble = await startPebble(t);
  const automatic = await openAutomatic(t, pebble);
  automatic.want(['unanswered.example.com']);
  await until('the failure', () => automatic.status('unanswered.example.com')?.state === 'failed');
  const status = automatic.status('unanswered.example.com');
  t.match(status?.reason, /unanswered\.example\.com: .*(refused|connect|timeout)/i);
  t.ok(Date.parse(status?.nextAt ?? '') > Date.now() + 30_000, 'not at once again');
});

void t.test('an authority that dies in the middle is passed over for the next', { skip: withoutPebble }, async (t) => {
  const [dying, living] = [await startPebble(t, { env: { PEBBLE_VA_NOSLEEP: '0', PEBBLE_VA_SLEEPTIME: '10' } }), await startPebble(t)];
  const authorities = [dying, living].map(({ directory, ca }) => ({ directory, ca, binding: undefined }));
  const automatic = await openAutomatic(t, dying, { authorities });
  await answerTls(t, living.tlsPort, () => automatic);
  automatic.want(['outage.example.com']);
  await until('it waits for the first', () => /wait for the authority/.test(automatic.status('outage.example.com')?.nextAction ?? ''));
  await dying.kill();
  await issued(automatic, 'outage.example.com');
  t.equal(automatic.status('outage.example.com')?.issuer, new URL(living.directory).host);
});

void t.test('a restart serves what is kept, readable by its owner only, and orders nothing', { skip: withoutPebble }, async (t) => {
  const pebble = await startPebble(t);
  const folder = await stateFolder(t);
  const first = await openAutomatic(t, pebble, { folder });
  await answerTls(t, pebble.tlsPort, () => first);
  first.want(['kept.example.com']);
  await issued(first, 'kept.example.com');
  const before = first.find('kept.example.com')?.fingerprint;
  await first.close();
  await pebble.kill();
  for (const place of [folder, join(folder, 'certificates')]) {
    for (const entry of await readdir(place, { withFileTypes: true })) {
      if (entry.isFile()) t.equal((await stat(join(place, entry.name))).mode & 0o777, 0o600, entry.name);
    }
  }
  const second = await openAutomatic(t, pebble, { folder });
  second.want(['kept.example.com']);
  t.equal(second.find('kept.example.com')?.fingerprint, before);
  t.equal(second.status('kept.example.com')?.state, 'valid');
});
