// The use cases about certificates that users get for services, for a short time.
import type { ServiceId, UserId } from '#model/ids.ts';
import type { Actor } from './actor.ts';

/** A service by its id, or by its domain, and its port where several have that. */
export interface MintFor {
  readonly service: string;
  readonly port: number | undefined;
  /** TLS: SPKI in PEM. SSH: a line with an Ed25519 key. */
  readonly publicKey: string;
}

export interface Minted {
  readonly id: string;
  readonly serviceId: ServiceId;
  readonly domain: string;
  readonly port: number | undefined;
  /** TLS: PEM. SSH: a line of a certificate file. */
  readonly certificate: string;
  /** SSH only: as whom it is good there. */
  readonly principals: readonly string[];
  readonly expiresAt: number;
}

export interface MintedView {
  readonly id: string;
  readonly kind: 'tls' | 'ssh';
  readonly userId: UserId;
  readonly email: string;
  readonly serviceId: ServiceId;
  readonly domain: string;
  readonly createdAt: number;
  readonly expiresAt: number;
}

export interface MintedUseCases {
  /** PEM of the authority of TLS client certificates, and the line that an SSH server puts into its TrustedUserCAKeys. */
  readonly authorities: { readonly client: string; readonly ssh: string };
  /**
   * A client certificate of the user for a service that takes them. DOMAIN_SERVICE_UNKNOWN, DOMAIN_SERVICE_NO_CERTIFICATES, DOMAIN_USER_BLOCKED,
   * DOMAIN_GROUP_NOT_ALLOWED, DOMAIN_ISSUER_NOT_ALLOWED, DOMAIN_INVALID, DOMAIN_LIMIT.
   */
  mintTls(userId: UserId, request: MintFor): Promise<Minted>;
  /** An SSH user certificate, likewise. */
  mintSsh(userId: UserId, request: MintFor): Promise<Minted>;
  /** Live ones, the newest first; of one user, or of all. */
  list(userId: UserId | undefined): Promise<readonly MintedView[]>;
  /** Gateways end at once what came with a TLS certificate. DOMAIN_NOT_FOUND where there is none, or `of` is given and it is not that user's. */
  revoke(id: string, of: UserId | undefined, actor: Actor): Promise<void>;
}
