// The gateway's view of secrets that come with requests, as the authority judged them: kept by keyed digests, with revocations applied at once.
import { createHmac, randomBytes } from 'node:crypto';
import { tokenDigest } from '#crypto/tokens.ts';
import type { Clock, Timer } from '#lib/clock.ts';
import type { Closable } from '#lib/lifecycle.ts';
import type { ServiceId } from '#model/ids.ts';
import type { Credential, CredentialAuthority, CredentialCheck, Revocation } from '#model/identity.ts';
import { AnswerCache } from './answer-cache.ts';
import { credentialLength, sweepMs } from './constants.ts';
import type { EndedTrust } from './session-cache.ts';

export interface CredentialCacheOptions {
  readonly authority: CredentialAuthority;
  readonly clock: Clock;
  /** Told of each whose trust has ended; whatever is open under it has to be closed. */
  readonly ended: (ended: EndedTrust) => void;
}

interface Answer {
  readonly check: CredentialCheck;
  readonly serviceId: ServiceId;
}

const wrong: CredentialCheck = { kind: 'denied', why: 'wrong', retryAfterMs: 0 };

export class CredentialCache implements Closable {
  readonly #options: CredentialCacheOptions;
  readonly #answers: AnswerCache<Answer>;
  /** People choose some of these secrets: their plain digests could be tried out. */
  readonly #key = randomBytes(32);
  #timer: Timer | undefined;
  #closed = false;

  constructor(options: CredentialCacheOptions) {
    this.#options = options;
    const denied: Answer = { check: wrong, serviceId: '' as ServiceId };
    this.#answers = new AnswerCache<Answer>({
      clock: options.clock,
      live: ({ check }) => check.kind === 'valid',
      expiresAt: () => Number.POSITIVE_INFINITY, // the authority knows when one ends
      idleMs: () => undefined,
      revoked: denied,
      expired: denied,
      ended: (key, { check, serviceId }, reason) => {
        if (check.kind !== 'valid') return;
        options.ended({ kind: 'token', sessionKey: digestOf(key), userId: check.identity.userId, serviceId, reason });
      },
    });
    this.#scheduleSweep();
  }

  /** The name of the trust that a credential stands for. That of a device or certificate is its plain digest, as it is revoked by that. */
  keyOf({ kind, name, secret }: Credential): string {
    if (kind === 'device') return tokenDigest(secret);
    if (kind === 'certificate') return secret; // a digest already
    return createHmac('sha256', this.#key)
      .update(JSON.stringify([kind, name, secret]))
      .digest('base64');
  }

  /** What a credential stands for at a service; without a promise where it is known. Rejects where nobody can be asked. */
  verifyCredential(credential: Credential, serviceId: ServiceId, address: string, signal: AbortSignal): CredentialCheck | Promise<CredentialCheck> {
    if (credential.secret === '' || credential.secret.length > credentialLength || credential.name.length > credentialLength) return wrong;
    const ask = async (deadline: AbortSignal): Promise<Answer> => ({
      check: await this.#options.authority.verifyCredential({ ...credential, serviceId, address }, deadline),
      serviceId,
    });
    const found = this.#answers.lookup(`${this.keyOf(credential)} ${serviceId}`, ask, signal);
    return found instanceof Promise ? found.then((answer) => answer.check) : found.check;
  }

  /** Ends what the revocation names, before this returns. */
  revoke(revocation: Revocation): void {
    switch (revocation.kind) {
      case 'session':
        return;
      case 'user':
        return this.#answers.revoke((_key, { check }) => check.kind === 'valid' && check.identity.userId === revocation.userId);
      case 'service':
        return this.#answers.revoke((_key, { serviceId }) => serviceId === revocation.serviceId);
      case 'token':
        return this.#answers.revoke((key) => digestOf(key) === revocation.digest);
    }
  }

  /** Revocations may have been missed. */
  distrust(): void {
    this.#answers.distrust();
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#timer?.cancel();
  }

  #scheduleSweep(): void {
    this.#timer = this.#options.clock.after(sweepMs, () => {
      this.#answers.sweep();
      if (!this.#closed) this.#scheduleSweep();
    });
  }
}

function digestOf(key: string): string {
  return key.slice(0, key.indexOf(' '));
}
