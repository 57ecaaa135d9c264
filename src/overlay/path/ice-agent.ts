// An ICE agent (RFC 8445) for one peer, without I/O: checks, answers, regular nomination, consent (RFC 7675), trickle (RFC 8838).
//
// What differs from the RFC, and why:
// - One component and one socket: our host and reflexive candidates make one pair with each remote one, and nothing is frozen.
// - A check that is not answered is sent again as a new one, not retransmitted: a late answer still counts, and tells the round trip.
// - A pair through a TURN server does not end the search: checks of better pairs go on, and the controlling side nominates again.
// - The controlling side's consent checks carry USE-CANDIDATE, and either side checks at once what a proven request comes from: so a pair
//   follows a NAT that has changed its mapping, without a restart.
// - NetBird's attribute 0x8100 is sent back to those who send it, and to nobody else.
// - Consent lasts as long as NetBird's (6 s, then 6 s more of hope), not 30 s.
import type { StunMessage } from '#wire/stun.ts';
import { encodeStun, verifyStunIntegrity } from '#wire/stun.ts';
import {
  ICE_CHECKING_LIMIT_MS,
  ICE_CONSENT_RETRY_MS,
  ICE_DISCONNECTED_MS,
  ICE_MAX_CHECKS_PER_PAIR,
  ICE_NOMINATION_WAIT_MS,
  ICE_PACE_MS,
} from '../constants.ts';
import { type Candidate, candidatePriority } from './ice-candidate.ts';
import { CheckList, type CheckSource } from './ice-checklist.ts';
import { IceConsent } from './ice-consent.ts';
import { isRelayed, type Pair, retryDelay, Transactions } from './ice-pair.ts';
import { formatIp, parseIp } from '#lib/ip.ts';
import { type RelayBase, sameTransport, type TransportAddress } from './path.ts';

export interface IceCredentials {
  readonly ufrag: string;
  readonly pwd: string;
}

/** `disconnected` is a nominated pair without consent: it may come back, or fail. */
export type IceState = 'checking' | 'connected' | 'disconnected' | 'failed';

export interface IceAgentOptions {
  /** The role to begin with. Keys decide it, so both sides agree; where they do not, tie-breakers decide (§7.3.1.1). */
  readonly controlling: boolean;
  readonly local: IceCredentials;
  readonly remote: IceCredentials;
  /** First four bytes of every transaction id, by which answers find their agent on the shared socket. */
  readonly tag: number;
  readonly random: (target: Uint8Array) => void;
  readonly send: (datagram: Uint8Array, to: TransportAddress, base: RelayBase | undefined) => void;
}

/** What carries the datagrams of a connected agent. */
export interface SelectedPair {
  readonly remote: Candidate;
  readonly base: RelayBase | undefined;
}

export class IceAgent {
  readonly #options: IceAgentOptions;
  readonly #tieBreaker: bigint;
  readonly #startedAt: number;
  readonly #list: CheckList;
  readonly #transactions = new Transactions();
  #controlling: boolean;
  #remoteEnded = false;
  #state: IceState = 'checking';
  #selected: Pair | undefined;
  #nominating: Pair | undefined;
  #firstSuccessAt = Infinity;
  #nextPaceAt: number;
  readonly #consent: IceConsent;

  constructor(options: IceAgentOptions, now: number) {
    this.#options = options;
    this.#controlling = options.controlling;
    this.#list = new CheckList(options.controlling);
    this.#consent = new IceConsent(options.random);
    this.#startedAt = now;
    this.#nextPaceAt = now;
    const tie = Buffer.alloc(8);
    options.random(tie);
    this.#tieBreaker = tie.readBigUInt64BE();
  }

  get state(): IceState {
    return this.#state;
  }

  get controlling(): boolean {
    return this.#controlling;
  }

  /** The remote candidate in use; kept while disconnected. */
  get selected(): Candidate | undefined {
    return this.#selected?.remote;
  }

  /** The pair in use; kept while disconnected. */
  get pair(): SelectedPair | undefined {
    return this.#selected;
  }

  /** Whether a TURN server carries the pair in use. */
  get relayed(): boolean {
    return this.#selected !== undefined && isRelayed(this.#selected);
  }

  get latencyMs(): number | undefined {
    return this.#selected?.latencyMs;
  }

  /** False where the candidate was known already or is one too many. */
  addLocal(candidate: Candidate, now: number): boolean {
    return this.#list.addLocal(candidate, now);
  }

