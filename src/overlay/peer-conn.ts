// One peer as the overlay sees it: offers and answers, the relay at once, a direct path when it is found, and the choice between them
// (netbird-wire §5). TCP connections live above and never notice a switch.
import type { Clock, Timer } from '#lib/clock.ts';
import type { Logger } from '#lib/log.ts';
import type { PublicKey } from '#model/ids.ts';
import type { PathOffer, SignalMessage } from '#model/signal.ts';
import type { PathKind } from '#model/status.ts';
import { DIRECT_FORGIVE_MS, DIRECT_SILENCE_MS, HANDSHAKE_REPEAT_MS, RESPONDER_PATIENCE_MS } from './constants.ts';
import { IdleWatch } from './idle-watch.ts';
import { OfferSchedule, type Reach } from './offer-schedule.ts';
import type { Candidate } from './path/ice-candidate.ts';
import { DirectPath, type DirectPathOptions } from './path/ice.ts';
import { LastKnownPath } from './path/last-known.ts';
import { type Path, type PathSource, replyRun, type TransportAddress } from './path/path.ts';
import type { RelayHub, RelayPath } from './path/relay.ts';
import { choosePath, switchReason, type Way } from './path/selector.ts';
import { carriesData } from './wireguard-message.ts';

export interface PeerConnOptions {
  readonly self: PublicKey;
  readonly peer: PublicKey;
  readonly clock: Clock;
  readonly log: Logger;
  /** Uniform in [0, 1). */
  readonly random: () => number;
  readonly version: string;
  readonly listenPort: () => number;
  /** No direct path is sought or answered. */
  readonly forceRelay: boolean;
  readonly hub: RelayHub;
  /** Whether the peer rests while there is no traffic, from its beginning on. */
  readonly lazy: boolean;
  /** How long without traffic is idle. */
  readonly idleMs: number;
  /** Over how long offers are spread that a change brings about at all peers at once. */
  readonly spreadMs: () => number;
  readonly direct: Omit<DirectPathOptions, 'controlling' | 'announce' | 'changed' | 'clock'>;
  readonly signal: (message: SignalMessage) => void;
  /** Whether the signal stream is up. */
  readonly meeting: () => boolean;
  /** Where the peer proved itself in an earlier run. */
  readonly lastAddress: TransportAddress | undefined;
}

export interface PeerConnEvents {
  /** A datagram came by relay. */
  datagram(datagram: Uint8Array, source: PathSource): void;
  /** The path is another, or gone. */
  switched(conn: PeerConn, path: PathKind | undefined): void;
  /** A handshake should be started, unless a session is fresh. */
  initiate(conn: PeerConn): void;
  /** A handshake should be started, whatever sessions there are. */
  probe(conn: PeerConn): void;
  /** The peer proved itself at another address than before. */
  located(conn: PeerConn, address: TransportAddress): void;
  /** The peer rests, or is wanted again: while it rests the engine must not send to it on its own account. */
  rested(conn: PeerConn, resting: boolean): void;
}

/** A change of the path; `at` is in milliseconds of the clock. */
export interface ConnSwitch {
  readonly at: number;
  readonly from: PathKind | undefined;
  readonly to: PathKind | undefined;
  readonly reason: string;
}

type State =
  | { readonly kind: 'seeking' }
  | { readonly kind: 'connected'; readonly path: Path; readonly since: number }
  /** Not used yet, without traffic for long, or told to rest (GO_IDLE): no offers until somebody wants the peer, or the peer itself speaks. */
  | { readonly kind: 'resting' }
  | { readonly kind: 'closed' };

