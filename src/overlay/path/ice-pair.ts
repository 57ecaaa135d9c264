// A candidate pair and its checks. As all local candidates share one socket, a pair is told by its remote address alone.
import { toHex } from '#lib/bytes.ts';
import { ICE_MAX_OPEN_TRANSACTIONS, ICE_RETRY_FACTOR, ICE_RETRY_FIRST_MS, ICE_RETRY_MAX_MS, ICE_TRANSACTION_LIFETIME_MS } from '../constants.ts';
import type { Candidate } from './ice-candidate.ts';

export type PairState = 'waiting' | 'in-progress' | 'succeeded' | 'failed';

export interface Pair {
  readonly remote: Candidate;
  readonly priority: bigint;
  state: PairState;
  /** Checks sent since it last began. */
  checks: number;
  nextCheckAt: number;
  /** The other side asked for this pair before our own check of it succeeded. */
  nominated: boolean;
  /** Round trip of the last answered check. */
  latencyMs: number | undefined;
}

export function newPair(remote: Candidate, priority: bigint, now: number): Pair {
  return { remote, priority, state: 'waiting', checks: 0, nextCheckAt: now, nominated: false, latencyMs: undefined };
}

/** How long to wait after the given number of checks. */
export function retryDelay(checks: number): number {
  return Math.min(ICE_RETRY_MAX_MS, ICE_RETRY_FIRST_MS * ICE_RETRY_FACTOR ** Math.max(0, checks - 1));
}

export interface Transaction {
  readonly pair: Pair;
  readonly sentAt: number;
  readonly nominating: boolean;
}

/** Checks whose answer may still come: the oldest are forgotten first. */
export class Transactions {
  readonly #open = new Map<string, Transaction>();

  add(id: Uint8Array, transaction: Transaction): void {
    for (const [key, old] of this.#open) {
      if (this.#open.size < ICE_MAX_OPEN_TRANSACTIONS && transaction.sentAt - old.sentAt < ICE_TRANSACTION_LIFETIME_MS) break;
      this.#open.delete(key);
    }
    this.#open.set(toHex(id), transaction);
  }

  find(id: Uint8Array): Transaction | undefined {
    return this.#open.get(toHex(id));
  }

  remove(id: Uint8Array): void {
    this.#open.delete(toHex(id));
  }
}
