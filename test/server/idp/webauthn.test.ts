// Answers of authenticators, made by one of our own that can lie (attack row A-13).
import t from 'tap';
import { answerLength, parseAnswer, verifyAssertion, verifyRegistration } from '#server/idp/webauthn.ts';
import { decodeCbor } from '#wire/cbor.ts';
import { authenticator, party, type Lies } from './support/authenticator.ts';

const challenge = 'Y2hhbGxlbmdlIG9mIHRoZSB0ZXN0';

t.test('a new passkey is taken as it is, for every algorithm that is offered', async (t) => {
  for (const algorithm of ['ES256', 'EdDSA', 'RS256'] as const) {
    const device = authenticator(algorithm);
    const made = verifyRegistration(device.create(challenge), party, challenge);
    t.match(made, { id: device.id, counter: 0, userVerified: true, synced: false, transports: ['internal'] }, algorithm);
    const known = { publicKey: made?.publicKey ?? {}, userHandle: 'u1' };
    t.match(verifyAssertion(device.get(challenge), party, challenge, known), { counter: 1, userVerified: true }, algorithm);
    t.match(verifyAssertion(device.get(challenge, { userVerified: false }), party, challenge, known), { counter: 2, userVerified: false });
  }
});

const lies: readonly (readonly [string, Lies])[] = [
  ['another origin', { origin: 'https://mesh.localhost.evil.test' }],
  ['the same host on another port', { origin: 'https://mesh.localhost:444' }],
  ['without TLS', { origin: 'http://mesh.localhost' }],
  ['another relying party', { rpId: 'evil.test' }],
  ['a domain above', { rpId: 'localhost' }],
  ['another challenge', { challenge: 'b3RoZXI' }],
  ['an empty challenge', { challenge: '' }],
  ['in a frame of another site', { crossOrigin: true }],
  ['nobody was there', { userPresent: false }],
  ['backed up, but not eligible', { flags: 0x10 }],
  ['bytes behind the data', { tail: Buffer.from([0]) }],
  ['extensions that are none', { flags: 0x80 }],
];

t.test('what is not for us, not fresh or not whole is refused, new or known', async (t) => {
  const device = authenticator('ES256');
  const made = verifyRegistration(device.create(challenge), party, challenge);
  const known = { publicKey: made?.publicKey ?? {}, userHandle: 'u1' };
  for (const [what, lie] of lies) {
    t.equal(verifyRegistration(device.create(challenge, lie), party, challenge), undefined, `new: ${what}`);
    t.equal(verifyAssertion(device.get(challenge, lie), party, challenge, known), undefined, `known: ${what}`);
  }
  t.equal(verifyRegistration(device.get(challenge), party, challenge), undefined, 'an assertion is no registration');
  t.equal(verifyAssertion(device.create(challenge), party, challenge, known), undefined, 'nor the other way round');
  t.equal(verifyAssertion(device.get(challenge), party, '', known), undefined, 'nothing was asked');
  t.equal(verifyAssertion(device.get(challenge, { userHandle: 'u2' }), party, challenge, known), undefined, 'made for somebody else');
  t.equal(verifyAssertion(authenticator('ES256').get(challenge), party, challenge, known), undefined, 'signed with another key');
  t.equal(verifyRegistration({ ...device.create(challenge), id: 'AAAA' }, party, challenge), undefined, 'under another id');
});

t.test('no byte of an answer can be changed', async (t) => {
  const device = authenticator('ES256');
  const made = verifyRegistration(device.create(challenge), party, challenge);
  const known = { publicKey: made?.publicKey ?? {}, userHandle: 'u1' };
  const answer = device.get(challenge);
  for (const field of ['authenticatorData', 'signature'] as const) {
    const bytes = Buffer.from(String(answer.response[field]), 'base64url');
    for (let at = 0; at < bytes.length; at++) {
      const bent = Buffer.from(bytes);
      bent[at] = (bent[at] ?? 0) ^ 1;
      const response = { ...answer.response, [field]: bent.toString('base64url') };
      t.equal(verifyAssertion({ ...answer, response }, party, challenge, known), undefined, `${field} ${at}`);
    }
  }
});

t.test('answers are bounded and strictly read', async (t) => {
  const good = JSON.stringify({ id: 'a', type: 'public-key', response: { clientDataJSON: 'e30' } });
  t.match(parseAnswer(good), { id: 'a' });
  for (const text of [
    '',
    'null',
    '[]',
    '{}',
    good.replace('public-key', 'password'),
    good.replace('e30', 'e3='),
    good.replace('e30', 'e31'),
    good.padEnd(answerLength + 1),
  ])
    t.equal(parseAnswer(text), undefined, text.slice(0, 60));
  const hex = (text: string) => decodeCbor(Buffer.from(text, 'hex'))?.value;
  t.same(
    hex('a2016161026162'),
    new Map([
      [1, 'a'],
      [2, 'b'],
    ]),
  );
  t.same(hex('83f4f5f6'), [false, true, null]);
  t.same(hex('3901f3'), -500);
  for (const text of [
    '',
    '18',
    '1801',
    '190001',
    '1a00000001',
    '5f',
    '42aa',
    '61ff',
    'a101',
    'a20101010',
    'a2010101',
    'a2016101016102',
    'c100',
    'fb0000000000000000',
    '9b0000000000000001',
    '81818181818101',
    'b841',
  ])
    t.equal(hex(text), undefined, text);
});
