// Bytes as text and back, strictly.
import { randomBytes } from 'node:crypto';
import t from 'tap';
import { asBuffer, concatBytes, equalBytes, fromBase64, fromHex, toBase64, toBase64Url, toHex, utf8 } from '#lib/bytes.ts';

t.test('every text form reads back', async (t) => {
  for (let length = 0; length < 70; length++) {
    const bytes = new Uint8Array(randomBytes(length));
    t.same(fromBase64(toBase64(bytes)), bytes);
    t.same(fromHex(toHex(bytes)), bytes);
    t.same(new Uint8Array(Buffer.from(toBase64Url(bytes), 'base64url')), bytes);
  }
});

t.test('what was not written by us is refused', async (t) => {
  for (const text of ['YQ', 'YQ=', 'YQ==\n', 'YR==', 'Y Q==', '-_8=', 'é']) t.equal(fromBase64(text), undefined, text);
  for (const text of ['a', 'zz', '0x00', ' 00']) t.throws(() => fromHex(text), TypeError, text);
});

t.test('comparison, concatenation and views', async (t) => {
  t.ok(equalBytes(utf8('abc'), utf8('abc')));
  t.notOk(equalBytes(utf8('abc'), utf8('abd')));
  t.notOk(equalBytes(utf8('abc'), utf8('ab')));
  t.same(new Uint8Array(concatBytes(utf8('a'), utf8(''), utf8('bc'))), new Uint8Array(utf8('abc')));
  const bytes = new Uint8Array([1, 2, 3, 4]);
  const view = asBuffer(bytes.subarray(1, 3));
  view[0] = 9;
  t.same([...bytes], [1, 9, 3, 4], 'the same memory');
});
