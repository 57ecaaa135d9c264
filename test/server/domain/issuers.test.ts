// Issuers in the store, and the users that come from them.
import t from 'tap';
import { plainAccess } from '#model/access.ts';
import { plainIssuerRules } from '#model/issuer.ts';
import type { IssuerInput } from '../../../src/server/domain/contract.ts';
import { addCluster, addOwner, addPeer, openDomain, serviceOf, system } from './support.ts';

const corp: IssuerInput = {
  ...plainIssuerRules,
  type: 'oidc',
  name: 'Corp',
  issuer: 'https://corp.example',
  clientId: 'meshgate',
  clientSecret: 'secret of the client',
  clientAuth: 'basic',
  ca: undefined,
};

t.test('an issuer is kept with its secret sealed, and the secret stays where nobody says another', async (t) => {
  const { domain } = await openDomain();
  const { clientSecret: _secret, ...without } = corp;
  await t.rejects(domain.issuers.create({ ...without, clientSecret: undefined }, system), { code: 'DOMAIN_INVALID' });
  for (const change of [
    { issuer: 'http://corp.example' },
    { issuer: 'https://user@corp.example' },
    { issuer: 'https://corp.example/?x' },
    { issuer: '' },
    { clientId: ' ' },
    { emailDomains: ['not a domain'] },
    { groups: [{ value: 'a', group: 'gone' as never }], groupsClaim: undefined },
  ]) {
    await t.rejects(domain.issuers.create({ ...corp, ...change }, system), { code: 'DOMAIN_INVALID' }, JSON.stringify(change));
  }
  const made = await domain.issuers.create({ ...corp, emailDomains: ['CORP.example'] }, system);
  t.match(made, { name: 'Corp', configured: false, emailDomains: ['corp.example'] });
  t.notOk('clientSecret' in made || 'secret' in made);
  t.same(await domain.issuers.list(), [made]);
  t.equal(await domain.issuers.secret(made.id), corp.clientSecret);
  await domain.issuers.update(made.id, { ...corp, name: 'New', clientSecret: undefined }, system);
  t.equal(await domain.issuers.secret(made.id), corp.clientSecret);
  await domain.issuers.update(made.id, { ...corp, clientSecret: 'another' }, system);
  t.equal(await domain.issuers.secret(made.id), 'another');
  await domain.issuers.delete(made.id, system);
  t.same(await domain.issuers.list(), []);
  await domain.close();
});

t.test('with its issuer goes all that somebody can come in with: tokens and devices, too', async (t) => {
  const { domain } = await openDomain();
  await addOwner(domain);
  await addCluster(domain);
  const { id } = await domain.issuers.create(corp, system);
  const { user } = await domain.users.fromConnector({ connector: id, subject: '1', email: 'ada@corp.example', name: 'Ada' });
  const peerId = (await domain.peers.self(await addPeer(domain, 'web'))).peer.id;
  const service = await domain.services.create(serviceOf(peerId, { access: { ...plainAccess, devices: true } }), system);
  const session = await domain.sessions.create(service.id, user.id, 'proxy.test');
  const paired = await domain.devices.pair(session.id, service.id, 'proxy.test', 'TV');
  const secret = 'secret' in paired ? paired.secret : '';
  const device = { kind: 'device', name: '', secret, address: '192.0.2.1', serviceId: service.id } as const;
  const { plain } = await domain.tokens.create(user.id, 'script', 30, system);
  t.match(await domain.proofs.verify(device, 'proxy.test'), { kind: 'valid' });
  t.match(await domain.tokens.verify(plain), { id: user.id });
  await domain.issuers.delete(id, system);
  t.match(await domain.proofs.verify(device, 'proxy.test'), { kind: 'denied' });
  t.equal(await domain.tokens.verify(plain), undefined);
  await domain.close();
});

// Attack row A-7.
t.test('somebody is known by issuer and subject: neither an address nor another issuer is him', async (t) => {
  const { domain } = await openDomain();
  await addOwner(domain);
  const { id } = await domain.issuers.create(corp, system);
  const from = (connector: string, subject: string) =>
    domain.users.fromConnector({ connector, subject, email: 'owner@example.com', name: 'Mallory' });
  const { user } = await from(id, '1');
  t.equal((await domain.users.list()).length, 2, 'the owner’s address makes nobody the owner');
  t.match(user, { role: 'user', connector: id });
  t.equal((await from(id, '1')).user.id, user.id);
  t.not((await from(id, '2')).user.id, user.id);
  t.not((await from('other', '1')).user.id, user.id);
  await t.rejects(domain.issuers.update(id, { ...corp, issuer: 'https://other.example' }, system), { code: 'DOMAIN_ISSUER_FIXED' });
  await domain.close();
});

t.test('an issuer that a service asks for stays; with one that goes its users are signed out', async (t) => {
  const { domain, changes } = await openDomain();
  await addCluster(domain);
  await addOwner(domain);
  const peerId = (await domain.peers.self(await addPeer(domain, 'web'))).peer.id;
  const { id } = await domain.issuers.create(corp, system);
  await t.rejects(domain.services.create(serviceOf(peerId, { issuers: ['gone'] }), system), { code: 'DOMAIN_ISSUER_UNKNOWN' });
  const service = await domain.services.create(serviceOf(peerId, { issuers: ['local', id, id] }), system);
  t.same(service.issuers, ['local', id]);
  t.same(await domain.services.issuersAt('app.proxy.test'), ['local', id]);
  t.same(await domain.services.issuersAt('other.proxy.test'), []);
  const { user } = await domain.users.fromConnector({ connector: id, subject: '1', email: 'c@corp.example', name: 'C' });
  const session = await domain.sessions.create(service.id, user.id, 'proxy.test');
  await t.rejects(domain.issuers.delete(id, system), { code: 'DOMAIN_ISSUER_IN_USE' });
  await domain.services.update(service.id, serviceOf(peerId, { issuers: [] }), system);
  const again = await domain.sessions.create(service.id, user.id, 'proxy.test');
  changes.length = 0;
  await domain.issuers.delete(id, system);
  t.same(changes, [{ kind: 'revocation', revocation: { kind: 'user', userId: user.id } }]);
  for (const one of [session, again]) t.same(await domain.sessions.find(one.id, service.id, 'proxy.test'), { missing: 'revoked' });
  await domain.close();
});

t.test('groups that the issuer decides come and go with the sign-in, and end what was open before', async (t) => {
  const { domain, changes } = await openDomain();
  const [dev, own] = [await domain.groups.create({ name: 'dev', peers: [] }, system), await domain.groups.create({ name: 'own', peers: [] }, system)];
  const enter = (member: boolean) =>
    domain.users.fromConnector({
      connector: 'corp',
      subject: '1',
      email: 'c@corp.example',
      name: 'C',
      groups: { managed: [dev.id], member: member ? [dev.id] : [] },
      claims: { department: ['a'] },
    });
  const { user } = await enter(true);
  t.same(user.autoGroups, [dev.id]);
  await domain.users.update(user.id, { autoGroups: [dev.id, own.id] }, system);
  changes.length = 0;
  t.match(await enter(true), { regrouped: false });
  t.same(changes, []);
  const after = await enter(false);
  t.match(after, { regrouped: true, user: { autoGroups: [own.id] } });
  t.match(changes, [{ kind: 'revocation', revocation: { kind: 'user', userId: user.id } }]);
  t.match(await domain.users.get(user.id), { claims: { department: ['a'] } });
  await domain.close();
});
