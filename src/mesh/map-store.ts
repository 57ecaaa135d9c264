// Keeps the last network map on disk: written by one writer at a time, at most every two seconds, the newest wins.
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Clock, Timer } from '#lib/clock.ts';
import { describeError } from '#lib/errors.ts';
import { readFileIfThere, writeFileAtomic } from '#lib/files.ts';
import type { Logger } from '#lib/log.ts';
import { maxSavedBytes, saveEveryMs } from './constants.ts';
import { parseSaved, type SavedMesh, savedText } from './saved-map.ts';

/** Name of the file in the state folder. */
const savedMapFile = 'last-map.json';

export class MapStore {
  readonly #path: string;
  readonly #clock: Clock;
  readonly #log: Logger;
  #pending: SavedMesh | 'remove' | undefined;
  #timer: Timer | undefined;
  #writing: Promise<void> = Promise.resolve();

  constructor(folder: string, clock: Clock, log: Logger) {
    this.#path = join(folder, savedMapFile);
    this.#clock = clock;
    this.#log = log;
  }

  /** What was saved last, or undefined where there is nothing, or nothing that can be read. */
  async load(): Promise<SavedMesh | undefined> {
    try {
      const text = await readFileIfThere(this.#path);
      if (text === undefined) return undefined;
      const saved = text.length <= maxSavedBytes ? parseSaved(text) : undefined;
      if (saved === undefined) this.#log.warn('the saved network map is not readable and is left alone', { path: this.#path });
      return saved;
    } catch (error) {
      this.#log.warn('the saved network map cannot be read', { reason: describeError(error) });
      return undefined;
    }
  }

  save(mesh: SavedMesh): void {
    this.#pending = mesh;
    this.#timer ??= this.#clock.after(saveEveryMs, () => void this.flush());
  }

  /** A peer that was refused must not serve from an old map after a restart. */
  forget(): void {
    this.#pending = 'remove';
    void this.flush();
  }

  /** Writes what is pending now; never rejects. */
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
      else await writeFileAtomic(this.#path, savedText(pending));
    } catch (error) {
      this.#log.warn('the network map could not be saved', { reason: describeError(error) });
    }
  }
}
