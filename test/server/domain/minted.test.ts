// Certificates minted for users: who gets one, for how long, and what it stands for when a gateway asks.
import { generateKeyPairSync, X509Certificate } from 'node:crypto';
import t, { type Test } from 'tap';
import { asId, type ServiceId, type UserId } from '#model/ids.ts';
import type { CredentialCheck } from '#model/identity.ts';
import { defaultStream } from '#model/stream.ts';
import { formatSshKey } from '#wire/ssh-certificate.ts';
import { addCluster, addOwner, addPeer, type Fixture, openDomain, serviceOf, system, targetOf } from './support.ts';

const minute = 60_000;
const spki = generateKeyPairSync('ec', { namedCurve: 'P-256' }).publicKey.export({ type: 'spki', format: 'pem' });
const sshKey = formatSshKey(new Uint8Array(32).fill(9), '');

interface Site extends Fixture {
  readonly serviceId: ServiceId;
  readonly user: (email: string, service?: boolean) => Promise<UserId>;
  readonly check: (certificate: string) => Promise<CredentialCheck>;
}

async function site(t: Test, maxAgeMs = 10 * minute, principals: readonly string[] = []): Promise<Site> {
  const fixture = await openDomain();
  const { domain } = fixture;
  t.teardown(() => domain.close());
  await addOwner(domain);
  await addCluster(domain);
  await addPeer(domain, 'office');
  const [peer] = await domain.peers.list();
  const termination = { alpn: [], tellTarget: false, clientCertificate: { account: true, ca: '', required: true } };
  const service = await domain.services.create(
    serviceOf(String(peer?.id), {
      mode: 'tls',
      listenPort: 5432,
      targets: [targetOf(String(peer?.id), { protocol: 'tcp', port: 5432 })],
      stream: { ...defaultStream, termination, certificates: { maxAgeMs, ssh: { principals } } },
    }),
    system,
  );
  const user = async (email: string, machine = false): Promise<UserId> => {
    const request = { email: machine ? '' : email, name: email, role: 'user', autoGroups: [], service: machine, password: undefined } as const;
    return (await domain.users.create(request, system)).user.id;
  };
  const check = (certificate: string): Promise<CredentialCheck> => {
    const secret = new X509Certificate(certificate).fingerprint256.replaceAll(':', '').toLowerCase();
    return domain.proofs.verify({ kind: 'certificate', name: '', secret, serviceId: service.id, address: '192.0.2.1' }, 'proxy.test');
  };
  return { ...fixture, serviceId: service.id, user, check };
}

void t.test('a client certificate names its user and service, lives as long as the service says, and stands for the user', async (t) => {
  const { domain, clock, user, check, serviceId } = await site(t);
  const bob = await user('bob@example.com');
  const minted = await domain.minted.mintTls(bob, { service: 'APP.proxy.test', port: undefined, publicKey: spki });
  t.match(minted, { serviceId, port: 5432, expiresAt: clock.wall() + 10 * minute });
  const certificate = new X509Certificate(minted.certificate);
  t.equal(certificate.subjectAltName, `email:bob@example.com, URI:urn:meshgate:user:${bob}, URI:urn:meshgate:service:${serviceId}`);
  t.ok(certificate.verify(new X509Certificate(domain.minted.authorities.client).publicKey));
  t.notOk(certificate.ca);
  t.same(certificate.keyUsage, ['1.3.6.1.5.5.7.3.2'], 'for clients only');
  t.equal(Date.parse(certificate.validTo), Math.floor(minted.expiresAt / 1_000) * 1_000);
  t.match(await check(minted.certificate), { kind: 'valid', identity: { userId: bob, method: 'certificate' } });
  const mapping = await domain.services.mapping(serviceId, 'proxy.test');
  t.equal(mapping?.stream.termination?.clientCertificate?.ca, domain.minted.authorities.client, 'gateways get the authority');
  t.ok(mapping?.access.proofs.some((all) => all.length === 1 && all[0] === 'certificate'));
});

