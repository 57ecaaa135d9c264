// The Internet checksum: known sums, every alignment and length against the plain definition, and its properties.
import t from 'tap';
import { wasmAead } from '#crypto/aead-wasm.ts';
import { checksum, finishChecksum, foldSum, pseudoSum, sumWords, sumWordsBy } from '#wire/checksum.ts';
import { seededBytes } from '../support/seeded.ts';

function plain(bytes: Uint8Array): number {
  let sum = 0;
  for (let i = 0; i < bytes.length; i += 2) {
    sum += ((bytes[i] ?? 0) << 8) | (bytes[i + 1] ?? 0);
    if (sum > 0xffff) sum -= 0xffff;
  }
  return sum;
}

void t.test('the example of RFC 1071', async (t) => {
  const bytes = new Uint8Array([0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]);
  t.equal(foldSum(sumWords(bytes, 0, 8, 0)), 0xddf2);
  t.equal(checksum(bytes, 0, 8), ~0xddf2 & 0xffff);
});

void t.test('every alignment and length sums as the definition says', async (t) => {
  const buffer = new Uint8Array(2048).map((_, i) => (i * 167 + (i >> 3)) & 0xff);
  let wrong = 0;
  for (let offset = 0; offset < 9; offset++) {
    for (let length = 0; length < 400; length++) {
      const view = buffer.subarray(offset, offset + length + 20);
      for (const start of [0, 3, 20]) {
        const end = Math.min(view.length, start + length);
        if (end < start) continue;
        if (foldSum(sumWords(view, start, end, 0)) % 0xffff !== plain(view.subarray(start, end)) % 0xffff) wrong++;
      }
    }
  }
  t.equal(wrong, 0);
});

void t.test('the largest packet of ones neither overflows nor loses a carry', async (t) => {
  const ones = new Uint8Array(65_535).fill(0xff);
  t.equal(foldSum(sumWords(ones, 0, 65_534, 0)), 0xffff);
  t.equal(foldSum(sumWords(ones, 0, 65_535, 0)), 0xff00);
});

void t.test('a region with its checksum sums to zero, and one flipped bit shows', async (t) => {
  const bytes = new Uint8Array(1280).map((_, i) => (i * 31) & 0xff);
  bytes[10] = 0;
  bytes[11] = 0;
  const sum = checksum(bytes, 0, bytes.length);
  bytes[10] = sum >> 8;
  bytes[11] = sum & 0xff;
  t.equal(checksum(bytes, 0, bytes.length), 0);
  bytes[700] = (bytes[700] ?? 0) ^ 4;
  t.not(checksum(bytes, 0, bytes.length), 0);
});

void t.test('parts may be summed one after the other', async (t) => {
  const bytes = new Uint8Array(500).map((_, i) => (i * 7) & 0xff);
  t.equal(finishChecksum(sumWords(bytes, 200, 500, sumWords(bytes, 0, 200, 0))), checksum(bytes, 0, 500));
  t.equal(pseudoSum(bytes, 0, bytes, 4, 4, 6), sumWords(bytes, 0, 8, 6));
});

void t.test('the sum of blocks that the cipher’s memory offers is the same sum, at every place and length', async (t) => {
  const provider = wasmAead();
  if (provider?.alloc === undefined || provider.sumBlocks === undefined) return t.plan(0, 'needs WebAssembly with vectors');
  const { sumBlocks } = provider;
  const sum = sumWordsBy(sumBlocks);
  const memory = provider.alloc(65_536);
  seededBytes(5)(memory);
  for (let i = 0; i < 3000; i++) {
    const start = Math.floor((i * 7919) % 999);
    const end = start + (i < 1500 ? i : Math.floor((i * 104_729) % 64_000));
    const wanted = finishChecksum(sumWords(memory, start, end, i));
    if (finishChecksum(sum(memory, start, end, i)) !== wanted) t.fail(`from ${start} to ${end}`);
  }
  memory.fill(0xff);
  t.equal(foldSum(sum(memory, 0, 65_536, 0)), 0xffff, 'the largest there is does not overflow');
  t.equal(sumBlocks(new Uint8Array(200), 0, 200), -1, 'other memory');
  t.equal(sumBlocks(memory, -1, 200), -1);
  t.equal(sumBlocks(memory, 0, 65_537), -1);
  t.equal(sumBlocks(memory, 0, Number.NaN), -1);
  t.equal(sumBlocks(memory, Number.NaN, 5), -1);
});
