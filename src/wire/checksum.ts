// The Internet checksum (RFC 1071): the one's complement sum of 16-bit words that IPv4, ICMP, UDP and TCP carry.

/**
 * Adds the 16-bit words of `bytes[start, end)` to `initial`; an odd last byte counts as the high half of a word. The result is not
 * folded and stays exact for up to 128 KiB, so sums of several parts may be chained when every part but the last is even in length.
 */
export function sumWords(bytes: Uint8Array, start: number, end: number, initial: number): number {
  let sum = initial;
  let i = start;
  for (const last = end - 7; i < last; i += 8) {
    sum +=
      (((bytes[i] as number) + (bytes[i + 2] as number) + (bytes[i + 4] as number) + (bytes[i + 6] as number)) << 8) +
      ((bytes[i + 1] as number) + (bytes[i + 3] as number) + (bytes[i + 5] as number) + (bytes[i + 7] as number));
  }
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