export class PeerConn {
  readonly peer: PublicKey;
  /** The side with the larger key: ICE's controlling side, the one whose relay is used, the one that starts the handshake (§5.1). */
  readonly controller: boolean;
  readonly #options: PeerConnOptions;
  readonly #events: PeerConnEvents;
  readonly #direct: DirectPath;
  readonly #relay: RelayPath;
  readonly #lastKnown: LastKnownPath;
  readonly #schedule: OfferSchedule;
  readonly #idle: IdleWatch;
  #lazy: boolean;
  #state: State = { kind: 'seeking' };
  #reason = 'no answer from the peer yet';
  #lastSwitch: ConnSwitch | undefined;
  #switches = 0;
  #remoteDoesIce = true;
  #remoteRelay: string | undefined;
  #lastSource: PathSource | undefined;
  /** When a datagram was last sent without a path: a handshake may be waiting for its answer in vain. */
  #missedAt = -Infinity;
  #directLosses = 0;
  #directState: DirectPath['state'] = 'idle';
  /** When to see whether anything came since data was sent directly; Infinity while nobody waits for an answer. */
  #silenceAt = Infinity;
  #heard = false;
  #choiceAt = Infinity;
  #initiateAt = Infinity;
  #timer: Timer | undefined;
  #timerAt = Infinity;

