// Access log records on disk while the control plane is away: files of JSON lines, oldest first, up to a bound in bytes. What is here survives an
// outage and a kill of the process; what the system had not written yet when the power failed does not. Holds addresses and user ids: owner only.
import { appendFile, mkdir, readdir, readFile, rm, stat, truncate } from 'node:fs/promises';
import { join } from 'node:path';
import { describeError, errorCode } from '#lib/errors.ts';
import type { Logger } from '#lib/log.ts';
import { isPlainObject } from '#lib/schema.ts';
import type { AccessLogEntry } from '#model/access-log.ts';
import { SPOOL_SEGMENT_BYTES } from '../constants.ts';
import { publishError } from '../errors.ts';

/** One file. Only the newest is appended to, and only until it is read. */
interface Segment {
  readonly path: string;
  bytes: number;
  records: number;
}

const namePattern = /^[0-9]{12}\.jsonl$/;

/** One caller at a time. */
export class Spool {
  /** Records that went lost here: the oldest beyond the bound, and what cannot be read. */
  dropped = 0;
  readonly #folder: string;
  readonly #maxBytes: number;
  readonly #log: Logger;
  #segments: Segment[] = [];
  #open: Segment | undefined;
  #next = 1;
  /** The oldest segment's records that have not been taken yet, while it is read. */
  #reading: { readonly segment: Segment; entries: readonly AccessLogEntry[] } | undefined;

  private constructor(folder: string, maxBytes: number, log: Logger) {
    this.#folder = folder;
    this.#maxBytes = maxBytes;
    this.#log = log;
  }

  /** Finds what the last run left. Rejects with PUBLISH_LOG_SPOOL where the folder (made with mode 0700) cannot be used. */
  static async open(folder: string, maxBytes: number, log: Logger): Promise<Spool> {
    const spool = new Spool(folder, maxBytes, log);
    try {
      await mkdir(folder, { recursive: true, mode: 0o700 });
      const names = (await readdir(folder)).filter((name) => namePattern.test(name)).toSorted();
      for (const name of names) {
        const bytes = await readFile(join(folder, name));
        spool.#segments.push({ path: join(folder, name), bytes: bytes.length, records: linesOf(bytes) });
        spool.#next = Number(name.slice(0, 12)) + 1;
      }
    } catch (error) {
      throw publishError('PUBLISH_LOG_SPOOL', folder, error);
    }
    await spool.#makeRoom(0);
    return spool;
  }

  /** Records that wait here. */
  get records(): number {
    const ofReading = this.#reading;
    const taken = ofReading === undefined ? 0 : ofReading.segment.records - ofReading.entries.length;
    return this.#segments.reduce((sum, { records }) => sum + records, 0) - taken;
  }

  /** Appends; the oldest go where there is no room. Rejects where the disk takes nothing: then nothing of it counts as kept. */
  async append(entries: readonly AccessLogEntry[]): Promise<void> {
    const text = Buffer.from(entries.map((entry) => `${JSON.stringify(entry)}\n`).join(''));
    await this.#makeRoom(text.length);
    if (this.#open === undefined || this.#open.bytes + text.length > SPOOL_SEGMENT_BYTES) {
      const path = join(this.#folder, `${String(this.#next++).padStart(12, '0')}.jsonl`);
      this.#open = { path, bytes: 0, records: 0 };
      this.#segments.push(this.#open);
    }
    const segment = this.#open;
    try {
      await appendFile(segment.path, text, { mode: 0o600 });
    } catch (error) {
      // A part may have been written, with a last line that is torn. It is cut off, as all of it comes again; and the next goes into another file.
      this.#open = undefined;
      await truncate(segment.path, segment.bytes).catch(() => undefined);
      const { size } = await stat(segment.path).catch(() => ({ size: 0 }));
      if (size === 0) await this.#remove(segment).catch(() => undefined);
      segment.bytes = size;
      throw error;
    }
    segment.bytes += text.length;
    segment.records += entries.length;
  }

  /** The oldest records, at most so many; they stay until `taken` is called. Empty where there are none. */
  async peek(count: number): Promise<readonly AccessLogEntry[]> {
    for (;;) {
      if (this.#reading !== undefined && this.#reading.entries.length > 0) return this.#reading.entries.slice(0, count);
      const segment = this.#segments[0];
      if (segment === undefined) return [];
      if (segment === this.#open) this.#open = undefined;
      const entries = await this.#read(segment);
      this.dropped += Math.max(0, segment.records - entries.length);
      segment.records = entries.length;
      if (entries.length === 0) await this.#remove(segment);
      else this.#reading = { segment, entries };
    }
  }

  /** So many of the oldest were delivered. */
  async taken(count: number): Promise<void> {
    const reading = this.#reading;
    if (reading === undefined) return;
    reading.entries = reading.entries.slice(count);
    if (reading.entries.length === 0) await this.#remove(reading.segment);
  }

  async #makeRoom(bytes: number): Promise<void> {
    while (this.#segments.length > 0 && this.#segments.reduce((sum, segment) => sum + segment.bytes, bytes) > this.#maxBytes) {
      const before = this.records;
      const [oldest] = this.#segments;
      if (oldest !== undefined) await this.#remove(oldest);
      this.dropped += before - this.records;
    }
  }

  /** The records of a file; lines that are none are left out, such as one that a crash tore. */
  async #read(segment: Segment): Promise<readonly AccessLogEntry[]> {
    try {
      const text = await readFile(segment.path, 'utf8');
      return text.split('\n').flatMap((line) => entryFrom(line) ?? []);
    } catch (error) {
      if (errorCode(error) !== 'ENOENT')
        this.#log.error('access log records on disk cannot be read', { path: segment.path, error: describeError(error) });
      return [];
    }
  }

  async #remove(segment: Segment): Promise<void> {
    this.#segments = this.#segments.filter((other) => other !== segment);
    if (this.#open === segment) this.#open = undefined;
    if (this.#reading?.segment === segment) this.#reading = undefined;
    await rm(segment.path, { force: true });
  }
}

function linesOf(bytes: Buffer): number {
  let lines = 0;
  for (let at = bytes.indexOf(0x0a); at >= 0; at = bytes.indexOf(0x0a, at + 1)) lines++;
  return lines;
}

const kinds: Readonly<Record<string, 'string' | 'number' | 'boolean'>> = {
  id: 'string',
  timestamp: 'number',
  protocol: 'string',
  method: 'string',
  host: 'string',
  path: 'string',
  durationMs: 'number',
  status: 'number',
  sourceIp: 'string',
  userId: 'string',
  authMethod: 'string',
  authSuccess: 'boolean',
  bytesUp: 'number',
  bytesDown: 'number',
  reason: 'string',
};

/** A line as a record. The file is our own, so it is checked for being whole, not for malice. */
function entryFrom(line: string): AccessLogEntry | undefined {
  if (line === '') return undefined;
  try {
    const value: unknown = JSON.parse(line);
    const whole = isPlainObject(value) && Object.entries(kinds).every(([name, kind]) => typeof value[name] === kind);
    return whole ? (value as unknown as AccessLogEntry) : undefined;
  } catch {
    return undefined;
  }
}
