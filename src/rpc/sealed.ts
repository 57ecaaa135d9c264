// The sealed envelope around management and signal messages: a protobuf message in a NaCl box between two WireGuard keys
// (netbird-wire §1.3). A key pair's shared secret is most of the cost, so it is kept for the correspondents in use.
import { create, type DescMessage, fromBinary, type MessageInitShape, type MessageShape, toBinary } from '@bufbuild/protobuf';
import { fromBase64 } from '#lib/bytes.ts';
import { openShared, sealShared, sharedBoxKey } from '#crypto/box.ts';
import { maxSharedKeys } from './constants.ts';
import { rpcError } from './errors.ts';

/** Seals and opens with one private key of 32 bytes. Keys of others are base64 text; holds at most 4096 shared secrets. */
export class Sealer {
  readonly #privateKey: Uint8Array;
  readonly #shared = new Map<string, Uint8Array>();

  constructor(privateKey: Uint8Array) {
    this.#privateKey = privateKey;
  }

  /** Shared secrets that are kept, for the limit's test. */
  get sharedCount(): number {
    return this.#shared.size;
  }

  /** Throws RPC_UNSEALABLE where the receiver's key is none. */
  seal<Desc extends DescMessage>(desc: Desc, message: MessageInitShape<Desc>, to: string): Uint8Array {
    return this.sealBytes(toBinary(desc, create(desc, message)), to);
  }

  /** The same for a message that is encoded already. */
  sealBytes(message: Uint8Array, to: string): Uint8Array {
    return sealShared(message, this.#keep(to, this.#shared.get(to) ?? this.#agree(to)));
  }

  /** The message inside, proven to come from `from`. Throws RPC_UNSEALABLE where it is not genuine, not complete, or no such message. */
  open<Desc extends DescMessage>(desc: Desc, body: Uint8Array, from: string): MessageShape<Desc> {
    const secret = this.#shared.get(from) ?? this.#agree(from);
    const plain = openShared(body, secret);
    if (plain === undefined) throw rpcError('RPC_UNSEALABLE', `not genuine from ${from.slice(0, 44)}`);
    this.#keep(from, secret); // only now: who merely claims keys must not push out those in use
    try {
      return fromBinary(desc, plain);
    } catch (error) {
      throw rpcError('RPC_UNSEALABLE', `not a ${desc.typeName}`, error);
    }
  }

  #agree(their: string): Uint8Array {
    const key = fromBase64(their);
    if (key?.length !== 32) throw rpcError('RPC_UNSEALABLE', 'not a key');
    return sharedBoxKey(key, this.#privateKey);
  }

  #keep(their: string, secret: Uint8Array): Uint8Array {
    if (!this.#shared.has(their) && this.#shared.size >= maxSharedKeys) {
      const oldest = this.#shared.keys().next();
      if (oldest.done !== true) this.#shared.delete(oldest.value);
    }
    this.#shared.set(their, secret);
    return secret;
  }
}
