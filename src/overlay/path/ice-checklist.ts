// The candidates of both sides and the pairs they make (RFC 8445 §6.1.2), best first.
//
// No pair is ever frozen: with one component and one list, freezing (§6.1.2.6) would only hold back pairs of equal foundation until the
// first of them has failed, and the pacing of checks already orders them by priority.
import { ICE_MAX_LOCAL_CANDIDATES, ICE_MAX_PAIRS, ICE_MAX_REFLEXIVE_CANDIDATES, ICE_MAX_REMOTE_CANDIDATES } from '../constants.ts';
import { type Candidate, candidatePriority, isLoopback, pairPriority } from './ice-candidate.ts';
import type { Pair } from './ice-pair.ts';
import { type RelayBase, sameTransport, type TransportAddress } from './path.ts';

/** Where a message came from: a remote address, and the relay that it came through. */
export interface CheckSource extends TransportAddress {
  readonly base?: RelayBase | undefined;
}

export class CheckList {
  readonly #locals: Candidate[] = [];
  readonly #remotes: Candidate[] = [];
  readonly #pairs: Pair[] = [];
  #controlling: boolean;
  #reflexive = 0;

  constructor(controlling: boolean) {
    this.#controlling = controlling;
  }

  get pairs(): readonly Pair[] {
    return this.#pairs;
  }

  /** Adds one of our candidates; false where it was known or is one too many. */
  addLocal(candidate: Candidate, now: number): boolean {
    const known = this.#locals.some((other) => sameTransport(other, candidate) && other.base === candidate.base);
    if (known || this.#locals.length >= ICE_MAX_LOCAL_CANDIDATES) return false;
    this.#locals.push(candidate);
    for (const remote of this.#remotes) this.#pairUp(remote, candidate.base, now);
    return true;
  }

  /** Adds a candidate that the other side announced. One that was seen by its checks before keeps its pairs. */
  addRemote(candidate: Candidate, now: number): void {
    if (this.#remotes.length >= ICE_MAX_REMOTE_CANDIDATES + this.#reflexive || this.#remotes.some((known) => sameTransport(known, candidate))) return;
    this.#addRemote(candidate, now);
  }

  /** The pair that a request came on; an address that nobody announced becomes a peer-reflexive candidate (§7.3.1.3). */
  pairOf(from: CheckSource, priority: number | undefined, now: number): Pair | undefined {
    const known = this.#remotes.find((candidate) => sameTransport(candidate, from));
    if (known !== undefined) return this.#pairUp(known, from.base, now);
    if (this.#reflexive >= ICE_MAX_REFLEXIVE_CANDIDATES && !this.#dropReflexive()) return undefined;
    this.#reflexive++;
    const candidate: Candidate = {
      kind: 'prflx',
      address: from.address,
      port: from.port,
      priority: priority ?? candidatePriority('prflx', 0),
      foundation: `prflx${this.#reflexive}`,
    };
    this.#addRemote(candidate, now);
    return this.#pairUp(candidate, from.base, now);
  }

  find(from: CheckSource): Pair | undefined {
    return this.#pairs.find((pair) => pair.base === from.base && sameTransport(pair.remote, from));
  }

  /** The best pair whose last check was answered. */
  bestSucceeded(): Pair | undefined {
    return this.#pairs.find((pair) => pair.state === 'succeeded');
  }

  /** Whether checks may still find a better pair than this one. */
  betterHoped(than: Pair): boolean {
    return this.#pairs.some((pair) => pair.priority > than.priority && (pair.state === 'waiting' || pair.state === 'in-progress'));
  }

  /** The roles were exchanged; priorities of pairs depend on them. */
  setRole(controlling: boolean): void {
    this.#controlling = controlling;
    for (const pair of this.#pairs) pair.priority = this.#priority(pair.localPriority, pair.remote.priority);
    this.#sort();
  }

  /** The relay is gone, with our candidates and pairs there. */
  removeBase(base: RelayBase): void {
    for (const list of [this.#locals, this.#pairs]) {
      for (let i = list.length - 1; i >= 0; i--) if (list[i]?.base === base) list.splice(i, 1);
    }
  }

  #addRemote(candidate: Candidate, now: number): void {
    this.#remotes.push(candidate);
    for (const base of new Set(this.#locals.map((local) => local.base))) this.#pairUp(candidate, base, now);
  }

  #pairUp(remote: Candidate, base: RelayBase | undefined, now: number): Pair | undefined {
    const known = this.#pairs.find((pair) => pair.remote === remote && pair.base === base);
    if (known !== undefined) return known;
    // Nothing that a relay could reach is on our own host.
    if (base !== undefined && isLoopback(remote.address)) return undefined;
    const localPriority = this.#localPriority(remote, base);
    if (localPriority === undefined) return undefined;
    const pair: Pair = {
      remote,
      base,
      localPriority,
      priority: this.#priority(localPriority, remote.priority),
      state: 'waiting',
      checks: 0,
      nextCheckAt: now,
      nominated: false,
      names: undefined,
      latencyMs: undefined,
      seenAs: undefined,
      answeredAt: -Infinity,
    };
    this.#pairs.push(pair);
    this.#sort();
    if (this.#pairs.length > ICE_MAX_PAIRS) {
      const worst = this.#pairs.findLastIndex((other) => other.state === 'failed' || other.state === 'waiting');
      if (worst >= 0) this.#pairs.splice(worst, 1);
    }
    return this.#pairs.includes(pair) ? pair : undefined;
  }

  /** The best of our candidates of the remote one's family at that base; undefined without any. */
  #localPriority(remote: Candidate, base: RelayBase | undefined): number | undefined {
    const six = remote.address.includes(':');
    let best: number | undefined;
    for (const local of this.#locals) {
      if (local.base === base && local.address.includes(':') === six && local.priority > (best ?? -1)) best = local.priority;
    }
    return best;
  }

  #priority(local: number, remote: number): bigint {
    return this.#controlling ? pairPriority(local, remote) : pairPriority(remote, local);
  }

  /** Forgets a peer-reflexive candidate of which no pair works, so that a peer whose NAT moves it again and again is not lost. */
  #dropReflexive(): boolean {
    const dead = this.#remotes.findIndex(
      (remote) => remote.kind === 'prflx' && this.#pairs.every((pair) => pair.remote !== remote || pair.state === 'failed'),
    );
    const [gone] = dead < 0 ? [] : this.#remotes.splice(dead, 1);
    if (gone === undefined) return false;
    for (let i = this.#pairs.length - 1; i >= 0; i--) if (this.#pairs[i]?.remote === gone) this.#pairs.splice(i, 1);
    this.#reflexive--;
    return true;
  }

  #sort(): void {
    this.#pairs.sort((a, b) => (a.priority === b.priority ? 0 : a.priority < b.priority ? 1 : -1));
  }
}
