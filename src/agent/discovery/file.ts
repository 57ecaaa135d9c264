// Services from a file, looked at again and again: editors and orchestrators replace files in ways that notifications miss. A file that is
// wrong changes nothing.
import { readFile, stat } from 'node:fs/promises';
import { readFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import type { Clock, Timer } from '#lib/clock.ts';
import { describeError, errorCode } from '#lib/errors.ts';
import type { Closable } from '#lib/lifecycle.ts';
import type { Logger } from '#lib/log.ts';
import { discoveryFileBytes, discoveryPollMs } from '../constants.ts';
import { parseServicesFile } from './services-file.ts';
import type { FoundWish, Wanted } from './wanted.ts';

export interface DiscoveryStatus {
  readonly source: string;
  readonly services: number;
  /** Empty while all is well; else why nothing new is taken over. */
  readonly problem: string;
}

export interface Discovery extends Closable {
  status(): DiscoveryStatus;
}

export class FileDiscovery implements Discovery {
  readonly #path: string;
  readonly #wanted: Pick<Wanted, 'apply' | 'size'>;
  readonly #clock: Clock;
  readonly #log: Logger;
  #seen = '';
  #problem = '';
  #timer: Timer | undefined;
  #looking: Promise<void> = Promise.resolve();
  #closed = false;

  constructor(path: string, wanted: Pick<Wanted, 'apply' | 'size'>, deps: { readonly clock: Clock; readonly log: Logger }) {
    this.#path = path;
    this.#wanted = wanted;
    this.#clock = deps.clock;
    this.#log = deps.log;
    this.#next(0);
  }

  status(): DiscoveryStatus {
    return { source: this.#path, services: this.#wanted.size, problem: this.#problem };
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#timer?.cancel();
    await this.#looking;
  }

  #next(delayMs: number): void {
    this.#timer = this.#clock.after(delayMs, () => {
      this.#looking = this.#look()
        .catch((error: unknown) => this.#wrong([errorCode(error) === 'ENOENT' ? 'there is no such file' : describeError(error)]))
        .then(() => {
          if (!this.#closed) this.#next(discoveryPollMs);
        });
    });
  }

  async #look(): Promise<void> {
    const { mtimeMs, size, ino } = await stat(this.#path);
    const seen = `${mtimeMs} ${size} ${ino}`;
    if (seen === this.#seen) return;
    if (size > discoveryFileBytes) return this.#wrong([`it is larger than ${discoveryFileBytes} bytes`]);
    const text = await readFile(this.#path, 'utf8');
    const parsed = parseServicesFile(text, (secret) => this.#secretAt(secret));
    if (!parsed.ok) return this.#wrong(parsed.problems);
    this.#seen = seen;
    this.#problem = '';
    await this.#takeOver(parsed.wishes);
  }

  async #takeOver(wishes: ReadonlyMap<string, FoundWish>): Promise<void> {
    if (this.#closed) return;
    await this.#wanted.apply(wishes);
    this.#log.info('services of the file', { file: this.#path, services: wishes.size });
  }

  /** Paths in the file are below its folder. */
  #secretAt(path: string): string | undefined {
    try {
      const [line = ''] = readFileSync(resolve(dirname(this.#path), path), 'utf8').split(/\r?\n/, 1);
      return line === '' || line.length > 1024 ? undefined : line;
    } catch {
      return undefined;
    }
  }

  /** It is looked at again even where it stays the same: what it names may have come. */
  #wrong(problems: readonly string[]): void {
    const problem = problems.slice(0, 10).join('; ');
    if (problem !== this.#problem) this.#log.error('the file of services is not taken over; what was before goes on', { file: this.#path, problem });
    this.#problem = problem;
    this.#seen = '';
  }
}
