// The UDP port on a socket of our own: runs go out and come in whole where the kernel can split and join them, many messages in one call
// otherwise. What differs from Node's socket is only the price.
import type { Logger } from '#lib/log.ts';
import { describeError } from '#lib/errors.ts';
import type { TransportAddress } from '../path/path.ts';
import {
  MAX_QUEUED_SEND_BYTES,
  MAX_RUN_BYTES,
  MAX_RUN_DATAGRAMS,
  RECEIVE_BYTES_PER_TURN,
  RECEIVE_CALLS_PER_TURN,
  RECEIVE_LONG_BYTES,
  RECEIVE_LONG_SLOTS,
  RECEIVE_SLOTS,
} from './constants.ts';
import { NativeSocket, type RawUdpSocket, systemErrors } from './ffi-udp.ts';
import type { DatagramEvents, DatagramPort, UdpAccelerator } from './port.ts';
import { AddressTable, encodeSocketAddress } from './socket-address.ts';

/** What is kept for a receiver: its address as the kernel wants it, and what it was found not to take. */
interface Receiver {
  readonly name: Uint8Array | undefined;
  /** Runs of datagrams that are as large as this, or larger, were refused: they are sent one by one. */
  refusedSize: number;
}

interface Waiting {
  readonly run: Uint8Array;
  readonly size: number;
  readonly to: Receiver;
}

export class NativePort implements DatagramPort {
  readonly port: number;
  readonly ipv6: boolean;
  readonly accelerator: UdpAccelerator;
  readonly #socket: RawUdpSocket;
  readonly #events: DatagramEvents;
  readonly #log: Logger;
  readonly #senders = new AddressTable();
  readonly #receivers = new WeakMap<TransportAddress, Receiver>();
  #lastTo: TransportAddress | undefined;
  #last: Receiver = { name: undefined, refusedSize: 0 };
  #waiting: Waiting[] = [];
  #waitingBytes = 0;
  #long = false;
  #closed = false;

  /** Opens the port on the host's address (all of them: `::` or `0.0.0.0`), with memory of `alloc` to receive into. Throws OVERLAY_NATIVE. */
  static open(host: string, port: number, events: DatagramEvents, log: Logger, alloc?: (bytes: number) => Uint8Array): NativePort {
    return new NativePort((ready) => new NativeSocket(host, port, ready, alloc), host.includes(':'), events, log);
  }

  /** On a socket that is told what to call when there is something to do. */
  constructor(open: (ready: () => void) => RawUdpSocket, ipv6: boolean, events: DatagramEvents, log: Logger) {
    this.ipv6 = ipv6;
    this.#events = events;
    this.#log = log;
    this.#socket = open(() => this.#work());
    this.port = this.#socket.port;
    const { segments, joins } = this.#socket;
    this.accelerator = segments && joins ? { kind: 'native-offload' } : { kind: 'native', reason: 'the kernel has no segmentation offload for UDP' };
  }

  send(datagram: Uint8Array, to: TransportAddress): void {
    this.sendRun(datagram, Math.max(1, datagram.length), to);
  }

  sendRun(run: Uint8Array, size: number, to: TransportAddress): void {
    if (this.#closed) return;
    const receiver = this.#receiverOf(to);
    if (this.#waiting.length > 0) return this.#wait(run, size, receiver);
    const done = this.#sendFrom(run, 0, size, receiver);
    if (done < run.length) this.#wait(run.subarray(done), size, receiver);
  }

  close(): Promise<void> {
    this.#closed = true;
    this.#waiting = [];
    return this.#socket.close();
  }

  /** Sends from there on; how far it came. Short of the end only where the socket's buffer is full. */
  #sendFrom(run: Uint8Array, from: number, size: number, to: Receiver): number {
    const { name } = to;
    if (name === undefined) return run.length;
    let at = from;
    do {
      const whole = this.#socket.segments && size < to.refusedSize;
      const count = whole ? Math.min(MAX_RUN_DATAGRAMS, Math.floor(MAX_RUN_BYTES / size)) : 1;
      const length = Math.min(run.length - at, Math.max(1, count) * size);
      const segmented = length > size;
      const error = -this.#socket.send(run, at, length, segmented ? size : 0, name);
      if (error === systemErrors.EAGAIN) return at;
      // The way there has no offload for this size, which the kernel finds out only when it is asked to.
      if (segmented && (error === systemErrors.EIO || error === systemErrors.EINVAL || error === systemErrors.EMSGSIZE)) to.refusedSize = size;
      // Any other error is as a loss on the way: what depends on the path notices.
      else at += length;
    } while (at < run.length);
    return at;
  }

  #wait(run: Uint8Array, size: number, to: Receiver): void {
    if (this.#waitingBytes + run.length > MAX_QUEUED_SEND_BYTES) return;
    this.#waiting.push({ run: new Uint8Array(run), size, to });
    this.#waitingBytes += run.length;
    if (this.#waiting.length === 1) this.#socket.awaitRoom(true);
  }

  #sendWaiting(): void {
    for (let next = this.#waiting[0]; next !== undefined; next = this.#waiting[0]) {
      const done = this.#sendFrom(next.run, 0, next.size, next.to);
      this.#waitingBytes -= done;
      if (done < next.run.length) {
        this.#waiting[0] = { ...next, run: next.run.subarray(done) };
        return;
      }
      this.#waiting.shift();
    }
    this.#socket.awaitRoom(false);
  }

  #receiverOf(to: TransportAddress): Receiver {
    if (to === this.#lastTo) return this.#last;
    let receiver = this.#receivers.get(to);
    if (receiver === undefined) {
      receiver = { name: encodeSocketAddress(to, this.ipv6), refusedSize: Infinity };
      this.#receivers.set(to, receiver);
    }
    this.#lastTo = to;
    this.#last = receiver;
    return receiver;
  }

  #work(): void {
    if (this.#waiting.length > 0) this.#sendWaiting();
    try {
      this.#receive();
    } finally {
      if (!this.#closed) this.#events.drained();
    }
  }

  #receive(): void {
    const { messages } = this.#socket;
    let bytes = 0;
    for (let call = 0; call < RECEIVE_CALLS_PER_TURN && bytes < RECEIVE_BYTES_PER_TURN && !this.#closed; call++) {
      const limit = this.#long ? RECEIVE_LONG_SLOTS : RECEIVE_SLOTS;
      const count = this.#socket.receive(limit);
      if (count < 0) {
        const error = -count;
        if (error !== systemErrors.EAGAIN && error !== systemErrors.EINTR)
          this.#log.warn('overlay: the UDP socket reports an error', { reason: describeError(error) });
        return;
      }
      const before = bytes;
      for (let i = 0; i < count; i++) {
        const length = messages.payloadLength(i);
        const from = this.#senders.find(messages.memory, messages.nameAt(i), messages.nameLength(i));
        const size = messages.datagramSize(i, Math.max(0, length));
        messages.reset(i);
        if (length < 0 || from === undefined || this.#closed) continue;
        bytes += length;
        this.#events.receive(this.#socket.payload(i, length), size, from.address, from.port);
      }
      this.#long = bytes - before > count * RECEIVE_LONG_BYTES;
      if (count < limit) return;
    }
  }
}
