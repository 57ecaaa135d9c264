import t from 'tap';
import { asId } from '#model/ids.ts';
import type { SetupKey } from '#model/network.ts';
import { abandonedMs, peerMetaBytes } from '../../../src/server/domain/constants.ts';
import type { OpenControlDomain } from '../../../src/server/domain/index.ts';
import { addOwner, addPeer, keyOf, metaOf, openDomain, ruleOf, system } from './support.ts';

interface KeyRequest {
  readonly type?: SetupKey['type'];
  readonly expiresInSeconds?: number;
  readonly usageLimit?: number;
  readonly ephemeral?: boolean;
}

async function newKey(domain: OpenControlDomain, request: KeyRequest = {}): Promise<{ readonly key: SetupKey; readonly plain: string }> {
  const defaults = { name: 'key', type: 'reusable', expiresInSeconds: 0, usageLimit: 0, ephemeral: false, autoGroups: [] } as const;
  return await domain.setupKeys.create({ ...defaults, ...request }, system);
}

const login = async (domain: OpenControlDomain, name: string, setupKey = ''): Promise<string> =>
  (await domain.peers.login({ publicKey: keyOf(name), meta: metaOf(name), setupKey, userId: undefined })).peer.ipv4;

t.test('a new network denies everything; a policy connects', async (t) => {
  const { domain } = await openDomain();
  const [a, b] = [await addPeer(domain, 'a'), await addPeer(domain, 'b')];
  t.same(await domain.policies.list(), []);
  t.same((await domain.maps.build(a)).filter, { kind: 'rules', rules: [] });
  t.same((await domain.maps.build(a)).peers, []);
  const all = (await domain.groups.list()).map((group) => group.id);
  const before = (await domain.maps.build(a)).serial;
  await domain.policies.create({ name: 'all', description: '', enabled: true, rules: [ruleOf({ sources: all, destinations: all })] }, system);
  const map = await domain.maps.build(a);
  t.same(
    map.peers.map((peer) => peer.publicKey),
    [b],
  );
  t.ok(map.serial > before);
  await domain.close();
});

t.test('who is unknown and brings nothing is told to register', async (t) => {
  const { domain } = await openDomain();
  for (const key of ['', '00000000-0000-0000-0000-000000000000']) await t.rejects(login(domain, 'a', key), { code: 'DOMAIN_PEER_UNKNOWN' });
  await t.rejects(domain.peers.self(keyOf('a')), { code: 'DOMAIN_PEER_UNKNOWN' });
  await t.rejects(domain.maps.build(keyOf('a')), { code: 'DOMAIN_PEER_UNKNOWN' });
  await t.rejects(domain.peers.logout(keyOf('a')), { code: 'DOMAIN_PEER_UNKNOWN' });
  await domain.close();
});

t.test('setup keys: every kind and every refusal', async (t) => {
  const { domain, clock } = await openDomain();

  const reusable = await newKey(domain);
  t.match(reusable.plain, /^[0-9A-F]{8}(?:-[0-9A-F]{4}){3}-[0-9A-F]{12}$/);
  t.match(reusable.key.hint, /^[0-9A-F]{5}\*{31}$/);
  await login(domain, 'a', reusable.plain);
  await login(domain, 'b', reusable.plain.toLowerCase());
  t.match(await domain.setupKeys.get(reusable.key.id), { usedTimes: 2, lastUsed: clock.wall() });
  await login(domain, 'a', reusable.plain);
  t.equal((await domain.setupKeys.get(reusable.key.id)).usedTimes, 2, 'a peer that is known uses no key');

  const oneOff = await newKey(domain, { type: 'one-off' });
  await login(domain, 'c', oneOff.plain);
  await t.rejects(login(domain, 'd', oneOff.plain), { code: 'DOMAIN_SETUP_KEY_USED_UP' });

  const limited = await newKey(domain, { usageLimit: 2 });
  await login(domain, 'e', limited.plain);
  await login(domain, 'f', limited.plain);
  await t.rejects(login(domain, 'g', limited.plain), { code: 'DOMAIN_SETUP_KEY_USED_UP' });

  const brief = await newKey(domain, { expiresInSeconds: 60 });
  clock.advance(59_999);
  await login(domain, 'h', brief.plain);
  clock.advance(1);
  await t.rejects(login(domain, 'i', brief.plain), { code: 'DOMAIN_SETUP_KEY_EXPIRED' });

  await domain.setupKeys.update(reusable.key.id, { revoked: true, autoGroups: [] }, system);
  await t.rejects(login(domain, 'i', reusable.plain), { code: 'DOMAIN_SETUP_KEY_REVOKED' });
  await t.rejects(domain.setupKeys.update(reusable.key.id, { revoked: false, autoGroups: [] }, system), { code: 'DOMAIN_INVALID' });

  await domain.setupKeys.delete(limited.key.id, system);
  for (const key of [limited.plain, 'no key at all']) await t.rejects(login(domain, 'i', key), { code: 'DOMAIN_SETUP_KEY_INVALID' });
  await t.rejects(newKey(domain, { expiresInSeconds: -1 }), { code: 'DOMAIN_INVALID' });
  await t.rejects(newKey(domain, { usageLimit: 1.5 }), { code: 'DOMAIN_INVALID' });
  t.equal((await domain.peers.list()).length, 6);
  await domain.close();
});

