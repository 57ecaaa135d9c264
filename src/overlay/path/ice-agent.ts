// An ICE agent (RFC 8445) for one peer, without I/O: checks, answers, regular nomination, consent (RFC 7675).
//
// What differs from the RFC, and why: there is one component and one socket, so a pair is its remote candidate and local candidates
// count for priority only; roles follow from the keys and never change, so a role conflict is always answered with 487; a nominated pair
// is kept until consent ends.
import type { StunMessage } from '#wire/stun.ts';
import { encodeStun, verifyStunIntegrity } from '#wire/stun.ts';
import {
  ICE_CHECKING_LIMIT_MS,
  ICE_CONSENT_INTERVAL_MS,
  ICE_CONSENT_RETRY_MS,
  ICE_DISCONNECTED_MS,
  ICE_FAILED_MS,
  ICE_MAX_CHECKS_PER_PAIR,
  ICE_MAX_LOCAL_CANDIDATES,
  ICE_MAX_REFLEXIVE_CANDIDATES,
  ICE_MAX_REMOTE_CANDIDATES,
  ICE_NOMINATION_WAIT_MS,
  ICE_PACE_MS,
  PATH_VERIFY_MS,
  PATH_VERIFY_RETRY_MS,
} from '../constants.ts';
import { type Candidate, candidatePriority, pairPriority } from './ice-candidate.ts';
import { newPair, type Pair, retryDelay, Transactions } from './ice-pair.ts';
import { formatIp, parseIp } from '#lib/ip.ts';
import { sameTransport, type TransportAddress } from './path.ts';

export interface IceCredentials {
  readonly ufrag: string;
  readonly pwd: string;
}

/** `disconnected` is a nominated pair without consent: it may come back, or fail. */
export type IceState = 'checking' | 'connected' | 'disconnected' | 'failed';

export interface IceAgentOptions {
  readonly controlling: boolean;
  readonly local: IceCredentials;
  readonly remote: IceCredentials;
  /** First four bytes of every transaction id, by which answers find their agent on the shared socket. */
  readonly tag: number;
  readonly random: (target: Uint8Array) => void;
  readonly send: (datagram: Uint8Array, to: TransportAddress) => void;
}

export class IceAgent {
  readonly #options: IceAgentOptions;
  readonly #tieBreaker: bigint;
  readonly #startedAt: number;
  readonly #locals: Candidate[] = [];
  readonly #remotes: Candidate[] = [];
  readonly #pairs: Pair[] = [];
  readonly #transactions = new Transactions();
  #reflexive = 0;
  #state: IceState = 'checking';
  #selected: Pair | undefined;
  #nominating: Pair | undefined;
  #firstSuccessAt = Infinity;
  #nextPaceAt: number;
  #consentAt = Infinity;
  #lastAnswerAt = 0;
  /** Since when the pair in use has to prove itself; Infinity while it has not. */
  #verifyingSince = Infinity;
  /** Where the other side sees the pair in use come from. */
  #seenAs: string | undefined;

  constructor(options: IceAgentOptions, now: number) {
    this.#options = options;
    this.#startedAt = now;
    this.#nextPaceAt = now;
    const tie = Buffer.alloc(8);
    options.random(tie);
    this.#tieBreaker = tie.readBigUInt64BE();
  }

  get state(): IceState {
    return this.#state;
  }

  /** The remote candidate in use; kept while disconnected. */
  get selected(): Candidate | undefined {
    return this.#selected?.remote;
  }

  get latencyMs(): number | undefined {
    return this.#selected?.latencyMs;
  }

