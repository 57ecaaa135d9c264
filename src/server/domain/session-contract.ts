// The use cases about sessions of people at published services.
import type { PublicKey, ServiceId, SessionId, UserId } from '#model/ids.ts';
import type { Identity, Session } from '#model/identity.ts';
import type { Actor } from './actor.ts';

/** What is known of the sign-in that opens a session. */
export interface SessionOrigin {
  /** The sign-in at the identity provider. */
  readonly signIn: string;
  /** How the person proved who he is (RFC 8176). */
  readonly methods: readonly string[];
  readonly address: string;
  readonly userAgent: string;
}

/** A live session as lists show it. Its id opens nothing. */
export interface SessionView extends SessionOrigin {
  readonly id: string;
  readonly userId: UserId;
  readonly email: string;
  readonly serviceId: ServiceId;
  readonly serviceName: string;
  readonly domain: string;
  readonly createdAt: number;
  readonly lastUsed: number;
  readonly expiresAt: number;
}

/** `cluster` is that of the gateway that asks: what is another cluster's does not exist for it. */
/** Callers that arrive over the mesh: known by their peer, without signing in. */
export interface VisitorUseCases {
  /**
   * Who a peer stands for at a service, or why it may not come: it has to be in one of the service's access groups, its login valid, and its
   * user, where it has one, not blocked.
   */
  verify(
    key: PublicKey,
    serviceId: ServiceId,
    cluster: string,
  ): Promise<{ readonly identity: Identity } | { readonly denied: 'token_invalid' | 'group_not_allowed' }>;
}

export interface SessionUseCases {
  /**
   * Checks that the user may use the service; DOMAIN_USER_BLOCKED, DOMAIN_GROUP_NOT_ALLOWED, DOMAIN_SERVICE_UNKNOWN, DOMAIN_SERVICE_NO_SIGN_IN,
   * DOMAIN_ISSUER_NOT_ALLOWED. Returns the plain id once; a digest is kept. What the browser's `previous` session has proven counts on, and it
   * ends.
   */
  create(serviceId: ServiceId, userId: UserId, cluster: string, origin?: SessionOrigin, previous?: SessionId): Promise<Session>;
  /** The live session behind a plain id, or why there is none. Groups are as of now. */
  find(
    id: SessionId,
    serviceId: ServiceId,
    cluster: string,
  ): Promise<{ readonly session: Session } | { readonly missing: 'unknown' | 'expired' | 'revoked' }>;
  end(id: SessionId, cluster: string): Promise<void>;
  /** Live sessions, the newest first; of one user, or of all. */
  list(userId: UserId | undefined): Promise<readonly SessionView[]>;
  /** Ends one by its public id. DOMAIN_NOT_FOUND where there is none, or `of` is given and it is not that user's. */
  revoke(id: string, of: UserId | undefined, actor: Actor): Promise<void>;
  /** Ends all that came from one sign-in at the identity provider. */
  endOfSignIn(signIn: string, actor: Actor): Promise<void>;
  endAllOf(userId: UserId, actor: Actor): Promise<void>;
  /**
   * A service token presented at a service: the identity it stands for, or why not. Only tokens of service users count: a person's token
   * opens the control plane too, and a service must not get to see one.
   */
  verifyServiceToken(
    plain: string,
    serviceId: ServiceId,
    cluster: string,
  ): Promise<{ readonly identity: Identity } | { readonly denied: 'token_invalid' | 'group_not_allowed' }>;
}