t.test('a one-off key has one winner, however many come at once', async (t) => {
  const { domain } = await openDomain();
  const { plain, key } = await newKey(domain, { type: 'one-off' });
  const outcomes = await Promise.allSettled(['a', 'b', 'c', 'd'].map((name) => login(domain, name, plain)));
  t.equal(outcomes.filter((outcome) => outcome.status === 'fulfilled').length, 1);
  for (const outcome of outcomes) {
    if (outcome.status === 'rejected') t.match(outcome.reason, { code: 'DOMAIN_SETUP_KEY_USED_UP' });
  }
  t.equal((await domain.setupKeys.get(key.id)).usedTimes, 1);
  t.equal((await domain.peers.list()).length, 1);
  await domain.close();
});

t.test('a refused registration leaves nothing behind, the count of the key included', async (t) => {
  const { domain, changes } = await openDomain({ limits: { peers: 1 } });
  const { plain, key } = await newKey(domain);
  await login(domain, 'a', plain);
  const told = changes.length;
  await t.rejects(login(domain, 'b', plain), { code: 'DOMAIN_LIMIT' });
  t.equal((await domain.setupKeys.get(key.id)).usedTimes, 1);
  t.equal(changes.length, told);
  await domain.close();
});

t.test('names and addresses are unique', async (t) => {
  const { domain } = await openDomain();
  const { plain } = await newKey(domain);
  const names = ['Web Server', 'web-server', 'web.server', '…', 'x'.repeat(300)];
  for (const [index, hostname] of names.entries()) {
    await domain.peers.login({ publicKey: keyOf(`p${index}`), meta: metaOf(hostname), setupKey: plain, userId: undefined });
  }
  const peers = await domain.peers.list();
  t.equal(new Set(peers.map((peer) => peer.dnsLabel)).size, names.length);
  t.equal(new Set(peers.map((peer) => peer.ipv4)).size, names.length);
  t.equal(new Set(peers.map((peer) => peer.ipv4.split('.').slice(2).join('.'))).size, names.length);
  for (const peer of peers) {
    t.match(peer.dnsLabel, /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/);
    t.match(peer.ipv4, /^100\.(?:6[4-9]|[7-9]\d|1[01]\d|12[0-7])\./);
    t.match(peer.ipv6, /^fd/);
  }
  const [first, second] = peers;
  if (first === undefined || second === undefined) throw new TypeError('there are peers');
  const renamed = await domain.peers.rename(first.id, second.name, system);
  t.not(renamed.dnsLabel, second.dnsLabel);
  t.equal((await domain.peers.self(first.publicKey)).fqdn, `${renamed.dnsLabel}.mesh.test`);
  await t.rejects(domain.peers.rename(first.id, ' ', system), { code: 'DOMAIN_INVALID' });
  await domain.close();
});

t.test('keys bring peers into groups; All has everybody and cannot be changed', async (t) => {
  const { domain } = await openDomain();
  const group = await domain.groups.create({ name: 'web', peers: [] }, system);
  const request = { name: 'k', type: 'reusable', expiresInSeconds: 0, usageLimit: 0, ephemeral: false, autoGroups: [group.id] } as const;
  const { plain, key } = await domain.setupKeys.create(request, system);
  await login(domain, 'a', plain);
  await addPeer(domain, 'b');
  t.equal((await domain.groups.get(group.id)).peers.length, 1);
  const all = (await domain.groups.list()).find((entry) => entry.system);
  t.match(all, { name: 'All', peers: { length: 2 } });
  const allId = all?.id ?? asId('');
  await t.rejects(domain.groups.update(allId, { name: 'x', peers: [] }, system), { code: 'DOMAIN_GROUP_SYSTEM' });
  await t.rejects(domain.groups.delete(allId, system), { code: 'DOMAIN_GROUP_SYSTEM' });
  await t.rejects(domain.groups.create({ name: 'web', peers: [] }, system), { code: 'DOMAIN_GROUP_NAME_TAKEN' });
  await t.rejects(domain.groups.delete(group.id, system), { code: 'DOMAIN_GROUP_IN_USE', message: /setup key "k"/ });
  await t.rejects(domain.groups.update(group.id, { name: 'web', peers: [asId('nobody')] }, system), { code: 'DOMAIN_INVALID' });
  await domain.setupKeys.delete(key.id, system);
  await domain.groups.update(group.id, { name: 'web 2', peers: [] }, system);
  t.same((await domain.groups.get(group.id)).peers, []);
  await domain.groups.delete(group.id, system);
  await t.rejects(domain.groups.get(group.id), { code: 'DOMAIN_NOT_FOUND' });
  await t.rejects(domain.setupKeys.create({ ...request, autoGroups: [asId('gone')] }, system), { code: 'DOMAIN_GROUP_UNKNOWN' });
  await domain.close();
});

