// A path that exists only in this process: two ends, with delay, loss and reordering from a seeded sequence. For tests and simulations.
import type { Clock } from '#lib/clock.ts';
import type { Path, PathSource } from './path.ts';

export interface MemoryPathOptions {
  readonly clock: Clock;
  /** Uniform in [0, 1); a seeded one makes a run repeatable. */
  readonly random: () => number;
  /** One-way, in milliseconds. */
  readonly delayMs: number;
  /** Share of datagrams that are lost. */
  readonly loss: number;
  /** Share of datagrams that are held back for three more delays, and so come after later ones. */
  readonly reorder: number;
  /** Datagrams under way in one direction; further ones are lost, as in a full queue. */
  readonly capacity: number;
}

export class MemoryPath implements Path, PathSource {
  readonly kind = 'direct';
  readonly remote = 'memory';
  readonly since: number;
  /** A path that is down loses everything. */
  up = true;
  /** What arrives at this end. The bytes are the receiver's own. */
  receive: (datagram: Uint8Array, source: PathSource) => void = () => undefined;
  sent = 0;
  lost = 0;
  readonly #options: MemoryPathOptions;
  #other: MemoryPath | undefined;
  #underWay = 0;

  private constructor(options: MemoryPathOptions) {
    this.#options = options;
    this.since = options.clock.now();
  }

  /** Both ends of a new path. */
  static pair(options: MemoryPathOptions): readonly [MemoryPath, MemoryPath] {
    const [a, b] = [new MemoryPath(options), new MemoryPath(options)];
    a.#other = b;
    b.#other = a;
    return [a, b];
  }

  get latencyMs(): number {
    return 2 * this.#options.delayMs;
  }

  send(datagram: Uint8Array): void {
    const { clock, random, delayMs, loss, reorder, capacity } = this.#options;
    const other = this.#other;
    this.sent++;
    if (!this.up || other === undefined || random() < loss || this.#underWay >= capacity) {
      this.lost++;
      return;
    }
    this.#underWay++;
    const copy = datagram.slice();
    clock.after(random() < reorder ? 4 * delayMs : delayMs, () => {
      this.#underWay--;
      if (other.up) other.receive(copy, other);
    });
  }

  sendRun(run: Uint8Array, size: number): void {
    for (let at = 0; at < run.length; at += size) this.send(run.subarray(at, at + size));
  }

  reply(datagram: Uint8Array): void {
    this.send(datagram);
  }
}
