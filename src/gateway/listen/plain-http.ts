// The public port for plain HTTP: answers live HTTP-01 tokens, sends known hosts to https, and knows nothing else (attack row R-4).
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Closable } from '#lib/lifecycle.ts';
import type { DialTarget } from '#lib/net.ts';
import { NetworkShares } from '#lib/network-shares.ts';
import { canonicalHost } from '#publish/http/host.ts';
import { plainConnections, plainConnectionsPerAddress, plainHeadBytes, plainRequestMs } from '../constants.ts';
import { startListening } from './tcp.ts';

export interface PlainHttpDeps {
  /** Hosts that are served over https. */
  readonly known: (host: string) => boolean;
  /** The answer to a live HTTP-01 challenge for exactly this host and token. */
  readonly token: (host: string, token: string) => Promise<string | undefined>;
  /** Where https is, as it stands in a redirect. */
  readonly httpsPort: number;
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
  server.on('connection', (socket) => {
    const network = shares.take(socket.remoteAddress ?? '');
    if (network === undefined) socket.destroy();
    else socket.once('close', () => shares.give(network));
  });
  await startListening(server, at);
  return {
    port: (server.address() as AddressInfo).port,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
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
