// Every provider of the cipher against node:crypto and against the text of RFC 8439, with seeded messages of all lengths.
import { createHash } from 'node:crypto';
import t from 'tap';
import { type AeadProvider, nodeAead } from '#crypto/aead.ts';
import { chooseAead, computesRight } from '#crypto/aead-choice.ts';
import { packetAead, wasmAead } from '#crypto/aead-wasm.ts';
import { opensslAead } from '#crypto/ffi-openssl.ts';
import { polyCode, polyLocals } from '#crypto/poly1305-code.ts';
import { type Code, encodeModule, get, memory, repeatWhile, seq, set, when, i32Const } from '#crypto/wasm-encoder.ts';
import { i32, i64, range, step } from '#crypto/wasm-ops.ts';
import { toHex } from '#lib/bytes.ts';

declare const WebAssembly: {
  readonly Module: new (bytes: Uint8Array) => object;
  readonly Instance: new (module: object) => {
    readonly exports: { readonly memory: { readonly buffer: ArrayBuffer }; poly(key: number, from: number, blocks: number): void };
  };
};
const { Module, Instance } = WebAssembly;
const nothing = new Uint8Array(0);
const longest = 65_472;
const messages = 110_000;

/** Repeatable numbers below 2^32. */
function seeded(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x9e3779b9) | 0;
    let mixed = Math.imul(state ^ (state >>> 16), 0x21f0aaad);
    mixed = Math.imul(mixed ^ (mixed >>> 15), 0x735a2d97);
    return (mixed ^ (mixed >>> 15)) >>> 0;
  };
}

/** Mostly packets and edges of the cipher's steps, sometimes anything up to the longest. */
function someLength(random: () => number): number {
  const dice = random() % 100;
  if (dice < 40) return random() % 300;
  if (dice < 80) return random() % 1_600;
  if (dice < 98) return 64 * (random() % 30) + (random() % 3);
  return random() % (longest + 1);
}

for (const [name, make] of Object.entries({ webassembly: wasmAead, openssl: opensslAead })) {
  void t.test(`${name} and node:crypto agree on ${messages} messages`, { timeout: 300_000 }, async (t) => {
    const provider = make();
    if (provider === undefined) return t.plan(0, `needs ${name} in this Node`);
    const random = seeded(2026);
    const pool = Buffer.alloc(2 * longest);
    for (let at = 0; at < pool.length; at += 32) createHash('sha256').update(`pool ${at}`).digest().copy(pool, at);
    const arena = provider.alloc?.(longest + 256) ?? new Uint8Array(longest + 256);
    const plainMemory = new Uint8Array(longest + 256);
    const expected = new Uint8Array(longest + 16);
    const wrong: string[] = [];
    let [subject, model] = [provider(pool.subarray(0, 32)), nodeAead(pool.subarray(0, 32))];
    for (let i = 0; i < messages && wrong.length < 10; i++) {
      if (i % 50 === 0) {
        subject.destroy();
        model.destroy();
        const key = pool.subarray((random() % 1_000) * 32).subarray(0, 32);
        [subject, model] = [provider(key), nodeAead(key)];
      }
      const length = someLength(random);
      const counter = [i, 2 ** 32 - 1 - i, 2 ** 32 + i, 2 ** 53 - 1 - i][random() & 3] ?? 0;
      const from = random() % longest;
      const message = pool.subarray(from, from + length);
      model.seal(counter, nothing, message, 0, length, expected, 0);
      // in the provider's memory in place, or between memories in one of three ways, at any alignment
      const at = random() % 100;
      const source = (random() & 1) === 0 ? arena : plainMemory;
      const target = (random() & 1) === 0 ? arena : plainMemory;
      target.fill(0x5a, at + length, at + length + 32);
      source.set(message, at);
      const sealed = subject.seal(counter, nothing, source, at, at + length, target, at);
      if (sealed !== length + 16 || Buffer.compare(target.subarray(at, at + sealed), expected.subarray(0, sealed)) !== 0) wrong.push(`seal ${i}`);
      if (target[at + sealed] !== 0x5a || target[at + sealed + 15] !== 0x5a) wrong.push(`bytes behind ${i}`);
      source.set(expected.subarray(0, length + 16), at);
      target.fill(0x5a, at + length + 16, at + length + 32);
      const opened = subject.open(counter, nothing, source, at, at + length + 16, target, at);
      if (opened !== length || Buffer.compare(target.subarray(at, at + length), message) !== 0) wrong.push(`open ${i}`);
      if (target[at + length + 16] !== 0x5a || target[at + length + 31] !== 0x5a) wrong.push(`bytes behind ${i}`);
      const bit = random() % (8 * (length + 16));
      expected[bit >> 3] = (expected[bit >> 3] ?? 0) ^ (1 << (bit & 7));
      source.set(expected.subarray(0, length + 16), at);
      if (subject.open(counter, nothing, source, at, at + length + 16, target, at) !== -1) wrong.push(`bit ${bit} of ${i}`);
    }
    subject.destroy();
    t.same(wrong, []);
  });
}

