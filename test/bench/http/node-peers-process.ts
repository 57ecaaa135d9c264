// What people put in front of their apps in Node today: http-proxy, and node:http with undici, each behind node:https.
import { createServer, type Server } from 'node:https';
import type { IncomingMessage, RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Agent as HttpAgent } from 'node:http';
import httpProxy from 'http-proxy';
import { Pool } from 'undici';
import { answerQuestions } from './asking.ts';
import type { SubjectSetup } from './subjects.ts';

function withHttpProxy(upstreamPort: number): RequestListener {
  const proxy = httpProxy.createProxyServer({
    target: { host: '127.0.0.1', port: upstreamPort },
    agent: new HttpAgent({ keepAlive: true, maxSockets: 64 }),
  });
  proxy.on('error', (_error, request) => request.destroy());
  return (request, response) => proxy.web(request, response);
}

function withUndici(upstreamPort: number): RequestListener {
  const pool = new Pool(`http://127.0.0.1:${upstreamPort}`, { connections: 64, pipelining: 1 });
  return (request: IncomingMessage, response) => {
    const { connection: _hop, ...headers } = request.headers;
    pool
      .stream({ path: request.url ?? '/', method: 'GET', headers }, ({ statusCode, headers: answer }) => {
        response.writeHead(statusCode, answer);
        return response;
      })
      .catch(() => response.destroy());
  };
}

function start({ kind, certPem, keyPem, upstreamPort }: SubjectSetup & { readonly kind: 'http-proxy' | 'undici' }): Promise<number> {
  const listener = kind === 'undici' ? withUndici(upstreamPort) : withHttpProxy(upstreamPort);
  const server: Server = createServer({ cert: certPem, key: keyPem, minVersion: 'TLSv1.3' }, listener);
  server.keepAliveTimeout = 60_000;
  return new Promise((resolve) => server.listen(0, '127.0.0.1', () => resolve((server.address() as AddressInfo).port)));
}

answerQuestions({ start });
