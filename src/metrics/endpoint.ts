// What monitoring asks a process: figures, whether it lives, and whether it can serve. Plain HTTP without sign-in, so nothing secret is answered,
// and it listens on loopback unless told otherwise.
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Clock } from '#lib/clock.ts';
import { describeError } from '#lib/errors.ts';
import { parseIp } from '#lib/ip.ts';
import type { Closable } from '#lib/lifecycle.ts';
import type { Logger } from '#lib/log.ts';
import { type DialTarget, formatHostPort, parseHostPort } from '#lib/net.ts';
import { maxConnections, maxRequestsPerConnection, readyMs, requestMs, reuseMs } from './constants.ts';
import { metricsError } from './errors.ts';
import type { Family } from './family.ts';
import type { MetricsText } from './registry.ts';

export interface MetricsOptions {
  readonly families: readonly Family[];
  /** Empty where the process can serve, else what it waits for. Must not ask the control plane. */
  ready(): string | Promise<string>;
}

export interface MetricsEndpoint extends Closable {
  readonly port: number;
}

interface Answer {
  readonly status: number;
  readonly type?: string;
  readonly text: string;
}

/** Serves until closed. Rejects with METRICS_PORT_FAILED. The library behind it is loaded only here: without an endpoint it costs no memory. */
export async function serveMetrics(
  listen: DialTarget,
  options: MetricsOptions,
  deps: { readonly log: Logger; readonly clock: Clock },
): Promise<MetricsEndpoint> {
  const { openRegistry } = await import('./registry.ts');
  const endpoint = new Endpoint(options, openRegistry(options.families), deps);
  return endpoint.listen(listen);
}

class Endpoint {
  readonly #options: MetricsOptions;
  readonly #text: MetricsText;
  readonly #log: Logger;
  readonly #clock: Clock;
  readonly #server: Server;
  #loopback = true;
  #kept: { readonly at: number; readonly text: Promise<string> } | undefined;

  constructor(options: MetricsOptions, text: MetricsText, deps: { readonly log: Logger; readonly clock: Clock }) {
    this.#options = options;
    this.#text = text;
    this.#log = deps.log;
    this.#clock = deps.clock;
    this.#server = createServer({ headersTimeout: requestMs, requestTimeout: requestMs, keepAliveTimeout: requestMs }, (request, response) => {
      void this.#answer(request).then(
        (answer) => send(request, response, answer),
        (error: unknown) => {
          this.#log.error('metrics could not be read', { reason: describeError(error) });
          send(request, response, { status: 500, text: 'the figures could not be read\n' });
        },
      );
    });
    this.#server.maxConnections = maxConnections;
    this.#server.maxRequestsPerSocket = maxRequestsPerConnection;
  }

  async listen({ host, port }: DialTarget): Promise<MetricsEndpoint> {
    await new Promise<void>((resolve, reject) => {
      this.#server.once('error', (error) => reject(metricsError('METRICS_PORT_FAILED', formatHostPort(host, port), error)));
      this.#server.listen(port, host, resolve);
    });
    const bound = this.#server.address() as AddressInfo;
    this.#loopback = isLoopback(bound.address);
    this.#log.info('metrics are served', { listen: formatHostPort(bound.address, bound.port) });
    return { port: bound.port, close: () => this.#close() };
  }

  async #answer(request: IncomingMessage): Promise<Answer> {
    if (request.method !== 'GET' && request.method !== 'HEAD') return { status: 405, text: 'only GET and HEAD\n' };
    // A page in a browser of this machine must not read loopback under a name of its own (DNS rebinding).
    if (this.#loopback && !isOwnName(request.headers.host)) return { status: 403, text: 'ask for this by its address\n' };
    switch (request.url ?? '') {
      case '/metrics':
        return { status: 200, type: this.#text.contentType, text: await this.#figures() };
      case '/healthz/live':
        return { status: 200, text: 'ok\n' };
      case '/healthz/ready': {
        const waiting = await this.#ready();
        return waiting === '' ? { status: 200, text: 'ok\n' } : { status: 503, text: `${waiting}\n` };
      }
      default:
        return { status: 404, text: 'there is /metrics, /healthz/live and /healthz/ready\n' };
    }
  }

  #figures(): Promise<string> {
    const now = this.#clock.now();
    if (this.#kept === undefined || now - this.#kept.at >= reuseMs) this.#kept = { at: now, text: this.#text.read() };
    return this.#kept.text;
  }

  /** Never rejects. */
  #ready(): Promise<string> {
    return new Promise((resolve) => {
      const late = this.#clock.after(readyMs, () => resolve('it does not answer in time'));
      void Promise.resolve()
        .then(() => this.#options.ready())
        .catch((error: unknown) => {
          this.#log.debug('not ready', { reason: describeError(error) });
          return 'it does not work';
        })
        .then(resolve)
        .finally(() => late.cancel());
    });
  }

  #close(): Promise<void> {
    return new Promise((resolve) => {
      this.#server.close(() => resolve());
      this.#server.closeAllConnections();
    });
  }
}

function send(request: IncomingMessage, response: ServerResponse, { status, type = 'text/plain; charset=utf-8', text }: Answer): void {
  response.on('error', () => undefined); // the asker has gone
  const bytes = Buffer.from(text);
  response.writeHead(status, {
    'content-type': type,
    'content-length': bytes.length,
    'cache-control': 'no-store',
    'x-content-type-options': 'nosniff',
    ...(status === 405 ? { allow: 'GET, HEAD' } : {}),
    // A body that nobody reads to its end would be taken for the next request.
    ...(request.complete && request.headers['transfer-encoding'] === undefined && request.headers['content-length'] === undefined
      ? {}
      : { connection: 'close' }),
  });
  response.end(request.method === 'HEAD' ? undefined : bytes);
}

function isLoopback(address: string): boolean {
  return address === '::1' || /^(?:::ffff:)?127\./.test(address);
}

function isOwnName(host: string | undefined): boolean {
  const name = host === undefined ? undefined : parseHostPort(host, 80)?.host;
  return name !== undefined && (name === 'localhost' || parseIp(name) !== undefined);
}
