// One TCP port for gRPC, HTTP/1.1 and WebSocket: by ALPN with TLS, by the first bytes without. Browsers offer http/1.1 and get
// that; gRPC clients offer h2 alone; clients without ALPN, such as stock relay clients, get HTTP/1.1.
import { createServer as createHttpServer, type IncomingMessage, type Server as HttpServer, type ServerResponse } from 'node:http';
import { type AddressInfo, createServer as createTcpServer, type Server as TcpServer, type Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { createSecureContext, createServer as createTlsServer, type SecureContext, type TlsOptions } from 'node:tls';
import { describeError } from '#lib/errors.ts';
import type { Closable } from '#lib/lifecycle.ts';
import type { Logger } from '#lib/log.ts';
import { closeMs, handshakeMs, headersMs, maxConnections, maxConnectionsPerAddress, maxHeaderBytes, maxHeaderCount, requestMs } from './constants.ts';
import { rpcError } from './errors.ts';
import { PerAddress } from './per-address.ts';

export interface Certificate {
  readonly certPem: string;
  readonly keyPem: string;
}

export interface ListenerOptions {
  readonly host: string;
  /** 0 lets the system choose. */
  readonly port: number;
  /** Undefined serves without TLS, for loopback and for proxies that end TLS in front. */
  readonly tls: Certificate | undefined;
  readonly maxConnections?: number;
  /** Without TLS there is none unless given: all connections come from the proxy in front. */
  readonly maxConnectionsPerAddress?: number;
  readonly handshakeMs?: number;
}

export interface ListenerTargets {
  /** Takes a connection that speaks HTTP/2. */
  http2(socket: Socket): void;
  request(request: IncomingMessage, response: ServerResponse): void;
  upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void;
}

export interface Listener extends Closable {
  readonly port: number;
  /** New handshakes use this certificate; open connections stay. Throws RPC_BAD_CERTIFICATE. */
  setCertificate(certificate: Certificate): void;
}

/** The first bytes of HTTP/2 with prior knowledge (RFC 9113 §3.4). */
const prefaceStart = 'PRI ';

/** Listens; rejects with Node's error where the port cannot be had, and with RPC_BAD_CERTIFICATE. */
export async function listen(options: ListenerOptions, targets: ListenerTargets, log: Logger): Promise<Listener> {
  const http = createHttpServer({ maxHeaderSize: maxHeaderBytes, headersTimeout: headersMs, requestTimeout: requestMs, insecureHTTPParser: false });
  http.maxHeadersCount = maxHeaderCount;
  http.on('request', (request, response) => targets.request(request, response));
  http.on('upgrade', (request, socket, head) => targets.upgrade(request, socket, head));
  http.on('clientError', (_error, socket) => socket.destroy());
  http.emit('listening'); // it never listens itself, but only this starts its watch over slow headers and requests

  const open = new Set<Socket>();
  const track = (socket: Socket): void => {
    open.add(socket);
    socket.once('close', () => open.delete(socket));
    socket.on('error', () => socket.destroy());
    socket.setNoDelay(true);
  };
  const deadline = options.handshakeMs ?? handshakeMs;
  const give = (socket: Socket, isHttp2: boolean): void => {
    if (isHttp2) targets.http2(socket);
    else http.emit('connection', socket);
  };

  let setCertificate: (certificate: Certificate) => void = () => undefined;
  let server: TcpServer;
  if (options.tls === undefined) {
    server = createTcpServer((socket) => peek(socket, deadline, give));
  } else {
    let context = readCertificate(options.tls);
    const tls = createTlsServer({ ...secureOptions(options.tls), handshakeTimeout: deadline, SNICallback: (_name, done) => done(null, context) });
    tls.on('secureConnection', (socket) => {
      track(socket);
      give(socket, socket.alpnProtocol === 'h2');
    });
    tls.on('tlsClientError', (error, socket) => {
      log.debug('tls handshake failed', { reason: describeError(error) });
      socket.destroy();
    });
    setCertificate = (certificate) => {
      context = readCertificate(certificate);
      tls.setSecureContext(secureOptions(certificate));
    };
    server = tls;
  }
  server.maxConnections = options.maxConnections ?? maxConnections;
  const shares = new PerAddress(
    options.maxConnectionsPerAddress ?? (options.tls === undefined ? Number.POSITIVE_INFINITY : maxConnectionsPerAddress),
  );
  server.on('connection', (socket: Socket) => {
    const giveBack = shares.take(socket.remoteAddress);
    if (giveBack === undefined) {
      log.debug('connection refused: too many of one address are open', { address: socket.remoteAddress ?? '' });
      socket.destroy();
      return;
    }
    socket.once('close', giveBack);
    track(socket);
  });
  server.on('drop', () => log.warn('connection refused: too many are open', { limit: server.maxConnections }));

  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(options.port, options.host, () => {
      server.off('error', reject);
      server.on('error', (error) => log.error('listener failed', { reason: describeError(error) }));
      resolve();
    });
  });

  let closing: Promise<void> | undefined;
  return {
    port: (server.address() as AddressInfo).port,
    setCertificate: (certificate) => setCertificate(certificate),
    close: () => (closing ??= closeAll(server, http, open)),
  };
}

/** Waits for the first bytes, which say what the connection speaks, and puts them back. */
function peek(socket: Socket, deadlineMs: number, give: (socket: Socket, isHttp2: boolean) => void): void {
  let seen = Buffer.alloc(0);
  const timer = setTimeout(() => socket.destroy(), deadlineMs);
  timer.unref();
  socket.once('close', () => clearTimeout(timer));
  const look = (chunk: Buffer): void => {
    seen = Buffer.concat([seen, chunk]);
    const text = seen.toString('latin1', 0, prefaceStart.length);
    if (text.length < prefaceStart.length && prefaceStart.startsWith(text)) return;
    clearTimeout(timer);
    socket.off('data', look);
    socket.pause();
    socket.unshift(seen);
    const isHttp2 = text === prefaceStart;
    give(socket, isHttp2);
    if (!isHttp2) socket.resume(); // HTTP/2 reads from below by itself
  };
  socket.on('data', look);
}

function readCertificate(certificate: Certificate): SecureContext {
  try {
    return createSecureContext({ cert: certificate.certPem, key: certificate.keyPem });
  } catch (error) {
    throw rpcError('RPC_BAD_CERTIFICATE', describeError(error), error);
  }
}

function secureOptions(certificate: Certificate): TlsOptions {
  return {
    cert: certificate.certPem,
    key: certificate.keyPem,
    minVersion: 'TLSv1.2',
    ALPNCallback: ({ protocols }) => (protocols.includes('http/1.1') ? 'http/1.1' : protocols.includes('h2') ? 'h2' : undefined),
  };
}

/** Stops accepting, lets requests that are being answered end for a moment, then cuts what is left. */
async function closeAll(server: TcpServer, http: HttpServer, open: ReadonlySet<Socket>): Promise<void> {
  const closed = new Promise<void>((resolve) => server.close(() => resolve()));
  http.close(); // ends its watch and its idle connections
  const timer = setTimeout(() => {
    for (const socket of open) socket.destroy();
  }, closeMs);
  await closed;
  clearTimeout(timer);
}
