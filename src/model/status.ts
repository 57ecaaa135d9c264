// What a process says of itself: read by `meshgate status`, written by nobody else.
import type { PublicKey } from './ids.ts';

export type PathKind = 'direct' | 'relay';

/** `idle`: a lazy peer without traffic, whose path is made with the first packet. `unusable`: the map's entry cannot be used. */
export type PeerState = 'connected' | 'seeking' | 'idle' | 'unusable';

/** A change of a peer's path; undefined stands for no path. */
export interface PathSwitch {
  readonly at: string;
  readonly from: PathKind | undefined;
  readonly to: PathKind | undefined;
  readonly reason: string;
}

export interface PeerPathStatus {
  readonly publicKey: PublicKey;
  readonly fqdn: string;
  readonly addresses: readonly string[];
  readonly state: PeerState;
  /** The path in use, or undefined while there is none. */
  readonly path: { readonly kind: PathKind; readonly remote: string; readonly latencyMs: number | undefined; readonly since: string } | undefined;
  /** Why there is no path, or why the last switch happened. */
  readonly reason: string;
  readonly lastSwitch: PathSwitch | undefined;
  /** Switches since the peer is known. */
  readonly switches: number;
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

/** What the overlay counts of itself; all figures are since it was opened. */
export interface OverlayFigures {
  /** Whose TCP/IP stands inside the tunnel: ours, or the kernel's behind a network device. */
  readonly mode: 'userspace' | 'system';
  /** The UDP port of everything. */
  readonly port: number;
  /** What carries and what encrypts packets: the fastest that works here, or what is used instead and why. */
  readonly accelerators: { readonly udp: string; readonly cipher: string };
  /** Peers by what carries them now. */
  readonly peers: { readonly direct: number; readonly relay: number; readonly seeking: number; readonly idle: number };
  readonly pathSwitches: number;
  /** Changes of this host's network that were noticed, and the last of them. */
  readonly networkChanges: number;
  readonly lastNetworkChange: { readonly at: string; readonly what: string } | undefined;
  /** Relays of other peers that we are connected to. */
  readonly foreignRelays: readonly LinkStatus[];
  /** Packets that were dropped because a relay's connection was full. */
  readonly relayDroppedPackets: number;
}

/** A network behind peers, as its client sees it. */
export interface RouteStatus {
  /** Its name, as people gave it. */
  readonly network: string;
  /** A prefix, or names. */
  readonly to: string;
  /** Who carries it now; undefined where none of the routers is in the map. */
  readonly router: PublicKey | undefined;
  /** Its full name; empty where there is none. */
  readonly routerName: string;
  readonly routers: readonly PublicKey[];
}

/** What became of telling the control plane our paths. A stock control plane does not know of it. */
export interface PathReportStatus {
  readonly state: 'waiting' | 'taken' | 'unsupported' | 'failing';
  /** When the last report was taken. */
  readonly at: string | undefined;
  /** Empty unless something is missing. */
  readonly reason: string;
}

export interface MeshStatus {
  readonly publicKey: PublicKey;
  readonly address: string | undefined;
  readonly fqdn: string | undefined;
  readonly serial: string;
  readonly links: readonly LinkStatus[];
  readonly peers: readonly PeerPathStatus[];
  readonly routes: readonly RouteStatus[];
  readonly overlay: OverlayFigures;
  readonly pathReports: PathReportStatus;
}

/** The state of a published service, as a gateway reports it. */
export type ServiceState = 'pending' | 'active' | 'tunnel_not_created' | 'certificate_pending' | 'certificate_failed' | 'error';

export interface ServiceStatus {
  readonly state: ServiceState;
  /** What is missing and what to do. Empty for `active`, unless it could be better. */
  readonly reason: string;
}

/**
 * A certificate as a gateway has it. `pending`: none yet; `failed`: none, and the last try came to nothing; `renewing`: good, and being renewed;
 * `expiring`: good still, and renewal fails; `unusable`: files that cannot be used.
 */
export const certificateStates = ['pending', 'failed', 'valid', 'renewing', 'expiring', 'expired', 'unusable'] as const;
export type CertificateState = (typeof certificateStates)[number];

export interface CertificateStatus {
  readonly names: readonly string[];
  /** `acme`, or the file or folder of the certificate directory. */
  readonly source: string;
  readonly state: CertificateState;
  /** Empty where all is well. */
  readonly reason: string;
  /** Who issued it, as far as known. */
  readonly issuer: string;
  /** ISO 8601; undefined where there is no certificate. */
  readonly notBefore: string | undefined;
  readonly notAfter: string | undefined;
  /** What is done next, and when; empty where nothing is planned, undefined where it is being done. */
  readonly nextAction: string;
  readonly nextAt: string | undefined;
}
