// Methods of generated services as typed tables: path, and how both messages become bytes.
import {
  create,
  type DescMessage,
  type DescMethod,
  type DescService,
  fromBinary,
  type MessageInitShape,
  type MessageShape,
  toBinary,
} from '@bufbuild/protobuf';
import { Metadata, type MethodDefinition } from '@grpc/grpc-js';
import { asBuffer } from '#lib/bytes.ts';

type Kind = DescMethod['methodKind'];

/** A generated method of one kind; `Ins` and `Outs` are the descriptors of its messages. */
export type Method<K extends Kind, Ins extends DescMessage, Outs extends DescMessage> = DescMethod & {
  readonly methodKind: K;
  readonly input: Ins;
  readonly output: Outs;
};

export type UnaryMethod<Ins extends DescMessage, Outs extends DescMessage> = Method<'unary', Ins, Outs>;
export type ServerStreamMethod<Ins extends DescMessage, Outs extends DescMessage> = Method<'server_streaming', Ins, Outs>;
export type DuplexMethod<Ins extends DescMessage, Outs extends DescMessage> = Method<'bidi_streaming', Ins, Outs>;

/** Metadata of one value per name; names are lower case. */
export type Headers = Readonly<Record<string, string>>;

/** What a handler knows of its call. */
export interface Call {
  readonly path: string;
  /** The first value of a metadata entry, or undefined. */
  header(name: string): string | undefined;
  /** The caller's IP address as text; `unknown` where the connection has gone. */
  readonly peerAddress: string;
  /** Aborts where the caller cancels, its deadline passes, its connection ends or the server closes. */
  readonly signal: AbortSignal;
}

/** The answering side of a streaming call. */
export interface Answers<Out> {
  /** Sends response headers now; without it they go with the first message. */
  headers(headers: Headers): void;
  /** Resolves when the message was taken over; rejects with RPC_CANCELLED where nobody listens any more. */
  send(message: Out): Promise<void>;
}

type UnaryHandler<I, O> = (request: I, call: Call) => Promise<O>;
type ServerStreamHandler<I, O> = (request: I, call: Call, answers: Answers<O>) => Promise<void>;
type DuplexHandler<I, O> = (requests: AsyncIterable<I>, call: Call, answers: Answers<O>) => Promise<void>;

export type Handler<M extends DescMethod> = M extends { methodKind: 'unary' }
  ? UnaryHandler<MessageShape<M['input']>, MessageInitShape<M['output']>>
  : M extends { methodKind: 'server_streaming' }
    ? ServerStreamHandler<MessageShape<M['input']>, MessageInitShape<M['output']>>
    : M extends { methodKind: 'bidi_streaming' }
      ? DuplexHandler<MessageShape<M['input']>, MessageInitShape<M['output']>>
      : never;

/** Handlers by method name; a missing one answers UNIMPLEMENTED. */
export type Handlers<S extends DescService> = { readonly [M in keyof S['method']]?: Handler<S['method'][M]> };

/** Runs before each call of a service; throws to refuse it. What it returns aborts the call when it fires, and its reason is the call's status. */
export type Guard = (call: Call) => Promise<AbortSignal | undefined>;

/** One service, ready to be registered with a server. */
export interface RpcService {
  readonly desc: DescService;
  readonly handlers: ReadonlyMap<DescMethod, unknown>;
  readonly guard: Guard | undefined;
}

/** Binds handlers to a generated service; `guard` checks every call of it, the unimplemented ones excepted. */
export function defineService<S extends DescService>(desc: S, handlers: Handlers<S>, guard?: Guard): RpcService {
  const table = new Map<DescMethod, unknown>();
  for (const [name, handler] of Object.entries(handlers)) {
    const method = desc.methods.find((candidate) => candidate.localName === name);
    if (method !== undefined && handler !== undefined) table.set(method, handler);
  }
  return { desc, handlers: table, guard };
}

/** How gRPC transports one method. Decoding throws on bytes that are no such message. */
export function definitionOf<Ins extends DescMessage, Outs extends DescMessage>(
  method: DescMethod & { readonly input: Ins; readonly output: Outs },
): MethodDefinition<MessageInitShape<Ins> | MessageShape<Ins>, MessageInitShape<Outs> | MessageShape<Outs>> {
  return {
    path: `/${method.parent.typeName}/${method.name}`,
    requestStream: method.methodKind === 'client_streaming' || method.methodKind === 'bidi_streaming',
    responseStream: method.methodKind === 'server_streaming' || method.methodKind === 'bidi_streaming',
    requestSerialize: (message) => encode(method.input, message),
    requestDeserialize: (bytes) => fromBinary(method.input, bytes),
    responseSerialize: (message) => encode(method.output, message),
    responseDeserialize: (bytes) => fromBinary(method.output, bytes),
  };
}

/** Metadata as grpc-js wants it; names and values come from us, never from outside. */
export function metadataOf(headers: Headers): Metadata {
  const metadata = new Metadata();
  for (const [name, value] of Object.entries(headers)) metadata.set(name, value);
  return metadata;
}

function encode<Desc extends DescMessage>(desc: Desc, message: MessageInitShape<Desc> | MessageShape<Desc>): Buffer {
  return asBuffer(toBinary(desc, create(desc, message as MessageInitShape<Desc>)));
}
