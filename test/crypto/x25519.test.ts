// X25519 against RFC 7748 and the golden keys of the NetBird reference.
import t from 'tap';
import { generatePrivateKey, keyFromText, keyToText, publicFromPrivate, X25519PrivateKey, X25519PublicKey } from '#crypto/x25519.ts';
import { fromHex, toHex } from '#lib/bytes.ts';

void t.test('RFC 7748 §6.1', async (t) => {
  const alice = new X25519PrivateKey(fromHex('77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a'));
  const bob = new X25519PrivateKey(fromHex('5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb'));
  t.equal(toHex(alice.publicBytes), '8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a');
  t.equal(toHex(bob.publicBytes), 'de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f');
  const shared = '4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742';
  t.equal(toHex(alice.agree(new X25519PublicKey(bob.publicBytes)) ?? new Uint8Array(0)), shared);
  t.equal(toHex(bob.agree(new X25519PublicKey(alice.publicBytes)) ?? new Uint8Array(0)), shared);
});

void t.test('keys of the reference', async (t) => {
  const key = keyFromText('AAIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eH2A=');
  t.equal(keyToText(publicFromPrivate(key ?? new Uint8Array(0))), 'B6N8vBQgk8i3VdwbEOhstCY3StFqqFPtC9/AsrhtHHw=');
});

void t.test('points of small order agree on nothing', async (t) => {
  const own = new X25519PrivateKey(generatePrivateKey());
  for (const point of [
    '00'.repeat(32),
    `01${'00'.repeat(31)}`,
    'e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800',
    `ec${'ff'.repeat(30)}7f`,
  ]) {
    t.equal(own.agree(new X25519PublicKey(fromHex(point))), undefined, point);
  }
});

void t.test('generated keys are clamped and differ', async (t) => {
  const keys = Array.from({ length: 20 }, () => generatePrivateKey());
  for (const key of keys) t.same([(key[0] ?? 0) & 7, (key[31] ?? 0) & 0xc0], [0, 0x40]);
  t.equal(new Set(keys.map(keyToText)).size, 20);
});

void t.test('text and bytes of the wrong form are refused', async (t) => {
  for (const text of ['', 'AAAA', 'A'.repeat(43), `${'A'.repeat(42)}B=`, ` ${'A'.repeat(43)}=`, '_'.repeat(43)])
    t.equal(keyFromText(text), undefined, text);
  t.equal(keyFromText(`${'A'.repeat(43)}=`)?.length, 32);
  for (const length of [0, 31, 33]) {
    t.throws(() => new X25519PrivateKey(new Uint8Array(length)), { code: 'CRYPTO_BAD_KEY' });
    t.throws(() => new X25519PublicKey(new Uint8Array(length)), { code: 'CRYPTO_BAD_KEY' });
  }
});
