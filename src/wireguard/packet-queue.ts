// Packets that wait for a session: copies, bounded for each peer and for the device as a whole.
import type { DeviceLimits } from './constants.ts';

/** What all queues of a device hold together. */
export interface QueueBudget {
  bytes: number;
}

export class PacketQueue {
  readonly #limits: DeviceLimits;
  readonly #budget: QueueBudget;
  #packets: Uint8Array[] = [];
  #bytes = 0;

  constructor(limits: DeviceLimits, budget: QueueBudget) {
    this.#limits = limits;
    this.#budget = budget;
  }

  get length(): number {
    return this.#packets.length;
  }

  /** Keeps a copy; the oldest packets give way, and the new one is dropped where that is not enough. */
  push(packet: Uint8Array): void {
    if (packet.length > this.#limits.queuedBytes) return;
    while (this.#packets.length >= this.#limits.queuedPackets || this.#bytes + packet.length > this.#limits.queuedBytes) this.shift();
    while (this.#packets.length > 0 && this.#budget.bytes + packet.length > this.#limits.queuedBytesOfAll) this.shift();
    if (this.#budget.bytes + packet.length > this.#limits.queuedBytesOfAll) return;
    this.#packets.push(packet.slice());
    this.#count(packet.length);
  }

  shift(): Uint8Array | undefined {
    const packet = this.#packets.shift();
    if (packet !== undefined) this.#count(-packet.length);
    return packet;
  }

  clear(): void {
    this.#count(-this.#bytes);
    this.#packets = [];
  }

  #count(bytes: number): void {
    this.#bytes += bytes;
    this.#budget.bytes += bytes;
  }
}
