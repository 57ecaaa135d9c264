// What a process says of itself: read by `meshgate status`, written by nobody else.
import type { PublicKey } from './ids.ts';

export type PathKind = 'direct' | 'relay';

export interface PeerPathStatus {
  readonly publicKey: PublicKey;
  readonly fqdn: string;
  readonly addresses: readonly string[];
  /** The path in use, or undefined while there is none. */
  readonly path: { readonly kind: PathKind; readonly remote: string; readonly latencyMs: number | undefined; readonly since: string } | undefined;
  /** Why there is no path, or why the last switch happened. */
  readonly reason: string;
  readonly lastHandshake: string | undefined;
  readonly receivedBytes: number;
  readonly sentBytes: number;
}

/** One connection to a part of the control plane. */
export interface LinkStatus {
  readonly name: 'management' | 'signal' | 'relay' | 'proxy';
  readonly connected: boolean;
  readonly address: string;
  /** Empty while connected; otherwise the last error in plain words. */
  readonly reason: string;
  readonly since: string;
}

export interface MeshStatus {
  readonly publicKey: PublicKey;
  readonly address: string | undefined;
  readonly fqdn: string | undefined;
  readonly serial: string;
  readonly links: readonly LinkStatus[];
  readonly peers: readonly PeerPathStatus[];
}

/** The state of a published service, as a gateway reports it. */
export type ServiceState = 'pending' | 'active' | 'tunnel_not_created' | 'certificate_pending' | 'certificate_failed' | 'error';

export interface ServiceStatus {
  readonly state: ServiceState;
  /** Empty for `active`; otherwise what is missing and what to do. */
  readonly reason: string;
}
