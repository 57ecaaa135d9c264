// Datagrams to one peer that leave in the same turn of the loop, put back to back so that they are sent as one run: acknowledgements of many
// connections, datagrams of a flood. Only equal sizes make a run, but for a shorter last one, and their order is kept.
import { SEND_BATCH_BYTES, SEND_BATCH_DATAGRAMS } from './constants.ts';

export class SendBatch {
  readonly #send: (peer: string, run: Uint8Array, size: number) => void;
  readonly #bytes = new Uint8Array(SEND_BATCH_BYTES);
  #peer: string | undefined;
  #size = 0;
  #length = 0;

  constructor(send: (peer: string, run: Uint8Array, size: number) => void) {
    this.#send = send;
  }

  /** Takes a datagram, which is copied; it leaves at the next `flush`, or before. */
  add(peer: string, datagram: Uint8Array): void {
    const { length } = datagram;
    const full = this.#length + length > SEND_BATCH_BYTES || this.#length >= this.#size * SEND_BATCH_DATAGRAMS;
    if (this.#peer !== undefined && (peer !== this.#peer || length > this.#size || full)) this.flush();
    // Nothing to put it beside: it would not fit.
    if (length > SEND_BATCH_BYTES) return this.#send(peer, datagram, length);
    if (this.#peer === undefined) {
      this.#peer = peer;
      this.#size = length;
    }
    this.#bytes.set(datagram, this.#length);
    this.#length += length;
    // After a shorter one nothing can follow.
    if (length < this.#size) this.flush();
  }

  /** Sends what waits. */
  flush(): void {
    const peer = this.#peer;
    if (peer === undefined) return;
    const run = this.#bytes.subarray(0, this.#length);
    this.#peer = undefined;
    this.#length = 0;
    this.#send(peer, run, this.#size);
  }
}
