// The last good configuration on disk: a whole file, and beside it a journal of what has changed since. A change costs its own line, not
// the writing of ten thousand services; both are synced before they count, and whatever crash comes between them is read right.
import { randomUUID } from 'node:crypto';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import type { Clock, Timer } from '#lib/clock.ts';
import { describeError } from '#lib/errors.ts';
import { readFileIfThere, writeFileAtomic } from '#lib/files.ts';
import type { Logger } from '#lib/log.ts';
import { asId, type ServiceId } from '#model/ids.ts';
import type { ServiceMapping } from '#model/service.ts';
import { diskRetryMs, journalLines } from '../constants.ts';

/** Bumped where the form of what is written changes: another version's file is not read. */
const formatVersion = 5;
/** Services written into the whole file before others get their turn. */
const slice = 250;

export type KeptChange = { readonly set: ServiceMapping } | { readonly remove: ServiceId };

interface Whole {
  readonly formatVersion: number;
  /** Named by the journal that goes with it; a journal of another generation is not read. */
  readonly generation: string;
  readonly mappings: readonly ServiceMapping[];
}

export interface KeptMappingsDeps {
  readonly clock: Clock;
  readonly log: Logger;
}

export class KeptMappings {
  /** Why the file is older than what is in force; empty where it is not. */
  problem = '';
  readonly #file: string;
  readonly #journal: string;
  readonly #clock: Clock;
  readonly #log: Logger;
  /** What is to be written when all is: read while it changes, as what changes meanwhile stands in the journal too. */
  readonly #current: () => Iterable<ServiceMapping>;
  #waiting: string[] = [];
  /** Lines in the journal; Infinity asks for the whole file first. */
  #lines = Infinity;
  #size = 0;
  #writing: Promise<void> = Promise.resolve();
  #retry: Timer | undefined;
  #closed = false;

  constructor(stateDir: string, { clock, log }: KeptMappingsDeps, current: () => Iterable<ServiceMapping>) {
    this.#file = join(stateDir, 'mappings.json');
    this.#journal = join(stateDir, 'mappings.journal');
    this.#clock = clock;
    this.#log = log;
    this.#current = current;
  }

  /** What was kept, or undefined where nothing was. What cannot be read is told and not used; a torn end of the journal is left out. */
  async load(): Promise<readonly ServiceMapping[] | undefined> {
    const text = await readFileIfThere(this.#file);
    if (text === undefined) return undefined;
    const whole = parseJson(text);
    if (!isWhole(whole)) {
      this.#log.warn('the last good configuration cannot be read and is not used', { file: this.#file });
      return undefined;
    }
    const mappings = new Map(whole.mappings.map((mapping) => [mapping.id, mapping]));
    const lines = (await readFileIfThere(this.#journal))?.split('\n') ?? [];
    const head = parseJson(lines[0] ?? '') as Partial<Whole> | undefined;
    if (head?.generation !== whole.generation) return [...mappings.values()];
    for (const line of lines.slice(1)) {
      const change = parseJson(line) as KeptChange | undefined;
      if (change === undefined) break;
      if ('set' in change) mappings.set(change.set.id, change.set);
      else mappings.delete(asId<ServiceId>(change.remove));
    }
    return [...mappings.values()];
  }

  /** Resolves when this change and all before it are on disk, or could not be written: that is told, and tried again by itself. */
  record(change: KeptChange): Promise<void> {
    // One-time tokens are of no use later and stay out.
    this.#waiting.push(JSON.stringify('set' in change ? { set: { ...change.set, authToken: '' } } : change));
    return this.settled();
  }

  settled(): Promise<void> {
    this.#writing = this.#writing
      .then(() => this.#flush())
      .then(
        () => this.#wellAgain(),
        (error: unknown) => this.#failed(describeError(error)),
      );
    return this.#writing;
  }

  /** Tries once more what the disk has not taken, and nothing after that. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#retry?.cancel();
    await (this.problem === '' ? this.#writing : this.settled());
  }

  #failed(reason: string): void {
    this.#lines = Infinity;
    if (this.problem === '') this.#log.error('the last good configuration cannot be written; it is tried again', { reason });
    this.problem = `the last good configuration cannot be written (${reason}): a restart while the control plane is away would begin with an older one`;
    if (this.#closed) return;
    this.#retry ??= this.#clock.after(diskRetryMs, () => {
      this.#retry = undefined;
      void this.settled();
    });
  }

  #wellAgain(): void {
    if (this.problem !== '') this.#log.info('the last good configuration is written again');
    this.problem = '';
  }

  /** Writes all that waits, at once: those that came together share one sync. */
  async #flush(): Promise<void> {
    if (this.#waiting.length === 0 && this.#lines !== Infinity) return;
    if (this.#lines + this.#waiting.length > Math.max(journalLines, this.#size)) return this.#writeWhole();
    const lines = this.#waiting;
    this.#waiting = [];
    const file = await open(this.#journal, 'a', 0o600);
    try {
      await file.writeFile(`${lines.join('\n')}\n`);
      await file.sync();
    } finally {
      await file.close();
    }
    this.#lines += lines.length;
  }

  async #writeWhole(): Promise<void> {
    // Everything that waits is in the current state; what comes from now on goes to the new journal, whether or not the file has it already.
    this.#waiting = [];
    const generation = randomUUID();
    const parts: string[] = [];
    for (const mapping of this.#current()) {
      parts.push(JSON.stringify({ ...mapping, authToken: '' }));
      if (parts.length % slice === 0) await setImmediate();
    }
    await writeFileAtomic(this.#file, `{"formatVersion":${formatVersion},"generation":"${generation}","mappings":[${parts.join(',\n')}]}\n`);
    await writeFileAtomic(this.#journal, `${JSON.stringify({ generation })}\n`);
    this.#lines = 0;
    this.#size = parts.length;
  }
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** The files are ours, 0600 and synced before they count; the version is what has to be checked. */
function isWhole(value: unknown): value is Whole {
  return (
    typeof value === 'object' &&
    value !== null &&
    'formatVersion' in value &&
    value.formatVersion === formatVersion &&
    'generation' in value &&
    'mappings' in value &&
    Array.isArray(value.mappings)
  );
}
