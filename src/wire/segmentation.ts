// Splitting a TCP super-packet into the packets that it stands for: what a network card does for the kernel (TCP segmentation offload).
//
// A super-packet is one IP and TCP header before more payload than one packet may carry. Its header is that of the first packet; its
// checksums need not be set. Everything that does not change from packet to packet is summed once.
import { asBuffer } from '#lib/bytes.ts';
import { foldSum, sumWords } from './checksum.ts';
import { IPV4_HEADER, PROTOCOL } from './ipv4.ts';
import { IPV6_HEADER } from './ipv6.ts';
import { FLAG, readInt32, TCP_HEADER, writeInt32 } from './tcp.ts';

const CWR = 0x80;
/** A header of either kind is not longer. */
const MAX_HEADERS = 120;
/** Offset and more-fragments bits of IPv4; what is a fragment cannot be split by segments. */
const MORE_OR_OFFSET = 0x3fff;

/** One splitter, used again for each super-packet. */
export class Segmenter {
  /** Packets of the super-packet that `begin` took. */
  count = 0;
  /** Bytes of each packet but the last. */
  size = 0;
  lastSize = 0;
  readonly #head = Buffer.alloc(MAX_HEADERS);
  #source: Buffer = Buffer.alloc(0);
  #ipHeader = 0;
  #headers = 0;
  #segmentSize = 0;
  #seq = 0;
  #flags = 0;
  #id = 0;
  /** Of the IPv4 header without length, identification and checksum. */
  #ipSum = 0;
  /** Of the pseudo header and the TCP header without the length, the sequence number, the flags and the checksum. */
  #tcpSum = 0;
  readonly #sumWords: typeof sumWords;

  /** With another way to add words, where there is a faster one for the memory that is written to. */
  constructor(sum: typeof sumWords = sumWords) {
    this.#sumWords = sum;
  }

  /**
   * Takes a super-packet of `segmentSize` payload bytes a packet; its bytes must not change before the last `write`. False where it is
   * no TCP over IPv4 or IPv6 without extension headers, a fragment, without payload, or longer than its own length says.
   */
  begin(packet: Uint8Array, segmentSize: number): boolean {
    const ipHeader = tcpStart(packet);
    if (ipHeader === 0 || segmentSize <= 0 || packet.length < ipHeader + TCP_HEADER) return false;
    const tcpHeader = ((packet[ipHeader + 12] as number) >> 4) * 4;
    const headers = ipHeader + tcpHeader;
    if (tcpHeader < TCP_HEADER || packet.length <= headers) return false;
    const payload = packet.length - headers;
    this.count = Math.ceil(payload / segmentSize);
    this.size = headers + Math.min(segmentSize, payload);
    this.lastSize = headers + payload - (this.count - 1) * segmentSize;
    this.#source = asBuffer(packet);
    this.#ipHeader = ipHeader;
    this.#headers = headers;
    this.#segmentSize = segmentSize;
    this.#seq = readInt32(packet, ipHeader + 4);
    this.#flags = packet[ipHeader + 13] as number;
    const head = this.#head;
    this.#source.copy(head, 0, 0, headers);
    writeInt32(head, ipHeader + 4, 0);
    head[ipHeader + 13] = 0;
    head[ipHeader + 16] = 0;
    head[ipHeader + 17] = 0;
    if (ipHeader === IPV6_HEADER) {
      this.#tcpSum = sumWords(head, 8, IPV6_HEADER, PROTOCOL.tcp);
      head[4] = 0;
      head[5] = 0;
    } else {
      this.#tcpSum = sumWords(head, 12, 20, PROTOCOL.tcp);
      this.#id = head.readUInt16BE(4);
      head.writeUInt32BE(0, 2);
      head.writeUInt16BE(0, 10);
      this.#ipSum = sumWords(head, 0, ipHeader, 0);
    }
    this.#tcpSum = foldSum(sumWords(head, ipHeader, headers, this.#tcpSum));
    return true;
  }

  /** Writes packet `index` (from 0, below `count`) to `target` from `at`, where there must be room for `size` bytes. Returns its length. */
  write(index: number, target: Uint8Array, at: number): number {
    const { count } = this;
    const last = index === count - 1;
    const length = last ? this.lastSize : this.size;
    const ipHeader = this.#ipHeader;
    const headers = this.#headers;
    const head = this.#head;
    for (let i = 0; i < headers; i++) target[at + i] = head[i] as number;
    const from = headers + index * this.#segmentSize;
    this.#source.copy(target, at + headers, from, from + length - headers);
    const seq = (this.#seq + index * this.#segmentSize) | 0;
    let flags = this.#flags;
    if (!last) flags &= ~(FLAG.fin | FLAG.psh);
    if (index > 0) flags &= ~CWR;
    const tcp = at + ipHeader;
    writeInt32(target, tcp + 4, seq);
    target[tcp + 13] = flags;
    const sum = ~foldSum(this.#sumWords(target, at + headers, at + length, this.#tcpSum + length - ipHeader + (seq >>> 16) + (seq & 0xffff) + flags));
    target[tcp + 16] = (sum >> 8) & 0xff;
    target[tcp + 17] = sum & 0xff;
    if (ipHeader === IPV6_HEADER) {
      target[at + 4] = (length - IPV6_HEADER) >> 8;
      target[at + 5] = (length - IPV6_HEADER) & 0xff;
    } else {
      const id = (this.#id + index) & 0xffff;
      const ipSum = ~foldSum(this.#ipSum + length + id);
      target[at + 2] = length >> 8;
      target[at + 3] = length & 0xff;
      target[at + 4] = id >> 8;
      target[at + 5] = id & 0xff;
      target[at + 10] = (ipSum >> 8) & 0xff;
      target[at + 11] = ipSum & 0xff;
    }
    return length;
  }
}

/** Where TCP begins in a whole packet that could be split or joined, or 0. */
export function tcpStart(packet: Uint8Array): number {
  if (packet.length < IPV4_HEADER) return 0;
  const first = packet[0] as number;
  if (first >> 4 === 4) {
    const header = (first & 0x0f) * 4;
    const fragment = (((packet[6] as number) << 8) | (packet[7] as number)) & MORE_OR_OFFSET;
    return header >= IPV4_HEADER && header <= packet.length && packet[9] === PROTOCOL.tcp && fragment === 0 ? header : 0;
  }
  return first >> 4 === 6 && packet.length >= IPV6_HEADER && packet[6] === PROTOCOL.tcp ? IPV6_HEADER : 0;
}
