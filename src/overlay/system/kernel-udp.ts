// A UDP socket of the kernel's on our overlay addresses, one for each family.
import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { formatIp, type IpAddress, parseIp } from '#lib/ip.ts';
import type { SocketAddress } from '#netstack/types.ts';
import { overlayError } from '../errors.ts';
import type { InnerUdpSocket } from '../inner-face.ts';

/** Binds the same port of each address; 0 picks one. Rejects with EADDRNOTAVAIL. */
export async function bindKernelUdp(
  own: readonly IpAddress[],
  port: number,
  receive: (bytes: Uint8Array, from: SocketAddress) => void,
): Promise<InnerUdpSocket> {
  const sockets = new Map<4 | 6, Socket>();
  const close = (): void => {
    for (const socket of sockets.values()) socket.close();
    sockets.clear();
  };
  let chosen = port;
  try {
    for (const ip of own) {
      const socket = createSocket({ type: ip.family === 4 ? 'udp4' : 'udp6', lookup: literal });
      sockets.set(ip.family, socket);
      const listening = once(socket, 'listening');
      socket.bind({ address: formatIp(ip), port: chosen, exclusive: true });
      await listening;
      chosen = socket.address().port;
      socket.on('error', () => undefined); // what cannot be sent is as lost
      socket.on('message', (bytes, from) => {
        const address = parseIp(from.address);
        if (address !== undefined) receive(bytes, { ip: address, port: from.port });
      });
    }
  } catch (error) {
    close();
    throw overlayError('EADDRNOTAVAIL', `UDP port ${port}`, error);
  }
  if (sockets.size === 0) throw overlayError('EADDRNOTAVAIL', 'no overlay address yet');
  return {
    port: chosen,
    // dgram keeps the bytes until they are sent.
    send: (bytes, to) => sockets.get(to.ip.family)?.send(Uint8Array.from(bytes), to.port, formatIp(to.ip)),
    close,
  };
}

/** Addresses are literal: nothing is looked up. */
function literal(host: string, _options: unknown, done: (error: null, address: string, family: number) => void): void {
  done(null, host, host.includes(':') ? 6 : 4);
}
