// The UDP header (RFC 768):  0: source port   2: destination port   4: length   6: checksum   8: payload
import { foldSum, finishChecksum, sumWords } from './checksum.ts';

export const UDP_HEADER = 8;

/** A checked datagram; one record is reused for every packet. */
export interface UdpHeader {
  sourcePort: number;
  destinationPort: number;
  payloadStart: number;
  payloadEnd: number;
}

export function emptyUdpHeader(): UdpHeader {
  return { sourcePort: 0, destinationPort: 0, payloadStart: 0, payloadEnd: 0 };
}

/**
 * Reads `packet[start, end)`. `pseudo` is the pseudo header's sum without the length. A zero checksum means "none" over IPv4 and is
 * refused over IPv6 (RFC 8200 §8.1). Bytes after the UDP length are ignored.
 */
export function readUdp(packet: Uint8Array, start: number, end: number, pseudo: number, family: 4 | 6, into: UdpHeader): boolean {
  if (end - start < UDP_HEADER) return false;
  const length = ((packet[start + 4] as number) << 8) | (packet[start + 5] as number);
  if (length < UDP_HEADER || start + length > end) return false;
  const carried = ((packet[start + 6] as number) << 8) | (packet[start + 7] as number);
  if (carried === 0 ? family === 6 : foldSum(sumWords(packet, start, start + length, pseudo + length)) !== 0xffff) return false;
  into.sourcePort = ((packet[start] as number) << 8) | (packet[start + 1] as number);
  into.destinationPort = ((packet[start + 2] as number) << 8) | (packet[start + 3] as number);
  into.payloadStart = start + UDP_HEADER;
  into.payloadEnd = start + length;
  return true;
}

/** Writes the header at `start` for a payload that already stands behind it, up to `end`. A sum of 0 is sent as all ones. */
export function writeUdp(target: Uint8Array, start: number, end: number, sourcePort: number, destinationPort: number, pseudo: number): void {
  const length = end - start;
  target[start] = sourcePort >> 8;
  target[start + 1] = sourcePort & 0xff;
  target[start + 2] = destinationPort >> 8;
  target[start + 3] = destinationPort & 0xff;
  target[start + 4] = length >> 8;
  target[start + 5] = length & 0xff;
  target[start + 6] = 0;
  target[start + 7] = 0;
  const sum = finishChecksum(sumWords(target, start, end, pseudo + length)) || 0xffff;
  target[start + 6] = sum >> 8;
  target[start + 7] = sum & 0xff;
}
