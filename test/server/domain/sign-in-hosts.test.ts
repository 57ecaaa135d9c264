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
