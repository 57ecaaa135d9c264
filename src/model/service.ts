// A published service: the name it has outside and the targets it has inside.
import { asksFor, type AccessPolicy } from './access.ts';
import type { AccountId, GroupId, PeerId, ServiceId } from './ids.ts';
import type { ServiceStatus } from './status.ts';
import type { StreamOptions } from './stream.ts';
import { matchesAll, plainTls, type PathRewrite, type RouteMatch, type UpstreamTls, type WebOptions } from './web.ts';

export const serviceModes = ['http', 'tcp', 'udp', 'tls'] as const;
export type ServiceMode = (typeof serviceModes)[number];
/** Where TLS of a web service ends: at the gateway, or at the agent beside it, so that the gateway sees neither requests nor the key. */
export const tlsPlaces = ['gateway', 'agent'] as const;
export type TlsPlace = (typeof tlsPlaces)[number];
export const targetTypes = ['peer', 'group', 'host', 'domain', 'subnet', 'cluster'] as const;
export type TargetType = (typeof targetTypes)[number];
/** `tls` is our own: TCP inside TLS of the gateway's. */
export const targetProtocols = ['http', 'https', 'tcp', 'udp', 'tls'] as const;
export type TargetProtocol = (typeof targetProtocols)[number];

export interface TargetOptions {
  readonly skipTlsVerify: boolean;
  readonly requestTimeoutMs: number | undefined;
  readonly pathRewrite: PathRewrite;
  readonly customHeaders: Readonly<Record<string, string>>;
  readonly proxyProtocol: boolean;
  readonly proxyProtocolVersion: 1 | 2;
  readonly sessionIdleTimeoutMs: number | undefined;
  /** Dial from the gateway's own network instead of the overlay. */
  readonly directUpstream: boolean;
  /** Which requests it takes besides those below its path. Targets with the same path and match share the load. */
  readonly match: RouteMatch;
  /** Its share of the load beside others, from 0 (none, unless nothing else is left) up. */
  readonly weight: number;
  readonly httpVersion: (typeof upstreamVersions)[number];
  readonly tls: UpstreamTls;
}

export const upstreamVersions = ['http/1.1', 'h2'] as const;

export const defaultTargetOptions: TargetOptions = {
  skipTlsVerify: false,
  requestTimeoutMs: undefined,
  pathRewrite: 'strip',
  customHeaders: {},
  proxyProtocol: false,
  proxyProtocolVersion: 2,
  sessionIdleTimeoutMs: undefined,
  directUpstream: false,
  match: matchesAll,
  weight: 1,
  httpVersion: 'http/1.1',
  tls: plainTls,
};

export interface ServiceTarget {
  readonly targetId: string;
  readonly targetType: TargetType;
  /** Path prefix with segment boundaries; `/` for all. */
  readonly path: string;
  readonly protocol: TargetProtocol;
  /** For `peer` the control plane fills it in from the peer's address; a `group` stands for each of its peers. */
  readonly host: string;
  readonly port: number;
  readonly enabled: boolean;
  readonly options: TargetOptions;
}

export interface ServiceAuth {
  /** Sign-in at the identity provider; `groups` empty lets every user of the account pass. */
  readonly oidc: { readonly enabled: boolean; readonly groups: readonly GroupId[] };
  /** scrypt strings; never leave the server. */
  readonly password: { readonly enabled: boolean; readonly hash: string } | undefined;
  readonly pin: { readonly enabled: boolean; readonly hash: string } | undefined;
  /** `keep`: the upstream gets the header, too. */
  readonly headers: readonly { readonly enabled: boolean; readonly header: string; readonly hash: string; readonly keep?: boolean | undefined }[];
  /** Whether share links open it. */
  readonly link?: { readonly enabled: boolean };
  /** Users of this service alone (RFC 7617); their names are in NFC and have no colon. */
  readonly basic?: { readonly enabled: boolean; readonly users: readonly { readonly name: string; readonly hash: string }[] } | undefined;
}

export interface AccessRestrictions {
  readonly allowedCidrs: readonly string[];
  readonly blockedCidrs: readonly string[];
  readonly allowedCountries: readonly string[];
  readonly blockedCountries: readonly string[];
  readonly crowdsecMode: 'off' | 'enforce' | 'observe';
}

