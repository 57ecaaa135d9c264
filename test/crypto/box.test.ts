// NaCl boxes as NetBird's messages carry them.
import { randomBytes } from 'node:crypto';
import t from 'tap';
import nacl from 'tweetnacl';
import { boxOverhead, openBox, openShared, sealBox, sealShared, sharedBoxKey } from '#crypto/box.ts';
import { hsalsa20 } from '#crypto/hsalsa20.ts';
import { keyFromText } from '#crypto/x25519.ts';
import { fromHex, toHex } from '#lib/bytes.ts';

const key = (text: string): Uint8Array => keyFromText(text) ?? new Uint8Array(0);
const aPrivate = key('AAIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eH2A=');
const aPublic = key('B6N8vBQgk8i3VdwbEOhstCY3StFqqFPtC9/AsrhtHHw=');
const bPrivate = key('oKGio6SlpqeoqaqrrK2ur7CxsrO0tba3uLm6u7y9vn8=');
const bPublic = key('YFpyXSpK3+6xop4X7dYhwbdZPujNvESsbEq24vgF0jw=');
const golden = '000102030405060708090a0b0c0d0e0f101112131415161706708d10e0fab903e452543f9f815ec2b779998c01';
const plain = fromHex('0a03616263');

void t.test('the golden box of the reference, both ways', async (t) => {
  t.equal(toHex(sealShared(plain, sharedBoxKey(bPublic, aPrivate), fromHex(golden.slice(0, 48)))), golden);
  t.equal(toHex(openBox(fromHex(golden), aPublic, bPrivate) ?? new Uint8Array(0)), toHex(plain));
});

void t.test('a box opens for its recipient only, unchanged', async (t) => {
  const box = sealBox(plain, bPublic, aPrivate);
  t.equal(box.length, boxOverhead + plain.length);
  t.notSame(box, sealBox(plain, bPublic, aPrivate), 'the nonce is new each time');
  t.equal(toHex(openBox(box, aPublic, bPrivate) ?? new Uint8Array(0)), toHex(plain));
  t.equal(openBox(box, bPublic, bPrivate), undefined);
  const shared = sharedBoxKey(aPublic, bPrivate);
  for (let i = 0; i < box.length; i++)
    t.equal(
      openShared(
        box.map((byte, at) => (at === i ? byte ^ 1 : byte)),
        shared,
      ),
      undefined,
    );
  for (let length = 0; length < box.length; length++) t.equal(openShared(box.subarray(0, length), shared), undefined);
  t.equal(openBox(sealBox(new Uint8Array(0), bPublic, aPrivate), aPublic, bPrivate)?.length, 0);
});

void t.test('keys of the wrong size are refused', async (t) => {
  t.throws(() => sealBox(plain, bPublic.subarray(1), aPrivate), { code: 'CRYPTO_BAD_KEY' });
  t.throws(() => openBox(fromHex(golden), aPublic, new Uint8Array(0)), { code: 'CRYPTO_BAD_KEY' });
  t.throws(() => openBox(fromHex(golden), new Uint8Array(32), bPrivate), { code: 'CRYPTO_BAD_KEY' }, 'a point of small order');
});

void t.test('HSalsa20 of the NaCl paper, and the shared key of tweetnacl', async (t) => {
  const shared = fromHex('4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742');
  t.equal(toHex(hsalsa20(shared, new Uint8Array(16))), '1b27556473e985d462cd51197a9a46c76009549eac6474f206c4ee0844f68389');
  for (let i = 0; i < 10; i++) {
    const [one, two] = [nacl.box.keyPair.fromSecretKey(randomBytes(32)), nacl.box.keyPair.fromSecretKey(randomBytes(32))];
    t.equal(toHex(sharedBoxKey(one.publicKey, two.secretKey)), toHex(nacl.box.before(one.publicKey, two.secretKey)));
  }
});
