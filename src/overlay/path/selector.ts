// Which path carries a peer's packets: a pure choice from facts (netbird-wire §5.5). Direct before relay, with patience for a path that flaps.
import type { PathKind } from '#model/status.ts';
import { DIRECT_SETTLE_MAX_MS, DIRECT_SETTLE_MS } from '../constants.ts';

/** `last-known` is a direct path too: an address of earlier, which answers where ICE has nobody to meet. */
export type Way = PathKind | 'last-known';

export interface PathFacts {
  readonly current: Way | undefined;
  readonly directUp: boolean;
  /** Since when the direct path is up; read only while it is. */
  readonly directSince: number;
  /** How often the direct path was lost lately. */
  readonly directLosses: number;
  readonly relayUp: boolean;
  readonly lastKnownUp: boolean;
}

export interface PathChoice {
  readonly kind: Way | undefined;
  /** When the choice may change by time alone; Infinity where only new facts change it. */
  readonly againAt: number;
}

export function choosePath(facts: PathFacts, now: number): PathChoice {
  if (!facts.directUp) return { kind: facts.relayUp ? 'relay' : facts.lastKnownUp ? 'last-known' : undefined, againAt: Infinity };
  if (!facts.relayUp || facts.current === 'direct') return { kind: 'direct', againAt: Infinity };
  const settledAt = facts.directSince + settleTime(facts.directLosses);
  return now >= settledAt ? { kind: 'direct', againAt: Infinity } : { kind: 'relay', againAt: settledAt };
}

function settleTime(losses: number): number {
  return losses === 0 ? 0 : Math.min(DIRECT_SETTLE_MAX_MS, DIRECT_SETTLE_MS * 2 ** (losses - 1));
}

/** For people. */
export function switchReason(before: Way | undefined, after: Way | undefined): string {
  if (after === 'last-known') return 'last known address';
  if (after === 'direct') return before === 'relay' ? 'a direct path is better than the relay' : 'a direct path was found';
  if (after === 'relay') return before === 'direct' ? 'the direct path was lost' : 'the relay is there';
  if (before === 'last-known') return 'the last known address is silent';
  return before === 'direct' ? 'the direct path was lost' : 'the relay or the peer left it';
}