void t.test('what does not fit its memory is refused before a byte moves', async (t) => {
  for (const provider of [nodeAead, packetAead(), opensslAead()].filter((one) => one !== undefined)) {
    const key = provider(new Uint8Array(32).fill(1));
    const arena = provider.alloc?.(200) ?? new Uint8Array(200);
    const other = new Uint8Array(200);
    for (const target of [arena, other]) {
      for (const [start, end, at] of [
        [0, 201, 0],
        [-1, 10, 0],
        [0, 100, 85],
        [0, 100, -1],
        [Number.NaN, 100, 0],
        [0, Number.NaN, 0],
        [0, 100, Number.NaN],
        [0, 100, Infinity],
      ] as const) {
        t.throws(
          () => key.seal(0, nothing, arena, start, end, target, at),
          { code: 'CRYPTO_BAD_RANGE' },
          `${provider.cipher} seal ${start} ${end} ${at}`,
        );
        if (end - start < 16) continue;
        const far = at === 85 ? 117 : at;
        t.throws(
          () => key.open(0, nothing, arena, start, end, target, far),
          { code: 'CRYPTO_BAD_RANGE' },
          `${provider.cipher} open ${start} ${end} ${far}`,
        );
      }
      t.throws(() => key.seal(0, nothing, arena, 50, 40, target, 0), { code: 'CRYPTO_BAD_RANGE' });
    }
    // no room for the tag behind the plaintext: opened elsewhere, so that what stands behind the target stays
    const close = arena.subarray(0, 84);
    const sealed = new Uint8Array(100);
    key.seal(7, nothing, new Uint8Array(84).fill(4), 0, 84, sealed, 0);
    arena.fill(0x5a, 84);
    t.equal(key.open(7, nothing, sealed, 0, 100, close, 0), 84);
    t.ok(arena.subarray(84).every((byte) => byte === 0x5a));
    key.destroy();
    key.destroy();
  }
});

void t.test('memory of a provider ends, and then messages are copied', async (t) => {
  for (const provider of [packetAead(), opensslAead()].filter((one) => one !== undefined)) {
    const blocks = Array.from({ length: 100 }, () => provider.alloc?.(65_536) ?? new Uint8Array(0));
    t.ok(blocks.every(({ length }) => length === 65_536));
    const ownBuffers = new Set(blocks.map(({ buffer }) => buffer));
    t.ok(ownBuffers.size > 10);
    const [first, last] = [blocks[0], blocks.at(-1)];
    if (first === undefined || last === undefined) return;
    const key = provider(new Uint8Array(32).fill(1));
    first.fill(3, 0, 100);
    last.fill(3, 0, 100);
    key.seal(1, nothing, first, 0, 100, first, 0);
    key.seal(1, nothing, last, 0, 100, last, 0);
    t.same(toHex(first.slice(0, 116)), toHex(last.slice(0, 116)));
    key.destroy();
  }
});

