// BLAKE2s against RFC 7693, the published keyed vector, and Node's unkeyed hash; HMAC and KDF against Node.
import { createHash, createHmac } from 'node:crypto';
import t from 'tap';
import { Blake2s, blake2s, blake2sMac, hmacBlake2s, kdf1, kdf2, kdf3, compress, plainCompress } from '#crypto/blake2s.ts';
import { toHex, utf8 } from '#lib/bytes.ts';

const run = (length: number): Uint8Array => Uint8Array.from({ length }, (_, i) => i);

void t.test('RFC 7693 appendix B', async (t) => {
  t.equal(toHex(blake2s(utf8('abc'))), '508c5e8c327c14e2e1a72ba34eeb452f37458b209ed63a294d999b4c86675982');
});

void t.test('RFC 7693 appendix E, the self-test over lengths, keys and digests', async (t) => {
  // bytes of a Fibonacci generator, as the appendix defines them
  const sequence = (length: number, seed: number): Uint8Array => {
    const out = new Uint8Array(length);
    let a = Math.imul(0xdead4bad, seed) >>> 0;
    let b = 1;
    for (let i = 0; i < length; i++) {
      const sum = (a + b) >>> 0;
      a = b;
      b = sum;
      out[i] = sum >>> 24;
    }
    return out;
  };
  const all = new Blake2s();
  for (const digestLength of [16, 20, 28, 32]) {
    for (const length of [0, 3, 64, 65, 255, 1024]) {
      const input = sequence(length, length);
      all.update(new Blake2s(digestLength).update(input).digest());
      all.update(blake2sMac(digestLength, sequence(digestLength, digestLength), input));
    }
  }
  t.equal(toHex(all.digest()), '6a411f08ce25adcdfb02aba641451cec53c598b24f4fc787fbdc88797f4c1dfe');
});

void t.test('keyed, of nothing', async (t) => {
  t.equal(toHex(blake2sMac(32, run(32))), '48a8997da407876b3d79c0d92325ad3b89cbb754d86ab71aee047ad345fd2c49');
});

void t.test('agrees with Node for every length, in one piece and in many', async (t) => {
  for (let length = 0; length <= 260; length++) {
    const input = run(length);
    const expected = createHash('blake2s256').update(input).digest('hex');
    if (toHex(blake2s(input)) !== expected) t.fail(`${length} bytes`);
    const pieces = new Blake2s();
    for (let at = 0; at < length; at += 7) pieces.update(input.subarray(at, at + 7));
    if (toHex(pieces.digest()) !== expected) t.fail(`${length} bytes in pieces`);
  }
});

void t.test('HMAC agrees with Node, also for long keys; the KDFs are its chain', async (t) => {
  const hmac = (key: Uint8Array, ...parts: Uint8Array[]): Buffer => {
    const mac = createHmac('blake2s256', key);
    for (const part of parts) mac.update(part);
    return mac.digest();
  };
  for (const length of [0, 1, 32, 64, 65, 200])
    t.equal(toHex(hmacBlake2s(run(length), utf8('data'))), hmac(run(length), utf8('data')).toString('hex'));
  const secret = hmac(run(32), utf8('input'));
  const first = hmac(secret, Buffer.of(1));
  const second = hmac(secret, first, Buffer.of(2));
  const third = hmac(secret, second, Buffer.of(3));
  const texts = (outputs: readonly Uint8Array[]): string[] => outputs.map(toHex);
  t.same(toHex(kdf1(run(32), utf8('input'))), toHex(first));
  t.same(texts(kdf2(run(32), utf8('input'))), texts([first, second]));
  t.same(texts(kdf3(run(32), utf8('input'))), texts([first, second, third]));
});

void t.test('sizes outside the standard are refused', async (t) => {
  t.throws(() => new Blake2s(0), { code: 'CRYPTO_BAD_KEY' });
  t.throws(() => new Blake2s(33), { code: 'CRYPTO_BAD_KEY' });
  t.throws(() => new Blake2s(32, new Uint8Array(33)), { code: 'CRYPTO_BAD_KEY' });
});

void t.test('the compression function in WebAssembly and in plain code do the same', async (t) => {
  t.not(compress, plainCompress, 'WebAssembly is in use');
  const random = numbers(5);
  const [one, two] = [new Int32Array(8), new Int32Array(8)];
  const block = new Uint8Array(64);
  let wrong = 0;
  for (let i = 0; i < 5_000; i++) {
    for (let at = 0; at < 64; at++) block[at] = random();
    const [low, high, last] = [random() | 0, i % 3 === 0 ? random() | 0 : 0, i % 2 === 0 ? -1 : 0];
    compress(one, block, low, high, last);
    plainCompress(two, block, low, high, last);
    if (!one.every((word, at) => word === two[at])) wrong++;
  }
  t.equal(wrong, 0);
});

function numbers(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state ^ (state >>> 16);
  };
}
