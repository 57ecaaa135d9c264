// Two servers over one PostgreSQL.
import t from 'tap';
import type { Change } from '../../../src/server/domain/contract.ts';
import { serverGoneMs } from '../../../src/server/domain/constants.ts';
import { postgresMissing, startPostgres } from '../store/postgres-cluster.ts';
import { addGatewayToken, addCluster, addOwner, addPeer, keyOf, metaOf, openDomain, ruleOf, seeded, serviceOf, system } from './support.ts';

const missing = postgresMissing();
if (missing === undefined) {
  const cluster = await startPostgres();
  t.teardown(() => cluster.stop());

  await t.test('what one server changes the other tells, in order and once; maps follow', async (t) => {
    const storeUrl = await cluster.createDatabase();
    const one = await openDomain({ storeUrl });
    const two = await openDomain({ storeUrl, random: seeded('two') });
    t.equal(one.domain.accountId, two.domain.accountId);
    const last = Promise.withResolvers<void>();
    two.domain.changes.subscribe((change: Change) => {
      if (change.kind === 'proxy-token-revoked') last.resolve();
    });
    await addOwner(one.domain);
    await addCluster(one.domain);
    await addPeer(one.domain, 'a');
    const peer = (await two.domain.peers.self(keyOf('a'))).peer;
    const { id } = await one.domain.services.create(serviceOf(peer.id), system);
    await one.domain.services.delete(id, system);
    const { token } = await addGatewayToken(one.domain, 'p');
    await one.domain.tokens.revokeProxy(token.id, system);
    await last.promise;
    t.same(two.changes, one.changes);
    t.same(
      two.changes.map((change) => change.kind),
      ['network', 'service-set', 'network', 'revocation', 'service-removed', 'network', 'proxy-token-revoked'],
    );
    t.same(await two.domain.maps.build(keyOf('a')), await one.domain.maps.build(keyOf('a')));
    await Promise.all([one.domain.close(), two.domain.close()]);
  });

  await t.test('a map asked for after a change elsewhere has it, told or not', async (t) => {
    const storeUrl = await cluster.createDatabase();
    const one = await openDomain({ storeUrl });
    const two = await openDomain({ storeUrl, random: seeded('two') });
    await addPeer(one.domain, 'a');
    const all = (await one.domain.groups.list()).map((group) => group.id);
    const rules = [ruleOf({ sources: all, destinations: all })];
    for (let round = 0; round < 10; round++) {
      const policy = await one.domain.policies.create({ name: `p${round}`, description: '', enabled: true, rules }, system);
      await addPeer(one.domain, `b${round}`);
      const maps = await Promise.all([two.domain.maps.build(keyOf('a')), two.domain.maps.build(keyOf('a'))]);
      for (const map of maps) t.equal(map.peers.length, round + 1);
      await one.domain.policies.delete(policy.id, system);
      t.equal((await two.domain.maps.build(keyOf('a'))).peers.length, 0);
    }
    await Promise.all([one.domain.close(), two.domain.close()]);
  });

  await t.test('a one-off key has one winner over two servers', async (t) => {
    const storeUrl = await cluster.createDatabase();
    const one = await openDomain({ storeUrl });
    const two = await openDomain({ storeUrl, random: seeded('two') });
    const request = { name: 'k', type: 'one-off', expiresInSeconds: 0, usageLimit: 0, ephemeral: false, autoGroups: [] } as const;
    const { plain } = await one.domain.setupKeys.create(request, system);
    const enter = (domain: typeof one.domain, name: string): Promise<unknown> =>
      domain.peers.login({ publicKey: keyOf(name), meta: metaOf(name), setupKey: plain, userId: undefined });
    const outcomes = await Promise.allSettled([enter(one.domain, 'a'), enter(two.domain, 'b'), enter(one.domain, 'c'), enter(two.domain, 'd')]);
    t.equal(outcomes.filter((outcome) => outcome.status === 'fulfilled').length, 1);
    for (const outcome of outcomes) if (outcome.status === 'rejected') t.match(outcome.reason, { code: 'DOMAIN_SETUP_KEY_USED_UP' });
    t.equal((await two.domain.peers.list()).length, 1);
    await Promise.all([one.domain.close(), two.domain.close()]);
  });

  await t.test('peers of a server that died are not connected any more', async (t) => {
    const storeUrl = await cluster.createDatabase();
    const one = await openDomain({ storeUrl });
    const two = await openDomain({ storeUrl, random: seeded('two') });
    await addPeer(one.domain, 'a');
    await one.domain.peers.setConnected(keyOf('a'), true, '192.0.2.1');
    await one.domain.close();
    two.clock.advance(serverGoneMs);
    await two.domain.peers.reapAbandoned();
    t.match(await two.domain.peers.list(), [{ connected: true }]);
    two.clock.advance(1);
    await two.domain.peers.reapAbandoned();
    t.match(await two.domain.peers.list(), [{ connected: false }]);
    await two.domain.close();
  });
} else {
  t.test('several servers', { skip: missing }, async () => undefined);
}
