// Signed identity assertions: a JWT for the service, so that it need not trust the network between the gateway and itself. A token is
// signed once per identity and service and again at half its life, never per request.
import type { Clock } from '#lib/clock.ts';
import { describeError } from '#lib/errors.ts';
import type { Logger } from '#lib/log.ts';
import type { Identity } from '#model/identity.ts';
import { SignJWT, exportJWK, generateKeyPair, importJWK, type CryptoKey, type JWK } from 'jose';
import { randomBytes } from 'node:crypto';
import { toBase64Url } from '#lib/bytes.ts';
import { assertionKeyMs, assertionMs, assertionRetryMs, assertionTableSize } from './constants.ts';
import { identityError } from './errors.ts';

/** Where the private keys are kept, as text; whoever shares them shares the store. */
export interface AssertionKeyStore {
  load(): Promise<string | undefined>;
  save(text: string): Promise<void>;
}

export interface AssertionSignerOptions {
  readonly store: AssertionKeyStore;
  readonly clock: Clock;
  readonly log: Logger;
}

interface StoredKeys {
  /** Private ES256 keys: the one that signs, the next one, the one before. */
  readonly keys: readonly JWK[];
  /** Wall-clock milliseconds since when the first one signs. */
  readonly since: number;
}

interface Signing extends StoredKeys {
  readonly key: CryptoKey;
  readonly kid: string;
  readonly jwks: { readonly keys: readonly JWK[] };
}

interface Kept {
  readonly jwt: string;
  readonly signedAt: number;
  readonly kid: string;
  /** When it last went to the end of the table. */
  movedAt: number;
}

/** One in steady use is not moved more often than this. */
const usedAgainMs = 1_000;

export class AssertionSigner {
  readonly #options: AssertionSignerOptions;
  /** In the order of use to the second, so that the first is the longest unused. */
  readonly #kept = new Map<string, Kept>();
  readonly #signing = new Map<string, Promise<string>>();
  readonly #lastKeys = new WeakMap<Identity, { readonly origin: string; readonly key: string }>();
  #keys: Signing;
  #rotating = false;
  /** Wall-clock milliseconds; rotating is not tried again before. */
  #rotateAt = 0;

  private constructor(options: AssertionSignerOptions, keys: Signing) {
    this.#options = options;
    this.#keys = keys;
  }

  /** Loads the keys, or makes the first ones. Throws IDENTITY_KEYS_DAMAGED, and what the store throws. */
  static async open(options: AssertionSignerOptions): Promise<AssertionSigner> {
    return new AssertionSigner(options, await currentKeys(options));
  }

  /**
   * The assertion of an identity for a service. `origin` (`https://domain`) is issuer and audience: one service's token is worth nothing
   * at another. Comes without a promise where a fresh one is at hand.
   */
  assertion(identity: Identity, origin: string): string | Promise<string> {
    const now = this.#options.clock.wall();
    if (now - this.#keys.since >= assertionKeyMs && now >= this.#rotateAt) this.#rotate();
    const key = this.#keyOf(identity, origin);
    const kept = this.#kept.get(key);
    const age = kept === undefined ? Number.POSITIVE_INFINITY : now - kept.signedAt;
    if (kept === undefined || age >= assertionMs || age < 0) return this.#sign(key, identity, origin);
    if (now - kept.movedAt >= usedAgainMs) {
      kept.movedAt = now;
      this.#kept.delete(key);
      this.#kept.set(key, kept);
    }
    if (age >= assertionMs / 2) this.#sign(key, identity, origin).catch((error: unknown) => this.#failed(error));
    return kept.jwt;
  }

  /** Everything that is signed is in the key: changed groups are another token at once. An identity never changes, so its last key is kept. */
  #keyOf(identity: Identity, origin: string): string {
    const last = this.#lastKeys.get(identity);
    if (last?.origin === origin) return last.key;
    const { userId, email, name, groups } = identity;
    const key = JSON.stringify([origin, userId, email, name, groups]);
    this.#lastKeys.set(identity, { origin, key });
    return key;
  }

  /** The public keys for `/.meshgate/jwks.json` of every service. */
  jwks(): { readonly keys: readonly JWK[] } {
    return this.#keys.jwks;
  }

