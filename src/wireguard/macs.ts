// The two MACs of handshake messages and the cookies behind the second (whitepaper §5.4.4, §5.4.7). MAC1 shows that the sender knows
// whom it talks to; MAC2, asked for under load, that it can receive where it says it is.
import { openExtended, sealExtended } from '#crypto/aead.ts';
import { blake2s, blake2sMac } from '#crypto/blake2s.ts';
import { equalBytes, utf8 } from '#lib/bytes.ts';
import { type CookieReply, mac1FromEnd, mac2FromEnd } from '#wire/wireguard.ts';
import { cookieLifeMs } from './constants.ts';

const macBytes = 16;
const mac1Label = utf8('mac1----');
const cookieLabel = utf8('cookie--');

/** Checks the MACs of messages to us, and hands out cookies. */
export class MacChecker {
  readonly #mac1Key: Uint8Array;
  readonly #cookieKey: Uint8Array;
  readonly #random: (target: Uint8Array) => void;
  readonly #secret = new Uint8Array(32);
  #secretMade = -Infinity;

  constructor(ownPublicKey: Uint8Array, random: (target: Uint8Array) => void) {
    this.#mac1Key = blake2s(mac1Label, ownPublicKey);
    this.#cookieKey = blake2s(cookieLabel, ownPublicKey);
    this.#random = random;
  }

  /** Whether a handshake message was made for our public key. */
  checkMac1(message: Uint8Array): boolean {
    const split = message.length - mac1FromEnd;
    return equalBytes(blake2sMac(macBytes, this.#mac1Key, message.subarray(0, split)), message.subarray(split, split + macBytes));
  }

  /** Whether the message carries the cookie that this source was given lately. */
  checkMac2(message: Uint8Array, source: Uint8Array, now: number): boolean {
    if (now - this.#secretMade >= cookieLifeMs) return false;
    const split = message.length - mac2FromEnd;
    return equalBytes(blake2sMac(macBytes, this.#cookie(source), message.subarray(0, split)), message.subarray(split));
  }

  /** The cookie reply to a message from this source; `receiver` is that message's sender index. */
  reply(message: Uint8Array, receiver: number, source: Uint8Array, now: number): CookieReply {
    if (now - this.#secretMade >= cookieLifeMs) {
      this.#random(this.#secret);
      this.#secretMade = now;
    }
    const nonce = new Uint8Array(24);
    this.#random(nonce);
    const mac1 = message.subarray(message.length - mac1FromEnd, message.length - mac2FromEnd);
    return { receiver, nonce, sealedCookie: sealExtended(this.#cookieKey, nonce, this.#cookie(source), mac1) };
  }

  #cookie(source: Uint8Array): Uint8Array {
    return blake2sMac(macBytes, this.#secret, source);
  }
}

/** Writes the MACs of messages to one peer, and keeps the cookie that it gave us. */
export class MacWriter {
  readonly #mac1Key: Uint8Array;
  readonly #cookieKey: Uint8Array;
  #lastMac1: Uint8Array | undefined;
  #cookie: Uint8Array | undefined;
  #cookieAt = -Infinity;

  constructor(theirPublicKey: Uint8Array) {
    this.#mac1Key = blake2s(mac1Label, theirPublicKey);
    this.#cookieKey = blake2s(cookieLabel, theirPublicKey);
  }

  /** Fills in both MACs; the second stays zero without a fresh cookie. */
  write(message: Uint8Array, now: number): void {
    const at1 = message.length - mac1FromEnd;
    const at2 = message.length - mac2FromEnd;
    this.#lastMac1 = blake2sMac(macBytes, this.#mac1Key, message.subarray(0, at1));
    message.set(this.#lastMac1, at1);
    if (this.#cookie !== undefined && now - this.#cookieAt < cookieLifeMs)
      message.set(blake2sMac(macBytes, this.#cookie, message.subarray(0, at2)), at2);
  }

  /** Takes a cookie for later messages; false where it does not answer our last one. */
  take(reply: CookieReply, now: number): boolean {
    if (this.#lastMac1 === undefined) return false;
    const cookie = openExtended(this.#cookieKey, reply.nonce, reply.sealedCookie, this.#lastMac1);
    if (cookie === undefined) return false;
    this.#lastMac1 = undefined; // one cookie for one message: a replayed reply must not bring an old cookie back
    this.#cookie = cookie;
    this.#cookieAt = now;
    return true;
  }
}
