// The server side: services of ours on one port, with HTTP/1.1 requests and upgrades handed to whoever serves them.
import { Server, ServerCredentials } from '@grpc/grpc-js';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';
import { type IpPrefix, parseIp, prefixContains, unmapIp } from '#lib/ip.ts';
import type { Closable } from '#lib/lifecycle.ts';
import type { Logger } from '#lib/log.ts';
import {
  idleConnectionMs,
  maxAnswerBytes,
  maxRequestBytes,
  maxSessionMegabytes,
  maxStreamsPerConnection,
  serverKeepaliveMs,
  serverKeepaliveTimeoutMs,
} from './constants.ts';
import { type Certificate, listen, type ListenerOptions } from './listener.ts';
import type { RpcService } from './method.ts';
import { register } from './serve.ts';

export interface RpcServerOptions extends ListenerOptions {
  readonly services: readonly RpcService[];
  /** HTTP/1.1 requests; without it they get 404. */
  readonly onRequest?: (request: IncomingMessage, response: ServerResponse) => void;
  /** HTTP/1.1 upgrades, such as the relay's WebSocket at /relay; without it they are closed. */
  readonly onUpgrade?: (request: IncomingMessage, socket: Duplex, head: Buffer) => void;
  /** Proxies in front whose X-Forwarded-For is believed. */
  readonly trustedProxies?: readonly IpPrefix[];
  /** After how much silence a connection is asked for a sign of life, and how long that may take, milliseconds. */
  readonly keepaliveMs?: number;
  readonly keepaliveTimeoutMs?: number;
}

export interface RpcServer extends Closable {
  readonly port: number;
  /** New handshakes use this certificate. Throws RPC_BAD_CERTIFICATE. */
  setCertificate(certificate: Certificate): void;
}

/** Serves; rejects where the port cannot be had or the certificate cannot be read. */
export async function createRpcServer(options: RpcServerOptions, log: Logger): Promise<RpcServer> {
  const grpc = new Server({
    'grpc.max_receive_message_length': maxRequestBytes,
    'grpc.max_send_message_length': maxAnswerBytes,
    'grpc.max_concurrent_streams': maxStreamsPerConnection,
    'grpc.max_connection_idle_ms': idleConnectionMs,
    'grpc.keepalive_time_ms': options.keepaliveMs ?? serverKeepaliveMs,
    'grpc.keepalive_timeout_ms': options.keepaliveTimeoutMs ?? serverKeepaliveTimeoutMs,
    'grpc-node.max_session_memory': maxSessionMegabytes,
  });
  const closing = new AbortController();
  const trusted = options.trustedProxies ?? [];
  const clientAddress = (connection: string, forwarded: string | undefined): string => forwardedAddress(connection, forwarded, trusted);
  for (const service of options.services) register(grpc, service, { log, closing: closing.signal, clientAddress });
  const injector = grpc.createConnectionInjector(ServerCredentials.createInsecure());

  const listener = await listen(
    options,
    {
      http2: (socket) => injector.injectConnection(socket),
      request: options.onRequest ?? ((_request, response) => response.writeHead(404, { 'content-length': 0 }).end()),
      upgrade: options.onUpgrade ?? ((_request, socket) => socket.destroy()),
    },
    log,
  );
  let closed: Promise<void> | undefined;
  const close = async (): Promise<void> => {
    closing.abort();
    const stopped = listener.close();
    injector.destroy();
    grpc.forceShutdown();
    await stopped;
  };
  return { port: listener.port, setCertificate: (certificate) => listener.setCertificate(certificate), close: () => (closed ??= close()) };
}

/** The last address of X-Forwarded-For that no trusted proxy wrote for itself; the connection's own where it is not trusted. */
export function forwardedAddress(connection: string, forwarded: string | undefined, trusted: readonly IpPrefix[]): string {
  const isTrusted = (text: string): boolean => {
    const ip = parseIp(text);
    return ip !== undefined && trusted.some((prefix) => prefixContains(prefix, unmapIp(ip)));
  };
  if (forwarded === undefined || !isTrusted(connection)) return connection;
  const hops = forwarded.split(',').map((hop) => hop.trim());
  for (const hop of hops.toReversed()) {
    if (parseIp(hop) === undefined) return connection;
    if (!isTrusted(hop)) return hop;
  }
  return connection;
}
