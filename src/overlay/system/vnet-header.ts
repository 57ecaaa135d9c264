// The header that a TUN device puts before each packet when it leaves segmentation and checksums to us (struct virtio_net_hdr of the
// Linux kernel's include/uapi/linux/virtio_net.h, in the machine's byte order; Virtio 1.2 §5.1.6).
//
// 0: flags   1: kind of segmentation   2: length of the headers   4: payload bytes a segment   6: checksum starts   8: checksum's offset
import { endianness } from 'node:os';
import { finishChecksum, foldSum, pseudoSum, sumWords } from '#wire/checksum.ts';
import { IPV4_HEADER, PROTOCOL } from '#wire/ipv4.ts';
import { IPV6_HEADER } from '#wire/ipv6.ts';
import { tcpStart } from '#wire/segmentation.ts';

export const VNET_HEADER = 10;

const NEEDS_CHECKSUM = 1;
const GSO_NONE = 0;
const GSO_TCP4 = 1;
const GSO_TCP6 = 4;
/** Set beside the kind where the connection uses ECN. */
const GSO_ECN = 0x80;
const TCP_CHECKSUM = 16;
const little = endianness() === 'LE';

function get16(bytes: Buffer, at: number): number {
  return little ? bytes.readUInt16LE(at) : bytes.readUInt16BE(at);
}

function put16(bytes: Buffer, at: number, value: number): void {
  if (little) bytes.writeUInt16LE(value, at);
  else bytes.writeUInt16BE(value, at);
}

/**
 * Reads the header of a packet that the kernel wants sent; `frame` is header and packet. Returns the payload bytes a segment, 0 for a
 * packet that is to be sent as it is, whose checksum is completed here where the kernel left it, or -1 for what cannot be sent.
 */
export function readVnetHeader(frame: Buffer): number {
  if (frame.length < VNET_HEADER + IPV4_HEADER) return -1;
  const flags = frame[0] as number;
  const kind = (frame[1] as number) & ~GSO_ECN;
  if (kind === GSO_TCP4 || kind === GSO_TCP6) {
    const size = get16(frame, 4);
    return size > 0 ? size : -1;
  }
  if (kind !== GSO_NONE) return -1;
  if ((flags & NEEDS_CHECKSUM) === 0) return 0;
  const start = VNET_HEADER + get16(frame, 6);
  const at = start + get16(frame, 8);
  if (at + 2 > frame.length) return -1;
  // The field holds the pseudo header's sum, so it takes part.
  const sum = finishChecksum(sumWords(frame, start, frame.length, 0));
  // For UDP 0 would say that there is none (RFC 768); the other zero of one's complement says the same sum.
  frame.writeUInt16BE(sum === 0 ? 0xffff : sum, at);
  return 0;
}

/**
 * Writes the header for a packet from the tunnel to `header`, which has VNET_HEADER bytes. A super-packet of segments of `segmentSize`
 * gets what the kernel needs to take it apart again: its TCP checksum field is set to the pseudo header's sum.
 */
export function writeVnetHeader(header: Buffer, packet: Uint8Array, segmentSize: number): void {
  header.fill(0);
  const ipHeader = segmentSize === 0 ? 0 : tcpStart(packet);
  if (ipHeader === 0) return;
  const six = ipHeader === IPV6_HEADER;
  const tcpHeader = ((packet[ipHeader + 12] as number) >> 4) * 4;
  header[0] = NEEDS_CHECKSUM;
  header[1] = six ? GSO_TCP6 : GSO_TCP4;
  put16(header, 2, ipHeader + tcpHeader);
  put16(header, 4, segmentSize);
  put16(header, 6, ipHeader);
  put16(header, 8, TCP_CHECKSUM);
  const length = six ? 16 : 4;
  const sourceAt = six ? 8 : 12;
  const sum = foldSum(pseudoSum(packet, sourceAt, packet, sourceAt + length, length, PROTOCOL.tcp) + packet.length - ipHeader);
  packet[ipHeader + TCP_CHECKSUM] = sum >> 8;
  packet[ipHeader + TCP_CHECKSUM + 1] = sum & 0xff;
}
