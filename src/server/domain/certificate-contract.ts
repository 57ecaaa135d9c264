// What gateways of one cluster do together about certificates, as the control plane offers it.
import type { SealedCopy } from '#model/certificate-exchange.ts';
import type { ProxyId } from '#model/ids.ts';
import type { CertificateStatus } from '#model/status.ts';

/** Which certificate of which cluster, asked by which of its gateways. `names` are sorted. */
export interface CertificateOf {
  readonly cluster: string;
  readonly proxyId: ProxyId;
  readonly names: readonly string[];
}

export interface SharedChallenge {
  readonly type: string;
  readonly name: string;
  readonly token: string;
  readonly keyAuthorization: string;
}

/** What gateways of one cluster do together about certificates. DOMAIN_NOT_FOUND where the gateway is not connected to the cluster. */
export interface CertificateUseCases {
  /** `notAfter` is that of the certificate at hand: a longer one that was sealed for this key is given instead of a lease. */
  lease(
    request: CertificateOf & { readonly notAfter: number; readonly sealKey: Uint8Array },
  ): Promise<{ readonly kind: 'granted' } | { readonly kind: 'held' } | ({ readonly kind: 'certificate' } & SealedCopy)>;
  /** A lease that is another's, or none, is no error. */
  release(request: CertificateOf): Promise<void>;
  /** DOMAIN_LEASE_LOST where the lease is not this gateway's. */
  present(request: CertificateOf & { readonly answers: readonly SharedChallenge[] }): Promise<void>;
  /** Without a token the latest of the name. */
  findChallenge(request: {
    readonly cluster: string;
    readonly type: string;
    readonly name: string;
    readonly token: string;
  }): Promise<string | undefined>;
  /** Keys of the cluster's live gateways. */
  recipients(cluster: string, proxyId: ProxyId): Promise<readonly Uint8Array[]>;
  /** DOMAIN_LEASE_LOST where the lease is not this gateway's. */
  share(request: CertificateOf & { readonly notAfter: number; readonly sealed: readonly SealedCopy[] }): Promise<void>;
  report(request: {
    readonly cluster: string;
    readonly proxyId: ProxyId;
    readonly changed: readonly CertificateStatus[];
    /** Source and names of each, joined by spaces. */
    readonly gone: readonly string[];
  }): Promise<void>;
  /** Of every gateway that is connected. */
  list(): Promise<readonly { readonly proxyId: ProxyId; readonly cluster: string; readonly status: CertificateStatus }[]>;
}
