// The public TCP socket: accepts, counts, and hands on. Knows no TLS and no HTTP.
import { createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { errorCode } from '#lib/errors.ts';
import { formatIp, maskPrefix, parseIp, unmapIp } from '#lib/ip.ts';
import type { Closable } from '#lib/lifecycle.ts';
import { formatHostPort, type DialTarget, type Endpoint } from '#lib/net.ts';
import { maxConnections, maxConnectionsPerAddress } from '../constants.ts';
import { gatewayError } from '../errors.ts';

export interface TcpListener extends Closable {
  readonly port: number;
  readonly status: () => { readonly open: number; readonly refused: number };
}

/**
 * Listens and gives each accepted socket to `accept`, with the caller's address (IPv4 also where it arrived mapped into IPv6).
 * `close` stops accepting at once and resolves when the last socket is gone. GATEWAY_PORT_IN_USE, _FORBIDDEN, _FAILED.
 */
export async function listenTcp(at: DialTarget, accept: (socket: Socket, from: Endpoint) => void): Promise<TcpListener> {
  const perAddress = new Map<string, number>();
  let open = 0;
  let refused = 0;
  const server = createServer({ allowHalfOpen: true, noDelay: true, pauseOnConnect: false }, (socket) => {
    const ip = parseIp(socket.remoteAddress ?? '');
    if (ip === undefined) {
      socket.destroy();
      return;
    }
    const caller = unmapIp(ip);
    const key = formatIp(caller.family === 4 ? caller : maskPrefix({ address: caller, bits: 64 }).address);
    const count = perAddress.get(key) ?? 0;
    if (open >= maxConnections || count >= maxConnectionsPerAddress) {
      refused++;
      socket.resetAndDestroy();
      return;
    }
    open++;
    perAddress.set(key, count + 1);
    socket.once('close', () => {
      open--;
      const left = (perAddress.get(key) ?? 1) - 1;
      if (left === 0) perAddress.delete(key);
      else perAddress.set(key, left);
    });
    accept(socket, { address: formatIp(caller), port: socket.remotePort ?? 0 });
  });
  await startListening(server, at);
  return {
    port: (server.address() as AddressInfo).port,
    status: () => ({ open, refused }),
    close: () => new Promise((resolve) => server.close(() => resolve())),
  };
}

function startListening(server: Server, at: DialTarget): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (error) => {
      const code = errorCode(error);
      const row = code === 'EADDRINUSE' ? 'GATEWAY_PORT_IN_USE' : code === 'EACCES' ? 'GATEWAY_PORT_FORBIDDEN' : 'GATEWAY_PORT_FAILED';
      reject(gatewayError(row, formatHostPort(at.host, at.port), error));
    });
    server.listen({ host: at.host, port: at.port, backlog: 1_024 }, resolve);
  });
}
