// The few fields of an inner IP packet that cryptokey routing looks at.
import { maxPacketBytes } from './constants.ts';

export type IpVersion = 4 | 6;

const ipv4HeaderBytes = 20;
const ipv6HeaderBytes = 40;

/** Whether one message can carry so many bytes. */
export function fitsMessage(length: number): boolean {
  return length <= maxPacketBytes;
}

/** The packet's IP version; undefined where it is neither, or too short for its header. */
export function versionOf(packet: Uint8Array): IpVersion | undefined {
  const version = (packet[0] ?? 0) >>> 4;
  if (version === 4) return packet.length >= ipv4HeaderBytes ? 4 : undefined;
  if (version === 6) return packet.length >= ipv6HeaderBytes ? 6 : undefined;
  return undefined;
}

export function sourceOffset(version: IpVersion): number {
  return version === 4 ? 12 : 8;
}

export function destinationOffset(version: IpVersion): number {
  return version === 4 ? 16 : 24;
}

/** The length that the header states, without the padding behind it; undefined where it is not within the packet. */
export function packetLength(version: IpVersion, packet: Uint8Array): number | undefined {
  const at = version === 4 ? 2 : 4;
  const stated = ((packet[at] ?? 0) << 8) | (packet[at + 1] ?? 0);
  const length = version === 4 ? stated : stated + ipv6HeaderBytes;
  return length >= (version === 4 ? ipv4HeaderBytes : ipv6HeaderBytes) && length <= packet.length ? length : undefined;
}
