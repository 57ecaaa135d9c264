// What a path is: a way for WireGuard datagrams to one peer. Datagrams may be lost, repeated or reordered on any of them.
import type { PathKind } from '#model/status.ts';

/** Where a datagram came from, so that it can be answered there before anything else is known of its sender. */
export interface PathSource {
  readonly kind: PathKind;
  /** Sends back; the bytes are copied. */
  reply(datagram: Uint8Array): void;
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
}

/** A UDP address as text, IPv4 never in its mapped form. */
export interface TransportAddress {
  readonly address: string;
  readonly port: number;
}

export function sameTransport(a: TransportAddress, b: TransportAddress): boolean {
  return a.port === b.port && a.address === b.address;
}
