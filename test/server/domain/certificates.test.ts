// Leases, challenge answers and sealed copies of a cluster's certificates: one gateway at a time, and nothing of another cluster.
import t from 'tap';
import { asId, type ProxyId } from '#model/ids.ts';
import type { CertificateStatus } from '#model/status.ts';
import { certificateLeaseMs, maxCertificateStates, maxSealedBytes } from '../../../src/server/domain/constants.ts';
import { addCluster, openDomain } from './support.ts';

const names = ['a.proxy.test', 'b.proxy.test'];
const [one, two, stranger] = ['gateway-1', 'gateway-2', 'gateway-3'].map((id) => asId<ProxyId>(id)) as [ProxyId, ProxyId, ProxyId];
const [keyOne, keyTwo] = [new Uint8Array(32).fill(1), new Uint8Array(32).fill(2)];
const of = (proxyId: ProxyId) => ({ cluster: 'proxy.test', proxyId, names });
const answer = { type: 'http-01', name: 'a.proxy.test', token: 'tok', keyAuthorization: `tok.${'x'.repeat(43)}` };

async function openTwo() {
  const fixture = await openDomain();
  await addCluster(fixture.domain, 'proxy.test', one);
  await addCluster(fixture.domain, 'proxy.test', two);
  await addCluster(fixture.domain, 'other.test', stranger);
  return { ...fixture, certificates: fixture.domain.certificates };
}

t.test('one gateway orders; the others wait until it has released or its lease has run out', async (t) => {
  const { domain, clock, certificates } = await openTwo();
  const lease = (proxyId: ProxyId, sealKey: Uint8Array) => certificates.lease({ ...of(proxyId), notAfter: 0, sealKey });
  t.same(await lease(one, keyOne), { kind: 'granted' });
  t.same(await lease(one, keyOne), { kind: 'granted' }, 'its holder may ask again');
  t.same(await lease(two, keyTwo), { kind: 'held' });
  await certificates.release(of(two));
  t.same(await lease(two, keyTwo), { kind: 'held' }, 'another cannot release it');
  clock.advance(certificateLeaseMs);
  t.same(await lease(two, keyTwo), { kind: 'granted' });
  t.same(await lease(one, keyOne), { kind: 'held' });
  await certificates.release(of(two));
  const race = await Promise.all(Array.from({ length: 20 }, (_none, index) => (index % 2 === 0 ? lease(one, keyOne) : lease(two, keyTwo))));
  t.equal(new Set(race.map(({ kind }, index) => (kind === 'granted' ? index % 2 : undefined)).filter((winner) => winner !== undefined)).size, 1);
  await domain.close();
});

t.test('a gateway acts for its own cluster only, and only with the lease', async (t) => {
  const { domain, certificates } = await openTwo();
  const sealed = [{ senderKey: keyOne, recipientKey: keyTwo, box: new Uint8Array(10) }];
  const code = 'DOMAIN_NOT_FOUND';
  await t.rejects(certificates.lease({ ...of(stranger), notAfter: 0, sealKey: keyOne }), { code });
  await t.rejects(certificates.recipients('proxy.test', stranger), { code });
  await t.rejects(certificates.report({ cluster: 'proxy.test', proxyId: stranger, changed: [], gone: [] }), { code });
  await t.rejects(certificates.present({ ...of(one), answers: [answer] }), { code: 'DOMAIN_LEASE_LOST' });
  await t.rejects(certificates.share({ ...of(one), notAfter: 1, sealed }), { code: 'DOMAIN_LEASE_LOST' });
  await certificates.lease({ ...of(one), notAfter: 0, sealKey: keyOne });
  await certificates.present({ ...of(one), answers: [answer] });
  const find = (cluster: string, name: string, token: string) => certificates.findChallenge({ cluster, type: 'http-01', name, token });
  t.equal(await find('proxy.test', 'a.proxy.test', 'tok'), answer.keyAuthorization);
  t.equal(await find('other.test', 'a.proxy.test', 'tok'), undefined);
  t.equal(await find('proxy.test', 'b.proxy.test', 'tok'), undefined);
  t.equal(await find('proxy.test', 'a.proxy.test', 'other'), undefined);
  t.equal(await find('proxy.test', 'a.proxy.test', ''), answer.keyAuthorization, 'the latest');
  for (const change of [
    { name: 'c.proxy.test' },
    { keyAuthorization: 'tok.<html>' },
    { type: 'dns-01' },
    { token: 'a/b' },
    { keyAuthorization: `other.${'x'.repeat(43)}` },
  ])
    await t.rejects(certificates.present({ ...of(one), answers: [{ ...answer, ...change }] }), { code: 'DOMAIN_INVALID' }, JSON.stringify(change));
  await certificates.release(of(one));
  t.equal(await find('proxy.test', 'a.proxy.test', 'tok'), undefined);
  await domain.close();
});

t.test('what one has ordered the other takes instead of a lease, where it is good for longer', async (t) => {
  const { domain, clock, certificates } = await openTwo();
  const notAfter = clock.wall() + 90 * 86_400_000;
  for (const [proxyId, sealKey] of [
    [one, keyOne],
    [two, keyTwo],
  ] as const)
    await certificates.lease({ ...of(proxyId), notAfter: 0, sealKey });
  t.same(
    (await certificates.recipients('proxy.test', one)).map((key) => key[0]),
    [1, 2],
  );
  const sealed = [{ senderKey: keyOne, recipientKey: keyTwo, box: Buffer.from('sealed') }];
  await t.rejects(
    certificates.share({
      ...of(one),
      notAfter,
      sealed: [{ ...sealed[0], senderKey: keyOne, recipientKey: keyTwo, box: Buffer.alloc(maxSealedBytes + 1) }],
    }),
    { code: 'DOMAIN_INVALID' },
  );
  await certificates.share({ ...of(one), notAfter, sealed });
  await certificates.release(of(one));
  t.match(await certificates.lease({ ...of(two), notAfter: 0, sealKey: keyTwo }), {
    kind: 'certificate',
    box: Buffer.from('sealed'),
    senderKey: Buffer.from(keyOne),
  });
  t.same(await certificates.lease({ ...of(two), notAfter, sealKey: keyTwo }), { kind: 'granted' }, 'its own is as good');
  await t.rejects(certificates.lease({ ...of(two), names: ['b.test', 'a.test'], notAfter: 0, sealKey: keyTwo }), { code: 'DOMAIN_INVALID' });
  await t.rejects(certificates.lease({ ...of(two), names: [], notAfter: 0, sealKey: keyTwo }), { code: 'DOMAIN_INVALID' });
  await domain.close();
});

t.test('a gateway tells the state of so many certificates only', async (t) => {
  const { domain, certificates } = await openTwo();
  const status = (name: string): CertificateStatus => ({
    names: [name],
    source: 'acme',
    state: 'valid',
    reason: '',
    issuer: '',
    notBefore: undefined,
    notAfter: undefined,
    nextAction: '',
    nextAt: undefined,
  });
  const told = Array.from({ length: maxCertificateStates }, (_none, index) => status(`${index}.test`));
  const report = (changed: readonly CertificateStatus[], gone: readonly string[] = []) =>
    certificates.report({ cluster: 'proxy.test', proxyId: one, changed, gone });
  await report(told);
  await t.rejects(report([status('more.test')]), { code: 'DOMAIN_LIMIT' });
  await report([status('0.test')]);
  await report([status('more.test')], ['acme 0.test']);
  t.equal((await certificates.list()).length, maxCertificateStates);
  await certificates.report({ cluster: 'proxy.test', proxyId: two, changed: [status('a.test')], gone: [] });
  await domain.close();
});
