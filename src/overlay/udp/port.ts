// What an open UDP port is to the overlay. Datagrams move in runs: datagrams back to back in one buffer, each `size` bytes long, the last
// may be shorter. There are two kinds of port, and one suite holds both: Node's own sockets, which work everywhere, and the kernel's
// segmentation offload, which carries a whole run for the price of a packet.
import type { Closable } from '#lib/lifecycle.ts';
import type { Logger } from '#lib/log.ts';
import type { TransportAddress } from '../path/path.ts';

/** What carries the datagrams, for status: with the reason where it is not the best there could be. */
export type UdpAccelerator =
  | { readonly kind: 'native-offload' }
  | { readonly kind: 'native'; readonly reason: string }
  | { readonly kind: 'dgram'; readonly reason: string };

/** An open UDP port. Addresses are text, IPv4 never in its mapped form. It keeps the process alive until it is closed. */
export interface DatagramPort extends Closable {
  readonly port: number;
  /** False where the host has no IPv6. */
  readonly ipv6: boolean;
  readonly accelerator: UdpAccelerator;
  /** Sends, or drops, one datagram; the bytes may change after the call. */
  send(datagram: Uint8Array, to: TransportAddress): void;
  /** Sends, or drops, a run. `size` is at least 1; the bytes may change after the call. Fastest with one `to` object for each address. */
  sendRun(run: Uint8Array, size: number, to: TransportAddress): void;
}

export interface DatagramEvents {
  /**
   * A run from one address. The bytes are valid only during the call, and may be overwritten by it. `size` is 0 only for an empty
   * datagram. The same text object comes again for the same address as long as it is remembered.
   */
  receive(run: Uint8Array, size: number, address: string, port: number): void;
  /** What was waiting has been handed over, or as much of it as one turn may take. */
  drained(): void;
}

/** How a port is opened; tests put one in between that loses packets. Rejects where none is free. */
export type OpenDatagramPort = (port: number, events: DatagramEvents, log: Logger) => Promise<DatagramPort>;

/** How one is opened at one address of this host, of which it serves the family. Rejects where that cannot be. */
export type OpenDatagramPortAt = (host: string, port: number, events: DatagramEvents, log: Logger) => Promise<DatagramPort>;

export const mappedPrefix = '::ffff:';

/** For people: `native-offload`, or what is used instead and why. */
export function describeAccelerator(accelerator: UdpAccelerator): string {
  return accelerator.kind === 'native-offload' ? accelerator.kind : `${accelerator.kind} (${accelerator.reason})`;
}
