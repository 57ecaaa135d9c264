// The provider's signing keys and cookie keys, kept in the vault. Three generations of RS256 keys are in the key set: the one that
// signs, the one before, and the next, so that whoever caches the set always knows the key of a fresh token.
import { createPublicKey, generateKeyPair, randomBytes } from 'node:crypto';
import { promisify } from 'node:util';
import type { Clock } from '#lib/clock.ts';
import { toBase64Url, utf8 } from '#lib/bytes.ts';
import type { JWK } from 'jose';
import type { VaultUseCases } from '../domain/contract.ts';
import { keyPeriodMs } from './constants.ts';
import { idpError } from './errors.ts';

const vaultKey = 'idp/keys';

export interface KeySet {
  /** Private RS256 keys; the first signs. */
  readonly keys: readonly JWK[];
  /** Secrets of signed cookies; the first signs. */
  readonly cookieKeys: readonly string[];
  /** Wall-clock milliseconds since when the first key signs. */
  readonly since: number;
}

export class KeyStore {
  readonly #vault: VaultUseCases;
  readonly #clock: Clock;

  constructor(vault: VaultUseCases, clock: Clock) {
    this.#vault = vault;
    this.#clock = clock;
  }

  /** The keys as of now: made at the first call ever, rotated where that is due, else as another process left them. */
  async current(): Promise<KeySet> {
    const stored = await this.#read();
    const now = this.#clock.wall();
    if (stored !== undefined && now - stored.since < keyPeriodMs) return stored;
    const fresh = stored === undefined ? await firstKeys(now) : await rotated(stored, now);
    await this.#vault.set(vaultKey, utf8(JSON.stringify(fresh)));
    // Of two processes that rotate together the later write wins; both go on with what the vault holds.
    return (await this.#read()) ?? fresh;
  }

  /** The keys that the vault holds, without rotation. */
  async stored(): Promise<KeySet | undefined> {
    return this.#read();
  }

  async #read(): Promise<KeySet | undefined> {
    const bytes = await this.#vault.get(vaultKey);
    if (bytes === undefined) return undefined;
    try {
      const value = JSON.parse(Buffer.from(bytes).toString('utf8')) as Partial<KeySet>;
      if (Array.isArray(value.keys) && value.keys.length > 0 && Array.isArray(value.cookieKeys) && typeof value.since === 'number')
        return value as KeySet;
    } catch (cause) {
      throw idpError('IDP_VAULT_DAMAGED', vaultKey, cause);
    }
    throw idpError('IDP_VAULT_DAMAGED', vaultKey);
  }
}

async function firstKeys(now: number): Promise<KeySet> {
  const [current, next] = await Promise.all([newKey(), newKey()]);
  return { keys: [current, next], cookieKeys: [newSecret()], since: now };
}

/** The next key signs, the one that signed stays for another period, what is older goes. */
async function rotated(before: KeySet, now: number): Promise<KeySet> {
  const [old, next] = before.keys;
  const fresh = await newKey();
  const keys = [next, fresh, old].filter((jwk) => jwk !== undefined);
  return { keys, cookieKeys: [newSecret(), ...before.cookieKeys].slice(0, 2), since: now };
}

const generate = promisify(generateKeyPair);

/** RSA of 2048 bits: stock NetBird clients accept only RSA and NIST curves, and every OpenID client knows RS256. */
async function newKey(): Promise<JWK> {
  const { privateKey } = await generate('rsa', { modulusLength: 2048 });
  return { ...(privateKey.export({ format: 'jwk' }) as JWK), kid: toBase64Url(randomBytes(12)), alg: 'RS256', use: 'sig' };
}

function newSecret(): string {
  return toBase64Url(randomBytes(32));
}

/** The public half of a private JWK, with its key id. */
export function publicJwk(jwk: JWK): JWK {
  const { kid = '' } = jwk;
  return { ...(createPublicKey({ key: jwk as never, format: 'jwk' }).export({ format: 'jwk' }) as JWK), kid, alg: 'RS256', use: 'sig' };
}
