// What a path is: a way for WireGuard datagrams to one peer. Datagrams may be lost, repeated or reordered on any of them.
import type { PathKind } from '#model/status.ts';

/** Where a datagram came from, so that it can be answered there before anything else is known of its sender. */
export interface PathSource {
  readonly kind: PathKind;
  /** Sends back; the bytes are copied. */
  reply(datagram: Uint8Array): void;
  /** The same with datagrams of `size` bytes that stand back to back; without it they are sent one by one. */
  replyRun?(run: Uint8Array, size: number): void;
}

/** Sends datagrams of `size` bytes that stand back to back to the source; the last may be shorter. */
export function replyRun(source: PathSource, run: Uint8Array, size: number): void {
  if (source.replyRun !== undefined) return source.replyRun(run, size);
  for (let at = 0; at < run.length; at += size) source.reply(run.subarray(at, at + size));
}

/** A relayed address at a TURN server, as one run of ICE uses it: datagrams leave from there, and only permitted addresses reach it. */
export interface RelayBase {
  /** For people. */
  readonly name: string;
  /** Sends through the relay, or drops; the bytes are copied. */
  send(datagram: Uint8Array, to: TransportAddress): void;
  /** The one object of this address behind the relay. */
  remote(address: string, port: number): RemoteAddress;
  /** Takes part; `lost` is called once, when the relayed address is gone. */
  join(lost: () => void): RelayLease;
}

/** What one run of ICE holds of a relay; closing it gives everything back. */
export interface RelayLease {
  /** Lets datagrams of the address through. */
  permit(address: string): void;
  /** Asks for the short framing to this peer. */
  bind(to: TransportAddress): void;
  close(): void;
}

export interface Path {
  readonly kind: PathKind;
  /** Whether the other end is known to be reachable this way. */
  readonly up: boolean;
  /** Milliseconds of the clock since when it is up, or down. */
  readonly since: number;
  /** For people: the address or the relay. */
  readonly remote: string;
  /** Last measured round trip in milliseconds; for a relay that to the relay alone. */
  readonly latencyMs: number | undefined;
  /** Sends a datagram, or drops it; the bytes are copied. */
  send(datagram: Uint8Array): void;
  /** The same with datagrams of `size` bytes that stand back to back; the last may be shorter. */
  sendRun(run: Uint8Array, size: number): void;
}

/** A UDP address as text, IPv4 never in its mapped form. */
export interface TransportAddress {
  readonly address: string;
  readonly port: number;
}

/** A remote address and where it reaches us: the shared socket (no base), or a relay. */
export interface RemoteAddress extends PathSource, TransportAddress {
  readonly base: RelayBase | undefined;
  toString(): string;
}

export function sameTransport(a: TransportAddress, b: TransportAddress): boolean {
  return a.port === b.port && a.address === b.address;
}
