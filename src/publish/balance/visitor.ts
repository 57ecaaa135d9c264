// What ties a visitor to a target: a number that the visitor keeps, or the address that it comes from. Neither tells of targets.
import { hashText, type Hash } from './hash.ts';

/** The number that a cookie carries, as a hash; undefined where it is none of ours. */
export function parseVisitor(text: string): Hash | undefined {
  return /^[0-9a-f]{16}$/.test(text) ? { a: Number.parseInt(text.slice(0, 8), 16) | 0, b: Number.parseInt(text.slice(8), 16) | 0 } : undefined;
}

export function formatVisitor({ a, b }: Hash): string {
  return hex(a) + hex(b);
}

export function drawVisitor(random: () => number): Hash {
  return { a: (random() * 0x1_00_00_00_00) | 0, b: (random() * 0x1_00_00_00_00) | 0 };
}

/** Addresses of one network are one visitor: see `callerNetwork`. */
export function addressVisitor(network: string): Hash {
  return hashText(network);
}

function hex(value: number): string {
  return (value >>> 0).toString(16).padStart(8, '0');
}
