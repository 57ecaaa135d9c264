// Ids and other random text.
import type { Brand } from '#model/ids.ts';

/** Cryptographically strong random bytes. */
export type RandomBytes = (length: number) => Uint8Array;

const letters = '0123456789abcdefghijklmnopqrstuv';

/** 20 characters of base 32: 100 bits, safe in URLs, file names and DNS labels. */
export function newId<Id extends Brand<string, string> | string>(random: RandomBytes): Id {
  return randomText(random, letters, 20) as Id;
}

/** An id whose order is the order of making: the time, then a count within it, then chance, so that servers do not meet. */
export function orderedId(at: number, count: number, random: RandomBytes): string {
  return `${at.toString(32).padStart(9, '0')}${(count % 32 ** 4).toString(32).padStart(4, '0')}${randomText(random, letters, 7)}`;
}

/** Text of `length` characters of an alphabet whose size divides 256, so that each character is equally likely. */
export function randomText(random: RandomBytes, alphabet: string, length: number): string {
  let text = '';
  for (const byte of random(length)) text += alphabet[byte % alphabet.length] ?? '';
  return text;
}

/** A whole number from 0 to below `bound` (at most 2^32), without bias. */
export function randomBelow(random: RandomBytes, bound: number): number {
  const limit = 2 ** 32 - (2 ** 32 % bound);
  for (;;) {
    const bytes = random(4);
    const value = new DataView(bytes.buffer, bytes.byteOffset, 4).getUint32(0);
    if (value < limit) return value % bound;
  }
}
