// The address where a peer last proved itself, for a time without a meeting point: while signal is away nobody can exchange candidates, but both
// ends remember each other. Tried with WireGuard's own initiations, so only the peer itself can answer; a completed handshake makes it a path.
import { Backoff } from '#lib/backoff.ts';
import type { Clock } from '#lib/clock.ts';
import {
  LAST_KNOWN_FIRST_MS,
  LAST_KNOWN_LOOK_MS,
  LAST_KNOWN_QUIET_MS,
  LAST_KNOWN_RETRY,
  LAST_KNOWN_SEEK_MS,
  LAST_KNOWN_SILENCE_MS,
  LAST_KNOWN_WANTED_MS,
} from '../constants.ts';
import { isInitiation } from '../wireguard-message.ts';
import { usableAddress } from './ice-candidate.ts';
import { type Path, type PathSource, replyRun, sameTransport, type TransportAddress } from './path.ts';
import { UdpRemote, type UdpMux } from './udp-mux.ts';

export interface LastKnownOptions {
  readonly clock: Clock;
  /** Uniform in [0, 1). */
  readonly random: () => number;
  readonly mux: () => UdpMux | undefined;
  /** Whether the address may be used: one inside the overlay must not be. */
  readonly allowed: (address: string) => boolean;
  /** What is known of an earlier run. */
  readonly address: TransportAddress | undefined;
  /** Whether peers can be met on the signal: then nothing is tried here. */
  readonly meeting: () => boolean;
  /** The address became another. */
  readonly moved: (address: TransportAddress) => void;
}

export class LastKnownPath implements Path {
  readonly kind = 'direct';
  readonly #options: LastKnownOptions;
  #backoff: Backoff;
  #address: TransportAddress | undefined;
  /** Set while it is a path. */
  #remote: UdpRemote | undefined;
  #since: number;
  #probeAt = Infinity;
  #seekUntil = -Infinity;
  /** The next initiation of the engine goes to the address. */
  #probing = false;
  /** When it has to have been heard of; Infinity where it is no path. */
  #lookAt = Infinity;
  #heard = false;
  #unanswered = false;

  constructor(options: LastKnownOptions) {
    this.#options = options;
    this.#since = options.clock.now();
    this.#backoff = this.#newBackoff();
    if (options.address !== undefined && this.#usable(options.address)) this.#address = options.address;
  }

  get up(): boolean {
    return this.#remote !== undefined;
  }

  get since(): number {
    return this.#since;
  }

  get remote(): string {
    return this.#remote?.toString() ?? '';
  }

  get latencyMs(): undefined {
    return undefined;
  }

  /** When to look at it next; Infinity where there is nothing to do. */
  get at(): number {
    return Math.min(this.#address === undefined ? Infinity : this.#probeAt, this.#lookAt);
  }

  send(datagram: Uint8Array): void {
    this.#remote?.reply(datagram);
  }

  sendRun(run: Uint8Array, size: number): void {
    if (this.#remote !== undefined) replyRun(this.#remote, run, size);
  }

  /** The peer proved itself from there, in a session of this run: kept for the next. */
  remember(source: PathSource): void {
    if (!(source instanceof UdpRemote) || !this.#usable(source)) return;
    if (this.#address !== undefined && sameTransport(this.#address, source)) return;
    this.#address = source;
    this.#options.moved(source);
  }

  /** There is no path: the address is tried after the delay, then ever more seldom, for a limited time. */
  seek(now: number, delayMs: number): void {
    this.#backoff = this.#newBackoff();
    this.#probeAt = now + delayMs + this.#options.random() * LAST_KNOWN_FIRST_MS;
    this.#seekUntil = now + LAST_KNOWN_SEEK_MS;
  }

  /** Somebody wants the peer, while there is no path. */
  want(now: number): void {
    this.#seekUntil = Math.max(this.#seekUntil, now + LAST_KNOWN_WANTED_MS);
    if (this.#probeAt === Infinity) this.#probeAt = now;
  }

  /** There is a path, or nobody wants one. */
  stop(): void {
    this.#probeAt = Infinity;
    this.#probing = false;
  }

  /** To be called when it is due: whether a handshake should be started now, for `take` to send. */
  probes(now: number): boolean {
    if (now < this.#probeAt || this.#address === undefined) return false;
    if (now >= this.#seekUntil) {
      this.#probeAt = Infinity;
      return false;
    }
    this.#probing = !this.#options.meeting();
    this.#probeAt = now + (this.#probing ? this.#backoff.next() : LAST_KNOWN_LOOK_MS);
    return this.#probing;
  }

  /** Sends the initiation that was asked for, and what stands behind it, to the address; false where it is none. */
  take(run: Uint8Array, size: number): boolean {
    const mux = this.#options.mux();
    if (!this.#probing || this.#address === undefined || mux === undefined || !isInitiation(run)) return false;
    this.#probing = false;
    mux.sendRun(run, size, this.#address);
    return true;
  }

  /** A handshake was completed from there. Whether that makes it a path, or the path another. */
  proven(source: PathSource, now: number): boolean {
    if (!(source instanceof UdpRemote) || !this.#usable(source)) return false;
    if (this.#remote === undefined) this.#since = now;
    this.#remote = source;
    this.stop();
    this.#watch(now);
    return true;
  }

  /** It is no path any more. */
  lose(now: number): void {
    if (this.#remote === undefined) return;
    this.#remote = undefined;
    this.#since = now;
    this.#lookAt = Infinity;
  }

  noteHeard(source: PathSource): void {
    if (source !== this.#remote) return;
    this.#heard = true;
    this.#unanswered = false;
  }

  /** Data was sent: something has to come back, be it WireGuard's keepalive. Returns whether `at` may be earlier now. */
  noteSent(now: number): boolean {
    if (this.#unanswered || this.#remote === undefined) return false;
    this.#unanswered = true;
    this.#heard = false;
    this.#lookAt = now + LAST_KNOWN_SILENCE_MS;
    return true;
  }

  /** To be called when it is due: true where the path is silent, which makes it none. */
  silent(now: number): boolean {
    if (now < this.#lookAt) return false;
    if (this.#heard) {
      this.#watch(now);
      return false;
    }
    this.lose(now);
    return true;
  }

  #watch(now: number): void {
    this.#heard = false;
    this.#unanswered = false;
    this.#lookAt = now + LAST_KNOWN_QUIET_MS;
  }

  #usable({ address, port }: TransportAddress): boolean {
    return port > 0 && port < 65_536 && usableAddress(address) === address && this.#options.allowed(address);
  }

  #newBackoff(): Backoff {
    return new Backoff({ ...LAST_KNOWN_RETRY, random: this.#options.random });
  }
}
