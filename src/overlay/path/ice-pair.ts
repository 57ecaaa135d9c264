// A candidate pair and its checks. Our host and reflexive candidates share one socket, so a pair is told by its remote candidate and by
// where its checks leave from: the socket, or a relay.
import { toHex } from '#lib/bytes.ts';
import { ICE_MAX_OPEN_TRANSACTIONS, ICE_RETRY_FACTOR, ICE_RETRY_FIRST_MS, ICE_RETRY_MAX_MS, ICE_TRANSACTION_LIFETIME_MS } from '../constants.ts';
import type { Candidate } from './ice-candidate.ts';
import type { RelayBase } from './path.ts';

export type PairState = 'waiting' | 'in-progress' | 'succeeded' | 'failed';

export interface Pair {
  readonly remote: Candidate;
  /** The relay that checks leave from; undefined for the shared socket. */
  readonly base: RelayBase | undefined;
  /** The better of our candidates there; for the priority. */
  readonly localPriority: number;
  priority: bigint;
  state: PairState;
  /** Checks sent since it last began. */
  checks: number;
  nextCheckAt: number;
  /** The other side asked for this pair before our own check of it succeeded. */
  nominated: boolean;
  /** Round trip of the last answered check. */
  latencyMs: number | undefined;
  /** Where the other side saw the last answered check come from. */
  seenAs: string | undefined;
  /** NetBird's names of the pair as its peers told them, turned round: they find their own side by it. */
  names: string | undefined;
  /** When a check was last answered. */
  answeredAt: number;
}

/** Whether a TURN server carries the pair, ours or theirs: good enough until something better is found. */
export function isRelayed(pair: Pair): boolean {
  return pair.base !== undefined || pair.remote.kind === 'relay';
}

/** How long to wait after the given number of checks. */
export function retryDelay(checks: number): number {
  return Math.min(ICE_RETRY_MAX_MS, ICE_RETRY_FIRST_MS * ICE_RETRY_FACTOR ** Math.max(0, checks - 1));
}

export interface Transaction {
  readonly pair: Pair;
  readonly sentAt: number;
  readonly nominating: boolean;
  /** The role that the check claimed. */
  readonly controlling: boolean;
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
