// The public port for plain HTTP: answers live HTTP-01 tokens, sends known hosts to https, and knows nothing else (attack row R-4).
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { formatIp, parseIp, unmapIp } from '#lib/ip.ts';
import type { Closable } from '#lib/lifecycle.ts';
import type { DialTarget, Ends } from '#lib/net.ts';
import { NetworkShares } from '#lib/network-shares.ts';
import { canonicalHost } from '#publish/http/host.ts';
import { plainConnections, plainConnectionsPerAddress, plainHeadBytes, plainRequestMs } from '../constants.ts';
import type { ProxyDoor } from './proxy-door.ts';
import { startListening } from './tcp.ts';

export interface PlainHttpDeps {
  /** Hosts that are served over https. */
  readonly known: (host: string) => boolean;
  /** The answer to a live HTTP-01 challenge for exactly this host and token. */
  readonly token: (host: string, token: string) => Promise<string | undefined>;
  /** Where https is, as it stands in a redirect. */
  readonly httpsPort: number;
  /** Load balancers say here too whose a connection is. */
  readonly door: Pick<ProxyDoor, 'admit'>;
}

/** GATEWAY_PORT_IN_USE, _FORBIDDEN, _FAILED. */
export async function listenPlainHttp(at: DialTarget, deps: PlainHttpDeps): Promise<Closable & { readonly port: number }> {
  const options = {
    maxHeaderSize: plainHeadBytes,
    headersTimeout: plainRequestMs,
    requestTimeout: plainRequestMs,
    connectionsCheckingInterval: 1_000,
    keepAlive: false,
  };
  const server = createServer(options, (request, response) => void answer(request, response, deps));
  server.maxConnections = plainConnections;
  server.on('clientError', (_error, socket) => socket.destroy());
  const shares = new NetworkShares(plainConnectionsPerAddress);
  // What Node does with a connection waits until it is known whose it is.
  const serve = server.listeners('connection');
  server.removeAllListeners('connection');
  const outside = new Set<Socket>();
  server.on('connection', (socket) => {
    outside.add(socket);
    const leave = (): void => void outside.delete(socket);
    socket.once('close', leave);
    deps.door.admit(socket, endsOf(socket), ({ remote }) => {
      leave();
      const network = shares.take(remote.address);
      if (network === undefined) {
        socket.on('error', () => undefined).destroy();
        return;
      }
      socket.once('close', () => shares.give(network));
      for (const listener of serve) listener.call(server, socket);
    });
  });
  await startListening(server, at);
  return {
    port: (server.address() as AddressInfo).port,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
        for (const socket of outside) socket.destroy();
      }),
  };
}

function endsOf(socket: Socket): Ends {
  const ip = parseIp(socket.remoteAddress ?? '');
  return {
    remote: { address: ip === undefined ? '' : formatIp(unmapIp(ip)), port: socket.remotePort ?? 0 },
    local: { address: socket.localAddress ?? '', port: socket.localPort ?? 0 },
  };
}

const tokenPath = /^\/\.well-known\/acme-challenge\/([A-Za-z0-9_-]{1,256})$/;

/** Every answer ends the connection: nobody stays here. */
async function answer(request: IncomingMessage, response: ServerResponse, { known, token, httpsPort }: PlainHttpDeps): Promise<void> {
  const hosts = request.rawHeaders.filter((_text, index, all) => index % 2 === 1 && all[index - 1]?.toLowerCase() === 'host');
  const host = hosts.length === 1 ? canonicalHost(hosts[0] ?? '') : undefined;
  const target = request.url ?? '';
  const read = request.method === 'GET' || request.method === 'HEAD';
  const end = (status: number, headers: Readonly<Record<string, string>>, body: string): void => {
    response.writeHead(status, { connection: 'close', 'content-type': 'text/plain', 'content-length': String(Buffer.byteLength(body)), ...headers });
    response.end(request.method === 'HEAD' ? '' : body);
  };
  if (host === undefined || !/^\/[\u0021-\u007e]*$/.test(target)) return end(400, {}, 'bad request\n');
  const asked = read ? tokenPath.exec(target)?.[1] : undefined;
  const found = asked === undefined ? undefined : await token(host, asked);
  if (found !== undefined) return end(200, { 'content-type': 'application/octet-stream' }, found);
  if (!known(host)) return end(404, {}, 'not found\n');
  end(308, { location: `https://${host}${httpsPort === 443 ? '' : `:${httpsPort}`}${target}` }, '');
}
