// The use cases of the control plane, as the API, the management service and the identity provider call them. Each checks nothing
// about who calls (that is the caller's door) but records who did it. Failures are rows of domain/errors.ts.
import type { AccessLogEntry } from '#model/access-log.ts';
import type { AccountId, GroupId, PeerId, PolicyId, ProxyId, PublicKey, ServiceId, SetupKeyId, TokenId, UserId } from '#model/ids.ts';
import type { Revocation, Role, User } from '#model/identity.ts';
import type { ResourceId } from '#model/network-plan.ts';
import type { Group, Peer, PeerMeta, Policy, PolicyRule, SetupKey } from '#model/network.ts';
import type { Service, ServiceMapping } from '#model/service.ts';
import type { ServiceStatus } from '#model/status.ts';
import type { PeerMap } from '../netmap/peer-map.ts';
import type { Actor } from './actor.ts';
import type { IssuerUseCases } from './issuers-contract.ts';
import type { CertificateUseCases } from './certificate-contract.ts';
import type { FactorUseCases } from './factors-contract.ts';
import type { ClusterUseCases } from './cluster-contract.ts';
import type { ExposeSettings, ExposureUseCases } from './expose-contract.ts';
import type { MintedUseCases } from './minted-contract.ts';
import type { DeviceUseCases, LinkUseCases, ProofUseCases } from './proof-contract.ts';
import type { PlanUseCases } from './plan-contract.ts';
import type { SessionUseCases, VisitorUseCases } from './session-contract.ts';

export type { CertificateUseCases } from './certificate-contract.ts';
export type { Actor } from './actor.ts';
export type { Cluster, ClusterUseCases, Domain, ProxyConnection } from './cluster-contract.ts';
export type { FactorUseCases } from './factors-contract.ts';
export type { SessionOrigin, SessionUseCases, SessionView, VisitorUseCases } from './session-contract.ts';
export type { IssuerInput, IssuerUseCases } from './issuers-contract.ts';

export interface PeerLogin {
  readonly publicKey: PublicKey;
  readonly meta: PeerMeta;
  /** As the peer sent it; empty where it did not. */
  readonly setupKey: string;
  /** The user of a verified sign-in token, where one came along. */
  readonly userId: UserId | undefined;
  /** That token: it is good for one login. */
  readonly signInToken?: SignInToken;
}

/** What is kept of a sign-in token that was used. */
export interface SignInToken {
  readonly digest: string;
  /** Wall-clock milliseconds. */
  readonly expiresAt: number;
}

/** What a peer needs to know of itself. `networkBits` are the prefix lengths of the network. */
export interface PeerSelf {
  readonly peer: Peer;
  readonly networkBits: { readonly v4: number; readonly v6: number };
  readonly fqdn: string;
  /** When its user has to sign in again, wall-clock milliseconds; undefined where it never has to. */
  readonly sessionExpiresAt: number | undefined;
}

