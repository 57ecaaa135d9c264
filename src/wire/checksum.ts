// The Internet checksum (RFC 1071): the one's complement sum of 16-bit words that IPv4, ICMP, UDP and TCP carry.

/** Shorter regions are summed byte by byte: a view would cost more than it saves. */
const VIEW_FROM = 128;
const LITTLE_ENDIAN = new Uint8Array(new Uint16Array([1]).buffer)[0] === 1;

// Packets mostly stand in the same few buffers, so the last buffer's view is kept.
let viewed: ArrayBufferLike = new ArrayBuffer(0);
let words: Uint32Array = new Uint32Array(viewed);

/**
 * Adds the 16-bit words of `bytes[start, end)` to `initial`; an odd last byte counts as the high half of a word. The result is not
 * folded and stays exact for up to 64 KiB, so sums of several parts may be chained when every part but the last is even in length.
 */
export function sumWords(bytes: Uint8Array, start: number, end: number, initial: number): number {
  if (end - start < VIEW_FROM) return sumBytes(bytes, start, end, initial);
  const { buffer, byteOffset } = bytes;
  const offset = byteOffset + start;
  if ((offset & 3) !== 0) {
    // At an odd address the words of memory are not those of the packet: all but the first byte is summed with its bytes swapped.
    if ((offset & 1) !== 0) return initial + ((bytes[start] as number) << 8) + swapBytes(foldSum(sumWords(bytes, start + 1, end, 0)));
    // Two bytes lead to a boundary of words.
    return sumWords(bytes, start + 2, end, sumBytes(bytes, start, start + 2, initial));
  }
  if (buffer !== viewed) {
    viewed = buffer;
    words = new Uint32Array(buffer, 0, buffer.byteLength >> 2);
  }
  const first = offset >> 2;
  const last = (byteOffset + end) >> 2;
  // Four sums that do not wait for each other; none overflows 31 bits within 64 KiB.
  let one = 0;
  let two = 0;
  let three = 0;
  let four = 0;
  let i = first;
  for (const fours = last - 3; i < fours; i += 4) {
    const a = words[i] as number;
    const b = words[i + 1] as number;
    const c = words[i + 2] as number;
    const d = words[i + 3] as number;
    one += (a & 0xffff) + (a >>> 16);
    two += (b & 0xffff) + (b >>> 16);
    three += (c & 0xffff) + (c >>> 16);
    four += (d & 0xffff) + (d >>> 16);
  }
  for (; i < last; i++) {
    const word = words[i] as number;
    one += (word & 0xffff) + (word >>> 16);
  }
  const sum = foldSum(one + two) + foldSum(three + four);
  // The sum does not depend on the order of bytes, but for a swap at the end (RFC 1071 §2 B).
  const folded = LITTLE_ENDIAN ? swapBytes(foldSum(sum)) : sum;
  return sumBytes(bytes, last * 4 - byteOffset, end, initial + folded);
}

/**
 * The same as `sumWords` with the help of a function that adds the little-endian words of whole blocks of 16 bytes, or says -1 where it
 * cannot.
 */
export function sumWordsBy(sumBlocks: (bytes: Uint8Array, start: number, end: number) => number): typeof sumWords {
  return (bytes, start, end, initial) => {
    const sum = end - start < VIEW_FROM ? -1 : sumBlocks(bytes, start, end);
    if (sum < 0) return sumWords(bytes, start, end, initial);
    return sumBytes(bytes, end - ((end - start) & 15), end, initial + swapBytes(foldSum(sum)));
  };
}

function swapBytes(word: number): number {
  return ((word & 0xff) << 8) | (word >> 8);
}

function sumBytes(bytes: Uint8Array, start: number, end: number, initial: number): number {
  let sum = initial;
  let i = start;
  for (const last = end - 1; i < last; i += 2) sum += ((bytes[i] as number) << 8) | (bytes[i + 1] as number);
  if (i < end) sum += (bytes[i] as number) << 8;
  return sum;
}

/** Folds a sum of words to 16 bits, carries added back in (RFC 1071 §1). */
export function foldSum(sum: number): number {
  let folded = (sum >>> 16) + (sum & 0xffff);
  folded = (folded >>> 16) + (folded & 0xffff);
  return ((folded >>> 16) + folded) & 0xffff;
}

/** The value for a checksum field: the complement of the folded sum. A region that contains its right checksum yields 0. */
export function finishChecksum(sum: number): number {
  return ~foldSum(sum) & 0xffff;
}

/** The checksum of one region. */
export function checksum(bytes: Uint8Array, start: number, end: number): number {
  return finishChecksum(sumWords(bytes, start, end, 0));
}

/**
 * The sum of the pseudo header (RFC 9293 §3.1, RFC 8200 §8.1) without the length, which the caller adds:
 * both addresses and the protocol number. Addresses of both families sum the same way.
 */
export function pseudoSum(
  source: Uint8Array,
  sourceStart: number,
  destination: Uint8Array,
  destinationStart: number,
  addressLength: number,
  protocol: number,
): number {
  const sum = sumWords(source, sourceStart, sourceStart + addressLength, protocol);
  return sumWords(destination, destinationStart, destinationStart + addressLength, sum);
}
