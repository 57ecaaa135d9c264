// What authorities say in bad times and how it is heeded: rate limits, maintenance, lost accounts, renewal information, oversized answers.
import { X509Certificate } from 'node:crypto';
import t from 'tap';
import { certificateId } from '#publish/certs/acme/identifiers.ts';
import { RETRY } from '#publish/certs/acme/constants.ts';
import { problem, startFakeAcme } from '../../support/fake-acme.ts';
import { until } from '../../support/until.ts';
import { issued, openAutomatic, stateFolder } from './issue.ts';

const host = 'a.example.com';

void t.test('a rate limit: the next authority is asked, and the first left alone until its Retry-After, over a restart too', async (t) => {
  const [limiting, next] = [await startFakeAcme(t), await startFakeAcme(t)];
  limiting.script = (resource) =>
    resource === 'newOrder' ? problem(429, 'rateLimited', 'too many certificates', { 'retry-after': '7200' }) : undefined;
  const authorities = [limiting, next].map(({ directory, ca }) => ({ directory, ca, binding: undefined }));
  const folder = await stateFolder(t);
  const automatic = await openAutomatic(t, next, { authorities, folder });
  automatic.want([host]);
  await issued(automatic, host);
  t.equal(automatic.status(host)?.issuer, new URL(next.directory).host);
  const orders = (): number => limiting.seen.filter(({ resource }) => resource === 'newOrder').length;
  t.equal(orders(), 1);
  automatic.want([host, 'b.example.com']);
  await issued(automatic, 'b.example.com');
  t.equal(orders(), 2, 'a limit may be about one name: others are asked for');
  automatic.want([host, 'b.example.com', 'c.example.com']);
  await issued(automatic, 'c.example.com');
  await automatic.close();
  const again = await openAutomatic(t, next, { authorities, folder });
  again.want([host, 'd.example.com']);
  await issued(again, 'd.example.com');
  t.equal(orders(), 3, 'one that limits three is left alone');
});

void t.test('the only authority limits: the reason and the time are told', async (t) => {
  const fake = await startFakeAcme(t);
  fake.script = (resource) =>
    resource === 'newOrder' ? problem(429, 'rateLimited', 'too many\ncertificates', { 'retry-after': '7200' }) : undefined;
  const automatic = await openAutomatic(t, fake);
  automatic.want([host]);
  await until('it is told', () => automatic.status(host)?.state === 'failed');
  t.match(automatic.status(host), { reason: /too many certificates \(rateLimited\)/, nextAction: 'order' });
  t.ok(Date.parse(automatic.status(host)?.nextAt ?? '') > Date.now() + RETRY.firstMs / 2);
});

void t.test('maintenance, an endless answer and a certificate for other names are failures with a reason', async (t) => {
  for (const [script, reason] of [
    [() => ({ status: 503, body: 'maintenance' }), /answered 503/],
    [() => ({ status: 200, body: 'x'.repeat(1_000_000) }), /too large/],
    [
      (resource: string) => (resource === 'finalize' ? problem(403, 'unauthorized', 'CSR is not ours') : undefined),
      /CSR is not ours \(unauthorized\)/,
    ],
    [(resource: string) => (resource === 'certificate' ? { status: 200, body: 'no certificate' } : undefined), /does not fit the order/],
  ] as const) {
    const fake = await startFakeAcme(t);
    fake.script = script;
    const automatic = await openAutomatic(t, fake);
    automatic.want([host]);
    await until(String(reason), () => automatic.status(host)?.state === 'failed');
    t.match(automatic.status(host)?.reason, reason);
    await automatic.close();
  }
});

void t.test('an account that the authority has forgotten is made again', async (t) => {
  const fake = await startFakeAcme(t);
  const folder = await stateFolder(t);
  const first = await openAutomatic(t, fake, { folder });
  first.want([host]);
  await issued(first, host);
  await first.close();
  let forgotten = true;
  fake.script = (resource) => {
    if (resource === 'newAccount') forgotten = false;
    return resource === 'newOrder' && forgotten ? problem(400, 'accountDoesNotExist', 'no such account') : undefined;
  };
  const second = await openAutomatic(t, fake, { folder });
  second.want(['b.example.com']);
  await issued(second, 'b.example.com');
  t.equal(fake.seen.filter(({ resource }) => resource === 'newAccount').length, 2);
});

void t.test('RFC 9773: a certificate that its authority wants back is renewed at once, and says what it replaces', async (t) => {
  const fake = await startFakeAcme(t);
  const wanted: string[] = [];
  let back = true;
  fake.script = (resource) => {
    if (resource !== 'renewalInfo') return undefined;
    const at = back ? Date.now() - 86_400_000 : Date.now() + 30 * 86_400_000;
    back = false;
    const suggestedWindow = { start: new Date(at).toISOString(), end: new Date(at + 3_600_000).toISOString() };
    return { status: 200, headers: { 'retry-after': '21600' }, body: { suggestedWindow } };
  };
  const automatic = await openAutomatic(t, fake, {}, { changed: () => wanted.push(automatic.find(host)?.fingerprint ?? '') });
  automatic.want([host]);
  await until('a second order', () => fake.seen.filter(({ resource }) => resource === 'finalize').length === 2);
  await issued(automatic, host);
  await until('renewal a month away', () => Date.parse(automatic.status(host)?.nextAt ?? '') > Date.now() + 29 * 86_400_000);
  const [first, second] = fake.seen.filter(({ resource }) => resource === 'newOrder');
  t.equal(first?.payload['replaces'], undefined);
  t.match(second?.payload['replaces'], /^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+$/);
  t.not(second?.payload['replaces'], certificateId(new X509Certificate(automatic.find(host)?.certPem ?? '')), 'the one before');
});

void t.test('a disk that takes nothing costs no service', async (t) => {
  const fake = await startFakeAcme(t);
  const folder = await stateFolder(t);
  const automatic = await openAutomatic(t, fake, { folder });
  const { chmod, rm, writeFile } = await import('node:fs/promises');
  // Neither rights (root has all) nor space can be taken away here: a file where the folder should be fails every write.
  await rm(folder, { recursive: true });
  await writeFile(folder, '');
  await chmod(folder, 0o600);
  automatic.want([host]);
  await issued(automatic, host);
  t.ok(automatic.find(host));
});