export interface PeerUseCases {
  /**
   * Signs a known peer in, or registers it by setup key or user. DOMAIN_PEER_UNKNOWN where it is neither known nor brings proof;
   * DOMAIN_SETUP_KEY_INVALID | _EXPIRED | _REVOKED | _USED_UP for the key. A used key is counted in the same transaction that adds the peer,
   * a sign-in token is used up in it: DOMAIN_LOGIN_TOKEN_USED at the second time. DOMAIN_PEER_OTHER_USER where the peer is somebody else's,
   * DOMAIN_LOGIN_EXPIRED where it is known and its user has to sign in again.
   */
  login(request: PeerLogin): Promise<PeerSelf>;
  /** The user of a known peer has signed in again. Errors as for `login`; DOMAIN_SESSION_NOT_EXPIRING where there was no need. */
  extendSession(request: { readonly publicKey: PublicKey; readonly userId: UserId; readonly signInToken: SignInToken }): Promise<PeerSelf>;
  /** DOMAIN_PEER_UNKNOWN where the key is in no account (deleted, never registered), DOMAIN_LOGIN_EXPIRED. */
  self(publicKey: PublicKey): Promise<PeerSelf>;
  isKnown(publicKey: PublicKey): Promise<boolean>;
  updateMeta(publicKey: PublicKey, meta: PeerMeta): Promise<void>;
  setConnected(publicKey: PublicKey, connected: boolean, connectionIp: string): Promise<void>;
  /** Removes the peer on its own wish. */
  logout(publicKey: PublicKey): Promise<void>;
  /**
   * Idempotent by public key, but each call uses up a token. DOMAIN_PROXY_TOKEN_INVALID where the one-time token does not fit: it is known only
   * to the server that sent the mapping, for five minutes. DOMAIN_PEER_KEY_TAKEN where the key is another peer's.
   */
  registerProxyPeer(request: {
    readonly oneTimeToken: string;
    readonly serviceId: ServiceId;
    readonly publicKey: PublicKey;
    readonly cluster: string;
    readonly proxyId: ProxyId;
  }): Promise<PeerSelf>;
  list(): Promise<readonly Peer[]>;
  get(id: PeerId): Promise<Peer>;
  rename(id: PeerId, name: string, actor: Actor): Promise<Peer>;
  /** Whether its user has to sign in again now and then. Says nothing of peers without a user. */
  setLoginExpiration(id: PeerId, enabled: boolean, actor: Actor): Promise<Peer>;
  delete(id: PeerId, actor: Actor): Promise<void>;
  /**
   * Removes ephemeral and gateway peers that have been away too long, and whatever else has had its time; a sign of life to other servers too.
   * Called by the server's timer about once a minute.
   */
  reapAbandoned(): Promise<void>;
}

export interface MapUseCases {
  /** The map of one peer as of now. */
  build(publicKey: PublicKey): Promise<PeerMap>;
}

/** What changed, told to everyone in this process (and, with PostgreSQL, in the others) after the transaction. */
export type Change =
  /** Maps may differ: `peers` undefined means possibly all. */
  | { readonly kind: 'network'; readonly peers: readonly PublicKey[] | undefined }
  | { readonly kind: 'peer-removed'; readonly publicKey: PublicKey }
  /** Its user has to sign in again. */
  | { readonly kind: 'peer-expired'; readonly publicKey: PublicKey }
  | { readonly kind: 'service-set'; readonly serviceId: ServiceId; readonly cluster: string }
  | { readonly kind: 'service-removed'; readonly serviceId: ServiceId; readonly cluster: string }
  | { readonly kind: 'proxy-token-revoked'; readonly tokenId: TokenId }
  /** `cluster` is the one whose gateways are concerned; undefined for all. */
  | { readonly kind: 'revocation'; readonly revocation: Revocation; readonly cluster: string | undefined };

export interface ChangeFeed {
  /** Calls back for each change, in order, never inside the writer's transaction; returns how to stop. */
  subscribe(listener: (change: Change) => void): () => void;
}

/** What an issuer says of somebody. He is known by issuer and subject alone: an address may have been somebody else's. */
export interface ExternalSignIn {
  readonly connector: string;
  readonly subject: string;
  readonly email: string;
  readonly name: string;
  /** Groups that the issuer decides, and those of them that he is in; undefined leaves groups alone. */
  readonly groups?: { readonly managed: readonly GroupId[]; readonly member: readonly GroupId[] } | undefined;
  readonly claims?: NonNullable<User['claims']> | undefined;
}

