// What passes between the gateways of one cluster, through a control plane that keeps it, so that each name is ordered once.
import type { CertificateStatus } from './status.ts';

/** A certificate in a box for one gateway's key; who keeps it cannot read it. */
export interface SealedCopy {
  readonly senderKey: Uint8Array;
  readonly recipientKey: Uint8Array;
  readonly box: Uint8Array;
}

/** What the gateways of one cluster do together about certificates. */
export interface CertificateExchange {
  /** `notAfter` in wall-clock milliseconds, of the certificate at hand; `sealKey` is this gateway's X25519 public key. */
  lease(
    names: readonly string[],
    notAfter: number,
    sealKey: Uint8Array,
    signal: AbortSignal,
  ): Promise<{ readonly kind: 'granted' | 'held' } | ({ readonly kind: 'certificate' } & SealedCopy)>;
  release(names: readonly string[], signal: AbortSignal): Promise<void>;
  present(
    names: readonly string[],
    answers: readonly { readonly type: string; readonly name: string; readonly token: string; readonly keyAuthorization: string }[],
    signal: AbortSignal,
  ): Promise<void>;
  find(type: string, name: string, signal: AbortSignal): Promise<string | undefined>;
  recipients(signal: AbortSignal): Promise<readonly Uint8Array[]>;
  share(names: readonly string[], notAfter: number, sealed: readonly SealedCopy[], signal: AbortSignal): Promise<void>;
  report(changed: readonly CertificateStatus[], gone: readonly string[], signal: AbortSignal): Promise<void>;
}
