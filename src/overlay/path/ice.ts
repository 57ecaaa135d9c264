// The direct path to a peer: an ICE agent on the shared socket, its candidates on the signal, its clock (netbird-wire §5.3).
import type { Clock, Timer } from '#lib/clock.ts';
import { u32 } from '#wire/stun-frame.ts';
import type { StunMessage } from '#wire/stun.ts';
import { ICE_MAX_RECENT_CANDIDATES } from '../constants.ts';
import { type Candidate, endOfCandidates, formatCandidate, parseCandidate } from './ice-candidate.ts';
import { IceAgent, type IceCredentials, type IceState, type SelectedPair } from './ice-agent.ts';
import { type Path, type RelayBase, type RelayLease, type RemoteAddress, replyRun } from './path.ts';
import type { UdpMux } from './udp-mux.ts';

/** Finds the agent that a STUN message is for: requests by our username fragment, answers by the tag in their transaction id. */
export class IceRouter {
  readonly #byUfrag = new Map<string, DirectPath>();
  readonly #byTag = new Map<number, DirectPath>();

  /** True where some agent was named; that says nothing of whether it believed the message. */
  route(message: StunMessage, from: RemoteAddress): boolean {
    const path = message.class === 'request' ? this.#byUfrag.get(ufragOf(message.username)) : this.#byTag.get(u32(message.transactionId, 0));
    path?.receive(message, from);
    return path !== undefined;
  }

  /** A tag that no other agent has: with 10,000 of them, random ones alone would meet. */
  freeTag(random: (target: Uint8Array) => void): number {
    for (;;) {
      const tag = u32(randomBytes(4, random), 0);
      if (!this.#byTag.has(tag)) return tag;
    }
  }

  add(path: DirectPath): void {
    this.#byUfrag.set(path.credentials.ufrag, path);
    this.#byTag.set(path.tag, path);
  }

  remove(path: DirectPath): void {
    this.#byUfrag.delete(path.credentials.ufrag);
    this.#byTag.delete(path.tag);
  }
}

export interface DirectPathOptions {
  readonly controlling: boolean;
  readonly mux: () => UdpMux | undefined;
  readonly router: IceRouter;
  readonly clock: Clock;
  readonly random: (target: Uint8Array) => void;
  /** Our candidates as they are now. `doubted` where a pair was lost: our outer address may be another. */
  readonly localCandidates: (doubted: boolean) => readonly Candidate[];
  /** Whether the address may be checked: one inside the overlay must not be. */
  readonly allowed: (address: string) => boolean;
  /** Announces one of our candidates. */
  readonly announce: (text: string) => void;
  /** The state or the pair changed. */
  readonly changed: (state: IceState | 'idle') => void;
}

export class DirectPath implements Path {
  readonly kind = 'direct';
  readonly credentials: IceCredentials;
  readonly tag: number;
  readonly #options: DirectPathOptions;
  /** The last candidates of the other side. They may come before the offer they belong to, so a new run is given them again. */
  readonly #recent: string[] = [];
  #agent: IceAgent | undefined;
  /** The relays that this run may use, and what it holds of them. */
  readonly #leases = new Map<RelayBase, RelayLease>();
  #pair: SelectedPair | undefined;
  #remote: RemoteAddress | undefined;
  /** The agent knows that something was sent since it was last looked at. */
  #busy = false;
  /** A pair that had worked was lost. */
  #doubted = false;
  #sessionId: Uint8Array;
  #remoteSession: string | undefined;
  #reported: IceState | 'idle' = 'idle';
  #since: number;
  #timer: Timer | undefined;
  #timerAt = Infinity;

  constructor(options: DirectPathOptions) {
    this.#options = options;
    this.credentials = { ufrag: letters(16, options.random), pwd: letters(32, options.random) };
    this.tag = options.router.freeTag(options.random);
    this.#sessionId = randomBytes(5, options.random);
    this.#since = options.clock.now();
    options.router.add(this);
  }

  get up(): boolean {
    return this.#reported === 'connected';
  }

  get since(): number {
    return this.#since;
  }

  get state(): IceState | 'idle' {
    return this.#reported;
  }

