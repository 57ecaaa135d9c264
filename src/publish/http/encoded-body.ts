// A body compressed on its way to the client. What the upstream has sent goes out when it pauses, and a slow client holds the upstream back.
import { constants, createBrotliCompress, createGzip, createZstdCompress, type BrotliCompress, type Gzip, type ZstdCompress } from 'node:zlib';
import type { Fields } from '#wire/http1-fields.ts';
import { COMPRESSIONS } from '../constants.ts';
import type { Coding } from './content-coding.ts';
import type { AnswerSource, Exchange } from './exchange.ts';

/** The compressors in work; each holds memory of its own. */
export class Encoders {
  #open = 0;

  get busy(): boolean {
    return this.#open >= COMPRESSIONS;
  }

  get open(): number {
    return this.#open;
  }

  /** `drained` is called when the body takes more after `write` said false. */
  start(exchange: Exchange, coding: Coding, drained: () => void): EncodedBody {
    this.#open++;
    return new EncodedBody(exchange, createEncoder(coding), flushKinds[coding], drained, () => this.#open--);
  }
}

type Encoder = Gzip | BrotliCompress | ZstdCompress;

const flushKinds: Readonly<Record<Coding, number>> = {
  gzip: constants.Z_SYNC_FLUSH,
  br: constants.BROTLI_OPERATION_FLUSH,
  zstd: constants.ZSTD_e_flush,
};

/** Levels that cost about as much as the encryption of what they save; windows that keep a compressor below a megabyte. */
function createEncoder(coding: Coding): Encoder {
  switch (coding) {
    case 'gzip':
      return createGzip({ level: 5 });
    case 'br':
      return createBrotliCompress({ params: { [constants.BROTLI_PARAM_QUALITY]: 4, [constants.BROTLI_PARAM_LGWIN]: 18 } });
    case 'zstd':
      return createZstdCompress({ params: { [constants.ZSTD_c_compressionLevel]: 3, [constants.ZSTD_c_windowLog]: 18 } });
  }
}

export class EncodedBody implements AnswerSource {
  readonly #exchange: Exchange;
  readonly #encoder: Encoder;
  readonly #flushKind: number;
  readonly #closed: () => void;
  /** Writes that the compressor has not worked through. */
  #pending = 0;
  /** Whether something is in the compressor that has not been flushed. */
  #held = false;
  #flushing = false;
  #over = false;

  constructor(exchange: Exchange, encoder: Encoder, flushKind: number, drained: () => void, closed: () => void) {
    this.#exchange = exchange;
    this.#encoder = encoder;
    this.#flushKind = flushKind;
    this.#closed = closed;
    encoder.on('data', (chunk: Buffer) => {
      if (!this.#over && !exchange.write(chunk)) encoder.pause();
    });
    encoder.on('drain', drained);
    encoder.on('error', () => {
      if (this.#over) return;
      this.destroy();
      exchange.abort();
    });
  }

  write(payload: Buffer, lent = false): boolean {
    if (this.#over) return true;
    this.#pending++;
    this.#held = true;
    return this.#encoder.write(lent ? Buffer.from(payload) : payload, () => {
      this.#pending--;
      if (this.#flushing) this.flush();
    });
  }

  /** Waits for what is being worked on: a body that comes without a pause is not cut into pieces. */
  flush(): void {
    if (this.#over) return;
    this.#flushing = this.#pending > 0;
    if (this.#flushing) return;
    // A head without a body goes out by itself.
    if (!this.#held) return this.#exchange.flush();
    this.#held = false;
    this.#encoder.flush(this.#flushKind);
  }

  /** The upstream is done; from now on the client's side talks to the body alone. */
  end(trailers: Fields | undefined): void {
    if (this.#over) return;
    this.#flushing = false;
    this.#exchange.source = this;
    this.#encoder.once('end', () => {
      if (this.#over) return;
      this.destroy();
      this.#exchange.source = undefined;
      this.#exchange.end(trailers);
    });
    this.#encoder.end();
  }

  clientDrained(): void {
    if (!this.#over) this.#encoder.resume();
  }

  clientGone(): void {
    this.destroy();
  }

  destroy(): void {
    if (this.#over) return;
    this.#over = true;
    this.#encoder.destroy();
    this.#closed();
  }
}
