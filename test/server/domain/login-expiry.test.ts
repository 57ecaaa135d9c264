import t from 'tap';
import type { UserId } from '#model/ids.ts';
import type { OpenControlDomain } from '../../../src/server/domain/index.ts';
import { addOwner, addPeer, keyOf, metaOf, openDomain, ruleOf, system } from './support.ts';

const dayMs = 86_400_000;
let tokens = 0;

const signIn = (domain: OpenControlDomain, name: string, userId: UserId, digest = `token ${++tokens}`) =>
  domain.peers.login({
    publicKey: keyOf(name),
    meta: metaOf(name),
    setupKey: '',
    userId,
    signInToken: { digest, expiresAt: Number.MAX_SAFE_INTEGER },
  });
const plain = (domain: OpenControlDomain, name: string) =>
  domain.peers.login({ publicKey: keyOf(name), meta: metaOf(name), setupKey: '', userId: undefined });

async function connectAll(domain: OpenControlDomain): Promise<void> {
  const all = (await domain.groups.list()).map((group) => group.id);
  await domain.policies.create({ name: 'all', description: '', enabled: true, rules: [ruleOf({ sources: all, destinations: all })] }, system);
}

t.test('a sign-in token counts once, and not at all where the login fails', async (t) => {
  const { domain } = await openDomain();
  const ada = await addOwner(domain);
  const { user: bob } = await domain.users.create(
    { email: 'bob@example.com', name: 'Bob', role: 'user', autoGroups: [], service: false, password: 'correct horse' },
    system,
  );
  await signIn(domain, 'a', ada, 'one');
  await t.rejects(signIn(domain, 'a', ada, 'one'), { code: 'DOMAIN_LOGIN_TOKEN_USED' });
  await t.rejects(signIn(domain, 'b', ada, 'one'), { code: 'DOMAIN_LOGIN_TOKEN_USED' });
  await t.rejects(domain.peers.self(keyOf('b')), { code: 'DOMAIN_PEER_UNKNOWN' }, 'nothing was registered');
  await t.rejects(signIn(domain, 'a', bob.id, 'two'), { code: 'DOMAIN_PEER_OTHER_USER' });
  await signIn(domain, 'b', bob.id, 'two');
  const both = await Promise.allSettled([signIn(domain, 'c', ada, 'three'), signIn(domain, 'd', ada, 'three')]);
  t.same(both.map(({ status }) => status).sort(), ['fulfilled', 'rejected'], 'of two at once one gets through');
  await domain.close();
});

t.test('a login that expires: refused, told, and out of the maps until the user is back', async (t) => {
  const { domain, clock, changes } = await openDomain();
  const ada = await addOwner(domain);
  const [a, b] = [keyOf('a'), await addPeer(domain, 'b')];
  const self = await signIn(domain, 'a', ada);
  t.equal(self.sessionExpiresAt, clock.wall() + dayMs);
  t.equal((await domain.peers.self(b)).sessionExpiresAt, undefined, 'a machine without a person stays');
  await connectAll(domain);
  clock.advance(dayMs - 1);
  await plain(domain, 'a');
  clock.advance(1);
  await t.rejects(
    plain(domain, 'a'),
    { code: 'DOMAIN_LOGIN_EXPIRED', message: /peer login has expired/ },
    'a login without a person has moved nothing',
  );
  await t.rejects(domain.peers.self(a), { code: 'DOMAIN_LOGIN_EXPIRED' });
  t.equal((await domain.maps.build(b)).peers.length, 1, 'the maps follow with the next look');
  changes.length = 0;
  await domain.peers.reapAbandoned();
  t.match(changes, [{ kind: 'peer-expired', publicKey: a }, { kind: 'network' }]);
  t.same((await domain.maps.build(b)).peers, []);
  changes.length = 0;
  await domain.peers.reapAbandoned();
  t.same(changes, [], 'once');
  await signIn(domain, 'a', ada);
  t.equal((await domain.maps.build(b)).peers.length, 1);
  const codes = (await domain.events.audit()).map((event) => event.activityCode);
  t.same(codes.filter((code) => code.startsWith('peer.login')).sort(), ['peer.login', 'peer.login.expire']);
  await domain.close();
});

t.test('the settings and the peer say whether logins expire, and when', async (t) => {
  const { domain, clock } = await openDomain();
  const ada = await addOwner(domain);
  await signIn(domain, 'a', ada);
  clock.advance(2 * 3_600_000);
  await domain.settings.update({ loginExpirationMs: 3_600_000 }, system);
  const [peer] = await domain.peers.list();
  t.equal(peer?.loginExpired, true, 'at once');
  if (peer === undefined) throw new TypeError('no peer');
  t.match(await domain.peers.setLoginExpiration(peer.id, false, system), { loginExpired: false, loginExpirationEnabled: false });
  await plain(domain, 'a');
  await t.rejects(domain.peers.extendSession({ publicKey: keyOf('a'), userId: ada, signInToken: { digest: 'x', expiresAt: 1 } }), {
    code: 'DOMAIN_SESSION_NOT_EXPIRING',
  });
  t.equal((await domain.peers.setLoginExpiration(peer.id, true, system)).loginExpired, true);
  await domain.settings.update({ loginExpirationEnabled: false }, system);
  t.equal((await domain.peers.get(peer.id)).loginExpired, false);
  for (const loginExpirationMs of [0, 3_599_999, 181 * dayMs, Number.NaN]) {
    await t.rejects(domain.settings.update({ loginExpirationMs }, system), { code: 'DOMAIN_INVALID' });
  }
  t.match(await domain.settings.get(), { loginExpirationEnabled: false, loginExpirationMs: 3_600_000 });
  await domain.close();
});
