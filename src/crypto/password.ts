// Passwords and PINs: scrypt (RFC 7914) in Node's thread pool, a few at a time, kept as `scrypt$N$r$p$salt$hash`.
import { randomBytes, scrypt } from 'node:crypto';
import { equalBytes, fromBase64, toBase64, utf8 } from '#lib/bytes.ts';
import { passwordBytes, passwordConcurrency, passwordMemory, passwordWaiting } from './constants.ts';
import { cryptoError } from './errors.ts';

export interface ScryptCost {
  /** Rounds, a power of two. Memory is 128·N·r bytes. */
  readonly N: number;
  readonly r: number;
  readonly p: number;
}

export interface PasswordHasherOptions {
  /** For new hashes; old ones carry their own. */
  readonly cost?: ScryptCost;
  readonly concurrency?: number;
  readonly waiting?: number;
}

interface StoredHash {
  readonly cost: ScryptCost;
  readonly salt: Uint8Array;
  readonly hash: Uint8Array;
}

/** 32 MiB and about 0.1 s on a small server. */
const defaultScryptCost: ScryptCost = { N: 32_768, r: 8, p: 1 };

const saltBytes = 16;
const hashBytes = 32;

/** Hashes and checks passwords with bounded concurrency; make one per process. */
export class PasswordHasher {
  readonly #cost: ScryptCost;
  /** Stands in for the hash of somebody who has none: nobody's password. */
  readonly #decoy: string;
  readonly #concurrency: number;
  readonly #maxWaiting: number;
  readonly #waiting: (() => void)[] = [];
  #running = 0;

  constructor(options: PasswordHasherOptions = {}) {
    this.#cost = options.cost ?? defaultScryptCost;
    const { N, r, p } = this.#cost;
    this.#decoy = `scrypt$${N}$${r}$${p}$${toBase64(new Uint8Array(saltBytes))}$${toBase64(new Uint8Array(hashBytes))}`;
    this.#concurrency = options.concurrency ?? passwordConcurrency;
    this.#maxWaiting = options.waiting ?? passwordWaiting;
  }

  /**
   * The text to store for a password. Throws CRYPTO_PASSWORD_SIZE unless it has 1–1024 UTF-8 bytes, none of them zero (HMAC fills its key up
   * with zeros, so a password with zeros behind it would be the same), CRYPTO_BUSY where too many
   * wait, and the signal's reason where it aborts before the work starts.
   */
  async hash(password: string, signal: AbortSignal): Promise<string> {
    const bytes = utf8(password);
    if (bytes.length < 1 || bytes.length > passwordBytes || bytes.includes(0)) throw cryptoError('CRYPTO_PASSWORD_SIZE');
    const salt = randomBytes(saltBytes);
    const hash = await this.#derive(bytes, { cost: this.#cost, salt, hash: new Uint8Array(hashBytes) }, signal);
    const { N, r, p } = this.#cost;
    return `scrypt$${N}$${r}$${p}$${toBase64(salt)}$${toBase64(hash)}`;
  }

  /**
   * Whether the password is the stored one, compared in constant time. Without a stored hash it takes as long and is false, so that
   * an unknown name cannot be told from a wrong password. Throws as `hash` does (a wrong size is just false), and CRYPTO_BAD_HASH.
   */
  async verify(password: string, stored: string | undefined, signal: AbortSignal): Promise<boolean> {
    const bytes = utf8(password);
    if (bytes.length < 1 || bytes.length > passwordBytes || bytes.includes(0)) return false;
    const expected = parse(stored ?? this.#decoy);
    const hash = await this.#derive(bytes, expected, signal);
    return equalBytes(hash, expected.hash) && stored !== undefined;
  }

  /** Whether a stored hash was made with other costs than new ones get: hash again at the next successful sign-in. */
  needsRehash(stored: string): boolean {
    const { cost } = parse(stored);
    return cost.N !== this.#cost.N || cost.r !== this.#cost.r || cost.p !== this.#cost.p;
  }

  async #derive(password: Uint8Array, { cost, salt, hash }: StoredHash, signal: AbortSignal): Promise<Uint8Array> {
    await this.#enter(signal);
    try {
      // scrypt cannot be cancelled; it runs for a time that the costs fix, and the slot is held until then
      return await new Promise((resolve, reject) => {
        scrypt(password, salt, hash.length, { ...cost, maxmem: 2 * memoryOf(cost) }, (error, key) => {
          if (error === null) resolve(key);
          else reject(cryptoError('CRYPTO_BAD_HASH', 'scrypt refused the costs', error));
        });
      });
    } finally {
      const next = this.#waiting.shift();
      if (next === undefined) this.#running--;
      else next(); // the slot goes straight to who waited longest
    }
  }

  async #enter(signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    if (this.#running < this.#concurrency) {
      this.#running++;
      return;
    }
    if (this.#waiting.length >= this.#maxWaiting) throw cryptoError('CRYPTO_BUSY');
    await new Promise<void>((resolve, reject) => {
      const start = (): void => {
        signal.removeEventListener('abort', leave);
        resolve();
      };
      const leave = (): void => {
        this.#waiting.splice(this.#waiting.indexOf(start), 1);
        reject(signal.reason);
      };
      signal.addEventListener('abort', leave, { once: true });
      this.#waiting.push(start);
    });
  }
}

function memoryOf(cost: ScryptCost): number {
  return 128 * cost.N * cost.r * cost.p + 1024 * 1024;
}

function parse(stored: string): StoredHash {
  const match = /^scrypt\$([1-9][0-9]{0,7})\$([1-9][0-9]?)\$([1-9][0-9]?)\$([A-Za-z0-9+/=]{1,88})\$([A-Za-z0-9+/=]{1,88})$/.exec(stored);
  const salt = fromBase64(match?.[4] ?? '');
  const hash = fromBase64(match?.[5] ?? '');
  const cost = { N: Number(match?.[1]), r: Number(match?.[2]), p: Number(match?.[3]) };
  const sound = match !== null && salt !== undefined && hash !== undefined && hash.length >= 16 && Number.isInteger(Math.log2(cost.N)) && cost.N > 1;
  if (!sound || memoryOf(cost) > passwordMemory) throw cryptoError('CRYPTO_BAD_HASH');
  return { cost, salt, hash };
}
