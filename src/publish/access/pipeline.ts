// The order of all access checks, on one screen. The first check that decides ends it; whoever passes all without a decision is denied.
import { describeError } from '#lib/errors.ts';
import type { Soon } from './backend.ts';
import { deny, type Check, type CheckInput, type Verdict } from './check.ts';
import { addressAllowed } from './checks/address.ts';
import { hostAgrees } from './checks/agreement.ts';
import { authSupported } from './checks/auth-method.ts';
import { clientCertificate } from './checks/client-certificate.ts';
import { hostKnown } from './checks/host.ts';
import { methodAllowed } from './checks/method.ts';
import { meshPeer } from './checks/peer.ts';
import { memberOfPrivate, notPrivate } from './checks/private.ts';
import { requestCredential } from './checks/credential.ts';
import { addressRate } from './checks/rate.ts';
import { routeKnown } from './checks/route.ts';
import { rulesAllow } from './checks/rules.ts';
import { liveSession } from './checks/session.ts';
import { serviceToken } from './checks/token.ts';

/** Before anybody has to prove anything; our own paths below /.meshgate/ are open only to who passes these. */
export const doorChecks: readonly Check[] = [
  hostAgrees, //     421
  hostKnown, //      404
  clientCertificate, // 421
  methodAllowed, //  405
  addressAllowed, // 403
  notPrivate, //     403
  authSupported, //  403
  addressRate, //    429
];

/** Of the above, those that may say something else later of what is open. */
export const standingChecks: readonly Check[] = [clientCertificate, addressAllowed, notPrivate, authSupported];

/** Who it is, and whether the rules let that one in. How often is counted last, of those who may pass: see `admittedRate`. */
export const proofChecks: readonly Check[] = [
  memberOfPrivate, // 403
  routeKnown, //    404, 405
  rulesAllow, //    allow, 403
  serviceToken, //  allow, 401, 403
  requestCredential, // allow, 401, 403, 429
  meshPeer, //      allow, 403
  liveSession, //   allow, or sign in first
];

/** Runs checks in order; undefined where none decides. A check that throws denies; one that takes time is awaited. */
export function runChecks(checks: readonly Check[], input: CheckInput, from = 0): Soon<Verdict | undefined> {
  for (let i = from; i < checks.length; i++) {
    const check = checks[i];
    if (check === undefined) break;
    try {
      const verdict = check(input);
      if (verdict instanceof Promise) return continueLater(verdict, checks, input, i + 1);
      if (verdict !== undefined) return verdict;
    } catch (error) {
      return deny('internal_error', describeError(error));
    }
  }
  return undefined;
}

async function continueLater(
  pending: Promise<Verdict | undefined>,
  checks: readonly Check[],
  input: CheckInput,
  next: number,
): Promise<Verdict | undefined> {
  try {
    const verdict = await untilAborted(pending, input.signal);
    return verdict ?? (await runChecks(checks, input, next));
  } catch (error) {
    // What is asked over the network could not be asked, or not in time.
    return deny('auth_unavailable', describeError(error));
  }
}

/** Settles with the promise, or rejects once the signal aborts: a look-up that ignores its signal holds nobody up. */
function untilAborted<T>(pending: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const aborted = (): void => reject(signal.reason instanceof Error ? signal.reason : new DOMException('aborted', 'AbortError'));
    if (signal.aborted) return aborted();
    signal.addEventListener('abort', aborted, { once: true });
    pending.then(resolve, reject).finally(() => signal.removeEventListener('abort', aborted));
  });
}
