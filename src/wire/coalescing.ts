// Joining TCP packets that follow each other into one super-packet: what the kernel does for its own stack (generic receive offload).
// The stack, or the TUN device, then handles one packet where forty came.
//
// Only what nobody could tell apart afterwards is joined: the same flow and header, consecutive payload, right checksums, all segments
// of one size but the last. Everything else goes through as it is, in order.
import { finishChecksum, foldSum, sumWords } from './checksum.ts';
import { IPV4_HEADER, PROTOCOL } from './ipv4.ts';
import { IPV6_HEADER } from './ipv6.ts';
import { tcpStart } from './segmentation.ts';
import { FLAG, readInt32, TCP_HEADER } from './tcp.ts';

/** The longest packet that an IPv4 header can name. */
const MAX_PACKET = 65_535;
/** It takes any bytes, and makes no object of them as a view would. */
const { copy } = Buffer.prototype;

/**
 * Takes a packet. `segmentSize` 0 is a packet as it came, nothing checked. More: a super-packet of segments of so many payload bytes,
 * whose checksums were right, or that were proven; its own IPv4 checksum is set, its TCP checksum is not. Valid only during the call.
 */
export type CoalescedReceiver = (packet: Uint8Array, segmentSize: number) => void;

export interface CoalescerOptions {
  /**
   * The packets came through a tunnel that has proven them whole, as the kernel's WireGuard holds too: their checksums are not computed
   * once more.
   */
  readonly proven?: boolean;
}

export class Coalescer {
  readonly #deliver: CoalescedReceiver;
  readonly #proven: boolean;
  readonly #buffer = Buffer.alloc(MAX_PACKET + 1);
  /** Bytes that wait; 0 for none. */
  #length = 0;
  #count = 0;
  #ipHeader = 0;
  #headers = 0;
  #segmentSize = 0;
  #nextSeq = 0;

  constructor(deliver: CoalescedReceiver, { proven = false }: CoalescerOptions = {}) {
    this.#deliver = deliver;
    this.#proven = proven;
  }

  /** Takes a packet, which may wait here until `flush`. */
  add(packet: Uint8Array): void {
    const ipHeader = tcpStart(packet);
    const headers = ipHeader === 0 ? 0 : joinableHeaders(packet, ipHeader);
    if (headers === 0) {
      this.flush();
      this.#deliver(packet, 0);
      return;
    }
    const pushed = ((packet[ipHeader + 13] as number) & FLAG.psh) !== 0;
    if (this.#length > 0) {
      if (this.#follows(packet, ipHeader, headers) && this.#verify(packet)) {
        this.#join(packet, headers, pushed);
        return;
      }
      this.flush();
    }
    // What was pushed ends a message: nothing is to be hoped for after it.
    if (pushed) this.#deliver(packet, 0);
    else this.#start(packet, ipHeader, headers);
  }

  /** Hands on what waits: at the end of what came together. */
  flush(): void {
    const length = this.#length;
    if (length === 0) return;
    this.#length = 0;
    if (this.#count === 1) {
      this.#deliver(this.#buffer.subarray(0, length), 0);
      return;
    }
    const buffer = this.#buffer;
    if (this.#ipHeader === IPV6_HEADER) {
      buffer.writeUInt16BE(length - IPV6_HEADER, 4);
    } else {
      buffer.writeUInt16BE(length, 2);
      buffer.writeUInt16BE(0, 10);
      buffer.writeUInt16BE(finishChecksum(sumWords(buffer, 0, this.#ipHeader, 0)), 10);
    }
    this.#deliver(buffer.subarray(0, length), this.#segmentSize);
  }

  #start(packet: Uint8Array, ipHeader: number, headers: number): void {
    this.#buffer.set(packet);
    this.#length = packet.length;
    this.#count = 1;
    this.#ipHeader = ipHeader;
    this.#headers = headers;
    this.#segmentSize = packet.length - headers;
    this.#nextSeq = (readInt32(packet, ipHeader + 4) + this.#segmentSize) | 0;
  }

  #join(packet: Uint8Array, headers: number, pushed: boolean): void {
    const payload = packet.length - headers;
    copy.call(packet, this.#buffer, this.#length, headers);
    this.#length += payload;
    this.#count++;
    this.#nextSeq = (this.#nextSeq + payload) | 0;
    if (pushed) this.#buffer[this.#ipHeader + 13] = FLAG.ack | FLAG.psh;
    if (pushed || payload < this.#segmentSize) this.flush();
  }

  /** Whether the packet is the next of what waits, alike in all that a join would lose. */
  #follows(packet: Uint8Array, ipHeader: number, headers: number): boolean {
    const head = this.#buffer;
    if (ipHeader !== this.#ipHeader || headers !== this.#headers || readInt32(packet, ipHeader + 4) !== this.#nextSeq) return false;
    const payload = packet.length - headers;
    if (payload > this.#segmentSize || this.#length + payload > MAX_PACKET) return false;
    // The flags were looked at already; PSH may differ.
    if (ipHeader === IPV6_HEADER) {
      if (!sameBytes(packet, head, 0, 4) || !sameBytes(packet, head, 6, IPV6_HEADER)) return false;
    } else if (!sameBytes(packet, head, 0, 2) || !sameBytes(packet, head, 6, 10) || !sameBytes(packet, head, 12, IPV4_HEADER)) {
      return false;
    }
    return (
      sameBytes(packet, head, ipHeader, ipHeader + 4) &&
      sameBytes(packet, head, ipHeader + 8, ipHeader + 13) &&
      sameBytes(packet, head, ipHeader + 14, ipHeader + 16) &&
      sameBytes(packet, head, ipHeader + 18, headers)
    );
  }

  /** Whether the packet's checksums are right, and those of the one that it would follow first. */
  #verify(packet: Uint8Array): boolean {
    if (this.#proven) return true;
    if (this.#count === 1 && !rightChecksums(this.#buffer, this.#ipHeader, this.#length)) return false;
    return rightChecksums(packet, this.#ipHeader, packet.length);
  }
}

/** The length of both headers of a packet with payload that may be joined to others, or 0. */
function joinableHeaders(packet: Uint8Array, ipHeader: number): number {
  const { length } = packet;
  if (length < ipHeader + TCP_HEADER) return 0;
  if (ipHeader === IPV6_HEADER) {
    if ((((packet[4] as number) << 8) | (packet[5] as number)) !== length - IPV6_HEADER) return 0;
  } else if (ipHeader !== IPV4_HEADER || (((packet[2] as number) << 8) | (packet[3] as number)) !== length) {
    return 0;
  }
  const headers = ipHeader + ((packet[ipHeader + 12] as number) >> 4) * 4;
  if (headers < ipHeader + TCP_HEADER || headers >= length || (packet[ipHeader + 12] as number) % 16 !== 0) return 0;
  return ((packet[ipHeader + 13] as number) | FLAG.psh) === (FLAG.ack | FLAG.psh) ? headers : 0;
}

function rightChecksums(packet: Uint8Array, ipHeader: number, end: number): boolean {
  const six = ipHeader === IPV6_HEADER;
  if (!six && foldSum(sumWords(packet, 0, ipHeader, 0)) !== 0xffff) return false;
  const pseudo = sumWords(packet, six ? 8 : 12, six ? 40 : 20, PROTOCOL.tcp + end - ipHeader);
  return foldSum(sumWords(packet, ipHeader, end, pseudo)) === 0xffff;
}

function sameBytes(one: Uint8Array, other: Uint8Array, start: number, end: number): boolean {
  for (let i = start; i < end; i++) if (one[i] !== other[i]) return false;
  return true;
}