export interface UserUseCases {
  /** Whether the first user still has to be made. */
  setupRequired(): Promise<boolean>;
  /** The one-time code that guards the first set-up; a new process makes a new one while set-up is required. Undefined afterwards. */
  setupCode(): Promise<string | undefined>;
  /** Makes the owner. DOMAIN_SETUP_DONE where somebody was first, DOMAIN_SETUP_CODE_WRONG where the code does not match (counted and limited). */
  setup(request: { readonly code: string; readonly email: string; readonly password: string; readonly name: string }): Promise<User>;
  list(): Promise<readonly User[]>;
  get(id: UserId): Promise<User>;
  /** A missing password gets a generated one, returned once; a service user has none. */
  create(
    request: {
      readonly email: string;
      readonly name: string;
      readonly role: Role;
      readonly autoGroups: readonly GroupId[];
      readonly service: boolean;
      readonly password: string | undefined;
    },
    actor: Actor,
  ): Promise<{ readonly user: User; readonly password: string | undefined }>;
  update(
    id: UserId,
    change: { readonly role?: Role; readonly autoGroups?: readonly GroupId[]; readonly blocked?: boolean },
    actor: Actor,
  ): Promise<User>;
  setPassword(id: UserId, password: string, actor: Actor): Promise<void>;
  delete(id: UserId, actor: Actor): Promise<void>;
  /**
   * Constant work whether or not the user exists; undefined for wrong or blocked. DOMAIN_TOO_MANY_ATTEMPTS (429) while the address has to
   * wait after wrong ones, whether or not it exists (`countedAs`: what counts in its place); CRYPTO_BUSY where too many are being checked.
   */
  checkPassword(email: string, password: string, countedAs?: string): Promise<User | undefined>;
  /** The user behind an external sign-in, made at the first one; changed groups (`regrouped`) end what he had signed in. DOMAIN_USER_BLOCKED where blocked. */
  fromConnector(request: ExternalSignIn): Promise<{ readonly user: User; readonly regrouped: boolean }>;
  /** Who an issuer knows by this subject; undefined where he never signed in here. */
  ofSubject(connector: string, subject: string): Promise<UserId | undefined>;
  /** Names of the groups that a user's identity carries, sorted. */
  groupNames(id: UserId): Promise<readonly string[]>;
}

export interface ApiToken {
  readonly id: TokenId;
  readonly userId: UserId;
  readonly name: string;
  readonly createdAt: number;
  readonly expiresAt: number;
  readonly lastUsed: number | undefined;
  readonly createdBy: UserId;
}

export interface ProxyToken {
  readonly id: TokenId;
  readonly name: string;
  readonly createdAt: number;
  readonly expiresAt: number | undefined;
  readonly lastUsed: number | undefined;
  readonly revoked: boolean;
  /** The only cluster that it is good for; undefined until it has registered with one. */
  readonly cluster: string | undefined;
}

export interface TokenUseCases {
  /** Personal access tokens (`nbp_…`): plain text is returned once, a digest is kept. */
  list(userId: UserId): Promise<readonly ApiToken[]>;
  get(userId: UserId, id: TokenId): Promise<ApiToken>;
  create(userId: UserId, name: string, expiresInDays: number, actor: Actor): Promise<{ readonly token: ApiToken; readonly plain: string }>;
  delete(userId: UserId, id: TokenId, actor: Actor): Promise<void>;
  /** The user a plain token belongs to; undefined for unknown, expired, or a blocked user. */
  verify(plain: string): Promise<User | undefined>;
  /** Gateway tokens (`nbx_…`). */
  listProxy(): Promise<readonly ProxyToken[]>;
  /** Without a cluster it is bound to the first that it registers with. */
  createProxy(
    request: { readonly name: string; readonly expiresInSeconds: number; readonly cluster: string | undefined },
    actor: Actor,
  ): Promise<{ readonly token: ProxyToken; readonly plain: string }>;
  revokeProxy(id: TokenId, actor: Actor): Promise<void>;
  verifyProxy(plain: string): Promise<ProxyToken | undefined>;
}

export interface SetupKeyUseCases {
  list(): Promise<readonly SetupKey[]>;
  get(id: SetupKeyId): Promise<SetupKey>;
  /** The plain key (upper-case UUID) is returned once. `expiresInSeconds` 0 never expires. */
  create(
    request: {
      readonly name: string;
      readonly type: 'reusable' | 'one-off';
      readonly expiresInSeconds: number;
      readonly usageLimit: number;
      readonly ephemeral: boolean;
      readonly autoGroups: readonly GroupId[];
    },
    actor: Actor,
  ): Promise<{ readonly key: SetupKey; readonly plain: string }>;
  update(id: SetupKeyId, change: { readonly revoked: boolean; readonly autoGroups: readonly GroupId[] }, actor: Actor): Promise<SetupKey>;
  delete(id: SetupKeyId, actor: Actor): Promise<void>;
}

export interface GroupInput {
  readonly name: string;
  readonly peers: readonly PeerId[];
  /** Left out: none at first, as they were later. */
  readonly resources?: readonly ResourceId[] | undefined;
}