void t.test('who may not use the service gets none, and what one has stands for nobody any more', async (t) => {
  const { domain, changes, user, check, serviceId } = await site(t);
  const request = { service: serviceId, port: undefined, publicKey: spki };
  const bob = await user('bob@example.com');
  const eve = await user('eve@example.com');
  const { id, certificate } = await domain.minted.mintTls(bob, request);
  await t.rejects(domain.minted.revoke(id, eve, system), { code: 'DOMAIN_NOT_FOUND' }, 'it is not hers');
  t.match(await domain.minted.list(bob), [{ id, kind: 'tls', email: 'bob@example.com' }]);
  t.same(await domain.minted.list(eve), []);
  await domain.minted.revoke(id, bob, system);
  t.match(await check(certificate), { kind: 'denied', why: 'wrong' });
  t.ok(changes.some((change) => change.kind === 'revocation' && change.revocation.kind === 'token' && change.cluster === 'proxy.test'));

  const next = await domain.minted.mintTls(bob, request);
  await domain.users.update(bob, { blocked: true }, system);
  t.match(await check(next.certificate), { kind: 'denied' });
  await t.rejects(domain.minted.mintTls(bob, request), { code: 'DOMAIN_USER_BLOCKED' });
  await t.rejects(domain.minted.mintTls(await user('robot', true), request), { code: 'DOMAIN_INVALID' }, 'machines show their tokens');
  await t.rejects(domain.minted.mintTls(eve, { ...request, service: 'no.proxy.test' }), { code: 'DOMAIN_SERVICE_UNKNOWN' });
  await t.rejects(domain.minted.mintTls(eve, { ...request, port: 1 }), { code: 'DOMAIN_SERVICE_UNKNOWN' });
  const weak = generateKeyPairSync('rsa', { modulusLength: 1024 }).publicKey.export({ type: 'spki', format: 'pem' });
  for (const publicKey of ['', 'x', weak, `${spki}${spki}`]) {
    await t.rejects(domain.minted.mintTls(eve, { ...request, publicKey }), { code: 'DOMAIN_INVALID' });
  }
  t.match(await domain.proofs.verify({ kind: 'certificate', name: '', secret: '0'.repeat(64), serviceId, address: '' }, 'proxy.test'), {
    kind: 'denied',
  });
  const good = await domain.minted.mintTls(eve, request);
  const secret = new X509Certificate(good.certificate).fingerprint256.replaceAll(':', '').toLowerCase();
  const elsewhere = { kind: 'certificate', name: '', secret, serviceId: asId<ServiceId>('other'), address: '' } as const;
  t.match(await domain.proofs.verify(elsewhere, 'proxy.test'), { kind: 'denied' }, 'it is for one service');
  t.match(await domain.proofs.verify({ ...elsewhere, serviceId }, 'other.test'), { kind: 'denied' }, 'and for the gateways of its cluster');
});

void t.test('what was opened may go on as long as a session of the service lives', async (t) => {
  const { domain, clock, user, check, serviceId } = await site(t);
  const { certificate } = await domain.minted.mintTls(await user('bob@example.com'), { service: serviceId, port: undefined, publicKey: spki });
  clock.advance(60 * minute);
  t.match(await check(certificate), { kind: 'valid' }, 'gateways look at its dates themselves');
  const { sessionMaxAgeMs } = await domain.settings.get();
  clock.advance(sessionMaxAgeMs);
  t.match(await check(certificate), { kind: 'denied' });
});

void t.test('SSH: the principal is the service’s, or the local part of an address that no other user has; never root by itself', async (t) => {
  const { domain, user, serviceId } = await site(t);
  const request = { service: serviceId, port: undefined, publicKey: sshKey };
  const bob = await user('bob@example.com');
  t.match(await domain.minted.mintSsh(bob, request), { principals: ['bob'], certificate: /^ssh-ed25519-cert-v01@openssh\.com / });
  await t.rejects(domain.minted.mintSsh(await user('root@example.com'), request), { code: 'DOMAIN_INVALID' });
  await t.rejects(domain.minted.mintSsh(await user('a+b@example.com'), request), { code: 'DOMAIN_INVALID' });
  const other = await user('bob@elsewhere.example');
  await t.rejects(domain.minted.mintSsh(other, request), { code: 'DOMAIN_INVALID' }, 'nobody becomes another bob');
  await t.rejects(domain.minted.mintSsh(bob, request), { code: 'DOMAIN_INVALID' });
  await t.rejects(domain.minted.mintSsh(bob, { ...request, publicKey: 'ssh-rsa AAAA' }), { code: 'DOMAIN_INVALID' });
  const named = await site(t, minute, ['deploy', 'admin']);
  const eve = await named.user('root@example.com');
  t.match(await named.domain.minted.mintSsh(eve, { ...request, service: named.serviceId }), {
    principals: ['deploy', 'admin'],
    expiresAt: named.clock.wall() + minute,
  });
});
