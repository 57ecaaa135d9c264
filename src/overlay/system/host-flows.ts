// Connections from the overlay to programs of this host that are not ours: the kernel has them, so what we know is what was let in. One
// whose permission is gone is cut here, by letting nothing of it through any more.
import type { SocketAddress } from '#netstack/types.ts';
import type { PublicKey } from '#model/ids.ts';
import { MAX_CUT_FLOWS, MAX_TRACKED_FLOWS } from '../constants.ts';
import type { OpenConnection } from '../inner-face.ts';

export class HostFlows {
  /** By both ports and the remote address, oldest first. */
  readonly #admitted = new Map<string, OpenConnection>();
  readonly #cut = new Set<string>();

  /** A connection is about to be let in; false where that would be one too many, as one that nobody remembers could not be cut. */
  note(peer: PublicKey, local: SocketAddress, remote: SocketAddress): boolean {
    const key = flowKey(remote.ip.bytes, 0, remote.ip.bytes.length, remote.port, local.port);
    if (!this.#cut.delete(key) && this.#cut.size >= MAX_CUT_FLOWS) return false;
    this.#admitted.delete(key);
    for (const oldest of this.#admitted.keys()) {
      if (this.#admitted.size < MAX_TRACKED_FLOWS) break;
      this.#admitted.delete(oldest);
      this.#cut.add(oldest);
    }
    this.#admitted.set(key, { peer, remote, acceptedAt: local });
    return true;
  }

  /** The kernel sends a FIN or RST: its program is done. What the peer says of the end is not believed; it may want to be forgotten. */
  ended(packet: Uint8Array, destinationAt: number, addressLength: number, tcpAt: number): void {
    if (this.#admitted.size === 0) return;
    this.#admitted.delete(flowKey(packet, destinationAt, addressLength, u16(packet, tcpAt + 2), u16(packet, tcpAt)));
  }

  /** Cuts every connection about which there is an error to tell. */
  recheck(verdict: (connection: OpenConnection) => Error | undefined): void {
    for (const [key, connection] of this.#admitted) {
      if (verdict(connection) === undefined) continue;
      this.#admitted.delete(key);
      this.#cut.add(key);
    }
  }

  /** Whether the TCP segment at `tcpAt` belongs to a connection that was cut. */
  isCut(packet: Uint8Array, sourceAt: number, addressLength: number, tcpAt: number): boolean {
    if (this.#cut.size === 0) return false;
    return this.#cut.has(flowKey(packet, sourceAt, addressLength, u16(packet, tcpAt), u16(packet, tcpAt + 2)));
  }
}

function flowKey(bytes: Uint8Array, at: number, length: number, remotePort: number, localPort: number): string {
  return `${bytes.subarray(at, at + length).join('.')} ${remotePort} ${localPort}`;
}

function u16(bytes: Uint8Array, at: number): number {
  return ((bytes[at] ?? 0) << 8) | (bytes[at + 1] ?? 0);
}