  addLocal(candidate: Candidate, now: number): void {
    if (this.#locals.length >= ICE_MAX_LOCAL_CANDIDATES || this.#locals.some((known) => sameTransport(known, candidate))) return;
    this.#locals.push(candidate);
    for (const remote of this.#remotes) this.#pairUp(remote, now);
  }

  /** Adds a candidate that the other side announced; duplicates and those beyond the limit are ignored. */
  addRemote(candidate: Candidate, now: number): void {
    if (this.#remotes.length >= ICE_MAX_REMOTE_CANDIDATES + this.#reflexive || this.#remotes.some((known) => sameTransport(known, candidate))) return;
    this.#remotes.push(candidate);
    this.#pairUp(candidate, now);
  }

  /** Takes a STUN message that is for this agent by its username or transaction; anything that does not prove itself is ignored. */
  receive(message: StunMessage, from: TransportAddress, now: number): void {
    if (message.class === 'request') this.#answer(message, from, now);
    else if (message.class === 'success' || message.class === 'error') this.#receiveAnswer(message, from, now);
  }

  /** The network changed: the pair in use has PATH_VERIFY_MS to answer, and fails where it does not. */
  verify(now: number): void {
    if (this.#state !== 'connected') return;
    this.#consentAt = now;
    this.#verifyingSince = now;
  }

  /** Sends what is due and moves the state on. */
  poll(now: number): void {
    switch (this.#state) {
      case 'checking':
        if (now - this.#startedAt >= ICE_CHECKING_LIMIT_MS) this.#state = 'failed';
        else this.#pollChecks(now);
        return;
      case 'connected':
      case 'disconnected':
        this.#pollConsent(now);
        return;
      case 'failed':
    }
  }

  pollAt(): number {
    switch (this.#state) {
      case 'checking':
        return Math.min(this.#startedAt + ICE_CHECKING_LIMIT_MS, this.#nextDecisionAt(), Math.max(this.#nextPaceAt, this.#nextCheckAt()));
      case 'connected':
        return Math.min(this.#consentAt, this.#lastAnswerAt + ICE_DISCONNECTED_MS, this.#verifyingSince + PATH_VERIFY_MS);
      case 'disconnected':
        return Math.min(this.#consentAt, this.#lastAnswerAt + ICE_DISCONNECTED_MS + ICE_FAILED_MS);
      case 'failed':
        return Infinity;
    }
  }

  #pairUp(remote: Candidate, now: number): Pair | undefined {
    const known = this.#pairs.find((pair) => pair.remote === remote);
    if (known !== undefined) return known;
    const six = remote.address.includes(':');
    const local = this.#locals.filter((candidate) => candidate.address.includes(':') === six).sort((a, b) => b.priority - a.priority)[0];
    if (local === undefined) return undefined;
    const [first, second] = this.#options.controlling ? [local, remote] : [remote, local];
    const pair = newPair(remote, pairPriority(first.priority, second.priority), now);
    this.#pairs.push(pair);
    this.#pairs.sort((a, b) => (a.priority < b.priority ? 1 : -1));
    return pair;
  }

  #answer(message: StunMessage, from: TransportAddress, now: number): void {
    const { local, remote, controlling } = this.#options;
    if (message.username !== `${local.ufrag}:${remote.ufrag}` || !verifyStunIntegrity(message, local.pwd)) return;
    const reply = { transactionId: message.transactionId };
    if (message.unknownRequired.length > 0) {
      this.#options.send(encodeStun({ ...reply, class: 'error', error: { code: 420, reason: 'Unknown Attribute' } }, local.pwd), from);
      return;
    }
    if (message.role?.controlling === controlling) {
      this.#options.send(encodeStun({ ...reply, class: 'error', error: { code: 487, reason: 'Role Conflict' } }, local.pwd), from);
      return;
    }
    const ip = parseIp(from.address);
    if (ip === undefined) return;
    this.#options.send(encodeStun({ ...reply, class: 'success', mapped: { ip, port: from.port } }, local.pwd), from);
    const pair = this.#pairOf(message, from, now);
    if (pair !== undefined) this.#triggered(pair, message.useCandidate && !controlling, now);
  }

  /** The pair that a request came on; an address that nobody announced becomes a peer-reflexive candidate (§7.3.1.3). */
  #pairOf(message: StunMessage, from: TransportAddress, now: number): Pair | undefined {
    const known = this.#remotes.find((candidate) => sameTransport(candidate, from));
    if (known !== undefined) return this.#pairUp(known, now);
    if (this.#reflexive >= ICE_MAX_REFLEXIVE_CANDIDATES) return undefined;
    this.#reflexive++;
    const candidate: Candidate = {
      kind: 'prflx',
      address: from.address,
      port: from.port,
      priority: message.priority ?? candidatePriority('prflx', 0),
      foundation: `prflx${this.#reflexive}`,
    };
    this.#remotes.push(candidate);
    return this.#pairUp(candidate, now);
  }

  /** A request proves that packets come through: check the way back at once, and follow a nomination. */
  #triggered(pair: Pair, nominated: boolean, now: number): void {
    if (this.#state === 'disconnected' && pair === this.#selected) this.#consentAt = now;
    if (nominated) {
      if (pair.state === 'succeeded') this.#select(pair, now);
      else pair.nominated = true;
    }
    if (pair.state === 'succeeded' || (this.#state !== 'checking' && !nominated)) return;
    if (pair.state === 'failed') pair.checks = 0;
    // Repeated requests must not make us send faster than our own schedule allows.
    if (pair.state !== 'in-progress') {
      pair.state = 'waiting';
      pair.nextCheckAt = now;
      if (this.#state !== 'checking') this.#check(pair, now, false);
      else this.poll(now);
    } else if (this.#state === 'checking') pair.nextCheckAt = Math.min(pair.nextCheckAt, now + ICE_PACE_MS);
    else if (now >= pair.nextCheckAt) this.#check(pair, now, false);
  }

  #receiveAnswer(message: StunMessage, from: TransportAddress, now: number): void {
    const transaction = this.#transactions.find(message.transactionId);
    if (transaction === undefined || !verifyStunIntegrity(message, this.#options.remote.pwd)) return;
    const { pair, nominating, sentAt } = transaction;
    // The answer must come from where the request went (§7.2.5.2.1).
    if (!sameTransport(pair.remote, from)) return;
    this.#transactions.remove(message.transactionId);
    if (message.class === 'error') {
      if (pair !== this.#selected) pair.state = 'failed';
      if (pair === this.#nominating) this.#nominating = undefined;
      return;
    }
    pair.state = 'succeeded';
    pair.latencyMs = now - sentAt;
    this.#firstSuccessAt = Math.min(this.#firstSuccessAt, now);
    if (pair === this.#selected) {
      this.#lastAnswerAt = now;
      this.#consentAt = now + ICE_CONSENT_INTERVAL_MS;
      if (sentAt >= this.#verifyingSince) this.#verifyingSince = Infinity;
      if (this.#state === 'disconnected') this.#state = 'connected';
      if (this.#movedTo(message)) return;
    } else if (nominating || pair.nominated) this.#select(pair, now);
    this.poll(now);
  }

  /**
   * Whether the other side sees us at another address than before. It goes on sending to the old one until its own consent runs out, so
   * a new run is quicker.
   */
  #movedTo({ mapped }: StunMessage): boolean {
    if (mapped === undefined) return false;
    const seenAs = `${formatIp(mapped.ip)} ${mapped.port}`;
    const moved = this.#seenAs !== undefined && this.#seenAs !== seenAs;
    this.#seenAs = seenAs;
    if (moved) this.#state = 'failed';
    return moved;
  }

  #select(pair: Pair, now: number): void {
    if (this.#state === 'failed') return;
    if (this.#selected === pair && this.#state === 'connected') return;
    if (this.#selected !== pair) this.#seenAs = undefined;
    this.#selected = pair;
    this.#nominating = undefined;
    this.#state = 'connected';
    this.#verifyingSince = Infinity;
    this.#lastAnswerAt = now;
    this.#consentAt = now + ICE_CONSENT_INTERVAL_MS;
  }

  #pollChecks(now: number): void {
    this.#nominate(now);
    if (now < this.#nextPaceAt) return;
    const due = this.#pairs.find(
      (pair) => (pair.state === 'waiting' || pair.state === 'in-progress' || pair === this.#nominating) && pair.nextCheckAt <= now,
    );
    if (due === undefined) return;
    this.#nextPaceAt = now + ICE_PACE_MS;
    if (due.checks >= ICE_MAX_CHECKS_PER_PAIR) {
      due.state = 'failed';
      if (due === this.#nominating) this.#nominating = undefined;
      return;
    }
    this.#check(due, now, due === this.#nominating);
  }

  /** The controlling side names the best pair that works, once no better one can be hoped for (§8.1.1). */
  #nominate(now: number): void {
    if (!this.#options.controlling || this.#nominating !== undefined || now < this.#nextDecisionAt()) return;
    const best = this.#bestSucceeded();
    if (best === undefined) return;
    this.#nominating = best;
    best.checks = 0;
    best.nextCheckAt = now;
  }

  #nextDecisionAt(): number {
    if (!this.#options.controlling || this.#nominating !== undefined) return Infinity;
    const best = this.#bestSucceeded();
    if (best === undefined) return Infinity;
    const better = this.#pairs.some((pair) => pair.priority > best.priority && (pair.state === 'waiting' || pair.state === 'in-progress'));
    return better ? this.#firstSuccessAt + ICE_NOMINATION_WAIT_MS[best.remote.kind] : this.#firstSuccessAt;
  }

  #bestSucceeded(): Pair | undefined {
    return this.#pairs.find((pair) => pair.state === 'succeeded');
  }

  #nextCheckAt(): number {
    let at = Infinity;
    for (const pair of this.#pairs) {
      if (pair.state === 'waiting' || pair.state === 'in-progress' || pair === this.#nominating) at = Math.min(at, pair.nextCheckAt);
    }
    return at;
  }

  #pollConsent(now: number): void {
    const pair = this.#selected;
    if (pair === undefined) return;
    const silence = now - this.#lastAnswerAt;
    if (silence >= ICE_DISCONNECTED_MS + ICE_FAILED_MS || now - this.#verifyingSince >= PATH_VERIFY_MS) {
      this.#state = 'failed';
      return;
    }
    if (silence >= ICE_DISCONNECTED_MS) this.#state = 'disconnected';
    if (now < this.#consentAt) return;
    this.#consentAt = now + (this.#verifyingSince <= now ? PATH_VERIFY_RETRY_MS : ICE_CONSENT_RETRY_MS);
    this.#check(pair, now, false);
  }

  #check(pair: Pair, now: number, nominating: boolean): void {
    const { local, remote, controlling, tag, random, send } = this.#options;
    if (pair.state === 'waiting') pair.state = 'in-progress';
    pair.checks++;
    pair.nextCheckAt = now + retryDelay(pair.checks);
    const transactionId = Buffer.alloc(12);
    random(transactionId);
    transactionId.writeUInt32BE(tag, 0);
    this.#transactions.add(transactionId, { pair, sentAt: now, nominating });
    const six = pair.remote.address.includes(':');
    const preference = this.#locals.some((candidate) => candidate.address.includes(':') === six) ? 65_535 : 0;
    send(
      encodeStun(
        {
          class: 'request',
          transactionId,
          username: `${remote.ufrag}:${local.ufrag}`,
          priority: candidatePriority('prflx', preference),
          role: { controlling, tieBreaker: this.#tieBreaker },
          useCandidate: nominating,
        },
        remote.pwd,
      ),
      pair.remote,
    );
  }
}
