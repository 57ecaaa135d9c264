// NaCl boxes as NetBird's messages carry them.
import t from 'tap';
import { boxOverhead, openBox, openShared, sealBox, sealShared, sharedBoxKey } from '#crypto/box.ts';
import { keyFromText } from '#crypto/x25519.ts';
import { fromHex, toHex } from '#lib/bytes.ts';

const key = (text: string): Uint8Array => keyFromText(text) ?? new Uint8Array(0);
const aPrivate = key('AAIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eH2A=');
const aPublic = key('B6N8vBQgk8i3VdwbEOhstCY3StFqqFPtC9/AsrhtHHw=');
const bPrivate = key('oKGio6SlpqeoqaqrrK2ur7CxsrO0tba3uLm6u7y9vn8=');
const bPublic = key('YFpyXSpK3+6xop4X7dYhwbdZPujNvESsbEq24vgF0jw=');
const golden = '000102030405060708090a0b0c0d0e0f101112131415161706708d10e0fab903e452543f9f815ec2b779998c01';
const plain = fromHex('0a03616263');

t.test('the golden box of the reference, both ways', async (t) => {
  t.equal(toHex(sealShared(plain, sharedBoxKey(bPublic, aPrivate), fromHex(golden.slice(0, 48)))), golden);
  t.equal(toHex(openBox(fromHex(golden), aPublic, bPrivate) ?? new Uint8Array(0)), toHex(plain));
});

t.test('a box opens for its recipient only, unchanged', async (t) => {
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

t.test('keys of the wrong size are refused', async (t) => {
  t.throws(() => sealBox(plain, bPublic.subarray(1), aPrivate), { code: 'CRYPTO_BAD_KEY' });
  t.throws(() => openBox(fromHex(golden), aPublic, new Uint8Array(0)), { code: 'CRYPTO_BAD_KEY' });
});