export const noRestrictions: AccessRestrictions = {
  allowedCidrs: [],
  blockedCidrs: [],
  allowedCountries: [],
  blockedCountries: [],
  crowdsecMode: 'off',
};

/** A service as the control plane keeps it. */
export interface Service {
  readonly id: ServiceId;
  readonly accountId: AccountId;
  readonly name: string;
  /** Lower case, no trailing dot. */
  readonly domain: string;
  readonly mode: ServiceMode;
  readonly listenPort: number | undefined;
  readonly portAutoAssigned: boolean;
  /** The cluster address that serves it. */
  readonly cluster: string;
  readonly targets: readonly ServiceTarget[];
  readonly enabled: boolean;
  readonly passHostHeader: boolean;
  readonly rewriteRedirects: boolean;
  readonly auth: ServiceAuth;
  /** Ids of the issuers whose users may sign in, in the order in which they are offered; `local` is this server's own. Empty: all of them. */
  readonly issuers: readonly string[];
  readonly restrictions: AccessRestrictions;
  readonly access: AccessPolicy;
  readonly private: boolean;
  readonly accessGroups: readonly GroupId[];
  readonly tlsAt: TlsPlace;
  readonly web: WebOptions;
  readonly stream: StreamOptions;
  readonly createdAt: number;
  readonly certificateIssuedAt: number | undefined;
  readonly status: ServiceStatus;
  /** Where a peer publishes it by itself, for as long as it renews it. */
  readonly exposure?: ServiceExposure;
}

/** Times are wall-clock milliseconds. */
export interface ServiceExposure {
  readonly peerId: PeerId;
  readonly peerName: string;
  readonly leaseUntil: number;
  /** When it ends however often it is renewed; undefined for never. */
  readonly endsAt: number | undefined;
}

/** Where a service is, as far as another one could be in its way. */
export type PlacedService = Pick<Service, 'domain' | 'mode' | 'listenPort' | 'access'> & {
  readonly auth: { readonly oidc: { readonly enabled: boolean } };
};

/** Whether there are pages at the service's domain: its own, or the one where people sign in for its port. */
export function hasPages({ mode, auth, access }: Pick<PlacedService, 'mode' | 'auth' | 'access'>): boolean {
  return mode === 'http' || auth.oidc.enabled || asksFor(access, 'oidc');
}

/** What no two services may have in common: the pages of a domain, or a name on a port of TLS, or a name and a port. */
export function placeOf(service: PlacedService): string {
  return hasPages(service) ? service.domain : `${service.domain} ${service.mode} ${service.listenPort ?? 0}`;
}

export interface MappingTarget {
  readonly protocol: TargetProtocol;
  readonly host: string;
  readonly port: number;
  /** Prefix put before the forwarded path; empty for none. */
  readonly basePath: string;
  readonly weight: number;
}

/** One path of a service as a gateway gets it: where a matching request goes. */
export interface MappingPath {
  readonly path: string;
  /** One at least; several share the load. Of `options`, what is not a single target's own holds for all of them. */
  readonly targets: readonly MappingTarget[];
  readonly options: TargetOptions;
}

/** A service as a gateway gets it: complete, so that a new one replaces the old one whole. */
export interface ServiceMapping {
  readonly id: ServiceId;
  readonly accountId: AccountId;
  readonly domain: string;
  readonly mode: ServiceMode;
  readonly listenPort: number | undefined;
  readonly paths: readonly MappingPath[];
  readonly passHostHeader: boolean;
  readonly rewriteRedirects: boolean;
  readonly restrictions: AccessRestrictions;
  /** Its proofs are worked out: none means that none is asked for. */
  readonly access: AccessPolicy;
  readonly private: boolean;
  /** Also its routes that the gateway answers itself (`answers`). */
  readonly web: WebOptions;
  readonly stream: StreamOptions;
  /** One-time token for `CreateProxyPeer`. */
  readonly authToken: string;
}

export type MappingChange =
  /** A stream from the control plane begins: the whole truth follows. */
  | { readonly kind: 'snapshot-begin' }
  | { readonly kind: 'set'; readonly mapping: ServiceMapping }
  | { readonly kind: 'remove'; readonly id: ServiceId }
  /** Everything that was not set since the begin is gone. */
  | { readonly kind: 'snapshot-complete' };
