// The use cases about proofs beyond sign-in at the identity provider, share links, and paired devices.
import type { ServiceId, SessionId, UserId } from '#model/ids.ts';
import type { CredentialAttempt, CredentialCheck, Device, PairRefusal, ProofAttempt, ProofGrant } from '#model/identity.ts';
import type { Actor } from './actor.ts';

export interface ProofUseCases {
  /** Asked by a gateway of the cluster. Never throws for what a visitor did. CRYPTO_BUSY where too many secrets are being checked. */
  prove(attempt: ProofAttempt, cluster: string): Promise<ProofGrant>;
  /** Likewise. */
  verify(attempt: CredentialAttempt, cluster: string): Promise<CredentialCheck>;
}

/** A share link; its secret is told once, when it is made. */
export interface ShareLink {
  readonly id: string;
  readonly label: string;
  readonly createdBy: UserId;
  readonly createdAt: number;
  readonly expiresAt: number;
  /** How often it may be opened, and how often it was. */
  readonly uses: number;
  readonly used: number;
  readonly revoked: boolean;
}

export interface LinkRequest {
  readonly label: string;
  readonly expiresInMs: number;
  readonly uses: number;
  /** Where it is to lead, of a service whose domain is a wildcard; else the domain, or left out. */
  readonly host?: string | undefined;
}

export interface LinkUseCases {
  /** The newest first. DOMAIN_SERVICE_UNKNOWN. */
  list(serviceId: ServiceId): Promise<readonly ShareLink[]>;
  /**
   * `plain` is told once; a digest is kept. It opens at `origin`, with the port of the cluster's gateways. DOMAIN_SERVICE_UNKNOWN, DOMAIN_LIMIT,
   * DOMAIN_INVALID where the service takes no links, or stands for many names and the request names none of them.
   */
  create(
    serviceId: ServiceId,
    request: LinkRequest,
    actor: Actor,
  ): Promise<{ readonly link: ShareLink; readonly plain: string; readonly origin: string }>;
  /** It opens nothing more, and ends the sessions that it had a part in. DOMAIN_NOT_FOUND. */
  revoke(serviceId: ServiceId, id: string, actor: Actor): Promise<void>;
}

export interface DeviceView extends Device {
  readonly userId: UserId;
  readonly email: string;
  readonly serviceId: ServiceId;
  readonly domain: string;
}

export interface DeviceUseCases {
  /** Of one user, or of all; the newest first. */
  list(userId: UserId | undefined): Promise<readonly DeviceView[]>;
  /** DOMAIN_NOT_FOUND where there is none, or `of` is given and it is not that user's. */
  revoke(id: string, of: UserId | undefined, actor: Actor): Promise<void>;
  /** The three of a session's user at its service; asked by a gateway of the cluster. */
  pair(
    sessionId: SessionId,
    serviceId: ServiceId,
    cluster: string,
    name: string,
  ): Promise<{ readonly device: Device; readonly secret: string } | { readonly refused: PairRefusal }>;
  listAt(sessionId: SessionId, serviceId: ServiceId, cluster: string): Promise<readonly Device[]>;
  revokeAt(sessionId: SessionId, serviceId: ServiceId, cluster: string, id: string): Promise<void>;
}
