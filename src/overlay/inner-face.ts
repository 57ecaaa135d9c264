// What stands inside the tunnel: our own TCP/IP stack, or the kernel's behind a TUN device. The driver feeds it what was decrypted, and
// connections begin and end in it.
import type { Duplex } from 'node:stream';
import type { Closable } from '#lib/lifecycle.ts';
import type { IpAddress, IpPrefix } from '#lib/ip.ts';
import type { PublicKey } from '#model/ids.ts';
import type { SocketAddress, SynVerdict, TcpEnd } from '#netstack/types.ts';
import type { Destination } from './peer-directory.ts';

/** A connection that a peer opened; the peer owns the remote address. */
export interface AcceptedConnection {
  readonly stream: Duplex;
  readonly local: SocketAddress;
  readonly remote: SocketAddress;
  readonly peer: PublicKey;
}

/** An open connection, as the map judges it. */
export interface OpenConnection {
  readonly peer: PublicKey;
  readonly remote: SocketAddress;
  /** Where it was accepted; undefined for one of our own. */
  readonly acceptedAt: SocketAddress | undefined;
}

export interface InnerUdpSocket {
  readonly port: number;
  send(bytes: Uint8Array, to: SocketAddress): void;
  close(): void;
}

/** UDP of a stack of our own. Bytes that are handed over are valid only during the call. */
export interface InnerUdp {
  /** A socket at this port of our own addresses; 0 picks one. */
  bind(port: number, receive: (bytes: Uint8Array, from: SocketAddress) => void): InnerUdpSocket;
  /** Sends from an address that we stand in for. */
  send(bytes: Uint8Array, from: SocketAddress, to: SocketAddress): void;
}

/** What a face asks of the overlay. */
export interface InnerFaceHooks {
  /** An IP packet for the tunnel, or a super-packet of segments; valid only during the call. */
  send(packet: Uint8Array, segmentSize: number): void;
  /** Something was done outside the driver's calls: look at the timers at the end of this turn. */
  touch(): void;
  /** Does work that sends many packets: those that can leave together do, at its end. */
  turn(work: () => void): void;
  /** Whether `remote` may open a TCP connection to `local`: the map's filter, and whoever accepts. */
  admits(local: SocketAddress, remote: SocketAddress): boolean;
  /** The filter's part of that alone. */
  passesFilter(local: SocketAddress, remote: SocketAddress): boolean;
  /** The peer that owns an overlay address. */
  ownerOf(ip: IpAddress): PublicKey | undefined;
  accepted(connection: AcceptedConnection): void;
  /** Whether we stand in for the address at `at` in `bytes`, one of a network behind us. */
  carries(bytes: Uint8Array, at: number, family: 4 | 6): boolean;
  /**
   * What becomes of a SYN, for stacks that can hold one: as `admits`, but the way to its target is opened first. `again` is called when it is to be
   * looked at once more; undefined in the last step of a handshake, which waits no more.
   */
  judge(local: SocketAddress, remote: SocketAddress, again: (() => void) | undefined): SynVerdict;
  /** A caller gave up before it was accepted. */
  withdrawn(local: SocketAddress, remote: SocketAddress): void;
  /** A datagram to such an address; valid only during the call. */
  datagram(bytes: Uint8Array, from: SocketAddress, to: SocketAddress): void;
}

export interface InnerFace extends Closable {
  readonly kind: 'userspace' | 'system';
  /** Whether as many connections are open as may be. */
  readonly full: boolean;
  /** Our overlay addresses with their network's length, and what peers are reached by. Connections of an address that went are reset. */
  setAddresses(own: readonly IpPrefix[], reachable: readonly IpPrefix[], now: number): void;
  /** A packet from the tunnel that the map's filter has passed; `segmentSize` is above 0 for joined segments. Valid only during the call. */
  receive(packet: Uint8Array, segmentSize: number, now: number): void;
  /** Opens a connection; `opened` says once how that went. Throws ENOBUFS where too many are open. */
  connect(to: Destination, port: number, opened: (reason: TcpEnd | undefined) => void): Duplex;
  /** A UDP socket on our overlay addresses; 0 picks a port. Rejects with EADDRNOTAVAIL where it is taken. */
  bindUdp(port: number, receive: (bytes: Uint8Array, from: SocketAddress) => void): Promise<InnerUdpSocket>;
  /** Undefined where UDP is the kernel's: its own sockets reach the overlay. */
  readonly udp: InnerUdp | undefined;
  connections(): Iterable<OpenConnection>;
  /** Ends every connection about which there is an error to tell. */
  recheck(verdict: (connection: OpenConnection) => Error | undefined): void;
  /** The way to these peers is open again: what their connections hold back for a late repetition goes out now, where the face can tell it to. */
  hurry(isBack: (peer: PublicKey) => boolean): void;
  /** Hands on what was gathered in this turn of the loop. */
  endTurn(now: number): void;
  poll(now: number): void;
  /** When `poll` wants to be called, as the stack has it. */
  pollAt(): number;
}
