// What the userspace TCP/IP stack is to those who drive it. It does no I/O and keeps no clock: packets come in as calls with the
// time; packets, data and events go out through callbacks, synchronously. Callbacks may call back into the stack.
import type { IpAddress } from '#lib/ip.ts';

export interface SocketAddress {
  readonly ip: IpAddress;
  readonly port: number;
}

/** Why a connection ended: both sides finished, or an error in Node's spelling. */
export type TcpEnd = 'finished' | 'ECONNREFUSED' | 'ECONNRESET' | 'ETIMEDOUT' | 'EHOSTUNREACH' | 'ENETUNREACH' | 'EADDRNOTAVAIL';

export interface TcpHandler {
  /** The handshake is complete. Not called for accepted connections, which are handed over established. */
  established(now: number): void;
  /**
   * Received bytes in order, valid only during the call. Everything handed over counts against the receive window until
   * `consumed` says that it has been passed on, so a slow reader closes the window.
   */
  data(bytes: Uint8Array, now: number): void;
  /** The other side sent FIN: no more `data`. */
  remoteEnded(now: number): void;
  /** There is room in the send buffer again, after `write` took less than it was given. */
  writable(now: number): void;
  /** The connection is gone; nothing more is called. Exactly once. 'finished' comes when TIME-WAIT begins, not when it ends. */
  closed(reason: TcpEnd, now: number): void;
}

export interface TcpConnection {
  readonly local: SocketAddress;
  readonly remote: SocketAddress;
  /** Sets the handler; for an accepted connection it must be called before the accept callback returns. */
  attach(handler: TcpHandler): void;
  /** Copies into the send buffer as much as fits and returns how many bytes that was. */
  write(bytes: Uint8Array, now: number): number;
  /** The application has passed on `count` received bytes: the window opens. */
  consumed(count: number, now: number): void;
  /** Sends FIN after what was written. */
  end(now: number): void;
  /** Sends RST and forgets the connection; `closed` is not called. Safe from inside a callback: nothing more is called then. */
  abort(now: number): void;
  /** The way to the peer is open again: what waits for a backed-off timer is tried now, instead of after up to a minute. */
  hurry(now: number): void;
  readonly sendBufferFree: number;
  /** How it stands, as words for a person who looks for the reason why it does not go on. */
  describe(now: number): string;
}

/**
 * What becomes of a SYN: it is accepted; it is answered by RST, as by a closed port; by ICMP, as by a router that does not get further; or it is
 * held, which is silence. Who holds one hands it in again, or waits for it to be repeated.
 */
export type SynVerdict = 'accept' | 'refuse' | 'unreachable' | 'hold';

/**
 * Judges a SYN. `syn` is its packet, valid only during the call; undefined in the last step of a handshake of which nothing was kept, where
 * anything but a yes ends it. A boolean is a short word for accept or refuse.
 */
export type Admit = (local: SocketAddress, remote: SocketAddress, syn: Uint8Array | undefined) => boolean | SynVerdict;

export interface TcpListener {
  close(): void;
}

/** What became of a datagram, in Node's spelling. EMSGSIZE: it did not fit the path, and may not be cut there. */
export type UdpFailure = 'ECONNREFUSED' | 'EHOSTUNREACH' | 'ENETUNREACH' | 'EMSGSIZE';

export interface UdpSocket {
  readonly local: SocketAddress;
  /** Sends one datagram, in fragments where it is larger than the MTU. What is longer than 65,535 bytes with its headers is dropped and counted. */
  send(bytes: Uint8Array, to: SocketAddress, now: number): void;
  close(): void;
}