  /** Adds a candidate that the other side announced; duplicates and those beyond the limit are ignored. */
  addRemote(candidate: Candidate, now: number): void {
    this.#list.addRemote(candidate, now);
  }

  /** No more candidates will be announced: once all checks have failed, nothing is left to wait for. */
  endRemote(): void {
    this.#remoteEnded = true;
  }

  /** The relayed address is gone. */
  removeBase(base: RelayBase, now: number): void {
    this.#list.removeBase(base);
    if (this.#nominating?.base === base) this.#nominating = undefined;
    if (this.#selected?.base !== base) return;
    this.#state = this.#state === 'failed' ? 'failed' : 'disconnected';
    this.#consent.cut(now);
    this.poll(now);
  }

  /** The network changed: the pair in use has PATH_VERIFY_MS to answer, and fails where it does not. */
  verify(now: number): void {
    if (this.#state === 'connected') this.#consent.verify(now);
  }

  /** A datagram was sent by the pair in use. True where `pollAt` is earlier for it: at most once after each answer. */
  noteSent(now: number): boolean {
    return this.#state === 'connected' && this.#consent.sent(now);
  }

  /** Takes a STUN message that is for this agent by its username or transaction; anything that does not prove itself is ignored. */
  receive(message: StunMessage, from: CheckSource, now: number): void {
    if (message.class === 'request') this.#answer(message, from, now);
    else if (message.class === 'success' || message.class === 'error') this.#receiveAnswer(message, from, now);
  }

  /** Sends what is due and moves the state on. */
  poll(now: number): void {
    switch (this.#state) {
      case 'checking':
        if (now - this.#startedAt >= ICE_CHECKING_LIMIT_MS || this.#isHopeless()) this.#state = 'failed';
        else this.#pollChecks(now);
        return;
      case 'connected':
      case 'disconnected':
        this.#pollConsent(now);
        if (this.#searching(now)) this.#pollChecks(now);
        return;
      case 'failed':
    }
  }

  pollAt(): number {
    const { askAt, lostAt, silentAt } = this.#consent;
    switch (this.#state) {
      case 'checking':
        return Math.min(this.#startedAt + ICE_CHECKING_LIMIT_MS, this.#checksAt());
      case 'connected':
        return Math.min(lostAt, silentAt, askAt, this.#searchAt());
      case 'disconnected':
        return Math.min(lostAt, askAt, this.#searchAt());
      case 'failed':
        return Infinity;
    }
  }

  /** Whether checks go on although there is a pair: because it is relayed, has lost consent, may have moved, or is about to be replaced. */
  #searching(now: number): boolean {
    return this.#state === 'disconnected' || this.#nominating !== undefined || this.#consent.inDoubt(now) || this.relayed;
  }

  /** When the next of those checks is due, unless nothing is sought by then. */
  #searchAt(): number {
    const at = this.#checksAt();
    return this.#searching(at) ? at : Infinity;
  }

  #isHopeless(): boolean {
    const { pairs } = this.#list;
    return this.#remoteEnded && pairs.length > 0 && pairs.every((pair) => pair.state === 'failed');
  }

  #answer(message: StunMessage, from: CheckSource, now: number): void {
    const { local, remote } = this.#options;
    if (message.username !== `${local.ufrag}:${remote.ufrag}` || !verifyStunIntegrity(message, local.pwd)) return;
    if (message.unknownRequired.length > 0) return this.#refuse(message, from, 420, 'Unknown Attribute');
    const { role } = message;
    if (role?.controlling === this.#controlling) {
      // Equal tie-breakers would be our own message come back; the RFC lets the controlling side win.
      const wins = role.controlling ? this.#tieBreaker >= role.tieBreaker : this.#tieBreaker < role.tieBreaker;
      if (wins) return this.#refuse(message, from, 487, 'Role Conflict');
      this.#switchRole(!this.#controlling);
    }
    const ip = parseIp(from.address);
    if (ip === undefined) return;
    const names = turnedRound(message.candidatePair);
    const mapped = { ip, port: from.port };
    this.#reply(encodeStun({ class: 'success', transactionId: message.transactionId, mapped, ...names }, local.pwd), from);
    const pair = this.#list.pairOf(from, message.priority, now);
    if (pair !== undefined) pair.names = names.candidatePair;
    if (pair !== undefined) this.#triggered(pair, message.useCandidate && !this.#controlling, now);
  }

  #refuse(message: StunMessage, from: CheckSource, code: number, reason: string): void {
    this.#reply(encodeStun({ class: 'error', transactionId: message.transactionId, error: { code, reason } }, this.#options.local.pwd), from);
  }

  #reply(datagram: Uint8Array, from: CheckSource): void {
    this.#options.send(datagram, from, from.base);
  }

  #switchRole(controlling: boolean): void {
    if (this.#controlling === controlling) return;
    this.#controlling = controlling;
    this.#nominating = undefined;
    this.#list.setRole(controlling);
  }

  /** A request proves that packets come through: check the way back at once, and follow a nomination. */
  #triggered(pair: Pair, nominated: boolean, now: number): void {
    if (pair === this.#selected) {
      if (nominated) this.#consent.named();
      // The other side speaks: if we thought it gone, ask at once.
      if (this.#state === 'disconnected') this.#consent.doubt(now, false);
      return;
    }
    if (nominated) {
      if (pair.state === 'succeeded' && now - pair.answeredAt < ICE_DISCONNECTED_MS) return this.#select(pair, now);
      pair.nominated = true;
    }
    if (this.#state === 'failed') return;
    if (this.#state === 'checking') {
      if (pair.state === 'succeeded') return;
    } else {
      // Connected on another pair. A peer that sends from elsewhere may have moved: see soon whether the old address still answers.
      if (pair.state === 'succeeded' && pair.remote.kind !== 'prflx' && !nominated) return;
      if (now - pair.answeredAt < ICE_CONSENT_RETRY_MS) return;
      if (pair.remote.kind === 'prflx') this.#consent.doubt(now, true);
    }
    if (pair.state === 'failed') pair.checks = 0;
    // Repeated requests must not make us send faster than our own schedule allows.
    if (pair.state !== 'in-progress') {
      pair.state = 'in-progress';
      this.#check(pair, now, false);
    } else if (now >= pair.nextCheckAt) this.#check(pair, now, false);
    else if (this.#state === 'checking') pair.nextCheckAt = Math.min(pair.nextCheckAt, now + ICE_PACE_MS);
    if (this.#state === 'connected') this.poll(now);
  }

  #receiveAnswer(message: StunMessage, from: CheckSource, now: number): void {
    const transaction = this.#transactions.find(message.transactionId);
    if (transaction === undefined || !verifyStunIntegrity(message, this.#options.remote.pwd)) return;
    const { pair, nominating, sentAt } = transaction;
    // The answer must come from where the request went (§7.2.5.2.1).
    if (!sameTransport(pair.remote, from) || pair.base !== from.base) return;
    this.#transactions.remove(message.transactionId);
    if (message.class === 'error') {
      if (message.errorCode === 487) this.#conflicted(pair, transaction.controlling, now);
      else if (pair !== this.#selected) pair.state = 'failed';
      if (pair === this.#nominating) this.#nominating = undefined;
      return;
    }
    pair.state = 'succeeded';
    pair.answeredAt = now;
    pair.latencyMs = now - sentAt;
    this.#firstSuccessAt = Math.min(this.#firstSuccessAt, now);
    const moved = hasMoved(pair, message);
    if (pair === this.#selected) {
      this.#consent.answered(sentAt, now);
      if (this.#state === 'disconnected') this.#state = 'connected';
      if (moved) this.#consent.moved(this.#controlling, now);
    } else if (nominating || (pair.nominated && !this.#controlling)) this.#select(pair, now);
    this.poll(now);
  }

  /** The other side has our role too, and its tie-breaker wins (§7.2.5.1): take the other role and check again. */
  #conflicted(pair: Pair, controlling: boolean, now: number): void {
    this.#switchRole(!controlling);
    pair.state = pair === this.#selected ? 'succeeded' : 'waiting';
    pair.nextCheckAt = now;
  }

  #select(pair: Pair, now: number): void {
    if (this.#state === 'failed') return;
    pair.nominated = false;
    if (this.#nominating === pair) this.#nominating = undefined;
    if (this.#selected === pair && this.#state === 'connected') return;
    this.#selected = pair;
    this.#state = 'connected';
    this.#consent.begin(now);
  }

  #pollChecks(now: number): void {
    this.#nominate(now);
    if (now < this.#nextPaceAt) return;
    const due = this.#list.pairs.find((pair) => this.#isOpen(pair) && pair.nextCheckAt <= now);
    if (due === undefined) return;
    this.#nextPaceAt = now + ICE_PACE_MS;
    if (due.checks >= ICE_MAX_CHECKS_PER_PAIR) {
      due.state = 'failed';
      if (due === this.#nominating) this.#nominating = undefined;
      return;
    }
    this.#check(due, now, due === this.#nominating);
  }

  /** Whether the pair still is to be checked: every one at first, later those that would be better. */
  #isOpen(pair: Pair): boolean {
    if (pair === this.#nominating) return true;
    if (pair === this.#selected || (pair.state !== 'waiting' && pair.state !== 'in-progress')) return false;
    const selected = this.#selected;
    return (
      selected === undefined || this.#state === 'disconnected' || pair.nominated || pair.remote.kind === 'prflx' || pair.priority > selected.priority
    );
  }

  /** The controlling side names the best pair that works, once no better one can be hoped for (§8.1.1). */
  #nominate(now: number): void {
    if (now < this.#nextDecisionAt()) return;
    const best = this.#candidateForNomination();
    if (best === undefined) return;
    this.#nominating = best;
    best.checks = 0;
    best.nextCheckAt = now;
  }

  #nextDecisionAt(): number {
    const best = this.#candidateForNomination();
    if (best === undefined) return Infinity;
    if (this.#selected !== undefined) return 0;
    return this.#list.betterHoped(best) ? this.#firstSuccessAt + waitFor(best) : this.#firstSuccessAt;
  }

  #candidateForNomination(): Pair | undefined {
    if (!this.#controlling || this.#nominating !== undefined) return undefined;
    const selected = this.#selected;
    if (selected === undefined) return this.#list.bestSucceeded();
    const dead = this.#state === 'disconnected' || this.#consent.weak;
    return this.#list.pairs.find(
      (pair) =>
        pair !== selected &&
        pair.state === 'succeeded' &&
        (dead ? pair.answeredAt > this.#consent.answeredAt : isRelayed(selected) && !isRelayed(pair) && pair.priority > selected.priority),
    );
  }

  #checksAt(): number {
    let at = Infinity;
    for (const pair of this.#list.pairs) if (this.#isOpen(pair)) at = Math.min(at, pair.nextCheckAt);
    return Math.min(this.#nextDecisionAt(), Math.max(this.#nextPaceAt, at));
  }

  #pollConsent(now: number): void {
    const pair = this.#selected;
    if (pair === undefined) return;
    if (now >= this.#consent.lostAt) {
      this.#state = 'failed';
      return;
    }
    if (now >= this.#consent.silentAt) this.#state = 'disconnected';
    if (now < this.#consent.askAt) return;
    this.#consent.asked(now);
    // Asked in vain: what else is proven may have to take over.
    if (this.#consent.weak) this.#nominate(now);
    this.#check(pair, now, this.#controlling);
  }

  #check(pair: Pair, now: number, nominating: boolean): void {
    const { local, remote, tag, random, send } = this.#options;
    const controlling = this.#controlling;
    if (pair.state === 'waiting') pair.state = 'in-progress';
    pair.checks++;
    pair.nextCheckAt = now + retryDelay(pair.checks);
    const transactionId = Buffer.alloc(12);
    random(transactionId);
    transactionId.writeUInt32BE(tag, 0);
    this.#transactions.add(transactionId, { pair, sentAt: now, nominating, controlling });
    const draft = {
      class: 'request',
      transactionId,
      username: `${remote.ufrag}:${local.ufrag}`,
      // What a reflexive candidate found by this check would have (§7.1.1): behind a relay none can be found.
      priority: candidatePriority(pair.base === undefined ? 'prflx' : 'relay', 65_535),
      role: { controlling, tieBreaker: this.#tieBreaker },
      useCandidate: nominating,
      ...(pair.names === undefined ? {} : { candidatePair: pair.names }),
    } as const;
    send(encodeStun(draft, remote.pwd), pair.remote, pair.base);
  }
}

/** A pair's names as the other side would write them. */
function turnedRound(names: string | undefined): { readonly candidatePair?: string } {
  const [theirs, ours, more] = names?.split(':') ?? [];
  return theirs === undefined || ours === undefined || more !== undefined ? {} : { candidatePair: `${ours}:${theirs}` };
}

/** How long a better pair is waited for, by what this one is. */
function waitFor(pair: Pair): number {
  return ICE_NOMINATION_WAIT_MS[pair.base === undefined ? pair.remote.kind : 'relay'];
}

/** Whether the other side saw this check of the pair come from another address than the check before. */
function hasMoved(pair: Pair, { mapped }: StunMessage): boolean {
  if (mapped === undefined) return false;
  const before = pair.seenAs;
  pair.seenAs = `${formatIp(mapped.ip)} ${mapped.port}`;
  return before !== undefined && before !== pair.seenAs;
}
