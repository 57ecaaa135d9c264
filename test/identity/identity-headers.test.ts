// The headers that only we may set, in every spelling, and what can stand in them.
import t from 'tap';
import { asId, type UserId } from '#model/ids.ts';
import { headerValueBytes } from '#identity/constants.ts';
import { headerText, identityHeaderNames, identityHeaders, isIdentityHeader } from '#identity/identity-headers.ts';

const identity = { userId: asId<UserId>('u1'), email: 'ada@example.com', name: 'Ada', groups: ['admins', 'devs'], method: 'oidc' } as const;

t.test('every spelling of our names is ours', async (t) => {
  for (const name of identityHeaderNames) {
    for (const spelling of [
      name,
      name.toUpperCase(),
      name.toLowerCase(),
      name.replaceAll('-', '_'),
      name.replaceAll('-', '.'),
      name.replace('-', '_'),
    ]) {
      t.ok(isIdentityHeader(spelling), spelling);
    }
  }
  for (const name of ['User', 'Remote-Users', 'X-Forwarded-For', 'Authorization', '']) t.notOk(isIdentityHeader(name), name);
});

t.test('an identity becomes headers; what is empty has none', async (t) => {
  t.same(identityHeaders(identity, 'jwt'), [
    ['X-Meshgate-User', 'u1'],
    ['X-Meshgate-Email', 'ada@example.com'],
    ['X-Meshgate-Name', 'Ada'],
    ['X-Meshgate-Groups', 'admins,devs'],
    ['X-NetBird-User', 'ada@example.com'],
    ['X-NetBird-Groups', 'admins,devs'],
    ['X-Meshgate-Assertion', 'jwt'],
  ]);
  t.same(identityHeaders({ ...identity, email: '', name: '', groups: [] }, undefined), [['X-Meshgate-User', 'u1']]);
  t.ok(identityHeaders(identity, 'jwt').every(([name]) => isIdentityHeader(name)));
});

t.test('values are visible ASCII whatever a name holds', async (t) => {
  t.equal(headerText('a\r\nSet-Cookie: x\0\u0085b'), 'aSet-Cookie: xb');
  t.equal(headerText('Zoë 100%'), 'Zo%C3%AB 100%25');
  t.equal(headerText('😀\uD800'), '%F0%9F%98%80%EF%BF%BD');
  t.equal(headerText('  a  '), 'a');
  const [, groups] =
    identityHeaders({ ...identity, groups: ['a,b', 'c', '\n', 'd%2C'] }, undefined).find(([name]) => name === 'X-Meshgate-Groups') ?? [];
  t.equal(groups, 'a%2Cb,c,d%252C');
});

t.test('values have an end, at a whole character and a whole group', async (t) => {
  t.equal(headerText('ä'.repeat(5000)).length, headerValueBytes - (headerValueBytes % 6));
  const groups = Array.from({ length: 1000 }, (_, i) => `group-${String(i).padStart(4, '0')}`);
  const value = new Map(identityHeaders({ ...identity, groups }, undefined)).get('X-Meshgate-Groups') ?? '';
  t.ok(value.length <= headerValueBytes);
  t.ok(value.split(',').every((name) => groups.includes(name)));
});
