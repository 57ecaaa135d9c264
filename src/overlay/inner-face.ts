// What stands inside the tunnel: our own TCP/IP stack, or the kernel's behind a TUN device. The driver feeds it what was decrypted, and
// connections begin and end in it.
import type { Duplex } from 'node:stream';
import type { Closable } from '#lib/lifecycle.ts';
import type { IpAddress, IpPrefix } from '#lib/ip.ts';
import type { PublicKey } from '#model/ids.ts';
import type { SocketAddress, TcpEnd } from '#netstack/types.ts';
import type { Destination } from './peer-directory.ts';

/** A connection that a peer opened; the peer owns the remote address. */
export interface AcceptedConnection {
  readonly stream: Duplex;
  readonly local: SocketAddress;
  readonly remote: SocketAddress;
  readonly peer: PublicKey;
}

/** What a face asks of the overlay. */
export interface InnerFaceHooks {
  /** An IP packet for the tunnel, or a super-packet of segments; valid only during the call. */
  send(packet: Uint8Array, segmentSize: number): void;
  /** Something was done outside the driver's calls: look at the timers at the end of this turn. */
  touch(): void;
  /** Whether `remote` may open a TCP connection to `local`: the map's filter, and whoever accepts. */
  admits(local: SocketAddress, remote: SocketAddress): boolean;
  /** The peer that owns an overlay address. */
  ownerOf(ip: IpAddress): PublicKey | undefined;
  accepted(connection: AcceptedConnection): void;
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
  /** Ends every connection whose peer no longer owns its address, or whose permission is gone. */
  recheck(ownerOf: (ip: IpAddress) => PublicKey | undefined, admits: (from: IpAddress, port: number) => boolean): void;
  /** Hands on what was gathered in this turn of the loop. */
  endTurn(now: number): void;
  poll(now: number): void;
  /** When `poll` wants to be called, as the stack has it. */
  pollAt(): number;
}
