// Who is calling, once it has been proven.
import type { GroupId, ServiceId, SessionId, UserId } from './ids.ts';

export interface Identity {
  readonly userId: UserId;
  readonly email: string;
  readonly name: string;
  /** Names of the user's groups, sorted. */
  readonly groups: readonly string[];
  readonly method: 'oidc' | 'token';
}

/** A signed-in browser at one service. The cookie holds the id; whoever knows it is the caller, so it is stored as a digest only. */
export interface Session {
  readonly id: SessionId;
  readonly serviceId: ServiceId;
  readonly identity: Identity;
  readonly createdAt: number;
  /** Wall-clock milliseconds after which it is over, whatever happens. */
  readonly expiresAt: number;
}

/** What ends trust at once: gateways end matching sessions, forget matching tokens and close what is open. */
export type Revocation =
  | { readonly kind: 'session'; readonly sessionId: SessionId }
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
}
