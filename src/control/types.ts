// What the control plane's client is to a peer and to a gateway. Everything on this face is in the model's words.
import type { Closable } from '#lib/lifecycle.ts';
import type { AccessLogEntry } from '#model/access-log.ts';
import type { CertificateExchange } from '#model/certificate-exchange.ts';
import type { AccountId, ProxyId, PublicKey, ServiceId } from '#model/ids.ts';
import type { CredentialAuthority, DeviceAuthority, ProofAuthority, RelyingPartyConfig, Revocation, SessionAuthority } from '#model/identity.ts';
import type { MeshEndpoints, NetworkMap } from '#model/network-map.ts';
import type { PathReport } from '#model/path-report.ts';
import type { PeerMeta } from '#model/network.ts';
import type { MappingChange } from '#model/service.ts';
import type { SignalMessage } from '#model/signal.ts';
import type { TlsGrant } from '#model/tls-grant.ts';
import type { LinkStatus, ServiceStatus } from '#model/status.ts';
import type { ExposeControl } from './expose-calls.ts';

export type { ExposeControl } from './expose-calls.ts';

/** How the control plane is reached. `ca` is PEM text of extra roots, for a private CA. */
export interface ControlAddress {
  /** `https://host[:port]`; `http` only where the configuration says that it may be insecure. */
  readonly url: string;
  readonly ca: string | undefined;
}

export interface PeerControlOptions {
  readonly address: ControlAddress;
  /** The peer's WireGuard private key, 32 bytes. */
  readonly privateKey: Uint8Array;
  readonly meta: PeerMeta;
  /** Used only where the control plane does not know the key yet. */
  readonly setupKey: string | undefined;
}

export type LoginOutcome =
  | { readonly kind: 'signed-in'; readonly endpoints: MeshEndpoints }
  /** The control plane refuses this peer until somebody acts; `reason` says what to do. */
  | { readonly kind: 'refused'; readonly reason: string };

export interface PeerControlHandlers {
  /** A newer map; called in order of serial. */
  map(map: NetworkMap): void;
  endpoints(endpoints: MeshEndpoints): void;
  /** The control plane no longer knows this peer: sign in again, or stop. */
  refused(reason: string): void;
}

/** A peer's side: login, sync and signal, reconnecting by itself with backoff until closed. */
export interface PeerControl extends Closable, ExposeControl {
  /** One attempt, at most 10 s. Rejects where the control plane cannot be reached. */
  login(signal: AbortSignal): Promise<LoginOutcome>;
  /** Opens signal and sync; to be called after a login that succeeded. */
  start(endpoints: MeshEndpoints, handlers: PeerControlHandlers): void;
  sendSignal(to: PublicKey, message: SignalMessage): void;
  onSignal(handler: (from: PublicKey, message: SignalMessage) => void): void;
  onSignalConnected(handler: () => void): void;
  /**
   * Tells our paths: `unsupported` where the control plane has no word for it, which is remembered while its stream lives. Rejects where it
   * cannot be reached or does not take it now.
   */
  reportPaths(report: PathReport, signal: AbortSignal): Promise<'taken' | 'unsupported'>;
  /** What an agent needs at which TLS of services ends. `current` is the token in use, empty for none. Rejects with RPC_UNIMPLEMENTED at a stock control plane. */
  tlsGrant(current: string, signal: AbortSignal): Promise<TlsGrant>;
  /** This host's network changed: connections that may be dead are tried and replaced, pauses end. */
  networkChanged(): void;
  /** Removes this peer at the control plane. */
  logout(signal: AbortSignal): Promise<void>;
  status(): readonly LinkStatus[];
}

export interface ProxyControlOptions {
  readonly address: ControlAddress;
  /** `nbx_…` */
  readonly token: string;
  readonly proxyId: ProxyId;
  /** The cluster address that this gateway serves. */
  readonly cluster: string;
  /** Where visitors reach its HTTPS. */
  readonly publicPort: number;
  readonly version: string;
}

export interface ProxyControlHandlers {
  /** Applied in order; the acknowledgement goes out when the promise resolves. */
  change(change: MappingChange): Promise<void>;
  /** `at` is when trust ended, by the control plane's wall clock; undefined where it did not say. */
  revoked(revocation: Revocation, at: number | undefined): void;
  /** Peers or their groups may be others: what is known of visitors over the mesh may be stale. */
  peersChanged(): void;
  /** The revocation stream was away and is back: what is cached may be stale. */
  resynced(): void;
}

/** An access log record and whose service it is about. */
export interface AccessLogRecord {
  readonly entry: AccessLogEntry;
  readonly accountId: AccountId;
}

/** A gateway's side of the proxy service and of our own extension to it. Streams reconnect by themselves until closed. */
export interface ProxyControl extends Closable, SessionAuthority, ProofAuthority, CredentialAuthority, DeviceAuthority {
  /** Whether an administrator's token for a diagnosis of the service is good; it is used up. */
  redeemDiagnosis(token: string, serviceId: ServiceId, signal: AbortSignal): Promise<boolean>;
  start(handlers: ProxyControlHandlers): void;
  createProxyPeer(
    request: { readonly serviceId: ServiceId; readonly accountId: AccountId; readonly oneTimeToken: string; readonly publicKey: PublicKey },
    signal: AbortSignal,
  ): Promise<void>;
  reportStatus(
    report: { readonly serviceId: ServiceId; readonly accountId: AccountId; readonly status: ServiceStatus; readonly certificateIssued: boolean },
    signal: AbortSignal,
  ): Promise<void>;
  /** Hands over any number of records. After a failure all may be sent again: a record is known by its id. */
  sendAccessLog(records: readonly AccessLogRecord[], signal: AbortSignal): Promise<void>;
  relyingParty(signal: AbortSignal): Promise<RelyingPartyConfig>;
  /** Rejects with RPC_UNIMPLEMENTED at a stock control plane. */
  readonly certificates: CertificateExchange;
  status(): LinkStatus;
}
