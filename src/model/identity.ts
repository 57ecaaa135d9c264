// Who is calling, once it has been proven.
import type { ProofKind, RequestProof, TypedProof } from './access.ts';
import type { GroupId, PublicKey, ServiceId, SessionId, UserId } from './ids.ts';

export interface Identity {
  readonly userId: UserId;
  readonly email: string;
  readonly name: string;
  /** Names of the user's groups, sorted. */
  readonly groups: readonly string[];
  /** Ids of the same groups: what access rules name. */
  readonly groupIds?: readonly GroupId[] | undefined;
  /** What an external identity provider said and access rules may ask for. */
  readonly claims?: Readonly<Record<string, readonly string[]>> | undefined;
  /** May be told why something fails: an owner or administrator of the account. */
  readonly administrator?: boolean | undefined;
  /**
   * What was proven first. Who has no account (a shared password, a link, a certificate) has a `userId` that begins with that and a colon, no
   * e-mail, and a name for the log.
   */
  readonly method: ProofKind;
  /** The name of the paired device that it came with. */
  readonly device?: string | undefined;
}

/** A signed-in browser at one service. The cookie holds the id; whoever knows it is the caller, so it is stored as a digest only. */
export interface Session {
  readonly id: SessionId;
  readonly serviceId: ServiceId;
  readonly identity: Identity;
  /** All that its browser has proven; absent from older control planes: `identity.method` alone. */
  readonly proofs?: readonly ProofKind[] | undefined;
  readonly createdAt: number;
  /** Wall-clock milliseconds after which it is over, whatever happens. */
  readonly expiresAt: number;
  /** Milliseconds without a request after which it is over; undefined where nothing but `expiresAt` ends it. */
  readonly idleMs: number | undefined;
}

/** Where a sign-in came from, for the list of sessions. */
export interface Visitor {
  readonly address: string;
  readonly userAgent: string;
}

/** What ends trust at once: gateways end matching sessions, forget matching tokens and close what is open. */
export type Revocation =
  /** A session, by the SHA-256 of its id in base64: who ends it from elsewhere does not know the id. */
  | { readonly kind: 'session'; readonly digest: string }
  | { readonly kind: 'user'; readonly userId: UserId }
  | { readonly kind: 'service'; readonly serviceId: ServiceId }
  /** A service token, by its SHA-256 in base64. */
  | { readonly kind: 'token'; readonly digest: string };

export type Role = 'owner' | 'admin' | 'network_admin' | 'auditor' | 'user';

export interface User {
  readonly id: UserId;
  readonly email: string;
  readonly name: string;
  readonly role: Role;
  readonly blocked: boolean;
  /** Has no password and never sees a login page; acts through tokens. */
  readonly service: boolean;
  readonly autoGroups: readonly GroupId[];
  /** `local`, or the id of the connector the user came from. */
  readonly connector: string;
  readonly createdAt: number;
  readonly lastLogin: number | undefined;
  /** What his issuer said at the last sign-in and access rules may ask for; absent where that is nothing. */
  readonly claims?: Readonly<Record<string, readonly string[]>>;
}

export type SessionLookup =
  | { readonly kind: 'live'; readonly session: Session }
  | { readonly kind: 'none'; readonly why: 'unknown' | 'expired' | 'revoked' };

export type SessionGrant =
  | { readonly kind: 'granted'; readonly session: Session }
  | { readonly kind: 'refused'; readonly why: 'user_blocked' | 'group_not_allowed' | 'issuer_not_allowed' | 'token_invalid' };

export type TokenCheck =
  | { readonly kind: 'valid'; readonly identity: Identity }
  | { readonly kind: 'denied'; readonly why: 'token_invalid' | 'group_not_allowed' };

/** A paired device: a credential that stands for a user at one service. */
export interface Device {
  readonly id: string;
  readonly name: string;
  readonly createdAt: number;
  readonly lastUsed: number | undefined;
}

/** `not_offered`: the service pairs none. */
export const pairRefusals = ['not_signed_in', 'not_offered', 'name_invalid', 'too_many'] as const;
export type PairRefusal = (typeof pairRefusals)[number];