void t.test('a destroyed key of OpenSSL computes nothing more', async (t) => {
  const provider = opensslAead();
  if (provider === undefined) return t.plan(0, 'needs openssl in this Node');
  const key = provider(new Uint8Array(32).fill(1));
  const buffer = new Uint8Array(100);
  key.seal(0, nothing, buffer, 0, 50, buffer, 0);
  key.destroy();
  t.throws(() => key.seal(1, nothing, buffer, 0, 50, buffer, 0), { code: 'CRYPTO_BAD_KEY' });
  t.throws(() => key.open(0, nothing, buffer, 0, 66, buffer, 0), { code: 'CRYPTO_BAD_KEY' });
});

void t.test('a provider that computes anything wrong is seen', async (t) => {
  const off = (change: (provider: AeadProvider) => AeadProvider): boolean => computesRight(change(nodeAead));
  t.equal(
    off((provider) => provider),
    true,
  );
  const wrapped = (seal: boolean): AeadProvider =>
    Object.assign(
      (key: Uint8Array) => {
        const inner = nodeAead(key);
        const flip = (length: number, target: Uint8Array, at: number): number => {
          if (length === 1_420 + (seal ? 16 : 0)) target[at + 700] = (target[at + 700] ?? 0) ^ 1;
          return length;
        };
        return {
          ...inner,
          seal: (c: number, a: Uint8Array, s: Uint8Array, from: number, to: number, target: Uint8Array, at: number) =>
            seal ? flip(inner.seal(c, a, s, from, to, target, at), target, at) : inner.seal(c, a, s, from, to, target, at),
          open: (c: number, a: Uint8Array, s: Uint8Array, from: number, to: number, target: Uint8Array, at: number) =>
            seal ? inner.open(c, a, s, from, to, target, at) : flip(inner.open(c, a, s, from, to, target, at), target, at),
          destroy: () => inner.destroy(),
        };
      },
      { cipher: 'wrong' },
    );
  t.equal(computesRight(wrapped(true)), false);
  t.equal(computesRight(wrapped(false)), false);
  const careless: AeadProvider = Object.assign(
    (key: Uint8Array) => {
      const inner = nodeAead(key);
      return {
        seal: (...rest: Parameters<typeof inner.seal>) => inner.seal(...rest),
        open: (...rest: Parameters<typeof inner.open>) => Math.max(0, inner.open(...rest)),
        destroy: () => inner.destroy(),
      };
    },
    { cipher: 'careless' },
  );
  t.equal(computesRight(careless), false);
  const throwing: AeadProvider = Object.assign(
    (key: Uint8Array) => ({
      ...nodeAead(key),
      seal: () => {
        throw new RangeError('broken');
      },
      open: () => -1,
      destroy: () => undefined,
    }),
    { cipher: 'throwing' },
  );
  t.equal(computesRight(throwing), false);
});

void t.test('the choice: plain without accelerators, what measures faster with them', async (t) => {
  const now = (): number => performance.now();
  t.equal(chooseAead(false, now).cipher, packetAead().cipher);
  const start = now();
  const chosen = chooseAead(true, now);
  t.ok(['webassembly', 'openssl', 'node:crypto'].includes(chosen.cipher));
  t.comment(`figure: cipher chosen: ${chosen.cipher}, in ${(now() - start).toFixed(0)} ms`);
  t.equal(chooseAead(true, now).cipher, chosen.cipher, 'once for the process');
  for (const provider of [nodeAead, packetAead(), opensslAead()].filter((one) => one !== undefined)) {
    const key = provider(new Uint8Array(32));
    const arena = provider.alloc?.(1_436) ?? new Uint8Array(1_436);
    let best = Infinity;
    for (let round = 0; round < 40; round++) {
      const from = now();
      for (let i = 0; i < 200; i++) key.seal(i, nothing, arena, 0, 1_420, arena, 0);
      best = Math.min(best, (now() - from) / 200);
    }
    t.comment(`figure: ${provider.cipher} seals 1,420 bytes in ${(best * 1000).toFixed(2)} µs`);
    key.destroy();
  }
});

