// Lazy connections (netbird-wire §5.7): which peers may rest, and whether one has been quiet long enough. Pure.
import { LAZY_MIN_VERSION } from './constants.ts';

/** Looks in one threshold: a peer rests between one threshold and a quarter more after its last packet. */
const looks = 4;

/** Whether an agent of this version understands GO_IDLE; one whose version cannot be read is taken for one that does not. */
export function knowsLazy(agentVersion: string): boolean {
  const match = /^v?(\d{1,6})\.(\d{1,6})(?!\d)/.exec(agentVersion);
  if (match === null) return false;
  const [major, minor] = [Number(match[1]), Number(match[2])];
  return major > LAZY_MIN_VERSION[0] || (major === LAZY_MIN_VERSION[0] && minor >= LAZY_MIN_VERSION[1]);
}

/** Notes traffic at the cost of one assignment, and looks at it seldom. */
export class IdleWatch {
  /** Set by whoever sees a packet with data; taken back at each look. */
  active = false;
  readonly #everyMs: number;
  #quiet = 0;
  #at = Infinity;

  constructor(thresholdMs: number) {
    this.#everyMs = thresholdMs / looks;
  }

  /** When to look next; Infinity while nothing is watched. */
  get at(): number {
    return this.#at;
  }

  start(now: number): void {
    this.active = false;
    this.#quiet = 0;
    this.#at = now + this.#everyMs;
  }

  stop(): void {
    this.#at = Infinity;
  }

  /** True where the threshold has passed without traffic. To be called when it is due. */
  look(now: number): boolean {
    this.#quiet = this.active ? 0 : this.#quiet + 1;
    this.active = false;
    this.#at = now + this.#everyMs;
    return this.#quiet >= looks;
  }
}
