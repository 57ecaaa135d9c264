// The public TCP socket: accepts and hands on. Knows no TLS and no HTTP; how many connections may be open is publish/'s business.
import { createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { errorCode } from '#lib/errors.ts';
import { formatIp, parseIp, unmapIp } from '#lib/ip.ts';
import type { Closable } from '#lib/lifecycle.ts';
import { formatHostPort, type DialTarget, type Endpoint } from '#lib/net.ts';
import { gatewayError } from '../errors.ts';

export interface TcpListener extends Closable {
  readonly port: number;
}

/**
 * Listens and gives each accepted socket to `accept`, with the caller's address (IPv4 also where it arrived mapped into IPv6).
 * `close` stops accepting at once and resolves when the last socket is gone. GATEWAY_PORT_IN_USE, _FORBIDDEN, _FAILED.
 */
export async function listenTcp(at: DialTarget, accept: (socket: Socket, from: Endpoint) => void): Promise<TcpListener> {
  const server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
    const address = callerAddress(socket);
    if (address === undefined) socket.destroy();
    else accept(socket, { address, port: socket.remotePort ?? 0 });
  });
  await startListening(server, at);
  return {
    port: (server.address() as AddressInfo).port,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
      }),
  };
}

/** The address in its one spelling; undefined where the caller has gone already. */
function callerAddress({ remoteAddress, remoteFamily }: Socket): string | undefined {
  // The kernel spells IPv4 as we do.
  if (remoteFamily === 'IPv4') return remoteAddress;
  const ip = parseIp(remoteAddress ?? '');
  return ip === undefined ? undefined : formatIp(unmapIp(ip));
}

/** GATEWAY_PORT_IN_USE, _FORBIDDEN, _FAILED. */
export function startListening(server: Server, at: DialTarget): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (error) => {
      const code = errorCode(error);
      const row = code === 'EADDRINUSE' ? 'GATEWAY_PORT_IN_USE' : code === 'EACCES' ? 'GATEWAY_PORT_FORBIDDEN' : 'GATEWAY_PORT_FAILED';
      reject(gatewayError(row, formatHostPort(at.host, at.port), error));
    });
    server.listen({ host: at.host, port: at.port, backlog: 1_024 }, () => {
      // A connection that could not be accepted, for want of descriptors say, is that client's loss; the listener goes on.
      server.on('error', () => undefined);
      resolve();
    });
  });
}
