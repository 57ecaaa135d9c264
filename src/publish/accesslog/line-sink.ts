// Access log as JSON lines, to standard output or a file: `YYYY-MM-DDThh:mm:ss.sssZ` first, then the entry's own fields.
import { createWriteStream } from 'node:fs';
import { dirname } from 'node:path';
import { mkdir, open } from 'node:fs/promises';
import type { Writable } from 'node:stream';
import { describeError } from '#lib/errors.ts';
import type { Logger } from '#lib/log.ts';
import type { AccessLogEntry } from '#model/access-log.ts';
import { LOG_QUEUE } from '../constants.ts';
import { publishError } from '../errors.ts';
import type { AccessLogSink } from './access-log.ts';

/** Bytes that may wait for a slow reader: about `LOG_QUEUE` records. */
const waitingBytes = LOG_QUEUE * 512;

/** Writes lines to a stream; while more than `waitingBytes` wait there, records are dropped. The stream is ended by `close` unless it is kept. */
export function createLineSink(stream: Writable, keepOpen: boolean): AccessLogSink {
  return new LineSink(stream, keepOpen);
}

/** Appends to a file, mode 0600. Rejects with PUBLISH_LOG_FILE where it cannot be opened; a later failure is told and records are dropped. */
export async function openFileSink(path: string, log: Logger): Promise<AccessLogSink> {
  try {
    await mkdir(dirname(path), { recursive: true, mode: 0o700 });
    await (await open(path, 'a', 0o600)).close();
  } catch (error) {
    throw publishError('PUBLISH_LOG_FILE', path, error);
  }
  const stream = createWriteStream(path, { flags: 'a', mode: 0o600 });
  stream.on('error', (error) => log.error('access log not written', { path, error: describeError(error) }));
  return new LineSink(stream, false);
}

class LineSink implements AccessLogSink {
  dropped = 0;
  readonly #stream: Writable;
  readonly #keepOpen: boolean;
  #waiting = 0;
  #closing: Promise<void> | undefined;

  constructor(stream: Writable, keepOpen: boolean) {
    this.#stream = stream;
    this.#keepOpen = keepOpen;
  }

  get waiting(): number {
    return this.#waiting;
  }

  push(entry: AccessLogEntry): void {
    if (this.#closing !== undefined || !this.#stream.writable || this.#stream.writableLength > waitingBytes) {
      this.dropped++;
      return;
    }
    const { timestamp, ...rest } = entry;
    this.#waiting++;
    this.#stream.write(`${JSON.stringify({ time: new Date(timestamp).toISOString(), ...rest })}\n`, this.#written);
  }

  readonly #written = (): void => {
    this.#waiting--;
  };

  close(): Promise<void> {
    this.#closing ??= new Promise((resolve) => {
      if (this.#keepOpen || this.#stream.destroyed) return resolve();
      this.#stream.once('close', () => resolve());
      this.#stream.end();
    });
    return this.#closing;
  }
}
