// The client side: a channel to one server, with a deadline on every call. Names are resolved by us, so that *.localhost works
// everywhere; the certificate is still checked against the name.
import { create, type DescMessage, type MessageInitShape, type MessageShape } from '@bufbuild/protobuf';
import { type ChannelCredentials, Client, type ClientDuplexStream, type ClientReadableStream, credentials, type Metadata } from '@grpc/grpc-js';
import { getCACertificates } from 'node:tls';
import { describeError } from '#lib/errors.ts';
import { parseIp } from '#lib/ip.ts';
import type { Closable } from '#lib/lifecycle.ts';
import { formatHostPort } from '#lib/net.ts';
import { resolveHost } from '#lib/resolve.ts';
import { defaultDeadlineMs, keepaliveMs, keepaliveTimeoutMs, maxAnswerBytes, maxRequestBytes } from './constants.ts';
import { rpcError } from './errors.ts';
import { definitionOf, type DuplexMethod, type Headers, metadataOf, type ServerStreamMethod, type UnaryMethod } from './method.ts';
import { errorOfStatus } from './status.ts';

export interface RpcAddress {
  readonly host: string;
  readonly port: number;
  readonly tls: boolean;
  /** PEM text of roots beside the system's. */
  readonly ca: string | undefined;
}

export interface CallOptions {
  readonly signal: AbortSignal;
  /** For unary calls: until the answer. For streams: until the server's first sign of life. Default 10 s. */
  readonly deadlineMs?: number;
  readonly headers?: Headers;
}

/** An open stream. Iterating ends with the server's end, and throws its status; leaving the loop cancels the call. */
export interface RpcStream<In, Out> extends AsyncIterable<Out> {
  /** Response headers; rejects where the stream fails before. */
  readonly headers: Promise<(name: string) => string | undefined>;
  /** Resolves when written; a stream that has failed swallows it, as its reader learns why. */
  send(message: In): Promise<void>;
  cancel(): void;
}

/** Reads `https://host[:port]` or `http://host[:port]`. Throws RPC_BAD_ADDRESS. */
export function parseRpcUrl(url: string, ca: string | undefined): RpcAddress {
  const parsed = URL.canParse(url) ? new URL(url) : undefined;
  const tls = parsed?.protocol === 'https:';
  if (parsed === undefined || (!tls && parsed.protocol !== 'http:') || parsed.hostname === '') throw rpcError('RPC_BAD_ADDRESS');
  const port = parsed.port === '' ? (tls ? 443 : 80) : Number(parsed.port);
  return { host: parsed.hostname.replace(/^\[(.*)\]$/, '$1'), port, tls, ca };
}

/** A client in use. One that failed is retired: new calls get another, and it closes with the last of its own. */
interface Connection {
  readonly client: Client;
  calls: number;
  retired: boolean;
}

/** A channel connects at its first call and again after failures, each time with freshly resolved addresses. */
export class RpcChannel implements Closable {
  readonly #address: RpcAddress;
  readonly #credentials: ChannelCredentials;
  readonly #connections = new Set<Connection>();
  #current: Connection | undefined;
  #failures = 0;
  #closed = false;

  /** Throws RPC_BAD_CERTIFICATE where the extra roots cannot be read. */
  constructor(address: RpcAddress) {
    this.#address = address;
    this.#credentials = address.tls ? secure(address.ca) : credentials.createInsecure();
  }