  constructor(options: PeerConnOptions, events: PeerConnEvents) {
    const { clock, hub } = options;
    this.#options = options;
    this.#events = events;
    this.peer = options.peer;
    this.controller = Buffer.compare(Buffer.from(options.self), Buffer.from(options.peer)) > 0;
    this.#schedule = new OfferSchedule(options.random, clock.now());
    this.#idle = new IdleWatch(options.idleMs);
    this.#lazy = options.lazy;
    this.#relay = hub.open(options.peer, { datagram: (datagram, source) => events.datagram(datagram, source), changed: () => this.#choose() });
    this.#direct = new DirectPath({
      ...options.direct,
      clock,
      controlling: this.controller,
      announce: (text) => options.signal({ kind: 'candidate', text }),
      changed: (state) => this.#directChanged(state),
    });
    this.#lastKnown = new LastKnownPath({
      clock,
      random: options.random,
      mux: options.direct.mux,
      allowed: options.direct.allowed,
      address: options.forceRelay ? undefined : options.lastAddress,
      meeting: options.meeting,
      moved: (address) => events.located(this, address),
    });
  }

  /** Begins to offer, or to rest. */
  start(): void {
    if (this.#lazy) this.#rest('no traffic yet');
    else {
      this.#lastKnown.seek(this.#options.clock.now(), this.#options.random() * this.#options.spreadMs());
      this.#poll();
    }
  }

  /** Whether the peer may rest from now on. One that was quiet of its own accord is woken where it may not. */
  setLazy(lazy: boolean): void {
    if (lazy === this.#lazy || this.#state.kind === 'closed') return;
    this.#lazy = lazy;
    if (!lazy) {
      this.#idle.stop();
      this.wake();
    } else if (this.#state.kind !== 'resting') {
      this.#idle.start(this.#options.clock.now());
      this.#poll();
    }
  }

  get path(): Path | undefined {
    return this.#state.kind === 'connected' ? this.#state.path : undefined;
  }

  get resting(): boolean {
    return this.#state.kind === 'resting';
  }

  /** The last change of the path; undefined before the first. */
  get lastSwitch(): ConnSwitch | undefined {
    return this.#lastSwitch;
  }

  get switches(): number {
    return this.#switches;
  }

  /** A packet with data came from the peer: it is not idle. */
  noteActivity(): void {
    this.#idle.active = true;
  }

  /** Clock milliseconds of the last switch; undefined without a path. */
  get since(): number | undefined {
    return this.#state.kind === 'connected' ? this.#state.since : undefined;
  }

  /** Why there is no path, or why the last switch happened. */
  get reason(): string {
    return this.#reason;
  }

  /** Sends one datagram by the best path; where none is known, to where the peer last proved itself. */
  send(datagram: Uint8Array): void {
    this.sendRun(datagram, datagram.length);
  }

  /** The same with datagrams of `size` bytes that stand back to back; the last may be shorter. */
  sendRun(run: Uint8Array, size: number): void {
    if (carriesData(run)) this.#sentData();
    if (this.#state.kind === 'connected') return this.#state.path.sendRun(run, size);
    if (this.#lastKnown.take(run, size)) return;
    this.#missedAt = this.#options.clock.now();
    if (this.#state.kind === 'seeking' && this.#lastSource !== undefined) replyRun(this.#lastSource, run, size);
  }

  /** The peer proved itself with a datagram from there. */
  authenticated(source: PathSource): void {
    // A direct answer would be a direct path.
    if (this.#options.forceRelay && source.kind === 'direct') return;
    this.#heard = true;
    this.#lastKnown.noteHeard(source);
    if (source === this.#lastSource) return;
    // One that rests cannot be called by the signal while there is none.
    if (this.#state.kind === 'resting' && source.kind === 'direct' && !this.#options.meeting()) this.#awake(RESPONDER_PATIENCE_MS);
    this.#lastSource = source;
    this.#remember();
  }

  /** A handshake was completed with what was authenticated last. Without a path, and with no ICE that is about to find one, that is one. */
  handshakeCompleted(): void {
    const source = this.#lastSource;
    if (source === undefined || this.#options.forceRelay || this.#state.kind === 'resting' || this.#state.kind === 'closed') return;
    const other = this.path !== undefined && this.path !== this.#lastKnown;
    if (other || (this.#directState === 'checking' && this.#options.meeting())) return this.#remember();
    if (!this.#lastKnown.proven(source, this.#options.clock.now())) return;
    this.#lastKnown.remember(source);
    this.#choose();
  }

  /** A handshake was given up although a path seemed to be there: look for another. */
  handshakeFailed(): void {
    if (this.#state.kind !== 'connected') return;
    this.#reason = 'the peer did not complete a handshake';
    const now = this.#options.clock.now();
    this.#lastKnown.lose(now);
    this.#direct.stop();
    this.#schedule.restart(now);
    this.#choose();
  }

  /** Somebody wants the peer. */
  wake(): void {
    if (this.#state.kind === 'resting') return this.#awake(0);
    if (this.#state.kind !== 'seeking') return;
    this.#lastKnown.want(this.#options.clock.now());
    this.#poll();
  }

  #awake(probeMs: number): void {
    this.#state = { kind: 'seeking' };
    this.#reason = 'waking the peer';
    this.#events.rested(this, false);
    const now = this.#options.clock.now();
    this.#schedule.restart(now, 0);
    this.#lastKnown.seek(now, probeMs);
    if (this.#lazy) this.#idle.start(now);
    this.#poll();
  }

  /** Our relay, our network or the signal stream changed: offer again soon. */
  refresh(): void {
    if (this.#state.kind === 'resting' || this.#state.kind === 'closed') return;
    const now = this.#options.clock.now();
    if (this.controller && this.#remoteRelay !== undefined) this.#relay.use(this.#options.hub.homeUrl);
    this.#schedule.announce(now, this.#options.random() * this.#options.spreadMs());
    this.#poll();
  }

  /**
   * This host's network changed: a direct path that is sought is sought anew. One that is up is kept, but where the change may have broken
   * it, it has to prove itself.
   */
  networkChanged(breaks: boolean): void {
    if (this.#state.kind === 'resting' || this.#state.kind === 'closed') return;
    if (!this.#direct.up) this.#direct.stop();
    else if (breaks) this.#direct.verify();
    // The other side follows us where a handshake is completed.
    if (breaks && this.path === this.#lastKnown) this.#events.probe(this);
    else if (this.path === undefined) this.#lastKnown.seek(this.#options.clock.now(), this.#options.random() * this.#options.spreadMs());
    this.refresh();
  }

  addLocalCandidate(candidate: Candidate): void {
    this.#direct.addLocal(candidate);
  }

  receive(message: SignalMessage): void {
    if (this.#state.kind === 'closed') return;
    if (message.kind === 'go-idle') return this.#rest('the peer asked to rest until there is traffic');
    if (this.#state.kind === 'resting') this.wake();
    switch (message.kind) {
      case 'offer':
        this.#described(message.offer, true);
        return;
      case 'answer':
        this.#described(message.offer, false);
        return;
      case 'candidate':
        if (!this.#options.forceRelay) this.#direct.addRemote(message.text);
    }
  }

  close(): void {
    this.#state = { kind: 'closed' };
    this.#timer?.cancel();
    this.#relay.close();
    this.#direct.close();
  }

  #rest(reason: string): void {
    if (this.#state.kind === 'resting') return;
    const now = this.#options.clock.now();
    const before = this.path;
    this.#state = { kind: 'resting' };
    this.#reason = reason;
    this.#lastSource = undefined;
    this.#missedAt = -Infinity;
    this.#initiateAt = Infinity;
    this.#choiceAt = Infinity;
    this.#silenceAt = Infinity;
    this.#idle.stop();
    this.#direct.stop();
    this.#lastKnown.stop();
    this.#lastKnown.lose(now);
    this.#relay.use(undefined);
    this.#schedule.reached('none', now);
    this.#timer?.cancel();
    this.#timerAt = Infinity;
    this.#events.rested(this, true);
    if (before === undefined) return;
    this.#noteSwitch(before.kind, undefined, now);
    this.#events.switched(this, undefined);
  }

  /** Data that nothing answers for a second may go nowhere: consent would notice after six. A path that lives answers a check. */
  #sentData(): void {
    this.#idle.active = true;
    if (this.#silenceAt !== Infinity || this.#state.kind !== 'connected' || this.#state.path === this.#relay) return;
    const now = this.#options.clock.now();
    if (this.#state.path === this.#lastKnown) {
      if (this.#lastKnown.noteSent(now)) this.#arm(this.#lastKnown.at, now);
      return;
    }
    this.#heard = false;
    this.#silenceAt = now + DIRECT_SILENCE_MS;
    this.#arm(this.#silenceAt, now);
  }

  /** Quiet for long: the other side is told, so that it rests too instead of offering. */
  #rested(): void {
    this.#options.signal({ kind: 'go-idle' });
    this.#rest('no traffic for long');
  }

  #noteSwitch(from: PathKind | undefined, to: PathKind | undefined, at: number): void {
    this.#lastSwitch = { at, from, to, reason: this.#reason };
    this.#switches++;
  }

  #described(offer: PathOffer, answer: boolean): void {
    const { hub, forceRelay } = this.#options;
    this.#remoteRelay = offer.relayAddress;
    this.#relay.use(offer.relayAddress === undefined ? undefined : this.controller ? hub.homeUrl : offer.relayAddress);
    this.#remoteDoesIce = offer.ice !== undefined;
    const started = offer.ice !== undefined && !forceRelay && this.#direct.start(offer.ice);
    // First the answer, so that the other side has an agent when our candidates come.
    if (answer) this.#options.signal({ kind: 'answer', offer: this.#describe() });
    if (started) this.#direct.announce();
    this.#choose();
  }

  #describe(): PathOffer {
    const { forceRelay, version, listenPort, hub } = this.#options;
    const ice = !forceRelay && this.#remoteDoesIce ? { ...this.#direct.credentials, sessionId: this.#direct.sessionId } : undefined;
    return { ice, wgListenPort: listenPort(), version, relayAddress: hub.homeUrl };
  }

  #directChanged(state: DirectPath['state']): void {
    const before = this.#directState;
    this.#directState = state;
    if (state === 'failed') {
      // The next offer carries a new session. One that was never connected waits for its turn in the schedule.
      this.#direct.stop();
      const now = this.#options.clock.now();
      if (before === 'disconnected') this.#schedule.restart(now);
      // It failed all at once: our address is another. The other side does not know yet, so it is told at once.
      else if (before === 'connected') this.#schedule.announce(now, 0);
    }
    this.#choose();
  }

  /** Takes the best path there is now. */
  #choose(): void {
    if (this.#state.kind === 'closed' || this.#state.kind === 'resting') return;
    const now = this.#options.clock.now();
    const before = this.path;
    const current = this.#wayOf(before);
    const choice = choosePath(
      {
        current,
        directUp: this.#direct.up,
        directSince: this.#direct.since,
        directLosses: this.#directLosses,
        relayUp: this.#relay.up,
        lastKnownUp: this.#lastKnown.up,
      },
      now,
    );
    this.#choiceAt = choice.againAt;
    if (choice.kind !== current) this.#switch(before, choice.kind, now);
    this.#schedule.reached(this.#reach(), now);
    this.#poll();
  }

  /** What is there against what both sides could have. */
  #reach(): Reach {
    // The address of earlier is what is left: everything better is sought as if there were nothing.
    if (this.path === undefined || this.path === this.#lastKnown) return 'none';
    const wantsDirect = !this.#options.forceRelay && this.#remoteDoesIce;
    const wantsRelay = this.#options.hub.homeUrl !== undefined && this.#remoteRelay !== undefined;
    return (this.#direct.up || !wantsDirect) && (this.#relay.up || !wantsRelay) ? 'full' : 'partial';
  }

  #switch(before: Path | undefined, way: Way | undefined, now: number): void {
    if (before === this.#direct) {
      const since = this.since ?? now;
      this.#directLosses = now - since >= DIRECT_FORGIVE_MS ? 1 : this.#directLosses + 1;
    }
    const path = way === undefined ? undefined : { direct: this.#direct, relay: this.#relay, 'last-known': this.#lastKnown }[way];
    this.#reason = switchReason(this.#wayOf(before), way);
    this.#noteSwitch(before?.kind, path?.kind, now);
    this.#state = path === undefined ? { kind: 'seeking' } : { kind: 'connected', path, since: now };
    this.#options.log.info('overlay: path switched', {
      peer: this.peer,
      path: path?.kind ?? 'none',
      remote: path?.remote ?? '',
      reason: this.#reason,
    });
    if (path !== this.#lastKnown) this.#lastKnown.lose(now);
    if (path === undefined) this.#lastKnown.seek(now, 0);
    else this.#lastKnown.stop();
    this.#remember();
    if (path !== undefined && before === undefined)
      this.#initiateAt = this.controller ? now : Math.min(now + RESPONDER_PATIENCE_MS, this.#retryAt(now));
    this.#events.switched(this, path?.kind);
  }

  #wayOf(path: Path | undefined): Way | undefined {
    return path === this.#lastKnown ? 'last-known' : path?.kind;
  }

  /** Where ICE has a pair and WireGuard proved itself on it, that is where to look after a restart. */
  #remember(): void {
    if (this.#lastSource !== undefined && this.#lastSource === this.#direct.source) this.#lastKnown.remember(this.#lastSource);
  }

  #poll(): void {
    if (this.#state.kind === 'closed' || this.#state.kind === 'resting') return;
    const now = this.#options.clock.now();
    if (now >= this.#initiateAt) {
      this.#initiateAt = this.#retryAt(now);
      this.#missedAt = -Infinity;
      if (this.#state.kind === 'connected') this.#events.initiate(this);
    }
    if (now >= this.#silenceAt) {
      this.#silenceAt = Infinity;
      if (!this.#heard) this.#direct.verify();
    }
    if (this.#lastKnown.silent(now)) return this.#choose();
    if (this.#lastKnown.probes(now)) this.#events.probe(this);
    if (now >= this.#idle.at && this.#idle.look(now)) return this.#rested();
    if (now >= this.#schedule.at) {
      this.#schedule.sent(now);
      this.#options.signal({ kind: 'offer', offer: this.#describe() });
    }
    this.#arm(Math.min(this.#schedule.at, this.#initiateAt, this.#choiceAt, this.#idle.at, this.#silenceAt, this.#lastKnown.at), now);
  }

  /** The engine repeats a handshake that was lost without a path only when it is this old; Infinity where none was lost. */
  #retryAt(now: number): number {
    return this.#missedAt === -Infinity ? Infinity : Math.max(now, this.#missedAt + HANDSHAKE_REPEAT_MS);
  }

  #arm(at: number, now: number): void {
    if (at >= this.#timerAt) return;
    this.#timer?.cancel();
    this.#timerAt = at;
    this.#timer = this.#options.clock.after(at - now, () => {
      this.#timerAt = Infinity;
      if (this.#options.clock.now() >= this.#choiceAt) this.#choose();
      else this.#poll();
    });
  }
}
