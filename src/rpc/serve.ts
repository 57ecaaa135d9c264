// Our handlers behind grpc-js: what is registered for each method, and how errors and cancellation cross.
import type { DescMethod } from '@bufbuild/protobuf';
import {
  type handleBidiStreamingCall,
  type handleServerStreamingCall,
  type handleUnaryCall,
  type Server,
  type ServerDuplexStream,
  type ServerUnaryCall,
  type ServerWritableStream,
  type UntypedServiceImplementation,
} from '@grpc/grpc-js';
import type { EventEmitter } from 'node:events';
import type { Logger } from '#lib/log.ts';
import { rpcError } from './errors.ts';
import { type Answers, type Call, definitionOf, type Guard, metadataOf, type RpcService } from './method.ts';
import { statusOfLogged } from './status.ts';

type AnyCall = ServerUnaryCall<unknown, unknown> | ServerWritableStream<unknown, unknown> | ServerDuplexStream<unknown, unknown>;
type Unary = (request: unknown, call: Call) => Promise<unknown>;
type ServerStream = (request: unknown, call: Call, answers: Answers<unknown>) => Promise<void>;
type Duplex = (requests: AsyncIterable<unknown>, call: Call, answers: Answers<unknown>) => Promise<void>;

export interface ServeContext {
  readonly log: Logger;
  /** Aborts when the server closes. */
  readonly closing: AbortSignal;
  /** The caller's address, given the connection's and the X-Forwarded-For header. */
  readonly clientAddress: (connection: string, forwarded: string | undefined) => string;
}

/** Registers a service; methods without a handler answer UNIMPLEMENTED. */
export function register(server: Server, service: RpcService, context: ServeContext): void {
  const definitions: Record<string, ReturnType<typeof definitionOf>> = {};
  const implementation: UntypedServiceImplementation = {};
  for (const method of service.desc.methods) {
    definitions[method.localName] = definitionOf(method);
    const handler = service.handlers.get(method);
    if (handler !== undefined) implementation[method.localName] = adapt(method, handler, service.guard, context);
  }
  server.addService(definitions, implementation);
}

function adapt(
  method: DescMethod,
  handler: unknown,
  guard: Guard | undefined,
  context: ServeContext,
): handleUnaryCall<unknown, unknown> | handleServerStreamingCall<unknown, unknown> | handleBidiStreamingCall<unknown, unknown> {
  const path = definitionOf(method).path;
  if (method.methodKind === 'unary') {
    return (inner: ServerUnaryCall<unknown, unknown>, reply) => {
      void guarded(inner, path, guard, context, (call) => (handler as Unary)(inner.request, call)).then(
        (answer) => reply(null, answer),
        (error: unknown) => reply(statusOfLogged(error, path, context.log)),
      );
    };
  }
  if (method.methodKind === 'server_streaming') {
    return (inner: ServerWritableStream<unknown, unknown>) => {
      finish(
        inner,
        guarded(inner, path, guard, context, (call) => (handler as ServerStream)(inner.request, call, answersOf(inner, call))),
        path,
        context,
      );
    };
  }
  return (inner: ServerDuplexStream<unknown, unknown>) => {
    finish(
      inner,
      guarded(inner, path, guard, context, (call) => (handler as Duplex)(inner.iterator({ destroyOnReturn: false }), call, answersOf(inner, call))),
      path,
      context,
    );
  };
}

async function guarded<T>(
  inner: AnyCall,
  path: string,
  guard: Guard | undefined,
  context: ServeContext,
  run: (call: Call) => Promise<T>,
): Promise<T> {
  const ended = new AbortController();
  (inner as EventEmitter).on('cancelled', () => ended.abort());
  const call: Call = {
    path,
    header: (name) => inner.metadata.get(name)[0]?.toString(),
    peerAddress: context.clientAddress(addressOf(inner.getPeer()), inner.metadata.get('x-forwarded-for')[0]?.toString()),
    signal: AbortSignal.any([ended.signal, context.closing]),
  };
  const revoked = await guard?.(call);
  if (revoked === undefined) return run(call);
  const answer = await run({ ...call, signal: AbortSignal.any([call.signal, revoked]) });
  if (revoked.aborted) throw revoked.reason;
  return answer;
}

/** Ends a stream with what its handler came to; a cancelled one needs no status but must not throw either. */
function finish(
  inner: ServerWritableStream<unknown, unknown> | ServerDuplexStream<unknown, unknown>,
  handled: Promise<void>,
  path: string,
  context: ServeContext,
): void {
  inner.on('error', () => undefined); // the transport's own errors reach the handler as cancellation
  void handled.then(
    () => inner.end(),
    (error: unknown) => inner.emit('error', statusOfLogged(error, path, context.log)),
  );
}

function answersOf(inner: ServerWritableStream<unknown, unknown> | ServerDuplexStream<unknown, unknown>, call: Call): Answers<unknown> {
  return {
    headers: (headers) => inner.sendMetadata(metadataOf(headers)),
    send: (message) =>
      new Promise((resolve, reject) => {
        const gone = (): void => reject(rpcError('RPC_CANCELLED', call.path));
        if (call.signal.aborted || inner.cancelled || inner.destroyed) return gone();
        call.signal.addEventListener('abort', gone, { once: true });
        inner.write(message, () => {
          call.signal.removeEventListener('abort', gone);
          resolve();
        });
      }),
  };
}

/** `address:port` of grpc-js without its port; IPv6 comes without brackets. IPv4-mapped addresses become IPv4. */
function addressOf(peer: string): string {
  const end = peer.lastIndexOf(':');
  const address = end < 0 ? peer : peer.slice(0, end);
  return address.startsWith('::ffff:') && address.includes('.') ? address.slice(7) : address;
}
