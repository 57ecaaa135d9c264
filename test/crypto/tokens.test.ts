// Tokens of NetBird's form.
import { createHash } from 'node:crypto';
import { crc32 } from 'node:zlib';
import t from 'tap';
import { generateToken, isToken, personalTokenPrefix, proxyTokenPrefix, tokenDigest, tokenLength } from '#crypto/tokens.ts';

void t.test('a token is 40 characters that check themselves', async (t) => {
  for (const prefix of [proxyTokenPrefix, personalTokenPrefix]) {
    const tokens = Array.from({ length: 50 }, () => generateToken(prefix));
    t.equal(new Set(tokens).size, 50);
    for (const token of tokens) {
      t.match(token, /^nb[xp]_[0-9A-Za-z]{36}$/);
      t.equal(token.length, tokenLength);
      t.equal(isToken(token, prefix), true);
      t.equal(isToken(token, prefix === proxyTokenPrefix ? personalTokenPrefix : proxyTokenPrefix), false);
    }
  }
});

void t.test('the checksum is the CRC32 in base62 with digits first, padded with zeros', async (t) => {
  const alphabet = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz';
  for (let i = 0; i < 50; i++) {
    const token = generateToken('nbx_');
    let value = 0;
    for (const digit of token.slice(-6)) value = value * 62 + alphabet.indexOf(digit);
    t.equal(value, crc32(token.slice(4, 34)));
  }
});

void t.test('a mistyped token is noticed', async (t) => {
  const token = generateToken('nbx_');
  for (let i = 0; i < token.length; i++) {
    const other = token[i] === 'A' ? 'B' : 'A';
    t.equal(isToken(token.slice(0, i) + other + token.slice(i + 1), 'nbx_'), false, `character ${i}`);
  }
  for (const text of ['', 'nbx_', token.slice(1), `${token}0`, `nbx_${'-'.repeat(36)}`]) t.equal(isToken(text, 'nbx_'), false);
});

void t.test('what is stored is the SHA-256 as base64', async (t) => {
  t.equal(tokenDigest('nbx_x'), createHash('sha256').update('nbx_x').digest('base64'));
});

void t.test('a prefix has to look like one', async (t) => {
  for (const prefix of ['', 'nbx', 'NBX_', 'nbxx_']) t.throws(() => generateToken(prefix), { code: 'CRYPTO_BAD_PREFIX' });
});
