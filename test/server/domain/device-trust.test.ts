// Attack row C-7: whoever had somebody's session for a while could have paired a device with it; what ends the trust of that time ends the device.
import t from 'tap';
import { plainAccess } from '#model/access.ts';
import { addCluster, addOwner, addPeer, openDomain, serviceOf, system } from './support.ts';

t.test('a new password, and signing out everywhere, end paired devices', async (t) => {
  const { domain } = await openDomain();
  const owner = await addOwner(domain);
  await addCluster(domain);
  const peerId = (await domain.peers.self(await addPeer(domain, 'web'))).peer.id;
  const service = await domain.services.create(serviceOf(peerId, { access: { ...plainAccess, devices: true } }), system);
  const pair = async (): Promise<() => Promise<string>> => {
    const session = await domain.sessions.create(service.id, owner, 'proxy.test');
    const paired = await domain.devices.pair(session.id, service.id, 'proxy.test', 'TV');
    const secret = 'secret' in paired ? paired.secret : '';
    const device = { kind: 'device', name: '', secret, address: '192.0.2.1', serviceId: service.id } as const;
    return async () => (await domain.proofs.verify(device, 'proxy.test')).kind;
  };
  const first = await pair();
  t.equal(await first(), 'valid');
  await domain.users.setPassword(owner, 'another long enough one', system);
  t.equal(await first(), 'denied');
  const second = await pair();
  t.equal(await second(), 'valid');
  await domain.sessions.endAllOf(owner, system);
  t.equal(await second(), 'denied');
  const third = await pair();
  await domain.factors.reset(owner, system);
  t.equal(await third(), 'denied');
  await domain.close();
});