export interface StackOptions {
  /** The inner addresses of this host; packets to any other are dropped, apart from `routed`. */
  readonly addresses: readonly IpAddress[];
  /**
   * Whether this host stands in for the address at `at` in `bytes`, one of a network behind it. Then TCP connections to it reach the
   * listeners (`local` tells them apart), UDP goes to `routedUdp` and to no socket, and pings are not answered. Asked for each packet.
   */
  readonly routed?: (bytes: Uint8Array, at: number, family: 4 | 6) => boolean;
  /** Gets the datagrams to such addresses; the bytes are valid only during the call. */
  readonly routedUdp?: (bytes: Uint8Array, from: SocketAddress, to: SocketAddress, now: number) => void;
  /** Largest IP packet in bytes, both ways. */
  readonly mtu: number;
  /** Fills with cryptographically strong bytes (ports, initial sequence numbers). */
  readonly random: (target: Uint8Array) => void;
  /**
   * An IP packet to send; valid only during the call. A `segmentSize` above 0 says that it is a super-packet: one TCP header and the
   * payload of several segments of that many bytes (the last may be shorter), checksums unset. Only where `superPackets` is set.
   */
  readonly output: (packet: Uint8Array, segmentSize: number) => void;
  /** Bulk TCP data goes to `output` as super-packets of up to MAX_SUPER_PAYLOAD bytes. Default false. */
  readonly superPackets?: boolean;
  /** Fewer connections than MAX_CONNECTIONS. */
  readonly maxConnections?: number;
}

/** What happened to packets, for status. They only grow. */
export interface StackCounters {
  received: number;
  sent: number;
  /** Broken headers and wrong checksums. */
  malformed: number;
  /** Fragments that came; what they make counts in `received` no second time. */
  fragments: number;
  /** To an address that is not ours, or from one that nobody can answer. */
  notOurs: number;
  unknownProtocol: number;
  /** Arrived from inside `output` beyond the bound. */
  reentrantDropped: number;
  /** Datagrams of ours that no packet can carry. */
  udpTooBig: number;
}

export interface IpStack {
  readonly counters: Readonly<StackCounters>;
  /** Replaces the host's addresses; connections of an address that went are reset. */
  setAddresses(addresses: readonly IpAddress[], now: number): void;
  /**
   * A packet from the network, valid only during the call. `segmentSize` above 0 says that it is a super-packet that was joined from
   * segments with so many bytes of payload whose checksums hold; its own are then not looked at.
   */
  receivePacket(packet: Uint8Array, now: number, segmentSize?: number): void;
  /** Opens a connection from the address of the same family; the outcome comes through the handler. */
  connect(remote: SocketAddress, handler: TcpHandler, now: number): TcpConnection;
  /**
   * Accepts connections to a port, or to every port that has no listener of its own (`'any'`). `admit` is asked at each SYN that belongs to no
   * connection. `withdrawn` is told of callers who give up before they are accepted, as far as they say so; also of some who never asked.
   */
  listen(
    port: number | 'any',
    admit: Admit,
    accept: (connection: TcpConnection, now: number) => void,
    withdrawn?: (local: SocketAddress, remote: SocketAddress) => void,
  ): TcpListener;
  /**
   * Binds a UDP port (0 picks one). `receive` gets datagrams, valid only during the call: nothing is queued here, so what bounds them is
   * up to whoever takes them. `failed` hears what ICMP says about datagrams that were sent.
   */
  bindUdp(
    port: number,
    receive: (bytes: Uint8Array, from: SocketAddress, to: SocketAddress, now: number) => void,
    failed?: (reason: UdpFailure, to: SocketAddress, now: number) => void,
  ): UdpSocket;
  /** Sends a datagram from any address and port, such as one that this host stands in for. Dropped where it is larger than the MTU. */
  sendUdp(bytes: Uint8Array, from: SocketAddress, to: SocketAddress, now: number): void;
  /** Does what is due: timers, and packets that came from inside `output`. */
  poll(now: number): void;
  /**
   * When `poll` wants to be called: Infinity for never, -Infinity for at once. May be too early, never too late; it changes with every
   * call on the stack, so it is read again after each.
   */
  pollAt(): number;
  /** TCP connections that are open or opening, for status and limits; those in TIME-WAIT do not count. */
  connectionCount(): number;
}