export interface GroupUseCases {
  list(): Promise<readonly Group[]>;
  get(id: GroupId): Promise<Group>;
  create(request: GroupInput, actor: Actor): Promise<Group>;
  update(id: GroupId, request: GroupInput, actor: Actor): Promise<Group>;
  /** DOMAIN_GROUP_IN_USE names what uses it. */
  delete(id: GroupId, actor: Actor): Promise<void>;
}

export type PolicyInput = Omit<Policy, 'id' | 'rules'> & { readonly rules: readonly Omit<PolicyRule, 'id'>[] };

export interface PolicyUseCases {
  list(): Promise<readonly Policy[]>;
  get(id: PolicyId): Promise<Policy>;
  create(request: PolicyInput, actor: Actor): Promise<Policy>;
  update(id: PolicyId, request: PolicyInput, actor: Actor): Promise<Policy>;
  delete(id: PolicyId, actor: Actor): Promise<void>;
}

/** A service as somebody asks for it. Secrets come in the clear; undefined on update keeps the old one. `host` of peer targets is ignored. */
export type ServiceInput = Omit<
  Service,
  'id' | 'accountId' | 'portAutoAssigned' | 'cluster' | 'auth' | 'createdAt' | 'certificateIssuedAt' | 'status' | 'exposure'
> & {
  readonly auth: {
    readonly oidc: Service['auth']['oidc'];
    readonly password: { readonly enabled: boolean; readonly password: string | undefined } | undefined;
    readonly pin: { readonly enabled: boolean; readonly pin: string | undefined } | undefined;
    readonly headers: readonly {
      readonly enabled: boolean;
      readonly header: string;
      readonly value: string | undefined;
      readonly keep?: boolean | undefined;
    }[];
    readonly link?: Service['auth']['link'];
    readonly basic?:
      | { readonly enabled: boolean; readonly users: readonly { readonly name: string; readonly password: string | undefined }[] }
      | undefined;
  };
};

export interface ServiceUseCases {
  list(): Promise<readonly Service[]>;
  get(id: ServiceId): Promise<Service>;
  /** Whether people sign in at this host: an enabled service has it and asks for that. Cheap, as strangers can have it asked. */
  signsInAt(host: string): Promise<boolean>;
  /** The issuers whose users may sign in there; empty for all of them. */
  issuersAt(host: string): Promise<readonly string[]>;
  /** The cluster follows from the domain. DOMAIN_SERVICE_DOMAIN_TAKEN, DOMAIN_SERVICE_CLUSTER_UNKNOWN, DOMAIN_SERVICE_TARGET_UNKNOWN … */
  create(request: ServiceInput, actor: Actor): Promise<Service>;
  update(id: ServiceId, request: ServiceInput, actor: Actor): Promise<Service>;
  delete(id: ServiceId, actor: Actor): Promise<void>;
  /** Enabled services of a cluster as gateways get them, each with a fresh one-time token (32 random bytes, 5 minutes, bound to the service). */
  mappings(cluster: string): Promise<readonly ServiceMapping[]>;
  /** One of them, or undefined where it is gone, disabled, another cluster's, or has no target left. */
  mapping(id: ServiceId, cluster: string): Promise<ServiceMapping | undefined>;
  /** From a gateway, of its own cluster's services; anything else is ignored. `certificateIssued` stamps the first issue. */
  reportStatus(report: {
    readonly serviceId: ServiceId;
    readonly cluster: string;
    readonly proxyId: ProxyId;
    readonly status: ServiceStatus;
    readonly certificateIssued: boolean;
  }): Promise<void>;
}

/** Tokens by which an administrator asks a gateway why a service does not work. */
export interface DiagnosisUseCases {
  /** DOMAIN_NOT_FOUND. */
  issue(serviceId: ServiceId, actor: Actor): Promise<{ readonly token: string; readonly seconds: number }>;
  /** Uses the token up; false where it is not good for this service, or the service is not the cluster's. */
  redeem(token: string, serviceId: ServiceId, cluster: string): Promise<boolean>;
}

