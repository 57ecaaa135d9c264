// When a certificate is renewed: in the window that its authority suggests (RFC 9773), else at two thirds of its lifetime.
import { RENEW_AT, RENEW_JITTER, RENEWAL_POLL_MAX_MS, RENEWAL_POLL_MIN_MS } from './constants.ts';
import type { RenewalWindow } from './types.ts';

export interface Validity {
  /** Wall-clock milliseconds. */
  readonly notBefore: number;
  readonly notAfter: number;
}

/** Without a word of the authority. `random` in [0, 1). */
export function renewalTime({ notBefore, notAfter }: Validity, random: number): number {
  return notBefore + (notAfter - notBefore) * (RENEW_AT + RENEW_JITTER * random);
}

/** A uniform time in the window, but never later than the certificate lives; a window in the past means at once (RFC 9773 §4.2). */
export function renewalTimeIn(window: RenewalWindow, { notAfter }: Validity, random: number): number {
  return Math.min(window.start + (window.end - window.start) * random, notAfter);
}

/** How long an answer is held before the authority is asked again. */
export function renewalPoll(pollMs: number): number {
  return Math.min(RENEWAL_POLL_MAX_MS, Math.max(RENEWAL_POLL_MIN_MS, pollMs));
}