t.test('ephemeral peers go when they have been away long enough; others stay', async (t) => {
  const { domain, clock, changes } = await openDomain();
  const { plain } = await newKey(domain, { ephemeral: true });
  await login(domain, 'short', plain);
  await addPeer(domain, 'long');
  await domain.peers.setConnected(keyOf('short'), true, '192.0.2.1');
  clock.advance(abandonedMs * 2);
  await domain.peers.reapAbandoned();
  t.equal((await domain.peers.list()).length, 2, 'connected');
  await domain.peers.setConnected(keyOf('short'), false, '');
  clock.advance(abandonedMs);
  await domain.peers.reapAbandoned();
  t.equal((await domain.peers.list()).length, 2, 'not long enough');
  clock.advance(1);
  await domain.peers.reapAbandoned();
  t.same(
    (await domain.peers.list()).map((peer) => peer.name),
    ['long'],
  );
  t.match(changes.slice(-2), [{ kind: 'peer-removed', publicKey: keyOf('short') }, { kind: 'network' }]);
  await domain.close();
});

t.test('peers registered by a user are theirs', async (t) => {
  const { domain } = await openDomain();
  await addOwner(domain);
  const group = await domain.groups.create({ name: 'staff', peers: [] }, system);
  const request = { email: 'u@example.com', name: 'U', role: 'user', autoGroups: [group.id], service: false, password: undefined } as const;
  const { user } = await domain.users.create(request, system);
  const enter = (userId = user.id): Promise<unknown> =>
    domain.peers.login({ publicKey: keyOf('laptop'), meta: metaOf('laptop'), setupKey: '', userId });
  await enter();
  t.equal((await domain.groups.get(group.id)).peers.length, 1);
  await t.rejects(enter(asId('somebody else')), { code: 'DOMAIN_PEER_OTHER_USER' });
  await domain.users.update(user.id, { blocked: true }, system);
  await t.rejects(enter(), { code: 'DOMAIN_USER_BLOCKED' });
  await t.rejects(domain.maps.build(keyOf('laptop')), { code: 'DOMAIN_PEER_UNKNOWN' }, 'a blocked user has no network');
  await domain.users.update(user.id, { blocked: false, autoGroups: [] }, system);
  t.same((await domain.groups.get(group.id)).peers, []);
  await domain.users.delete(user.id, system);
  await t.rejects(domain.peers.self(keyOf('laptop')), { code: 'DOMAIN_PEER_UNKNOWN' });
  await domain.close();
});

t.test('what a peer says of itself is kept, up to a limit', async (t) => {
  const { domain, changes } = await openDomain();
  const key = await addPeer(domain, 'a');
  const told = changes.length;
  await domain.peers.updateMeta(key, metaOf('a', { osVersion: '6.2' }));
  t.equal(changes.length, told, 'nobody else sees this');
  await domain.peers.updateMeta(key, metaOf('a', { osVersion: '6.2', version: '0.61.0' }));
  t.match(changes.slice(told), [{ kind: 'network' }]);
  t.equal((await domain.peers.self(key)).peer.meta.version, '0.61.0');
  await t.rejects(domain.peers.updateMeta(key, metaOf('x'.repeat(peerMetaBytes))), { code: 'DOMAIN_INVALID' });
  await domain.close();
});

t.test('deleting and leaving are told, with the peer first', async (t) => {
  const { domain, changes } = await openDomain();
  const [a, b] = [await addPeer(domain, 'a'), await addPeer(domain, 'b')];
  const peer = (await domain.peers.self(a)).peer;
  changes.length = 0;
  await domain.peers.delete(peer.id, system);
  await domain.peers.logout(b);
  t.match(changes, [{ kind: 'peer-removed', publicKey: a }, { kind: 'network' }, { kind: 'peer-removed', publicKey: b }, { kind: 'network' }]);
  await t.rejects(domain.peers.get(peer.id), { code: 'DOMAIN_NOT_FOUND' });
  const codes = (await domain.events.audit()).map((event) => event.activityCode);
  t.equal(codes.filter((code) => code === 'peer.delete').length, 2);
  await domain.close();
});