  /** One request, one answer. Rejects with a row of rpc/errors.ts. */
  async unary<I extends DescMessage, O extends DescMessage>(
    method: UnaryMethod<I, O>,
    request: MessageInitShape<I>,
    options: CallOptions,
  ): Promise<MessageShape<O>> {
    const { path, requestSerialize, responseDeserialize } = definitionOf(method);
    const deadline = Date.now() + (options.deadlineMs ?? defaultDeadlineMs);
    const connection = await this.#open(options.signal);
    return new Promise((resolve, reject) => {
      const call = connection.client.makeUnaryRequest(
        path,
        requestSerialize,
        responseDeserialize,
        create(method.input, request),
        metadataOf(options.headers ?? {}),
        { deadline },
        (error, answer) => {
          options.signal.removeEventListener('abort', cancel);
          this.#release(connection);
          if (error === null && answer !== undefined) return resolve(answer as MessageShape<O>);
          reject(this.#failed(error, connection));
        },
      );
      const cancel = (): void => call.cancel();
      options.signal.addEventListener('abort', cancel, { once: true });
      if (options.signal.aborted) cancel();
    });
  }

  /** One request, many answers. */
  async serverStream<I extends DescMessage, O extends DescMessage>(
    method: ServerStreamMethod<I, O>,
    request: MessageInitShape<I>,
    options: CallOptions,
  ): Promise<RpcStream<never, MessageShape<O>>> {
    const { path, requestSerialize, responseDeserialize } = definitionOf(method);
    const connection = await this.#open(options.signal);
    const call = connection.client.makeServerStreamRequest(
      path,
      requestSerialize,
      responseDeserialize,
      create(method.input, request),
      metadataOf(options.headers ?? {}),
    );
    return this.#stream<never, MessageShape<O>>(connection, call as ClientReadableStream<MessageShape<O>>, undefined, options);
  }

  /** Many requests, many answers, each way at its own pace. */
  async duplex<I extends DescMessage, O extends DescMessage>(
    method: DuplexMethod<I, O>,
    options: CallOptions,
  ): Promise<RpcStream<MessageInitShape<I>, MessageShape<O>>> {
    const { path, requestSerialize, responseDeserialize } = definitionOf(method);
    const connection = await this.#open(options.signal);
    const call = connection.client.makeBidiStreamRequest(path, requestSerialize, responseDeserialize, metadataOf(options.headers ?? {}));
    const writer = call as ClientDuplexStream<MessageInitShape<I>, MessageShape<O>>;
    return this.#stream(connection, writer, writer, options);
  }

  /** The way to the server may be dead without anybody having noticed: later calls take a new connection. Calls under way are left alone. */
  renew(): void {
    const connection = this.#current;
    if (connection === undefined) return;
    this.#current = undefined;
    connection.retired = true;
    this.#closeUnused(connection);
  }

  close(): Promise<void> {
    this.#closed = true;
    for (const { client } of this.#connections) client.close();
    this.#connections.clear();
    this.#current = undefined;
    return Promise.resolve();
  }

  #stream<I, O>(
    connection: Connection,
    call: ClientReadableStream<O>,
    writer: ClientDuplexStream<I, O> | undefined,
    options: CallOptions,
  ): RpcStream<I, O> {
    let late = false;
    const timer = setTimeout(() => {
      late = true;
      call.cancel();
    }, options.deadlineMs ?? defaultDeadlineMs);
    const alive = (): void => clearTimeout(timer);
    const cancel = (): void => call.cancel();
    options.signal.addEventListener('abort', cancel, { once: true });
    if (options.signal.aborted) cancel();
    let open = true;
    const settled = (): void => {
      alive();
      options.signal.removeEventListener('abort', cancel);
      if (open) this.#release(connection);
      open = false;
    };
    const failed = (error: unknown): Error => (late ? rpcError('RPC_DEADLINE', 'no sign of life') : this.#failed(error, connection));

    const headers = new Promise<(name: string) => string | undefined>((resolve, reject) => {
      call.once('metadata', (metadata: Metadata) => {
        alive();
        resolve((name) => metadata.get(name)[0]?.toString());
      });
      call.on('error', (error) => {
        settled();
        reject(failed(error));
      });
      call.once('status', settled);
    });
    headers.catch(() => undefined); // whoever reads the stream learns the same
    return {
      headers,
      cancel,
      send: (message) =>
        new Promise((resolve) => {
          if (writer === undefined || writer.destroyed || writer.writableEnded) return resolve();
          writer.write(message, () => resolve());
        }),
      async *[Symbol.asyncIterator]() {
        try {
          for await (const message of call) {
            alive();
            yield message as O;
          }
        } catch (error) {
          throw failed(error);
        } finally {
          settled();
          cancel();
        }
      },
    };
  }

  /** The connection to call with; a new one after a failure, as the server may have moved. Counts as one call until released. */
  async #open(signal: AbortSignal): Promise<Connection> {
    if (this.#closed) throw rpcError('RPC_CANCELLED', 'the channel is closed');
    if (signal.aborted) throw rpcError('RPC_CANCELLED', 'aborted before the call');
    if (this.#current === undefined) {
      const { host, port } = this.#address;
      const target = await this.#target(host, port, signal);
      if (this.#closed) throw rpcError('RPC_CANCELLED', 'the channel is closed');
      this.#current ??= this.#connect(target, formatHostPort(host, port));
    }
    this.#current.calls += 1;
    return this.#current;
  }

  #connect(target: string, authority: string): Connection {
    const client = new Client(target, this.#credentials, {
      'grpc.default_authority': authority,
      ...(this.#address.tls ? { 'grpc.ssl_target_name_override': this.#address.host } : {}),
      'grpc.max_receive_message_length': maxAnswerBytes,
      'grpc.max_send_message_length': maxRequestBytes,
      'grpc.keepalive_time_ms': keepaliveMs,
      'grpc.keepalive_timeout_ms': keepaliveTimeoutMs,
      'grpc.enable_http_proxy': 0,
      'grpc.enable_retries': 0,
      'grpc.use_local_subchannel_pool': 1,
    });
    const connection = { client, calls: 0, retired: false };
    this.#connections.add(connection);
    return connection;
  }

  #release(connection: Connection): void {
    connection.calls -= 1;
    this.#closeUnused(connection);
  }

  #closeUnused(connection: Connection): void {
    if (connection.retired && connection.calls === 0 && this.#connections.delete(connection)) connection.client.close();
  }

  /** All addresses of one family, as grpc-js cannot mix them; the family changes with each failure. */
  async #target(host: string, port: number, signal: AbortSignal): Promise<string> {
    let addresses: readonly string[];
    try {
      addresses = await abortable(resolveHost(host), signal);
    } catch (error) {
      throw rpcError(signal.aborted ? 'RPC_CANCELLED' : 'RPC_UNAVAILABLE', `${host}: ${describeError(error)}`, error);
    }
    const v6 = addresses.filter((address) => parseIp(address)?.family === 6);
    const v4 = addresses.filter((address) => parseIp(address)?.family === 4);
    const useV6 = v4.length === 0 || (v6.length > 0 && this.#failures % 2 === 1);
    const chosen = useV6 ? v6 : v4;
    if (chosen.length === 0) throw rpcError('RPC_UNAVAILABLE', `${host}: no address`);
    return `${useV6 ? 'ipv6' : 'ipv4'}:${chosen.map((address) => formatHostPort(address, port)).join(',')}`;
  }

  #failed(error: unknown, connection: Connection): Error {
    const failure = errorOfStatus(error);
    if (failure.code === 'RPC_UNAVAILABLE' && this.#current === connection) {
      this.#failures += 1;
      this.renew();
    }
    return failure;
  }
}

function secure(ca: string | undefined): ChannelCredentials {
  if (ca === undefined) return credentials.createSsl();
  try {
    return credentials.createSsl(Buffer.from([...getCACertificates('default'), ca].join('\n')));
  } catch (error) {
    throw rpcError('RPC_BAD_CERTIFICATE', describeError(error), error);
  }
}

function abortable<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const abort = (): void => reject(rpcError('RPC_CANCELLED', 'aborted'));
    signal.addEventListener('abort', abort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', abort));
  });
}
