// What the management services need beside the domain.
import type { Clock } from '#lib/clock.ts';
import type { Logger } from '#lib/log.ts';
import type { RelyingPartyConfig } from '#model/identity.ts';
import type { UserId } from '#model/ids.ts';
import type { MeshEndpoints } from '#model/network-map.ts';
import type { DeviceUseCases, ProofUseCases } from '../domain/proof-contract.ts';
import type {
  CertificateUseCases,
  ChangeFeed,
  ClusterUseCases,
  DiagnosisUseCases,
  ControlDomain,
  EventUseCases,
  MapUseCases,
  PeerUseCases,
  ServiceUseCases,
  SessionUseCases,
  SignInToken,
  TokenUseCases,
  VisitorUseCases,
} from '../domain/contract.ts';
import type { AgentDoorUseCases } from '../domain/agent-doors.ts';
import type { ExposureUseCases } from '../domain/expose-contract.ts';

/** The part of the domain that these services use. */
export interface ManagementDomain extends Pick<ControlDomain, 'accountId'> {
  readonly peers: Pick<PeerUseCases, 'login' | 'extendSession' | 'self' | 'updateMeta' | 'setConnected' | 'logout' | 'registerProxyPeer'>;
  readonly maps: MapUseCases;
  readonly changes: ChangeFeed;
  readonly services: Pick<ServiceUseCases, 'mappings' | 'mapping' | 'reportStatus'>;
  readonly clusters: Pick<ClusterUseCases, 'proxyConnected' | 'proxyHeartbeat' | 'proxyDisconnected'>;
  readonly tokens: Pick<TokenUseCases, 'verifyProxy'>;
  readonly sessions: Pick<SessionUseCases, 'create' | 'find' | 'end' | 'verifyServiceToken'>;
  readonly visitors: VisitorUseCases;
  readonly diagnoses: Pick<DiagnosisUseCases, 'redeem'>;
  readonly exposures: Omit<ExposureUseCases, 'reapLapsed'>;
  readonly agentDoors: AgentDoorUseCases;
  readonly proofs: ProofUseCases;
  readonly devices: Pick<DeviceUseCases, 'pair' | 'listAt' | 'revokeAt'>;
  readonly certificates: Omit<CertificateUseCases, 'list'>;
  readonly events: Pick<EventUseCases, 'addAccess'>;
}

/** How a person signs in from a command line (netbird-wire §2.12). */
export interface AuthorizationFlow {
  readonly clientId: string;
  readonly audience: string;
  readonly scope: string;
  readonly tokenEndpoint: string;
  /** For the device flow (RFC 8628). */
  readonly deviceAuthEndpoint?: string;
  /** For the code flow with PKCE (RFC 7636). */
  readonly authorizationEndpoint?: string;
  readonly redirectUrls?: readonly string[];
  readonly useIdToken?: boolean;
}

/** Who an ID token speaks of, the sign-in that it came from, and how the person proved who he is. */
export interface VerifiedSignIn {
  readonly userId: UserId;
  readonly signIn: string;
  readonly methods: readonly string[];
}

export interface ManagementOptions {
  /** The server's X25519 private key, 32 bytes. It must stay the same over restarts (netbird-wire §1.4). */
  readonly privateKey: Uint8Array;
  /** The meeting points; called for each answer, with a fresh relay token. */
  endpoints(): MeshEndpoints;
  /** How long a relay token lives, milliseconds. Undefined where there is no relay. */
  readonly relayTokenMs: number | undefined;
  readonly flows?: { readonly device?: AuthorizationFlow; readonly pkce?: AuthorizationFlow };
  /**
   * The user behind a sign-in token that a peer brings, and what to keep of it, so that it counts once; rejects with a row of status 400, 401
   * or 403 where it is not good.
   */
  verifyLoginToken?(token: string): Promise<SignInToken & { readonly userId: UserId }>;
  /** The user behind an ID token from a gateway; rejects with a row of status 401 or 403 where it is not good. */
  verifyIdToken(idToken: string, nonce: string, clientId: string): Promise<VerifiedSignIn>;
  relyingParty(cluster: string): Promise<RelyingPartyConfig> | RelyingPartyConfig;
}

export interface ManagementDeps {
  readonly log: Logger;
  readonly clock: Clock;
}