export interface AuditEvent {
  readonly id: string;
  readonly timestamp: number;
  /** `user.create`, `policy.update` … */
  readonly activityCode: string;
  /** In words. */
  readonly activity: string;
  readonly initiatorId: string;
  readonly initiatorName: string;
  readonly initiatorEmail: string;
  readonly targetId: string;
  readonly meta: Readonly<Record<string, string>>;
}

export interface AccessLogQuery {
  readonly page: number;
  readonly pageSize: number;
  readonly search?: string;
  readonly sourceIp?: string;
  readonly host?: string;
  readonly path?: string;
  readonly userId?: string;
  readonly userEmail?: string;
  readonly method?: string;
  readonly serviceId?: ServiceId;
  readonly outcome?: 'success' | 'failed';
  readonly statusCode?: number;
  readonly from?: number;
  readonly to?: number;
}

export interface EventUseCases {
  audit(): Promise<readonly AuditEvent[]>;
  record(activityCode: string, actor: Actor, targetId: string, meta: Readonly<Record<string, string>>): Promise<void>;
  /** From a gateway: what names another cluster's service or host is left out. Returns how many were. */
  addAccess(entries: readonly AccessLogEntry[], cluster: string): Promise<number>;
  accessLog(query: AccessLogQuery): Promise<{ readonly entries: readonly AccessLogEntry[]; readonly total: number }>;
}

/** What an account can be told about all of its peers. */
export interface AccountSettings {
  /** Peers of users have to sign in again, each after `loginExpirationMs`. */
  readonly loginExpirationEnabled: boolean;
  readonly loginExpirationMs: number;
  /** Names of domain resources are asked for at the routing peer, not at the peer's own name server. */
  readonly routingPeerDns: boolean;
  /** Peers that know it connect with the first packet and rest without one. */
  readonly lazyConnections: boolean;
  readonly expose: ExposeSettings;
  /** Longest life of a session at a service, and longest time without a request (0: any), where the service does not say. */
  readonly sessionMaxAgeMs: number;
  readonly sessionIdleMs: number;
  /** Users with a password here need a second factor to sign in. */
  readonly secondFactorRequired: boolean;
}

export interface SettingsUseCases {
  get(): Promise<AccountSettings>;
  /** What is left out stays. */
  update(change: Partial<Omit<AccountSettings, 'expose'>> & { readonly expose?: Partial<ExposeSettings> }, actor: Actor): Promise<AccountSettings>;
}

/** Key-value secrets and state of other parts of the server (identity provider, server key), encrypted at rest. */
export interface VaultUseCases {
  get(key: string): Promise<Uint8Array | undefined>;
  set(key: string, value: Uint8Array, expiresAt?: number): Promise<void>;
  delete(key: string): Promise<void>;
  /** Reads and deletes in one: of many who ask at once, one gets it. */
  take(key: string): Promise<Uint8Array | undefined>;
  /** Removes every entry whose key begins so. */
  deletePrefix(prefix: string): Promise<void>;
}

export interface ControlDomain extends PlanUseCases {
  readonly accountId: AccountId;
  readonly dnsDomain: string;
  readonly settings: SettingsUseCases;
  readonly peers: PeerUseCases;
  readonly maps: MapUseCases;
  readonly changes: ChangeFeed;
  readonly users: UserUseCases;
  readonly factors: FactorUseCases;
  readonly issuers: IssuerUseCases;
  readonly tokens: TokenUseCases;
  readonly setupKeys: SetupKeyUseCases;
  readonly groups: GroupUseCases;
  readonly policies: PolicyUseCases;
  readonly services: ServiceUseCases;
  readonly exposures: ExposureUseCases;
  readonly clusters: ClusterUseCases;
  readonly certificates: CertificateUseCases;
  readonly diagnoses: DiagnosisUseCases;
  readonly sessions: SessionUseCases;
  readonly visitors: VisitorUseCases;
  readonly proofs: ProofUseCases;
  readonly links: LinkUseCases;
  readonly devices: DeviceUseCases;
  readonly minted: MintedUseCases;
  readonly events: EventUseCases;
  readonly vault: VaultUseCases;
  close(): Promise<void>;
}
