// Load balancers before UDP services: each of their datagrams says first, in a PROXY header of version 2, whose it is (HAProxy's
// proxy-protocol.txt, 2020, §2.2). Every one, as datagrams come in any order and get lost: one without would be anybody's word for the next.
import { asBuffer } from '#lib/bytes.ts';
import { parseIp, prefixContains, type IpPrefix } from '#lib/ip.ts';
import type { Endpoint } from '#lib/net.ts';
import { readProxyHeader } from '#wire/proxy-protocol.ts';

export type Deliver = (run: Uint8Array, size: number, client: Endpoint) => void;

export interface UdpProxyDoor {
  /**
   * Calls `deliver` with a run of a client's own as it is, and with each datagram of a load balancer for whom its header names. What has no good
   * header is dropped. The bytes are valid only during the call.
   */
  admit(run: Uint8Array, size: number, from: Endpoint, deliver: Deliver): void;
}

/** `trusted` have to send a header; nobody else's is read. */
export function createUdpProxyDoor(trusted: readonly IpPrefix[], dropped: (from: Endpoint, reason: string) => void): UdpProxyDoor {
  return {
    admit(run, size, from, deliver) {
      if (trusted.length === 0) return deliver(run, size, from);
      const ip = parseIp(from.address);
      if (ip === undefined || !trusted.some((prefix) => prefixContains(prefix, ip))) return deliver(run, size, from);
      const step = Math.max(1, size);
      for (let at = 0; at < run.length; at += step) {
        const datagram = run.subarray(at, at + step);
        const read = readProxyHeader(asBuffer(datagram));
        if (read.kind !== 'header') dropped(from, read.kind === 'fault' ? read.fault : 'truncated');
        else if (read.header.kind === 'local') deliver(datagram.subarray(read.length), datagram.length - read.length, from);
        else if (read.header.transport !== 'udp') dropped(from, 'not of UDP');
        else deliver(datagram.subarray(read.length), datagram.length - read.length, read.header.source);
      }
    },
  };
}
