// HTTP/1.1 on the server's port: which part answers which path. gRPC has been taken out before.
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';
import { WebSocketServer } from 'ws';
import { relayWebSocketOptions, type RelayServer } from './relay/index.ts';

export interface FrontParts {
  readonly api: (request: IncomingMessage, response: ServerResponse) => void;
  readonly identity: (request: IncomingMessage, response: ServerResponse) => void;
  readonly relay: RelayServer;
}

export interface Front {
  request(request: IncomingMessage, response: ServerResponse): void;
  upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void;
}

export function createFront(parts: FrontParts): Front {
  const webSockets = new WebSocketServer(relayWebSocketOptions);
  return {
    request(request, response) {
      const path = pathOf(request);
      if (path === '/api' || path.startsWith('/api/')) parts.api(request, response);
      else if (path === '/oauth2' || path.startsWith('/oauth2/')) parts.identity(request, response);
      else if (path === '/') welcome(response);
      else notFound(response);
    },
    upgrade(request, socket, head) {
      if (pathOf(request) !== '/relay') {
        // Closed once that is sent: nobody watches this socket any more, so a client that stays would hold a place for ever.
        socket.end('HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 0\r\n\r\n', () => socket.destroy());
        return;
      }
      webSockets.handleUpgrade(request, socket, head, (webSocket) => parts.relay.accept(webSocket));
    },
  };
}

function pathOf(request: IncomingMessage): string {
  return (request.url ?? '').split('?', 1)[0] ?? '';
}

function welcome(response: ServerResponse): void {
  response.writeHead(200, { 'content-type': 'text/plain; charset=utf-8', 'cache-control': 'no-store' });
  response.end('This is a Meshgate control plane. Its API is at /api, its identity provider at /oauth2.\n');
}

function notFound(response: ServerResponse): void {
  response.writeHead(404, { 'content-type': 'application/json' });
  response.end('{"message":"not found","code":404}\n');
}
