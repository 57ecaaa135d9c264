// Passkeys of this server: what the browser is asked for, and what its answer is worth. Each challenge is random, kept here for one place
// (a sign-in, or an account page) and taken once.
import { randomBytes } from 'node:crypto';
import { asBuffer, toBase64Url, utf8 } from '#lib/bytes.ts';
import type { User } from '#model/identity.ts';
import { asId, type UserId } from '#model/ids.ts';
import type { FactorUseCases } from '../domain/contract.ts';
import { challengeSeconds, challengeTimeoutMs } from './constants.ts';
import type { VaultRecords } from './vault-adapter.ts';
import { algorithms, parseAnswer, verifyAssertion, verifyRegistration, type RelyingParty } from './webauthn.ts';

export interface PasskeysOptions {
  readonly issuer: URL;
  readonly factors: Pick<FactorUseCases, 'passkey' | 'state' | 'usePasskey' | 'addPasskey'>;
  readonly records: VaultRecords;
}

export interface PasskeyProof {
  readonly userId: UserId;
  readonly userVerified: boolean;
  /** `hwk` or `swk` of RFC 8176: kept in one device, or in several. */
  readonly method: 'hwk' | 'swk';
}

const challengeKind = 'PasskeyChallenge';

export class Passkeys {
  readonly #options: PasskeysOptions;
  readonly #party: RelyingParty;

  constructor(options: PasskeysOptions) {
    this.#options = options;
    this.#party = { id: options.issuer.hostname, origin: options.issuer.origin };
  }

  /** Options of `navigator.credentials.get` as JSON. Without a user any passkey of this server may answer, after it has verified its user. */
  async requestOptions(place: string, userId: UserId | undefined): Promise<string> {
    const known = userId === undefined ? [] : (await this.#options.factors.state(userId)).passkeys;
    return JSON.stringify({
      challenge: await this.#challenge(place, 'get'),
      rpId: this.#party.id,
      timeout: challengeTimeoutMs,
      userVerification: userId === undefined ? 'required' : 'discouraged',
      allowCredentials: known.map(({ id, transports }) => ({ type: 'public-key', id, transports })),
    });
  }

  /** Who has answered, or undefined. `of` is who it has to be. */
  async check(place: string, text: string, of: UserId | undefined): Promise<PasskeyProof | undefined> {
    const challenge = await this.#take(place, 'get');
    const answer = parseAnswer(text);
    if (challenge === undefined || answer === undefined) return undefined;
    const passkey = await this.#options.factors.passkey(answer.id);
    if (passkey === undefined || (of !== undefined && passkey.userId !== of)) return undefined;
    const asserted = verifyAssertion(answer, this.#party, challenge, { publicKey: passkey.publicKey, userHandle: passkey.userId });
    if (asserted === undefined || (of === undefined && !asserted.userVerified)) return undefined;
    if (!(await this.#options.factors.usePasskey(passkey.id, asserted.counter))) return undefined;
    return { userId: passkey.userId, userVerified: asserted.userVerified, method: asserted.synced ? 'swk' : 'hwk' };
  }

  /** Options of `navigator.credentials.create` as JSON. */
  async creationOptions(place: string, user: User): Promise<string> {
    const { passkeys } = await this.#options.factors.state(user.id);
    return JSON.stringify({
      challenge: await this.#challenge(place, 'create'),
      rp: { id: this.#party.id, name: 'Meshgate' },
      user: { id: toBase64Url(utf8(user.id)), name: user.email, displayName: user.name },
      pubKeyCredParams: algorithms.map((alg) => ({ type: 'public-key', alg })),
      timeout: challengeTimeoutMs,
      attestation: 'none',
      authenticatorSelection: { residentKey: 'preferred', userVerification: 'preferred' },
      excludeCredentials: passkeys.map(({ id, transports }) => ({ type: 'public-key', id, transports })),
    });
  }

  /** Keeps the new passkey; undefined where the answer does not fit, else the recovery codes where they are the user's first. */
  async add(place: string, text: string, user: User, name: string): Promise<{ readonly recovery: readonly string[] } | undefined> {
    const challenge = await this.#take(place, 'create');
    const answer = parseAnswer(text);
    if (challenge === undefined || answer === undefined) return undefined;
    const registered = verifyRegistration(answer, this.#party, challenge);
    if (registered === undefined) return undefined;
    const { id, publicKey, counter, synced, transports } = registered;
    return this.#options.factors.addPasskey({ id, userId: user.id, name, publicKey: { ...publicKey }, counter, synced, transports });
  }

  async #challenge(place: string, kind: 'get' | 'create'): Promise<string> {
    const challenge = asBuffer(randomBytes(32)).toString('base64url');
    await this.#options.records.keep(challengeKind, `${kind} ${place}`, { challenge }, challengeSeconds);
    return challenge;
  }

  async #take(place: string, kind: 'get' | 'create'): Promise<string | undefined> {
    const kept = (await this.#options.records.take(challengeKind, `${kind} ${place}`))?.['challenge'];
    return typeof kept === 'string' ? kept : undefined;
  }
}

/** A user id out of a record. */
export function userIdOf(value: unknown): UserId | undefined {
  return typeof value === 'string' && value !== '' ? asId<UserId>(value) : undefined;
}