  /** Tokens that are kept. */
  get size(): number {
    return this.#kept.size;
  }

  #sign(key: string, identity: Identity, origin: string): Promise<string> {
    const running = this.#signing.get(key);
    if (running !== undefined) return running;
    const work = this.#signNow(key, identity, origin).finally(() => this.#signing.delete(key));
    this.#signing.set(key, work);
    return work;
  }

  async #signNow(key: string, identity: Identity, origin: string): Promise<string> {
    const { key: privateKey, kid } = this.#keys;
    const signedAt = this.#options.clock.wall();
    const seconds = Math.floor(signedAt / 1000);
    const jwt = await new SignJWT({ email: identity.email, name: identity.name, groups: [...identity.groups] })
      .setProtectedHeader({ alg: 'ES256', kid, typ: 'JWT' })
      .setIssuer(origin)
      .setAudience(origin)
      .setSubject(identity.userId)
      .setIssuedAt(seconds)
      .setExpirationTime(seconds + assertionMs / 1000)
      .sign(privateKey);
    this.#kept.delete(key);
    this.#kept.set(key, { jwt, signedAt, kid, movedAt: signedAt });
    for (const oldest of this.#kept.keys()) {
      if (this.#kept.size <= assertionTableSize) break;
      this.#kept.delete(oldest);
    }
    return jwt;
  }

  #rotate(): void {
    if (this.#rotating) return;
    this.#rotating = true;
    this.#rotateAt = this.#options.clock.wall() + assertionRetryMs;
    currentKeys(this.#options)
      .then((keys) => {
        this.#keys = keys;
      })
      .catch((error: unknown) => this.#failed(error))
      .finally(() => (this.#rotating = false));
  }

  #failed(error: unknown): void {
    this.#options.log.error('identity assertions could not be renewed', { error: describeError(error) });
  }
}

/** What the store holds, made or rotated where that is due. Of several processes the last writer wins, and all take what is stored. */
async function currentKeys({ store, clock, log }: AssertionSignerOptions): Promise<Signing> {
  const now = clock.wall();
  const stored = parseKeys(await store.load());
  if (stored !== undefined && now - stored.since < assertionKeyMs) return prepared(stored);
  const [current, next] = stored?.keys ?? [];
  // The next key has been in the key set for a whole period before it signs; the old one stays for another.
  const keys = [next ?? (await newKey()), await newKey(), ...(current === undefined ? [] : [current])];
  try {
    await store.save(JSON.stringify({ keys, since: now } satisfies StoredKeys));
  } catch (error) {
    // On a full disk the old keys go on: they are published, and as good as before.
    if (stored === undefined) throw error;
    log.error('new keys of identity assertions cannot be kept; the old ones go on', { error: describeError(error) });
    return prepared(stored);
  }
  return prepared(parseKeys(await store.load()) ?? { keys, since: now });
}

function parseKeys(text: string | undefined): StoredKeys | undefined {
  if (text === undefined) return undefined;
  try {
    const { keys, since } = JSON.parse(text) as Partial<StoredKeys>;
    if (Array.isArray(keys) && keys.length > 0 && typeof since === 'number') return { keys, since };
  } catch (cause) {
    throw identityError('IDENTITY_KEYS_DAMAGED', '', cause);
  }
  throw identityError('IDENTITY_KEYS_DAMAGED');
}

async function prepared({ keys, since }: StoredKeys): Promise<Signing> {
  const [first] = keys;
  if (first?.kid === undefined) throw identityError('IDENTITY_KEYS_DAMAGED');
  const key = await importJWK(first, 'ES256').catch((cause: unknown) => {
    throw identityError('IDENTITY_KEYS_DAMAGED', '', cause);
  });
  if (key instanceof Uint8Array) throw identityError('IDENTITY_KEYS_DAMAGED');
  const published = keys.map(({ kty, crv, x, y, kid }) => ({ kty, crv, x, y, kid, alg: 'ES256', use: 'sig' }) as JWK);
  return { keys, since, key, kid: first.kid, jwks: { keys: published } };
}

async function newKey(): Promise<JWK> {
  const { privateKey } = await generateKeyPair('ES256', { extractable: true });
  return { ...(await exportJWK(privateKey)), kid: toBase64Url(randomBytes(9)) };
}
