// What the parts of one device share: who it is, where its output goes, its tables.
import { toHex, utf8 } from '#lib/bytes.ts';
import { callerNetwork } from '#lib/ip.ts';
import type { DeviceLimits } from './constants.ts';
import type { DueHeap } from './due-heap.ts';
import type { IndexTable } from './index-table.ts';
import type { LocalIdentity } from './noise.ts';
import type { Peer, Slot } from './peer.ts';
import type { Session } from './session.ts';
import type { DeviceSink } from './types.ts';

export interface Core {
  readonly local: LocalIdentity;
  readonly limits: DeviceLimits;
  readonly sink: DeviceSink;
  readonly indices: IndexTable<Slot>;
  readonly due: DueHeap<Peer>;
  /** Peers by their public key's text. */
  readonly peers: Map<string, Peer>;
  readonly sourceName: (source: unknown) => Uint8Array | undefined;
  /** Inner MTU; Infinity where none is set. */
  readonly mtu: number;
}

/** Erases sessions that have ended and frees their indices. */
export function endSessions(core: Core, sessions: readonly (Session | undefined)[]): void {
  for (const session of sessions) {
    if (session === undefined) continue;
    core.indices.delete(session.localIndex);
    session.destroy();
  }
}

/** Forgets the handshake that waits for a response. */
export function endPending(core: Core, peer: Peer): void {
  if (peer.pending === undefined) return;
  const { index, state } = peer.pending;
  core.indices.delete(index);
  state.chain.fill(0);
  state.hash.fill(0);
  peer.pending = undefined;
}

/**
 * Whose share of handshakes under load a source's come out of: that of its IPv4 address or IPv6 network, whatever its port, since a host
 * has as many ports as it likes. A source without an address has a share by its name.
 */
export function sourceShare(source: unknown, name: Uint8Array): string {
  if (typeof source === 'object' && source !== null && 'address' in source && typeof source.address === 'string')
    return callerNetwork(source.address);
  return toHex(name);
}

const unnamed = new Uint8Array(0);

/** The name of a source where the device was given no better way: see DeviceOptions.sourceName. */
export function defaultSourceName(source: unknown): Uint8Array {
  if (typeof source === 'string') return utf8(source);
  if (source instanceof Uint8Array) return source;
  if (typeof source === 'object' && source !== null && 'address' in source && 'port' in source)
    return utf8(`${String(source.address)} ${String(source.port)}`);
  return unnamed;
}
