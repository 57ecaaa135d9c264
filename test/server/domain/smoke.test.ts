import t from 'tap';
import { addOwner, addPeer, openDomain, ruleOf, system } from './support.ts';

t.test('a new network denies everything; a policy connects', async (t) => {
  const { domain } = await openDomain();
  await addOwner(domain);
  const [a, b] = [await addPeer(domain, 'a'), await addPeer(domain, 'b')];
  t.same(await domain.policies.list(), []);
  t.same((await domain.maps.build(a)).filter, { kind: 'rules', rules: [] });
  t.same((await domain.maps.build(a)).peers, []);
  const [all] = await domain.groups.list();
  const ids = all === undefined ? [] : [all.id];
  await domain.policies.create({ name: 'all', description: '', enabled: true, rules: [ruleOf({ sources: ids, destinations: ids })] }, system);
  t.same(
    (await domain.maps.build(a)).peers.map((peer) => peer.publicKey),
    [b],
  );
  await domain.close();
});
