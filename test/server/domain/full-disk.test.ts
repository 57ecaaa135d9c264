// Attack row D-15, a full disk below the server's database: who is signed in stays so, changes are refused with the reason and leave nothing half
// done, and go on when there is space again.
import { join } from 'node:path';
import t from 'tap';
import { asId } from '#model/ids.ts';
import { needsMount, smallDisk } from '../../support/small-disk.ts';
import { lastUsedPrecisionMs } from '../../../src/server/domain/constants.ts';
import { addCluster, addGatewayToken, addOwner, addPeer, openDomain, serviceOf, system } from './support.ts';

void t.test('D-15: sessions and tokens survive a full disk, changes are refused, and all goes on afterwards', needsMount, async (t) => {
  const disk = smallDisk(t, 4_096);
  const storeUrl = `sqlite:${join(disk.folder, 'server.db')}`;
  const { domain, clock } = await openDomain({ storeUrl });
  await addCluster(domain);
  await addOwner(domain);
  const request = { email: 'u@example.com', name: 'U', role: 'user', autoGroups: [], service: false, password: 'long enough' } as const;
  const userId = (await domain.users.create(request, system)).user.id;
  const peerId = (await domain.peers.self(await addPeer(domain, 'web'))).peer.id;
  const serviceId = (await domain.services.create(serviceOf(peerId), system)).id;
  const session = await domain.sessions.create(serviceId, userId, 'proxy.test');
  const gateway = await addGatewayToken(domain, 'another');

  disk.fill();
  const made: string[] = [];
  let refused: unknown;
  for (let i = 0; i < 2_000 && refused === undefined; i++) {
    const name = `group-${i}`;
    await domain.groups.create({ name, peers: [] }, system).then(
      () => made.push(name),
      (error: unknown) => (refused = error),
    );
  }
  t.match(refused, { code: 'STORE_FULL' }, `after ${made.length} changes that found room in the journal`);
  // "Last used" would be written now.
  clock.advance(lastUsedPrecisionMs + 1);
  t.match(await domain.sessions.find(session.id, serviceId, 'proxy.test'), { session: { identity: { userId } } }, 'who is signed in stays so');
  t.match(await domain.tokens.verifyProxy(gateway.plain), { id: gateway.token.id }, 'a gateway is let in');
  t.same(await domain.tokens.verifyProxy('nbx_000000000000000000000000000000000000'), undefined, 'and nobody else');
  await t.rejects(domain.sessions.create(serviceId, userId, 'proxy.test'), { code: 'STORE_FULL' }, 'nobody signs in, and is told why');
  await t.rejects(domain.sessions.end(session.id, 'proxy.test'), { code: 'STORE_FULL' }, 'what could not be ended is not said to be');
  const names = async (): Promise<string[]> => (await domain.groups.list()).map(({ name }) => name).filter((name) => name.startsWith('group-'));
  t.same((await names()).toSorted(), made.toSorted(), 'nothing half done');

  disk.free();
  const later = await domain.sessions.create(serviceId, userId, 'proxy.test');
  await domain.sessions.end(session.id, 'proxy.test');
  t.match(await domain.sessions.find(session.id, serviceId, 'proxy.test'), { missing: 'revoked' });
  await domain.close();
  const again = await openDomain({ storeUrl });
  t.match(await again.domain.sessions.find(later.id, asId(serviceId), 'proxy.test'), { session: {} }, 'it is on disk');
  await again.domain.close();
});
