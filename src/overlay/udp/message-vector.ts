// The kernel's structures of `recvmmsg` (msghdr, iovec, cmsghdr; 64-bit Linux, little-endian), laid out once in one piece of memory. Reading
// them back trusts no number: what the kernel wrote came with packets of strangers, and every length is checked against its place.
import { SOCKET_ADDRESS_BYTES } from './socket-address.ts';

const messageBytes = 64;
const vectorBytes = 16;
const nameBytes = 32;
/** Room for the one control message that is asked for, and for one more that an odd kernel may add. */
const controlBytes = 64;

const at = { nameLength: 8, vectorPointer: 16, vectorCount: 24, control: 32, controlLength: 40, flags: 48, length: 56 } as const;
const controlHeader = 16;
const truncated = 0x20;
const controlTruncated = 0x08;
const levelUdp = 17;
export const UDP_SEGMENT = 103;
export const UDP_GRO = 104;

/** Bytes of the memory that a vector of so many messages needs. */
export function vectorMemoryBytes(messages: number): number {
  return messages * (messageBytes + vectorBytes + nameBytes + controlBytes);
}

/** Messages to receive into, or to send from; `memory` is where the kernel reads and writes them. */
export class MessageVector {
  readonly memory: Uint8Array;
  readonly count: number;
  readonly slotBytes: number;
  readonly #view: DataView;
  readonly #vectors: number;
  readonly #names: number;
  readonly #controls: number;

  /** `memoryAddress` is the address of `memory`, `slotsAddress` that of `count` slots of `slotBytes` for the payloads. */
  constructor(memory: Uint8Array, count: number, memoryAddress: number, slotsAddress: number, slotBytes: number) {
    this.memory = memory;
    this.count = count;
    this.slotBytes = slotBytes;
    this.#view = new DataView(memory.buffer, memory.byteOffset, vectorMemoryBytes(count));
    this.#vectors = count * messageBytes;
    this.#names = this.#vectors + count * vectorBytes;
    this.#controls = this.#names + count * nameBytes;
    for (let i = 0; i < count; i++) {
      const message = i * messageBytes;
      this.#pointer(message, memoryAddress + this.nameAt(i));
      this.#pointer(message + at.vectorPointer, memoryAddress + this.#vectors + i * vectorBytes);
      this.#pointer(message + at.vectorCount, 1);
      this.#pointer(message + at.control, memoryAddress + this.controlAt(i));
      this.reset(i);
    }
    this.setSlots(slotsAddress);
  }

  /** The payloads are elsewhere from now on. */
  setSlots(address: number): void {
    for (let i = 0; i < this.count; i++) this.#payload(i, address + i * this.slotBytes, this.slotBytes);
  }

  /** Where in the memory the address of message `i` stands. */
  nameAt(i: number): number {
    return this.#names + i * nameBytes;
  }

  controlAt(i: number): number {
    return this.#controls + i * controlBytes;
  }

  /** Makes message `i` ready to be received into; needed after each use. */
  reset(i: number): void {
    const message = i * messageBytes;
    this.#view.setUint32(message + at.nameLength, SOCKET_ADDRESS_BYTES, true);
    this.#view.setUint32(message + at.controlLength, controlBytes, true);
    this.#view.setUint32(message + at.flags, 0, true);
    this.#view.setUint32(message + at.length, 0, true);
  }

  /** Bytes of the sender's address, never more than there is room for. */
  nameLength(i: number): number {
    return Math.min(this.#view.getUint32(i * messageBytes + at.nameLength, true), SOCKET_ADDRESS_BYTES);
  }

  /** Payload bytes of a received message; -1 where it cannot be used: cut off, or with a length that no slot has. */
  payloadLength(i: number): number {
    const message = i * messageBytes;
    const length = this.#view.getUint32(message + at.length, true);
    const flags = this.#view.getUint32(message + at.flags, true);
    return length > this.slotBytes || (flags & (truncated | controlTruncated)) !== 0 ? -1 : length;
  }

  /** Bytes of each datagram of a received message of so many bytes: what the kernel joined, or the whole. At most `length`. */
  datagramSize(i: number, length: number): number {
    const start = this.controlAt(i);
    const end = start + Math.min(this.#view.getUint32(i * messageBytes + at.controlLength, true), controlBytes);
    for (let header = start; header + controlHeader <= end;) {
      const bytes = this.#view.getUint32(header, true);
      if (bytes < controlHeader || this.#view.getUint32(header + 4, true) !== 0 || header + bytes > end) break;
      const level = this.#view.getInt32(header + 8, true);
      const type = this.#view.getInt32(header + 12, true);
      if (level === levelUdp && type === UDP_GRO && bytes >= controlHeader + 4) {
        const size = this.#view.getInt32(header + controlHeader, true);
        return size > 0 && size < length ? size : length;
      }
      // Each begins at a multiple of 8.
      header += (bytes + 7) & ~7;
    }
    return length;
  }

  /** Makes message 0 one to send: the payload's address and length, the receiver, and the size of each datagram or 0 for one. */
  prepareSend(address: number, length: number, name: Uint8Array, size: number): void {
    this.#payload(0, address, length);
    this.memory.set(name.subarray(0, SOCKET_ADDRESS_BYTES), this.#names);
    this.#view.setUint32(at.nameLength, Math.min(name.length, SOCKET_ADDRESS_BYTES), true);
    if (size === 0) return this.#view.setUint32(at.controlLength, 0, true);
    const control = this.#controls;
    this.#pointer(control, controlHeader + 2);
    this.#view.setInt32(control + 8, levelUdp, true);
    this.#view.setInt32(control + 12, UDP_SEGMENT, true);
    this.#view.setUint16(control + controlHeader, size, true);
    this.#view.setUint32(at.controlLength, controlHeader + 8, true);
  }

  #payload(i: number, address: number, length: number): void {
    const vector = this.#vectors + i * vectorBytes;
    this.#pointer(vector, address);
    this.#pointer(vector + 8, length);
  }

  #pointer(offset: number, value: number): void {
    this.#view.setUint32(offset, value >>> 0, true);
    this.#view.setUint32(offset + 4, Math.floor(value / 0x1_0000_0000), true);
  }
}
