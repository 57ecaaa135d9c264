// A public UDP socket: what comes is handed on with its sender, what goes out is sent as it is.
import { createSocket, type RemoteInfo } from 'node:dgram';
import { errorCode } from '#lib/errors.ts';
import { formatIp, parseIp, unmapIp } from '#lib/ip.ts';
import type { Closable } from '#lib/lifecycle.ts';
import { formatHostPort, type DialTarget, type Endpoint } from '#lib/net.ts';
import { gatewayError } from '../errors.ts';

export interface UdpListener extends Closable {
  readonly port: number;
}

/**
 * Listens and gives each datagram to `received` with a way to answer its sender; the bytes are valid only during the call.
 * GATEWAY_PORT_IN_USE, _FORBIDDEN, _FAILED.
 */
export async function listenUdp(
  at: DialTarget,
  received: (bytes: Uint8Array, from: Endpoint, reply: (bytes: Uint8Array, to: Endpoint) => void) => void,
): Promise<UdpListener> {
  const v6 = parseIp(at.host)?.family === 6;
  const socket = createSocket({ type: v6 ? 'udp6' : 'udp4', recvBufferSize: receiveBuffer });
  await new Promise<void>((resolve, reject) => {
    socket.once('error', (error) => {
      socket.close();
      const code = errorCode(error);
      const row = code === 'EADDRINUSE' ? 'GATEWAY_PORT_IN_USE' : code === 'EACCES' ? 'GATEWAY_PORT_FORBIDDEN' : 'GATEWAY_PORT_FAILED';
      reject(gatewayError(row, formatHostPort(at.host, at.port), error));
    });
    socket.bind({ address: at.host, port: at.port, exclusive: true }, resolve);
  });
  socket.removeAllListeners('error');
  // A datagram that could not be sent is lost, as datagrams are.
  socket.on('error', () => undefined);
  let open = true;
  const reply = (bytes: Uint8Array, to: Endpoint): void => {
    // The bytes are the caller's again when this returns, and the socket keeps them for longer. On a socket for both families IPv4 is mapped.
    if (open) socket.send(Uint8Array.from(bytes), to.port, v6 && !to.address.includes(':') ? `::ffff:${to.address}` : to.address, ignore);
  };
  socket.on('message', (bytes: Buffer, from: RemoteInfo) => {
    const ip = parseIp(from.address);
    if (ip !== undefined && from.port !== 0) received(bytes, { address: formatIp(unmapIp(ip)), port: from.port }, reply);
  });
  return {
    port: socket.address().port,
    close: () =>
      new Promise((resolve) => {
        open = false;
        socket.close(() => resolve());
      }),
  };
}

/** What a burst may fill while this process does something else. */
const receiveBuffer = 4 * 1024 * 1024;

const ignore = (): void => undefined;