/** Who keeps paired devices; everything is the session's user's. Rejects where it cannot be asked. */
export interface DeviceAuthority {
  /** The secret is told once. */
  pairDevice(
    sessionId: SessionId,
    serviceId: ServiceId,
    name: string,
    signal: AbortSignal,
  ): Promise<{ readonly device: Device; readonly secret: string } | { readonly refused: PairRefusal }>;
  listDevices(sessionId: SessionId, serviceId: ServiceId, signal: AbortSignal): Promise<readonly Device[]>;
  revokeDevice(sessionId: SessionId, serviceId: ServiceId, id: string, signal: AbortSignal): Promise<void>;
}

/** What somebody typed at a service's sign-in page, or a share link. */
export interface ProofAttempt {
  readonly serviceId: ServiceId;
  readonly kind: TypedProof;
  readonly secret: string;
  /** That the browser has: what it has proven counts on. */
  readonly sessionId: SessionId | undefined;
  /** Told to this browser at an earlier sign-in; it does not have to wait for what strangers got wrong. */
  readonly knownBrowser: string | undefined;
  readonly address: string;
  readonly userAgent: string;
}

export type ProofGrant =
  /** `session` may still lack proofs that the service asks for. */
  | { readonly kind: 'granted'; readonly session: Session; readonly knownBrowser: string }
  /** `wait`: too many were wrong; nothing was looked at. `not_asked`: the service does not ask for this, or is gone. */
  | { readonly kind: 'refused'; readonly why: 'wrong' | 'wait' | 'not_asked'; readonly retryAfterMs: number };

/** A secret that comes with a request. */
export interface Credential {
  readonly kind: RequestProof | 'certificate';
  /** Of the header in lower case, or the user; empty for a device or certificate. */
  readonly name: string;
  /** Of a certificate: SHA-256 in lower-case hexadecimal. Whose key signed the handshake, the gateway has seen. */
  readonly secret: string;
}

export interface CredentialAttempt extends Credential {
  readonly serviceId: ServiceId;
  readonly address: string;
}

export type CredentialCheck =
  | { readonly kind: 'valid'; readonly identity: Identity }
  /** `wait`: too many were wrong; nothing was looked at. */
  | { readonly kind: 'denied'; readonly why: 'wrong' | 'wait' | 'group_not_allowed'; readonly retryAfterMs: number };

/** Who keeps sessions: the control plane, asked by a gateway. Every call rejects where it cannot be asked, and the gateway denies then. */
export interface SessionAuthority {
  /**
   * Trades a verified sign-in for a session; the authority checks the ID token and its nonce itself. What the browser's `previous` session has
   * proven counts on in the new one, and the old one ends.
   */
  createSession(
    serviceId: ServiceId,
    idToken: string,
    nonce: string,
    visitor: Visitor,
    previous: SessionId | undefined,
    signal: AbortSignal,
  ): Promise<SessionGrant>;
  findSession(id: SessionId, serviceId: ServiceId, signal: AbortSignal): Promise<SessionLookup>;
  endSession(id: SessionId, signal: AbortSignal): Promise<void>;
  verifyServiceToken(plain: string, serviceId: ServiceId, signal: AbortSignal): Promise<TokenCheck>;
  /** Who a peer that came over the mesh stands for. */
  verifyPeer(key: PublicKey, serviceId: ServiceId, signal: AbortSignal): Promise<TokenCheck>;
}

/** Who judges proofs of other kinds; rejects like a session authority. */
export interface ProofAuthority {
  prove(attempt: ProofAttempt, signal: AbortSignal): Promise<ProofGrant>;
}

/** Who judges secrets that come with requests; rejects likewise. */
export interface CredentialAuthority {
  verifyCredential(attempt: CredentialAttempt, signal: AbortSignal): Promise<CredentialCheck>;
}

/** What a gateway needs to be the identity provider's relying party, told by the control plane. */
export interface RelyingPartyConfig {
  readonly issuer: string;
  readonly clientId: string;
  readonly clientSecret: string;
  /** 32 bytes that all gateways of a cluster share: seals the sign-in state that a browser carries. */
  readonly stateKey: Uint8Array;
}
