// What an issuer says of a person (attack row A-7).
import t from 'tap';
import { asId, type GroupId } from '#model/ids.ts';
import { plainIssuerRules } from '#model/issuer.ts';
import { domainOf, externalSignIn } from '#server/idp/external-claims.ts';

const carol = { sub: '1', email: 'carol@corp.example', email_verified: true, name: 'Carol' };
const rules = { ...plainIssuerRules, emailDomains: ['corp.example'] };

t.test('an address is at the domain behind its one @, or nowhere', async (t) => {
  for (const [email, domain] of [
    ['carol@corp.example', 'corp.example'],
    ['Carol.Of+x@CORP.example', 'corp.example'],
    ['käthe@bücher.example', 'xn--bcher-kva.example'],
    ['a@evil.example@corp.example', undefined],
    ['"a@evil.example"@corp.example', undefined],
    ['"carol"@corp.example', undefined],
    ['carol@corp.example@', undefined],
    ['@corp.example', undefined],
    ['carol', undefined],
    ['carol@corp.example.', undefined],
    ['carol@corp', undefined],
    ['carol@[192.0.2.1]', undefined],
    ['carol@corp.example\u0000', undefined],
    ['carol @corp.example', undefined],
    ['carol@corp.example, mallory@evil.example', undefined],
    ['carol@corp.example\nBcc: x', undefined],
  ] as const) {
    t.equal(domainOf(email), domain, email);
  }
});

t.test('only verified addresses of the right domain let somebody in', async (t) => {
  t.match(externalSignIn('corp', rules, carol), { connector: 'corp', subject: '1', email: 'carol@corp.example', name: 'Carol', groups: undefined });
  for (const change of [
    { email_verified: false },
    { email_verified: 'false' },
    { email_verified: undefined },
    { email_verified: null },
    { email_verified: 1 },
    { email: undefined },
    { email: '' },
    { email: ['carol@corp.example'] },
    { email: 'x@evil.example@corp.example' },
  ]) {
    t.throws(() => externalSignIn('corp', rules, { ...carol, ...change }), { code: 'IDP_CONNECTOR_EMAIL' }, JSON.stringify(change));
  }
  for (const email of [
    'carol@evil.example',
    'carol@sub.corp.example',
    'carol@evilcorp.example',
    'carol@corp.example.evil.example',
    'carol@CORP.EXAMPLE.evil.example',
  ])
    t.throws(() => externalSignIn('corp', rules, { ...carol, email }), { code: 'IDP_CONNECTOR_DOMAIN' }, email);
  t.match(externalSignIn('corp', { ...rules, trustsEmail: true }, { ...carol, email_verified: undefined }), { email: carol.email });
  t.throws(() => externalSignIn('corp', { ...rules, trustsEmail: true }, { ...carol, email_verified: false }), { code: 'IDP_CONNECTOR_EMAIL' });
});

t.test('groups follow the claim as it is mapped, and claims are kept where they are named', async (t) => {
  const group = (id: string): GroupId => asId<GroupId>(id);
  const mapped = {
    ...rules,
    groupsClaim: 'roles',
    groups: [
      { value: 'dev', group: group('g1') },
      { value: 'engineers', group: group('g1') },
      { value: 'ops', group: group('g2') },
    ],
    claims: ['department', 'missing'],
  };
  const of = (claims: object) => externalSignIn('corp', mapped, { ...carol, ...claims });
  t.same(of({ roles: ['dev', 'engineers', 'unknown'] }).groups, { managed: ['g1', 'g2'], member: ['g1'] });
  t.same(of({ roles: 'ops' }).groups?.member, ['g2'], 'one as text');
  for (const roles of [undefined, null, {}, [{}], [['dev']], 'Dev', ['x'.repeat(300)]])
    t.same(of({ roles }).groups?.member, [], JSON.stringify(roles));
  t.same(of({ department: ['a', 1, true, {}] }).claims, { department: ['a', '1', 'true'] });
});
