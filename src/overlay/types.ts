// What the overlay is to the processes that use it, and what it needs from the control plane's client.
import type { Duplex } from 'node:stream';
import type { Closable } from '#lib/lifecycle.ts';
import type { Dial, Endpoint, OpenUdpFlow } from '#lib/net.ts';
import type { PublicKey } from '#model/ids.ts';
import type { MeshEndpoints, NetworkMap } from '#model/network-map.ts';
import type { SignalMessage } from '#model/signal.ts';
import type { LinkStatus, OverlayFigures, PeerPathStatus, RouteStatus } from '#model/status.ts';

/** Carries signal messages between peers; the control client implements it (sealed for the receiver), mesh/ plugs it in. */
export interface SignalPort {
  /** Best effort, bounded retries; never rejects: a lost message is repeated by the path's own schedule. */
  send(to: PublicKey, message: SignalMessage): void;
  /** One receiver; messages come with the sender's key, proven by the envelope. */
  receive(handler: (from: PublicKey, message: SignalMessage) => void): void;
  /** Called each time the signal stream comes up again. */
  onConnected(handler: () => void): void;
  /** Whether the signal stream is up; taken for true where it is not told. Peers whose last address is known are tried there while it is not. */
  connected?(): boolean;
  /** This host's network changed: a connection that looks open may be dead. To be told where somebody can make use of it. */
  networkChanged?(): void;
}

/** An accepted overlay connection. `remote.address` is an overlay address that belongs to the peer. */
export interface OverlayConnection {
  readonly stream: Duplex;
  readonly local: Endpoint;
  readonly remote: Endpoint;
  readonly peer: PublicKey;
}

/** Opens the way to what a port stands for. Rejects with Node's codes; gives up where the signal aborts. */
export type OpenPort = (port: number, signal: AbortSignal) => Promise<Duplex>;

/** Addresses of a name as this host sees it; undefined where there is no such name. Rejects where it cannot be found out. */
export type HostResolve = (
  name: string,
  family: 4 | 6,
  signal: AbortSignal,
) => Promise<{ readonly addresses: readonly string[]; readonly ttlSeconds: number } | undefined>;

/** What a routing peer does with what its rules let through. */
export interface Carrier {
  /** Opens the way to an address behind this host, before the caller hears of it. */
  readonly dial: Dial;
  /** Joins a connection to `local`, an address behind this host, with the way that was opened for it. */
  connection(connection: OverlayConnection, upstream: Duplex): void;
  readonly openUdp: OpenUdpFlow;
  /** For names that are routed. */
  readonly resolve: HostResolve;
}

/** Where a peer last proved itself without anything between. */
export interface LastEndpoint extends Endpoint {
  readonly peer: PublicKey;
}

export interface OverlayStatus {
  /** Our home relay. */
  readonly relay: LinkStatus;
  readonly peers: readonly PeerPathStatus[];
  readonly routes: readonly RouteStatus[];
  readonly figures: OverlayFigures;
}

/** Datagrams are sent as they are, or lost: to an address that no peer has, while there is no path, beyond the MTU. */
export interface OverlayUdpSocket {
  readonly port: number;
  /** `to` is an overlay address as text. */
  send(bytes: Uint8Array, to: Endpoint): void;
  close(): void;
}

export interface Overlay extends Closable {
  readonly dial: Dial;
  /** Addresses of a peer or name as dialling it finds them, in turn; none where nobody knows it. Rejects where who should know does not answer. */
  resolve(host: string, signal: AbortSignal): Promise<readonly string[]>;
  /**
   * Accepts TCP connections to any port of this peer's overlay addresses. Only what the map's packet filter admits reaches `wants`,
   * and where that says no, the other side gets a reset. With `open` its answer waits until the way to the port's target is open, which the handler
   * then gets: a refusal there is a refusal here, ICMP says that it cannot be reached, and silence stays silence. In system mode, and where the way
   * was lost again, the handler gets none and has to open one.
   */
  accept(wants: (port: number) => boolean, handler: (connection: OverlayConnection, way: Duplex | undefined) => void, open?: OpenPort): void;
  /**
   * Carries the networks and names that the map makes this peer a router of, as its rules permit; nothing is carried before. Not in
   * system mode.
   */
  carry(carrier: Carrier): void;
  /**
   * A UDP socket on our overlay addresses; port 0 picks one. What arrives has passed the map's filter; the bytes are valid only during
   * the call. Rejects with EADDRNOTAVAIL where the port is taken or there is no map yet.
   */
  bindUdp(port: number, receive: (bytes: Uint8Array, from: Endpoint) => void): Promise<OverlayUdpSocket>;
  /** Replaces the network map; unchanged peers keep their sessions and paths, removed ones lose them at once. */
  apply(map: NetworkMap): void;
  /** Relay and STUN servers and tokens, as the control plane renews them. */
  setEndpoints(endpoints: MeshEndpoints): void;
  /** What `lastEndpoints` said in an earlier run; to be told before the first map. Only peers of the map are tried there. */
  setLastEndpoints(endpoints: readonly LastEndpoint[]): void;
  /** Of the peers of the map, for a later run. */
  lastEndpoints(): readonly LastEndpoint[];
  /** Looks for paths again. Changes of this host's network and new signal streams are noticed without it. */
  refresh(): void;
  status(): OverlayStatus;
}
