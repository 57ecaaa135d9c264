// Which ChaCha20-Poly1305 a device computes with: what this machine has and what is faster on it, found out once for the process. What
// computes anything wrong is not used, whatever its speed.
import { type AeadKey, type AeadProvider, nodeAead } from './aead.ts';
import { packetAead } from './aead-wasm.ts';
import { keyBytes, selfTestMs, tagBytes } from './constants.ts';
import { opensslAead } from './ffi-openssl.ts';

const nothing = new Uint8Array(0);
/** Lengths that reach each part of a cipher: nothing, less than a block, the edges of its steps, a whole packet. */
const testLengths = [0, 1, 16, 31, 63, 64, 191, 192, 193, 447, 448, 1_420] as const;
const packetBytes = 1_420;
/** Packets that are timed at once. */
const batch = 16;

/** On x64 WebAssembly's vectors took 1.65 µs for a packet where OpenSSL's calls took 2.4: nothing to find out, and nothing to load for it. */
const wasmWins = process.arch === 'x64';

let plainIsRight: boolean | undefined;
let preferred: 'openssl' | 'plain' | undefined;

/**
 * A provider with memory of its own, for one device. Without accelerators it is WebAssembly's, which is safe memory, or node:crypto's; with
 * them OpenSSL's stands in where it can be called and is faster. Where that is open, the first choice takes up to 60 ms. `now` is a clock of milliseconds with
 * fractions.
 */
export function chooseAead(accelerators: boolean, now: () => number): AeadProvider {
  const packet = packetAead();
  plainIsRight ??= computesRight(packet);
  const plain = plainIsRight ? packet : nodeAead;
  if (!accelerators || preferred === 'plain' || (plain.cipher === 'webassembly' && wasmWins)) return plain;
  const openssl = opensslAead();
  if (openssl === undefined) return plain;
  preferred ??= computesRight(openssl) && isFaster(openssl, plain, now) ? 'openssl' : 'plain';
  return preferred === 'openssl' ? openssl : plain;
}

/** Whether a provider writes what node:crypto does, opens it, and refuses what was changed. */
export function computesRight(provider: AeadProvider): boolean {
  const keyData = Uint8Array.from({ length: keyBytes }, (_, i) => 3 * i + 1);
  const [subject, model] = [provider(keyData), nodeAead(keyData)];
  const arena = arenaOf(provider);
  try {
    return testLengths.every((length) => {
      const counter = length * 0x1000_0001;
      const plain = Uint8Array.from({ length }, (_, i) => 7 * i + length);
      const sealed = new Uint8Array(length + tagBytes);
      model.seal(counter, nothing, plain, 0, length, sealed, 0);
      arena.set(plain);
      const sealedRight = subject.seal(counter, nothing, arena, 0, length, arena, 0) === sealed.length && starts(arena, sealed);
      const openedRight = subject.open(counter, nothing, sealed, 0, sealed.length, arena, 0) === length && starts(arena, plain);
      const last = sealed.length - 1;
      sealed[last] = (sealed[last] ?? 0) ^ 0x80;
      return sealedRight && openedRight && subject.open(counter, nothing, sealed, 0, sealed.length, arena, 0) === -1;
    });
  } catch {
    return false;
  } finally {
    subject.destroy();
    model.destroy();
  }
}

function starts(bytes: Uint8Array, start: Uint8Array): boolean {
  return start.every((byte, i) => bytes[i] === byte);
}

/** Whether one provider stays faster than another; WebAssembly needs some milliseconds of work until it is compiled for speed. */
function isFaster(one: AeadProvider, other: AeadProvider, now: () => number): boolean {
  const keys = [one, other].map((provider) => provider(new Uint8Array(keyBytes)));
  const [keyOne, keyOther] = keys;
  if (keyOne === undefined || keyOther === undefined) return false;
  const [arenaOne, arenaOther] = [arenaOf(one), arenaOf(other)];
  let [bestOne, bestOther] = [Infinity, Infinity];
  for (const end = now() + selfTestMs; now() < end && bestOne <= bestOther;) {
    bestOne = Math.min(bestOne, timeBatch(keyOne, arenaOne, now));
    bestOther = Math.min(bestOther, timeBatch(keyOther, arenaOther, now));
  }
  for (const key of keys) key.destroy();
  return bestOne <= bestOther; // the other one has won as soon as it has shown that it can be ahead
}

function arenaOf(provider: AeadProvider): Uint8Array {
  return provider.alloc?.(packetBytes + tagBytes) ?? new Uint8Array(packetBytes + tagBytes);
}

/** Seals and opens a batch of packets as the data path does it. */
function timeBatch(key: AeadKey, arena: Uint8Array, now: () => number): number {
  const start = now();
  for (let i = 0; i < batch; i++) {
    key.seal(i, nothing, arena, 0, packetBytes, arena, 0);
    key.open(i, nothing, arena, 0, packetBytes + tagBytes, arena, 0);
  }
  return now() - start;
}
