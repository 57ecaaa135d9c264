// Which hosts the identity provider may send people back to: asked by strangers, so answered exactly and without reading every service.
import t from 'tap';
import { addCluster, addPeer, openDomain, serviceOf, system } from './support.ts';

t.test('people sign in at enabled web services that ask for it, and nowhere else', async (t) => {
  const { domain } = await openDomain();
  await addCluster(domain);
  const peerId = (await domain.peers.self(await addPeer(domain, 'web'))).peer.id;
  const input = serviceOf(peerId, { domain: 'app.proxy.test' });
  const { id } = await domain.services.create(input, system);
  t.equal(await domain.services.signsInAt('app.proxy.test'), true);
  for (const other of ['', 'proxy.test', 'x.app.proxy.test', 'app.proxy.test.', 'APP.proxy.test', '%', 'app_proxy_test']) {
    t.equal(await domain.services.signsInAt(other), false, other);
  }
  await domain.services.update(id, { ...input, enabled: false }, system);
  t.equal(await domain.services.signsInAt('app.proxy.test'), false, 'disabled');
  await domain.services.update(id, { ...input, auth: { ...input.auth, oidc: { enabled: false, groups: [] } } }, system);
  t.equal(await domain.services.signsInAt('app.proxy.test'), false, 'public');
  await domain.close();
});

t.test('people sign in at any host that a wildcard domain stands for, unless a service of that name says otherwise', async (t) => {
  const { domain } = await openDomain();
  await addCluster(domain);
  const peerId = (await domain.peers.self(await addPeer(domain, 'web'))).peer.id;
  const wild = await domain.services.create(serviceOf(peerId, { name: 'wild', domain: '*.Sub.proxy.test.' }), system);
  t.equal(wild.domain, '*.sub.proxy.test');
  t.equal(wild.cluster, 'proxy.test');
  const exact = serviceOf(peerId, { name: 'exact', domain: 'exact.sub.proxy.test' });
  const { id } = await domain.services.create(exact, system);
  for (const host of ['one.sub.proxy.test', 'exact.sub.proxy.test']) t.equal(await domain.services.signsInAt(host), true, host);
  for (const other of ['sub.proxy.test', 'x.one.sub.proxy.test', '*.sub.proxy.test', '.sub.proxy.test', 'onesub.proxy.test', '%.sub.proxy.test.']) {
    t.equal(await domain.services.signsInAt(other), false, other);
  }
  await domain.services.update(id, { ...exact, enabled: false }, system);
  t.equal(await domain.services.signsInAt('exact.sub.proxy.test'), false, 'the exact name is disabled');
  for (const bad of ['*', '*.', '*sub.proxy.test', 'a.*.proxy.test', '*.*.proxy.test', '**.proxy.test']) {
    await t.rejects(domain.services.create(serviceOf(peerId, { name: 'bad', domain: bad }), system), /not a host name/, bad);
  }
  await t.rejects(domain.services.create(serviceOf(peerId, { name: 'again', domain: '*.sub.proxy.test' }), system));
  await domain.close();
});