void t.test('Poly1305 in WebAssembly wraps its numbers as it must', async (t) => {
  // The authenticator itself, with keys and blocks of all ones and zeros, where carries go furthest; two blocks at a time and one.
  const code = polyCode(3);
  const [key, at, blocks] = [0, 1, 2] as const;
  const atLeastTwo: Code = seq(get(blocks), i32Const(2), i32.atLeast);
  const body = seq(
    code.begin(key),
    when(atLeastTwo, repeatWhile(seq(...code.block(at, 0), ...code.block(at, 16), step(at, 32), step(blocks, -2), atLeastTwo))),
    when(get(blocks), seq(...code.block(at, 0), step(at, 16))),
    code.finish,
    seq(get(at), get(code.low), memory(i64.store, 0), get(at), get(code.high), memory(i64.store, 8)),
    set(at, get(at)),
  );
  const poly = { name: 'poly', parameters: 3, locals: range(polyLocals).map(() => 'i64' as const), body };
  const { exports } = new Instance(new Module(encodeModule([poly], 1)));
  const bytes = new Uint8Array(exports.memory.buffer);
  let wrong = 0;
  const patterns = [0x00, 0xff, 0xfb, 0x01, 0x80, 0xfe];
  for (const keyByte of patterns) {
    for (const first of patterns) {
      for (const rest of patterns) {
        for (let count = 1; count <= 5; count++) {
          bytes.fill(keyByte, 0, 32);
          bytes.fill(rest, 64, 64 + 16 * count);
          bytes[64] = first;
          const expected = toHex(poly1305(bytes.slice(0, 32), bytes.slice(64, 64 + 16 * count)));
          exports.poly(0, 64, count);
          if (toHex(bytes.slice(64 + 16 * count, 80 + 16 * count)) !== expected) wrong++;
        }
      }
    }
  }
  // and words of such bytes in any order, with keys that leave the sum of the blocks as it is, so that it comes to lie around 2^130 − 5
  const random = seeded(99);
  const words = [0, 0xffff_ffff, 0xffff_fffb, 0xffff_fffa, 0xffff_fffc, 1, 4, 5, 0x0fff_ffff, 0x0fff_fffc, 0x8000_0000, 0x7fff_ffff];
  const view = new DataView(bytes.buffer);
  for (let i = 0; i < 20_000; i++) {
    const count = 1 + (random() % 9);
    for (let at = 0; at < 64 + 16 * count; at += 4) view.setUint32(at, words[random() % words.length] ?? 0, true);
    if (random() % 3 === 0) {
      bytes.fill(0, 0, 16);
      bytes[0] = 1;
    }
    const expected = toHex(poly1305(bytes.slice(0, 32), bytes.slice(64, 64 + 16 * count)));
    exports.poly(0, 64, count);
    if (toHex(bytes.slice(64 + 16 * count, 80 + 16 * count)) !== expected) wrong++;
  }
  t.equal(wrong, 0);
});

/** RFC 8439 §2.5.1, as the text has it. */
function poly1305(key: Uint8Array, message: Uint8Array): Uint8Array {
  const number = (part: Uint8Array): bigint => part.reduceRight((sum, byte) => (sum << 8n) | BigInt(byte), 0n);
  const r = number(key.slice(0, 16)) & 0x0ffffffc0ffffffc0ffffffc0fffffffn;
  let sum = 0n;
  for (let at = 0; at < message.length; at += 16) {
    sum = ((sum + number(message.slice(at, at + 16)) + (1n << 128n)) * r) % ((1n << 130n) - 5n);
  }
  sum += number(key.slice(16, 32));
  return Uint8Array.from({ length: 16 }, (_, i) => Number((sum >> BigInt(8 * i)) & 0xffn));
}
