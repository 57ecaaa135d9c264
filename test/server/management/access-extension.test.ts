import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import { WireType } from '@bufbuild/protobuf/wire';
import t from 'tap';
import { accessFrom } from '#control/translate-access.ts';
import { type AccessPolicy, anything, plainAccess, signInProofs } from '#model/access.ts';
import { asId, type GroupId } from '#model/ids.ts';
import { accessExtensionOf, needsAccessExtension } from '#server/management/translate-access.ts';
import { type AccessExtension, AccessExtensionSchema } from '#wire/proto/gen/meshgate_access_pb.ts';
import { mapping } from '../../gateway/mappings.ts';

const full: AccessPolicy = {
  proofs: [['oidc'], ['password', 'pin']],
  headers: [{ name: 'x-api-key', keep: true }],
  rules: [
    {
      name: 'hook',
      action: 'bypass',
      observe: false,
      when: { ...anything, paths: ['/hook'], methods: ['POST'], addresses: ['192.0.2.0/24'] },
      proofs: [],
    },
    {
      name: 'office',
      action: 'allow',
      observe: true,
      when: {
        ...anything,
        countries: ['DE'],
        networks: [64_500],
        times: [{ days: [1, 5], from: 480, to: 1_080, timeZone: 'Europe/Berlin' }],
        users: ['a@example.com'],
        groups: [asId<GroupId>('g')],
        claims: [{ name: 'department', value: 'it' }],
      },
      proofs: [['oidc', 'certificate']],
    },
  ],
  otherwise: 'deny',
  rateLimits: [{ key: 'address', count: 10, perMs: 1_000, burst: 20 }],
  devices: true,
  session: { maxAgeMs: 3_600_000, idleMs: 600_000 },
};

const unknownField = [{ no: 99, wireType: WireType.Varint, data: new Uint8Array(1) }];

function sent(access: AccessPolicy): AccessExtension {
  const message = create(AccessExtensionSchema, accessExtensionOf({ ...mapping('a'), access }));
  return fromBinary(AccessExtensionSchema, toBinary(AccessExtensionSchema, message));
}

void t.test('every part arrives as it was meant', async (t) => {
  t.same(accessFrom(sent(full)), full);
  t.same(accessFrom(sent(plainAccess)), plainAccess);
});

void t.test('what cannot be read whole makes the service unusable', async (t) => {
  const change = (change: (message: AccessExtension) => void): unknown => {
    const message = sent(full);
    change(message);
    return accessFrom(message);
  };
  const changes: readonly [string, (message: AccessExtension) => void][] = [
    ['a newer version', (message) => void (message.version = 2)],
    ['an unknown proof', (message) => void message.proofs[0]?.proofs.push('iris')],
    ['an empty set of proofs', (message) => void (message.proofs[0] && (message.proofs[0].proofs = []))],
    ['an unknown action', (message) => void (message.rules[0] && (message.rules[0].action = 'maybe'))],
    ['an unknown proof of a rule', (message) => void message.rules[1]?.proofs[0]?.proofs.push('iris')],
    ['an unknown key of a limit', (message) => void (message.rateLimits[0] && (message.rateLimits[0].key = 'moon'))],
    ['a limit of nothing', (message) => void (message.rateLimits[0] && (message.rateLimits[0].count = 0))],
    ['an unknown part', (message) => void (message.$unknown = unknownField)],
    ['an unknown part of a rule', (message) => void (message.rules[0] && (message.rules[0].$unknown = unknownField))],
  ];
  for (const [name, edit] of changes) t.match(change(edit), { unusable: String }, name);
});

void t.test('stock gateways are not sent what they would let more callers into', async (t) => {
  const needs = (access: Partial<AccessPolicy>): boolean => needsAccessExtension({ ...mapping('a'), access: { ...plainAccess, ...access } });
  t.equal(needs({}), false);
  t.equal(needs({ proofs: [...signInProofs, ['pin'], ['password']] }), false, 'they have words for each');
  t.equal(needs({ proofs: [['oidc', 'pin']] }), true);
  t.equal(needs({ proofs: [['pin'], ['oidc', 'basic']] }), false, 'they let in fewer');
  t.equal(needs({ proofs: [['basic']] }), true);
  t.equal(needs({ proofs: [['token']] }), true);
  t.equal(needs({ proofs: [['certificate']] }), true);
  t.equal(needs({ rules: full.rules }), true);
  t.equal(needs({ rateLimits: full.rateLimits }), true);
  t.equal(needs({ otherwise: 'deny' }), true);
});
