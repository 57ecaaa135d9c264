// Connections from the overlay to programs of this host that are not ours: the kernel has them, so what we know is what was let in. One
// whose permission is gone is cut here, by letting nothing of it through any more.
import type { SocketAddress } from '#netstack/types.ts';
import type { PublicKey } from '#model/ids.ts';
import { MAX_TRACKED_FLOWS } from '../constants.ts';
import type { OpenConnection } from '../inner-face.ts';

export class HostFlows {
  /** By both ports and the remote address, oldest first. */
  readonly #admitted = new Map<string, OpenConnection>();
  readonly #cut = new Set<string>();

  /** A connection was let in. */
  note(peer: PublicKey, local: SocketAddress, remote: SocketAddress): void {
    const key = flowKey(remote.ip.bytes, 0, remote.ip.bytes.length, remote.port, local.port);
    this.#cut.delete(key);
    this.#admitted.delete(key);
    for (const oldest of this.#admitted.keys()) {
      if (this.#admitted.size < MAX_TRACKED_FLOWS) break;
      this.#admitted.delete(oldest);
    }
    this.#admitted.set(key, { peer, remote, acceptedAt: local });
  }

  /** Cuts every connection about which there is an error to tell. */
  recheck(verdict: (connection: OpenConnection) => Error | undefined): void {
    for (const [key, connection] of this.#admitted) {
      if (verdict(connection) === undefined) continue;
      this.#admitted.delete(key);
      this.#cut.add(key);
    }
    for (const oldest of this.#cut) {
      if (this.#cut.size <= MAX_TRACKED_FLOWS) break;
      this.#cut.delete(oldest);
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