  get remote(): string {
    return this.#remote?.toString() ?? '';
  }

  /** Where datagrams of the pair in use come from. */
  get source(): RemoteAddress | undefined {
    return this.#remote;
  }

  /** The role of the run; tie-breakers may have changed it. */
  get controlling(): boolean {
    return this.#agent?.controlling ?? this.#options.controlling;
  }

  /** Whether a TURN server carries the pair in use: then it is up, but not what one hopes for. */
  get relayed(): boolean {
    return this.#agent?.relayed ?? false;
  }

  get latencyMs(): number | undefined {
    return this.#agent?.latencyMs;
  }

  /** Names this run of ICE in offers; new after each run. */
  get sessionId(): Uint8Array {
    return this.#sessionId;
  }

  send(datagram: Uint8Array): void {
    this.#remote?.reply(datagram);
    this.#noteSent();
  }

  sendRun(run: Uint8Array, size: number): void {
    if (this.#remote !== undefined) replyRun(this.#remote, run, size);
    this.#noteSent();
  }

  /**
   * The other side's credentials, from an offer or answer. Starts an agent; one that runs with the same session is left alone, another is
   * replaced. Returns whether an agent was started: `announce` is then to be called once the answer is on its way.
   */
  start(remote: IceCredentials & { readonly sessionId: Uint8Array | undefined }): boolean {
    const session = `${remote.ufrag}:${remote.pwd}:${remote.sessionId === undefined ? '' : Buffer.from(remote.sessionId).toString('hex')}`;
    if (this.#agent !== undefined) {
      if (session === this.#remoteSession) return false;
      this.stop();
    }
    this.#remoteSession = session;
    const now = this.#options.clock.now();
    this.#agent = new IceAgent(
      {
        controlling: this.#options.controlling,
        local: this.credentials,
        remote,
        tag: this.tag,
        random: this.#options.random,
        send: (datagram, to, base) => (base === undefined ? this.#options.mux()?.send(datagram, to) : base.send(datagram, to)),
      },
      now,
    );
    const doubted = this.#doubted;
    this.#doubted = false;
    for (const candidate of this.#options.localCandidates(doubted)) this.#addLocal(this.#agent, candidate, now);
    for (const text of this.#recent) this.#take(text);
    this.#after();
    return true;
  }

  /** Tells the other side our candidates. */
  announce(): void {
    for (const candidate of this.#options.localCandidates(false)) this.#options.announce(formatCandidate(candidate));
  }

  /** A candidate that was found while the agent is at work. */
  addLocal(candidate: Candidate): void {
    if (this.#agent === undefined) return;
    if (!this.#addLocal(this.#agent, candidate, this.#options.clock.now())) return;
    this.#options.announce(formatCandidate(candidate));
    this.#after();
  }

  /** A candidate of the other side, as the signal brought it. */
  addRemote(text: string): void {
    if (this.#recent.includes(text)) return;
    if (this.#recent.length >= ICE_MAX_RECENT_CANDIDATES) this.#recent.shift();
    this.#recent.push(text);
    this.#take(text);
    this.#after();
  }

  receive(message: StunMessage, from: RemoteAddress): void {
    if (this.#agent === undefined || !this.#options.allowed(from.address)) return;
    this.#agent.receive(message, from, this.#options.clock.now());
    this.#after();
  }

  /** The network changed: the pair in use has to prove itself, or the run fails. */
  verify(): void {
    this.#agent?.verify(this.#options.clock.now());
    this.#after();
  }

  /** Ends the run; the next one has a new session id. */
  stop(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    this.#timerAt = Infinity;
    if (this.#agent === undefined) return;
    this.#agent = undefined;
    this.#pair = undefined;
    this.#remote = undefined;
    this.#remoteSession = undefined;
    this.#leave(undefined);
    this.#sessionId = randomBytes(5, this.#options.random);
    this.#report('idle');
  }

  /** Ends for good. */
  close(): void {
    this.#options.router.remove(this);
    this.stop();
  }

  #take(text: string): void {
    if (this.#agent === undefined) return;
    const now = this.#options.clock.now();
    const candidate = parseCandidate(text);
    // NetBird's peers never say so; those that do are believed.
    if (text === endOfCandidates) this.#agent.endRemote();
    else if (candidate === undefined || !this.#options.allowed(candidate.address)) return;
    else {
      for (const lease of this.#leases.values()) lease.permit(candidate.address);
      this.#agent.addRemote(candidate, now);
    }
    this.#agent.poll(now);
  }

  /** One of our candidates; a relayed one opens the relay for the other side's addresses, known and to come. */
  #addLocal(agent: IceAgent, candidate: Candidate, now: number): boolean {
    const { base } = candidate;
    // With a direct pair in use nothing behind a relay is of interest.
    if (base !== undefined && agent.pair !== undefined && !agent.relayed) return false;
    if (base !== undefined && !this.#leases.has(base)) {
      const lease = base.join(() => {
        this.#leave(base);
        this.#agent?.removeBase(base, this.#options.clock.now());
        this.#after();
      });
      this.#leases.set(base, lease);
      for (const text of this.#recent) {
        const remote = parseCandidate(text);
        if (remote !== undefined && this.#options.allowed(remote.address)) lease.permit(remote.address);
      }
    }
    return agent.addLocal(candidate, now);
  }

  /** Gives a relay back, or all. */
  #leave(base: RelayBase | undefined): void {
    for (const [held, lease] of this.#leases) {
      if (base !== undefined && held !== base) continue;
      this.#leases.delete(held);
      lease.close();
    }
  }

  /** Traffic makes consent be asked for sooner. Between two answers only the first datagram costs more than a look. */
  #noteSent(): void {
    if (this.#busy) return;
    if (this.#agent?.noteSent(this.#options.clock.now()) === true) this.#after();
    this.#busy = true;
  }

  /** After anything that may have changed the agent: its pair, its state, its next deadline. */
  #after(): void {
    const agent = this.#agent;
    if (agent === undefined) return;
    this.#busy = false;
    const { pair } = agent;
    if (agent.state === 'disconnected' || (agent.state === 'failed' && pair !== undefined)) this.#doubted = true;
    if (pair?.remote !== this.#pair?.remote || pair?.base !== this.#pair?.base) this.#selected(agent, pair);
    if (agent.state !== this.#reported) this.#report(agent.state);
    if (this.#agent === agent) this.#arm(agent.pollAt());
  }

  /** From here on packets go straight to the socket, or into the relay's channel. */
  #selected(agent: IceAgent, pair: SelectedPair | undefined): void {
    this.#pair = pair;
    if (pair === undefined) {
      this.#remote = undefined;
      return;
    }
    const { base, remote } = pair;
    this.#remote = base === undefined ? this.#options.mux()?.remote(remote.address, remote.port) : base.remote(remote.address, remote.port);
    if (base !== undefined) this.#leases.get(base)?.bind(remote);
    else if (!agent.relayed) this.#leave(undefined);
  }

  #report(state: IceState | 'idle'): void {
    if (state === this.#reported) return;
    this.#reported = state;
    this.#since = this.#options.clock.now();
    this.#options.changed(state);
  }

  #arm(at: number): void {
    if (at >= this.#timerAt) return;
    this.#timer?.cancel();
    this.#timerAt = at;
    this.#timer = this.#options.clock.after(at - this.#options.clock.now(), () => {
      this.#timerAt = Infinity;
      this.#agent?.poll(this.#options.clock.now());
      this.#after();
    });
  }
}

/** The name before the colon. */
function ufragOf(username: string | undefined): string {
  const end = username?.indexOf(':') ?? -1;
  return username === undefined || end < 0 ? '' : username.slice(0, end);
}

/** Letters only: NetBird splits credentials at a colon. */
function letters(count: number, random: (target: Uint8Array) => void): string {
  const alphabet = 'abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ';
  let text = '';
  while (text.length < count) {
    // 208 is the largest multiple of 52 in a byte: above it letters would not be equally likely.
    for (const byte of randomBytes(count, random)) if (byte < 208 && text.length < count) text += alphabet[byte % 52] ?? '';
  }
  return text;
}

function randomBytes(count: number, random: (target: Uint8Array) => void): Uint8Array {
  const bytes = new Uint8Array(count);
  random(bytes);
  return bytes;
}
