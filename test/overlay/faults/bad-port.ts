// A UDP port in front of a bad network: loses, delays, repeats and reorders what is sent, from a seeded sequence.
import type { TransportAddress } from '../../../src/overlay/path/path.ts';
import { openDatagramPort } from '../../../src/overlay/udp/open.ts';
import type { DatagramPort, OpenDatagramPort } from '../../../src/overlay/udp/port.ts';
import { seeded } from '../../support/seeded.ts';

export interface Weather {
  /** Share of datagrams that are lost. */
  readonly loss: number;
  /** One-way, in milliseconds. */
  readonly delayMs: number;
  /** Share that arrives twice. */
  readonly duplicate: number;
  /** Share that is held back by `heldMs` more, and so comes after later ones. */
  readonly reorder: number;
  readonly heldMs: number;
}

export const fair: Weather = { loss: 0, delayMs: 0, duplicate: 0, reorder: 0, heldMs: 0 };

export class BadPort {
  weather: Weather = fair;
  lost = 0;
  repeated = 0;
  held = 0;
  readonly #random: () => number;
  #inner: DatagramPort | undefined;

  constructor(seed: number) {
    this.#random = seeded(seed);
  }

  readonly open: OpenDatagramPort = async (port, events, log) => {
    const inner = await openDatagramPort(port, events, log);
    this.#inner = inner;
    return {
      port: inner.port,
      ipv6: inner.ipv6,
      accelerator: inner.accelerator,
      send: (datagram, to) => this.#send(datagram, to),
      sendRun: (run, size, to) => {
        if (this.weather === fair) return inner.sendRun(run, size, to);
        for (let at = 0; at < run.length; at += size) this.#send(run.subarray(at, at + size), to);
      },
      close: () => {
        this.#inner = undefined;
        return inner.close();
      },
    };
  };

  #send(datagram: Uint8Array, to: TransportAddress): void {
    const { loss, delayMs, duplicate, reorder, heldMs } = this.weather;
    if (this.#random() < loss) {
      this.lost++;
      return;
    }
    const copies = this.#random() < duplicate ? 2 : 1;
    this.repeated += copies - 1;
    for (let copy = 0; copy < copies; copy++) {
      const held = this.#random() < reorder;
      if (held) this.held++;
      const delay = delayMs + (held ? heldMs : 0);
      if (delay === 0) {
        this.#inner?.send(datagram, to);
        continue;
      }
      const kept = Uint8Array.from(datagram);
      setTimeout(() => this.#inner?.send(kept, to), delay).unref();
    }
  }
}
