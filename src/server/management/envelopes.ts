// Bodies sealed between a peer's key and the server's: whoever can seal is the peer.
import type { DescMessage, MessageInitShape, MessageShape } from '@bufbuild/protobuf';
import { publicFromPrivate } from '#crypto/x25519.ts';
import { toBase64 } from '#lib/bytes.ts';
import { parsePublicKey, type PublicKey } from '#model/ids.ts';
import type { Call } from '#rpc/method.ts';
import { Sealer } from '#rpc/sealed.ts';
import type { EncryptedMessage, EncryptedMessageSchema } from '#wire/proto/gen/management_pb.ts';
import { managementError } from './errors.ts';
import type { Strangers } from './strangers.ts';

export type Envelope = MessageInitShape<typeof EncryptedMessageSchema>;

export class Envelopes {
  readonly ownKey: string;
  readonly #sealer: Sealer;
  readonly #strangers: Strangers;

  /** The server's X25519 private key, 32 bytes. */
  constructor(privateKey: Uint8Array, strangers: Strangers) {
    this.ownKey = toBase64(publicFromPrivate(privateKey));
    this.#sealer = new Sealer(privateKey);
    this.#strangers = strangers;
  }

  /** Who sent it, and what. MANAGEMENT_KEY_INVALID, MANAGEMENT_STRANGERS, RPC_BAD_ENVELOPE. */
  open<Desc extends DescMessage>(
    desc: Desc,
    envelope: EncryptedMessage,
    call: Call,
  ): { readonly from: PublicKey; readonly message: MessageShape<Desc> } {
    const from = parsePublicKey(envelope.wgPubKey);
    if (from === undefined) throw managementError('MANAGEMENT_KEY_INVALID');
    this.#strangers.admit(from, call.peerAddress);
    return { from, message: this.#sealer.open(desc, envelope.body, from) };
  }

  seal<Desc extends DescMessage>(desc: Desc, message: MessageInitShape<Desc>, to: PublicKey): Envelope {
    return { wgPubKey: this.ownKey, body: this.#sealer.seal(desc, message, to) };
  }

  sealBytes(bytes: Uint8Array, to: PublicKey): Envelope {
    return { wgPubKey: this.ownKey, body: this.#sealer.sealBytes(bytes, to) };
  }
}
