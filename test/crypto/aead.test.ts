// ChaCha20-Poly1305 in WireGuard's form of the nonce, XChaCha20 against its draft, and the contract of key objects.
import { createCipheriv } from 'node:crypto';
import t from 'tap';
import { nodeAead, openExtended, openOnce, sealExtended, sealOnce } from '#crypto/aead.ts';
import { packetAead } from '#crypto/aead-wasm.ts';
import { wasmMessageBytes } from '#crypto/constants.ts';
import { opensslAead } from '#crypto/ffi-openssl.ts';
import { hchacha20 } from '#crypto/hchacha20.ts';
import { equalBytes, fromHex, toHex, utf8 } from '#lib/bytes.ts';

const run = (from: number, length: number): Uint8Array => Uint8Array.from({ length }, (_, i) => from + i);
const sunscreen = utf8("Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, sunscreen would be it.");
const nothing = new Uint8Array(0);

const openssl = opensslAead();
const providers = [nodeAead, packetAead(), ...(openssl === undefined ? [] : [openssl])];

for (const provider of providers) {
  const name = provider.cipher;
  void t.test(`${name}: the nonce is four zero bytes and the little-endian counter`, async (t) => {
    for (const [counter, nonce] of [
      [0, '000000000000000000000000'],
      [1, '000000000100000000000000'],
      [0x0102030405, '000000000504030201000000'],
      [2 ** 53 - 1, '00000000ffffffffffff1f00'],
    ] as const) {
      const cipher = createCipheriv('chacha20-poly1305', run(0, 32), fromHex(nonce), { authTagLength: 16 });
      const expected = Buffer.concat([cipher.update(sunscreen), cipher.final(), cipher.getAuthTag()]);
      const out = Buffer.alloc(expected.length);
      t.equal(provider(run(0, 32)).seal(counter, nothing, sunscreen, 0, sunscreen.length, out, 0), out.length);
      t.same(out, expected);
    }
  });

  void t.test(`${name}: seals and opens at offsets, in place and apart`, async (t) => {
    const key = provider(run(0, 32));
    const buffer = new Uint8Array(100);
    buffer.set(sunscreen.subarray(0, 40), 10);
    const apart = new Uint8Array(100);
    t.equal(key.seal(2 ** 40, nothing, buffer, 10, 50, apart, 20), 56);
    t.equal(key.seal(2 ** 40, nothing, buffer, 10, 50, buffer, 10), 56);
    t.same(buffer.subarray(10, 66), apart.subarray(20, 76));
    t.same(apart.subarray(0, 20), new Uint8Array(20));
    t.same(apart.subarray(76), new Uint8Array(24));
    t.equal(key.open(2 ** 40 + 1, nothing, buffer, 10, 66, apart, 0), -1, 'another counter');
    t.equal(key.open(2 ** 40, run(0, 1), buffer, 10, 66, apart, 0), -1, 'other associated data');
    t.equal(key.open(2 ** 40, nothing, buffer, 10, 25, apart, 0), -1, 'shorter than a tag');
    t.equal(key.open(2 ** 40, nothing, buffer, 10, 66, buffer, 10), 40);
    t.same(buffer.subarray(10, 50), sunscreen.subarray(0, 40));
    key.destroy();
  });

  void t.test(`${name}: one whole message: every changed bit is noticed`, async (t) => {
    const key = run(7, 32);
    const sealed = sealOnce(provider, key, sunscreen, run(0, 5));
    t.equal(sealed.length, sunscreen.length + 16);
    t.same(openOnce(provider, key, sealed, run(0, 5)), new Uint8Array(sunscreen));
    for (let i = 0; i < sealed.length; i++) {
      const changed = sealed.map((byte, at) => (at === i ? byte ^ (1 << (i & 7)) : byte));
      if (openOnce(provider, key, changed, run(0, 5)) !== undefined) t.fail(`byte ${i}`);
    }
    t.equal(openOnce(provider, key, sealed.subarray(0, 15)), undefined);
    t.throws(() => provider(run(0, 31)), { code: 'CRYPTO_BAD_KEY' });
  });
}

void t.test('HChaCha20 of draft-irtf-cfrg-xchacha §2.2.1', async (t) => {
  t.equal(
    toHex(hchacha20(run(0, 32), fromHex('000000090000004a0000000031415927'))),
    '82413b4227b27bfed30e42508a877d73a0f9e4d58a74a853c12ec41326d3ecdc',
  );
});

void t.test('XChaCha20-Poly1305 of draft-irtf-cfrg-xchacha appendix A.3.1', async (t) => {
  const key = run(0x80, 32);
  const nonce = run(0x40, 24);
  const associated = fromHex('50515253c0c1c2c3c4c5c6c7');
  const sealed = sealExtended(key, nonce, sunscreen, associated);
  t.equal(
    toHex(sealed),
    'bd6d179d3e83d43b9576579493c0e939572a1700252bfaccbed2902c21396cbb731c7f1b0b4aa6440bf3a82f4eda7e39ae64c6708c54c216cb96b72e1213b452' +
      '2f8c9ba40db5d945b11b69b982c1bb9e3f3fac2bc369488f76b2383565d3fff921f9664c97637da9768812f615c68b13b52ec0875924c1c7987947deafd8780acf49',
  );
  t.same(Buffer.from(openExtended(key, nonce, sealed, associated) ?? nothing), Buffer.from(sunscreen));
  for (const [k, n, s, a] of [
    [run(0x81, 32), nonce, sealed, associated],
    [key, run(0x41, 24), sealed, associated],
    [key, nonce, sealed.subarray(1), associated],
    [key, nonce, sealed.subarray(0, 15), associated],
    [key, nonce, sealed, nothing],
  ] as const) {
    t.equal(openExtended(k, n, s, a), undefined);
  }
  t.throws(() => sealExtended(key, run(0, 12), sunscreen, nothing), { code: 'CRYPTO_BAD_KEY' });
});

void t.test('associated data and messages beyond the limit work too', async (t) => {
  for (const provider of providers) {
    const [a, b] = [provider(run(1, 32)), nodeAead(run(1, 32))];
    const long = new Uint8Array(wasmMessageBytes + 1).fill(9);
    for (const [message, associated] of [
      [sunscreen, run(0, 7)],
      [long, nothing],
      [long.subarray(1), nothing],
    ] as const) {
      const [x, y] = [new Uint8Array(message.length + 16), new Uint8Array(message.length + 16)];
      a.seal(3, associated, message, 0, message.length, x, 0);
      b.seal(3, associated, message, 0, message.length, y, 0);
      t.ok(equalBytes(x, y));
      t.equal(a.open(3, associated, y, 0, y.length, new Uint8Array(message.length), 0), message.length);
    }
  }
});
