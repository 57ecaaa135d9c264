// Keeps something of the mesh on disk, such as the last network map: written by one writer at a time, at most every two seconds, the newest wins.
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Clock, Timer } from '#lib/clock.ts';
import { describeError } from '#lib/errors.ts';
import { readFileIfThere, writeFileAtomic } from '#lib/files.ts';
import type { Logger } from '#lib/log.ts';
import { maxSavedBytes, saveEveryMs, saveRetryMs } from './constants.ts';

export interface SavedFormat<T> {
  /** Name of the file in the state folder. */
  readonly file: string;
  /** What it holds, for people. */
  readonly what: string;
  readonly text: (value: T) => string;
  /** Undefined where any part is not what `text` writes. */
  readonly parse: (text: string) => T | undefined;
}

export class SavedFile<T> {
  readonly #format: SavedFormat<T>;
  readonly #path: string;
  readonly #clock: Clock;
  readonly #log: Logger;
  #pending: (() => T) | 'remove' | undefined;
  #timer: Timer | undefined;
  #writing: Promise<void> = Promise.resolve();
  #failed = false;
  #closed = false;

  constructor(format: SavedFormat<T>, folder: string, clock: Clock, log: Logger) {
    this.#format = format;
    this.#path = join(folder, format.file);
    this.#clock = clock;
    this.#log = log;
  }

  /** What was saved last, or undefined where there is nothing, or nothing that can be read. */
  async load(): Promise<T | undefined> {
    const { what, parse } = this.#format;
    try {
      const text = await readFileIfThere(this.#path);
      if (text === undefined) return undefined;
      const saved = text.length <= maxSavedBytes ? parse(text) : undefined;
      if (saved === undefined) this.#log.warn(`the saved ${what} is not readable and is left alone`, { path: this.#path });
      return saved;
    } catch (error) {
      this.#log.warn(`the saved ${what} cannot be read`, { reason: describeError(error) });
      return undefined;
    }
  }

  /** `read` is called when it is time to write. */
  save(read: () => T): void {
    this.#pending = read;
    this.#timer ??= this.#clock.after(saveEveryMs, () => void this.flush());
  }

  /** A peer that was refused must not serve from what was before, after a restart. */
  forget(): void {
    this.#pending = 'remove';
    void this.flush();
  }

  /** Writes what is pending, and nothing after that. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.flush();
  }

  /** Writes what is pending now; never rejects, and tries again later what the disk did not take. */
  flush(): Promise<void> {
    this.#timer?.cancel();
    this.#timer = undefined;
    this.#writing = this.#writing.then(() => this.#write());
    return this.#writing;
  }

  async #write(): Promise<void> {
    const pending = this.#pending;
    this.#pending = undefined;
    if (pending === undefined) return;
    try {
      if (pending === 'remove') await rm(this.#path, { force: true });
      else await writeFileAtomic(this.#path, this.#format.text(pending()));
      this.#failed = false;
    } catch (error) {
      if (!this.#failed) this.#log.warn(`the ${this.#format.what} could not be saved; it is tried again`, { reason: describeError(error) });
      this.#failed = true;
      this.#pending ??= pending;
      if (!this.#closed) this.#timer ??= this.#clock.after(saveRetryMs, () => void this.flush());
    }
  }
}
