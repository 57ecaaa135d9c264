// Access log as lines, to standard output or a file.
import { createWriteStream } from 'node:fs';
import { dirname } from 'node:path';
import { mkdir, open } from 'node:fs/promises';
import type { Writable } from 'node:stream';
import type { Clock } from '#lib/clock.ts';
import { describeError } from '#lib/errors.ts';
import type { Logger } from '#lib/log.ts';
import type { AccessLogEntry } from '#model/access-log.ts';
import { LOG_QUEUE, LOG_REOPEN_MS } from '../constants.ts';
import { publishError } from '../errors.ts';
import type { AccessLogSink } from './access-log.ts';
import { formatLine, type LineFormat } from './line-format.ts';

/** Bytes that may wait for a slow reader: about `LOG_QUEUE` records. */
const waitingBytes = LOG_QUEUE * 512;

/** Writes lines to a stream that stays open; while more than `waitingBytes` wait there, records are dropped. */
export function createLineSink(stream: Writable, format: LineFormat): AccessLogSink {
  return new LineSink(format, stream, undefined);
}

/**
 * Appends to a file, mode 0600. Rejects with PUBLISH_LOG_FILE where it cannot be opened. While it cannot be written later on, as on a full
 * disk, records are dropped and the problem says why; it is tried again now and then.
 */
export async function openFileSink(path: string, format: LineFormat, deps: { readonly log: Logger; readonly clock: Clock }): Promise<AccessLogSink> {
  try {
    await mkdir(dirname(path), { recursive: true, mode: 0o700 });
    await (await open(path, 'a', 0o600)).close();
  } catch (error) {
    throw publishError('PUBLISH_LOG_FILE', path, error);
  }
  const reopen = (): Writable => createWriteStream(path, { flags: 'a', mode: 0o600 });
  return new LineSink(format, reopen(), { ...deps, path, reopen });
}

interface File {
  readonly path: string;
  readonly reopen: () => Writable;
  readonly log: Logger;
  readonly clock: Clock;
}

class LineSink implements AccessLogSink {
  problem = '';
  dropped = 0;
  readonly #format: LineFormat;
  /** Undefined for a stream that is somebody else's. */
  readonly #file: File | undefined;
  #stream: Writable;
  #waiting = 0;
  #failedAt = 0;
  #closing: Promise<void> | undefined;

  constructor(format: LineFormat, stream: Writable, file: File | undefined) {
    this.#format = format;
    this.#file = file;
    this.#stream = stream;
    this.#watch();
  }

  get waiting(): number {
    return this.#waiting;
  }

  push(entry: AccessLogEntry): void {
    if (this.#closing === undefined && this.#stream.destroyed) this.#reopen();
    if (this.#closing !== undefined || !this.#stream.writable || this.#stream.writableLength > waitingBytes) {
      this.dropped++;
      return;
    }
    this.#waiting++;
    this.#stream.write(formatLine(this.#format, entry), this.#written);
  }

  readonly #written = (error: Error | null | undefined): void => {
    this.#waiting--;
    if (error !== null && error !== undefined) this.dropped++;
    else if (this.problem !== '') this.problem = '';
  };

  close(): Promise<void> {
    this.#closing ??= new Promise((resolve) => {
      if (this.#file === undefined || this.#stream.destroyed) return resolve();
      this.#stream.once('close', () => resolve());
      this.#stream.end();
    });
    return this.#closing;
  }

  #watch(): void {
    const file = this.#file;
    if (file === undefined) return;
    this.#stream.on('error', (error) => {
      const reason = describeError(error);
      if (this.problem === '') file.log.error('access log not written', { path: file.path, error: reason });
      this.problem = `the access log ${file.path} cannot be written: ${reason}`;
      this.#failedAt = file.clock.now();
    });
  }

  #reopen(): void {
    const file = this.#file;
    if (file === undefined || file.clock.now() - this.#failedAt < LOG_REOPEN_MS) return;
    this.#failedAt = file.clock.now();
    this.#stream = file.reopen();
    this.#watch();
  }
}
