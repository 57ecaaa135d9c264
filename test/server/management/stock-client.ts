// A management client that does what a stock one does, message by message: sealed bodies, the key asked for first.
import type { DescMessage, MessageInitShape, MessageShape } from '@bufbuild/protobuf';
import { generatePrivateKey, publicFromPrivate } from '#crypto/x25519.ts';
import { toBase64 } from '#lib/bytes.ts';
import type { RpcChannel } from '#rpc/client.ts';
import type { UnaryMethod } from '#rpc/method.ts';
import { Sealer } from '#rpc/sealed.ts';
import { type EncryptedMessageSchema, ManagementService, SyncRequestSchema, SyncResponseSchema } from '#wire/proto/gen/management_pb.ts';

const never = new AbortController().signal;
const api = ManagementService.method;

export type SyncAnswer = MessageShape<typeof SyncResponseSchema>;

export class StockClient {
  readonly channel: RpcChannel;
  readonly key: string;
  readonly #sealer: Sealer;
  #serverKey = '';

  /** With a key of its own, unless it speaks for a peer that there is. */
  constructor(channel: RpcChannel, privateKey = generatePrivateKey()) {
    this.channel = channel;
    this.key = toBase64(publicFromPrivate(privateKey));
    this.#sealer = new Sealer(privateKey);
  }

  async fetchKey(): Promise<string> {
    this.#serverKey = (await this.channel.unary(api.getServerKey, {}, { signal: never })).key;
    return this.#serverKey;
  }

  seal<I extends DescMessage>(desc: I, message: MessageInitShape<I>): { wgPubKey: string; body: Uint8Array } {
    return { wgPubKey: this.key, body: this.#sealer.seal(desc, message, this.#serverKey) };
  }

  open<O extends DescMessage>(desc: O, body: Uint8Array): MessageShape<O> {
    return this.#sealer.open(desc, body, this.#serverKey);
  }

  async call<I extends DescMessage, O extends DescMessage>(
    method: UnaryMethod<typeof EncryptedMessageSchema, typeof EncryptedMessageSchema>,
    desc: I,
    message: MessageInitShape<I>,
    out: O,
  ): Promise<MessageShape<O>> {
    return this.open(out, (await this.channel.unary(method, this.seal(desc, message), { signal: never })).body);
  }

  /** The Sync stream: each call of `next` is the next message. */
  async sync(meta: MessageInitShape<typeof SyncRequestSchema>['meta']): Promise<{ next(): Promise<SyncAnswer>; cancel(): void }> {
    const stream = await this.channel.serverStream(api.sync, this.seal(SyncRequestSchema, { meta }), { signal: never });
    const iterator = stream[Symbol.asyncIterator]();
    return {
      next: async () => {
        const { value, done } = await iterator.next();
        if (done === true) throw new TypeError('the stream ended');
        return this.open(SyncResponseSchema, value.body);
      },
      cancel: () => stream.cancel(),
    };
  }
}
