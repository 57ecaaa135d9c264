// One-time tokens by which a gateway registers its peer: 32 random bytes, bound to a service, good once and for five minutes. They live in
// the memory of this process, so a gateway must redeem one at the server that sent it the mapping; the next mapping brings a new one.
import { createHash } from 'node:crypto';
import { toBase64Url } from '#lib/bytes.ts';
import type { Clock } from '#lib/clock.ts';
import type { ServiceId } from '#model/ids.ts';
import { oneTimeTokenMs } from './constants.ts';
import type { RandomBytes } from './ids.ts';

export class OneTimeTokens {
  readonly #clock: Clock;
  readonly #random: RandomBytes;
  readonly #limit: number;
  /** By digest, oldest first: all live equally long, so the order of issue is the order of expiry. */
  readonly #issued = new Map<string, { readonly serviceId: ServiceId; readonly expiresAt: number }>();

  constructor(clock: Clock, random: RandomBytes, limit: number) {
    this.#clock = clock;
    this.#random = random;
    this.#limit = limit;
  }

  /** Unredeemed tokens, expired ones included until the next issue. */
  get size(): number {
    return this.#issued.size;
  }

  issue(serviceId: ServiceId): string {
    const now = this.#clock.now();
    for (const [digest, { expiresAt }] of this.#issued) {
      if (expiresAt > now && this.#issued.size < this.#limit) break;
      this.#issued.delete(digest);
    }
    const token = toBase64Url(this.#random(32));
    this.#issued.set(digestOf(token), { serviceId, expiresAt: now + oneTimeTokenMs });
    return token;
  }

  /** Uses the token up; false where it is unknown, expired or another service's. */
  redeem(token: string, serviceId: ServiceId): boolean {
    const digest = digestOf(token);
    const found = this.#issued.get(digest);
    if (found === undefined || found.serviceId !== serviceId) return false;
    this.#issued.delete(digest);
    return found.expiresAt > this.#clock.now();
  }
}

function digestOf(token: string): string {
  return createHash('sha256').update(token, 'utf8').digest('base64');
}
