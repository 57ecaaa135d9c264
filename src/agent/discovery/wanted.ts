// What one source wants published, held against what is: what is new begins, what is gone stops, what differs begins anew, and the rest is
// left alone.
import { describeError } from '#lib/errors.ts';
import type { Logger } from '#lib/log.ts';
import type { Exposure, ExposeWish } from '../exposure.ts';
import type { Exposures, ExposureSource } from '../exposures.ts';

export type FoundWish = Omit<ExposeWish, 'patient'>;

interface Held {
  readonly fingerprint: string;
  readonly exposure: Exposure;
}

export class Wanted {
  readonly #exposures: Exposures;
  readonly #source: ExposureSource;
  readonly #log: Logger;
  readonly #held = new Map<string, Held>();
  #work: Promise<void> = Promise.resolve();

  constructor(exposures: Exposures, source: ExposureSource, log: Logger) {
    this.#exposures = exposures;
    this.#source = source;
    this.#log = log;
  }

  get size(): number {
    return this.#held.size;
  }

  /** Everything that the source wants now, by a name of its own. Resolves when the differences have been begun; never rejects. */
  apply(wishes: ReadonlyMap<string, FoundWish>): Promise<void> {
    this.#work = this.#work.then(() => this.#apply(wishes)).catch((error: unknown) => this.#failed(error));
    return this.#work;
  }

  async #apply(wishes: ReadonlyMap<string, FoundWish>): Promise<void> {
    const gone = [...this.#held].filter(([key, { fingerprint }]) => {
      const wish = wishes.get(key);
      return wish === undefined || fingerprintOf(wish) !== fingerprint;
    });
    for (const [key] of gone) this.#held.delete(key);
    // First what goes: what comes may want its name.
    await Promise.all(gone.map(([, { exposure }]) => this.#exposures.stop(exposure)));
    for (const [key, wish] of wishes) {
      if (this.#held.has(key)) continue;
      try {
        const exposure = this.#exposures.open({ ...wish, patient: true }, this.#source);
        this.#held.set(key, { fingerprint: fingerprintOf(wish), exposure });
      } catch (error) {
        this.#failed(error);
      }
    }
  }

  #failed(error: unknown): void {
    this.#log.warn('something that was found cannot be published', { source: this.#source, reason: describeError(error) });
  }
}

function fingerprintOf(wish: FoundWish): string {
  return JSON.stringify(wish);
}
