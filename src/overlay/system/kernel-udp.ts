// A UDP socket of the kernel's on our overlay addresses, one for each family.
import { describeError } from '#lib/errors.ts';
import { formatIp, type IpAddress, parseIp, sameIp } from '#lib/ip.ts';
import type { Logger } from '#lib/log.ts';
import type { SocketAddress } from '#netstack/types.ts';
import { overlayError } from '../errors.ts';
import type { InnerUdpSocket } from '../inner-face.ts';
import type { TransportAddress } from '../path/path.ts';
import type { DatagramEvents, DatagramPort, OpenDatagramPortAt } from '../udp/port.ts';

/** Binds the same port of each address; 0 picks one. Rejects with EADDRNOTAVAIL. */
export async function bindKernelUdp(
  open: OpenDatagramPortAt,
  own: readonly IpAddress[],
  port: number,
  receive: (bytes: Uint8Array, from: SocketAddress) => void,
  log: Logger,
): Promise<InnerUdpSocket> {
  const ports = new Map<4 | 6, DatagramPort>();
  const close = (): void => {
    for (const socket of ports.values()) {
      socket.close().catch((error: unknown) => log.warn('overlay: a UDP socket cannot be closed', { reason: describeError(error) }));
    }
    ports.clear();
  };
  let chosen = port;
  try {
    for (const ip of own) {
      const opened = await open(formatIp(ip), chosen, receiver(receive), log);
      ports.set(ip.family, opened);
      chosen = opened.port;
    }
  } catch (error) {
    close();
    throw overlayError('EADDRNOTAVAIL', `UDP port ${port}`, error);
  }
  if (ports.size === 0) throw overlayError('EADDRNOTAVAIL', 'no overlay address yet');
  // The port knows what it has prepared for an address by the object, so the last one is kept.
  let last: { readonly to: SocketAddress; readonly address: TransportAddress } | undefined;
  return {
    port: chosen,
    send: (bytes, to) => {
      if (last === undefined || last.to.port !== to.port || !sameIp(last.to.ip, to.ip)) {
        const ip = { family: to.ip.family, bytes: Uint8Array.from(to.ip.bytes) };
        last = { to: { ip, port: to.port }, address: { address: formatIp(ip), port: to.port } };
      }
      ports.get(to.ip.family)?.send(bytes, last.address);
    },
    close,
  };
}

function receiver(receive: (bytes: Uint8Array, from: SocketAddress) => void): DatagramEvents {
  let text = '';
  let ip: IpAddress | undefined;
  return {
    receive: (run, size, address, port) => {
      if (address !== text) {
        text = address;
        ip = parseIp(address);
      }
      if (ip === undefined) return;
      if (size >= run.length) return receive(run, { ip, port });
      for (let at = 0; at < run.length; at += size) receive(run.subarray(at, at + size), { ip, port });
    },
    drained: () => undefined,
  };
}
