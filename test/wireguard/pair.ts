// Two devices in virtual time on a link that a test can bend: delay, loss, copies, changes. Nothing here waits for real time.
import { createHash } from 'node:crypto';
import { generatePrivateKey, keyToText, publicFromPrivate } from '#crypto/x25519.ts';
import { parseIp, parsePrefix } from '#lib/ip.ts';
import { createDevice } from '#wireguard/device.ts';
import type { DeviceOptions, DevicePeer, WireGuardDevice } from '#wireguard/types.ts';

/** Repeatable bytes for keys and indices. */
export function seededBytes(seed: string): (target: Uint8Array) => void {
  let count = 0;
  return (target) => {
    for (let at = 0; at < target.length; at += 32) {
      const block = createHash('sha256').update(`${seed} ${count++}`).digest();
      target.set(block.subarray(0, target.length - at), at);
    }
  };
}

/** Repeatable numbers in [0, 1). */
export function seededNumbers(seed: string): () => number {
  const fill = seededBytes(seed);
  const bytes = Buffer.alloc(4);
  return () => {
    fill(bytes);
    return bytes.readUInt32LE() / 0x1_0000_0000;
  };
}

export interface Sent {
  readonly at: number;
  readonly bytes: Uint8Array;
  readonly peer: string | undefined;
  readonly reply: unknown;
}

/** One device with its keys and a record of all that it said. */
export class Side {
  readonly name: string;
  readonly address: string;
  readonly privateKey: Uint8Array;
  readonly publicKey: string;
  readonly device: WireGuardDevice;
  readonly sent: Sent[] = [];
  /** What left in runs, if the side takes such; the messages are in `sent` too. */
  readonly runs: { readonly bytes: number; readonly messages: number }[] = [];
  readonly delivered: { readonly peer: string; readonly packet: Uint8Array }[] = [];
  readonly sources: { readonly peer: string; readonly source: unknown }[] = [];
  readonly handshakes: { readonly peer: string; readonly completed: boolean; readonly at: number }[] = [];
  /** Where datagrams go; a recorder until the side is linked. */
  forward: (bytes: Uint8Array) => void = () => undefined;
  now = 0;

  constructor(name: string, address: string, options: Partial<DeviceOptions> = {}, takesRuns = false) {
    const random = seededBytes(name);
    this.name = name;
    this.address = address;
    this.privateKey = options.privateKey ?? generatePrivateKey(random);
    this.publicKey = keyToText(publicFromPrivate(this.privateKey));
    this.device = createDevice(
      { random, wall: () => 1_700_000_000_000 + this.now, ...options, privateKey: this.privateKey },
      {
        sendDatagram: (peer, datagram, reply) => this.#send(peer, datagram, reply),
        ...(takesRuns
          ? {
              sendDatagrams: (peer: string, run: Uint8Array, size: number): void => {
                this.runs.push({ bytes: run.length, messages: Math.ceil(run.length / size) });
                for (let at = 0; at < run.length; at += size) this.#send(peer, run.slice(at, at + size), undefined);
              },
            }
          : {}),
        deliverPacket: (peer, packet) => this.delivered.push({ peer, packet: packet.slice() }),
        authenticated: (peer, source) => this.sources.push({ peer, source }),
        handshake: (peer, completed, at) => this.handshakes.push({ peer, completed, at }),
      },
    );
  }

  #send(peer: string | undefined, datagram: Uint8Array, reply: unknown): void {
    const bytes = datagram.slice();
    this.sent.push({ at: this.now, bytes, peer, reply });
    this.forward(bytes);
  }

  /** How another side configures this one. */
  asPeer(more: Partial<DevicePeer> = {}): DevicePeer {
    return {
      publicKey: this.publicKey,
      allowedIps: [prefix(`${this.address}/${this.address.includes(':') ? 128 : 32}`)],
      persistentKeepaliveMs: 0,
      ...more,
    };
  }

  /** Times of what was sent of one message type since the record was last cleared. */
  times(type: number): readonly number[] {
    return this.sent.filter(({ bytes }) => bytes[0] === type).map(({ at }) => at);
  }

  last(type: number): Uint8Array {
    const found = this.sent.findLast(({ bytes }) => bytes[0] === type);
    if (found === undefined) throw new TypeError(`${this.name} sent no message of type ${type}`);
    return found.bytes;
  }
}

/** What the link does with a datagram: nothing returned drops it, several are delivered in that order. */
export type Link = (from: Side, bytes: Uint8Array) => readonly Uint8Array[];

/** Two linked sides that know each other, at time zero. */
export class Pair {
  readonly a: Side;
  readonly b: Side;
  now = 0;
  link: Link = (_from, bytes) => [bytes];
  delayMs = 10;
  readonly #underway: { readonly at: number; readonly to: Side; readonly from: string; readonly bytes: Uint8Array }[] = [];

  constructor(
    options: { a?: Partial<DeviceOptions>; b?: Partial<DeviceOptions>; aPeer?: Partial<DevicePeer>; bPeer?: Partial<DevicePeer>; v6?: boolean } = {},
    takesRuns = false,
  ) {
    this.a = new Side('a', options.v6 === true ? 'fd00::a' : '10.0.0.1', options.a, takesRuns);
    this.b = new Side('b', options.v6 === true ? 'fd00::b' : '10.0.0.2', options.b, takesRuns);
    this.a.device.setPeer(this.b.asPeer(options.bPeer), 0);
    this.b.device.setPeer(this.a.asPeer(options.aPeer), 0);
    this.a.forward = (bytes) => this.#carry(this.a, this.b, bytes);
    this.b.forward = (bytes) => this.#carry(this.b, this.a, bytes);
  }

  #carry(from: Side, to: Side, bytes: Uint8Array): void {
    for (const copy of this.link(from, bytes)) this.#underway.push({ at: this.now + this.delayMs, to, from: from.name, bytes: copy });
  }

  /** Lets virtual time pass: datagrams arrive and timers fire, each at its own moment. */
  run(ms: number): void {
    const end = this.now + ms;
    for (;;) {
      const arrival = this.#underway.reduce((first, { at }) => Math.min(first, at), Infinity);
      const next = Math.min(arrival, this.a.device.pollAt(), this.b.device.pollAt());
      if (next > end) break;
      this.#at(Math.max(next, this.now));
      const place = this.#underway.findIndex(({ at }) => at <= this.now);
      const [due] = place < 0 ? [] : this.#underway.splice(place, 1);
      if (due !== undefined) due.to.device.receiveDatagram(due.bytes, due.from, this.now);
      this.a.device.poll(this.now);
      this.b.device.poll(this.now);
    }
    this.#at(end);
  }

  #at(now: number): void {
    this.now = now;
    this.a.now = now;
    this.b.now = now;
  }

  /** Sends a packet from one side to the other; false where no peer owns the destination. */
  send(from: Side, text: string): boolean {
    const to = from === this.a ? this.b : this.a;
    return from.device.sendPacket(packet(from.address, to.address, text), this.now);
  }

  /** A session in both directions, with empty records. */
  connect(): this {
    this.a.device.initiate(this.b.publicKey, this.now);
    this.run(100);
    this.forget();
    return this;
  }

  forget(): void {
    for (const side of [this.a, this.b]) {
      side.sent.length = 0;
      side.runs.length = 0;
      side.delivered.length = 0;
      side.sources.length = 0;
      side.handshakes.length = 0;
    }
  }
}

export function prefix(text: string): NonNullable<ReturnType<typeof parsePrefix>> {
  const parsed = parsePrefix(text);
  if (parsed === undefined) throw new TypeError(text);
  return parsed;
}

/** An IPv4 or IPv6 packet of no protocol that carries the text. */
export function packet(source: string, destination: string, text: string | Uint8Array): Uint8Array {
  const from = parseIp(source);
  const to = parseIp(destination);
  if (from === undefined || to === undefined || from.family !== to.family) throw new TypeError(`${source} to ${destination}`);
  const payload = Buffer.from(text);
  const out = Buffer.alloc((from.family === 4 ? 20 : 40) + payload.length);
  if (from.family === 4) {
    out[0] = 0x45;
    out.writeUInt16BE(out.length, 2);
    out[8] = 64;
    out[9] = 253;
  } else {
    out[0] = 0x60;
    out.writeUInt16BE(payload.length, 4);
    out[6] = 59;
    out[7] = 64;
  }
  out.set(from.bytes, from.family === 4 ? 12 : 8);
  out.set(to.bytes, from.family === 4 ? 16 : 24);
  out.set(payload, out.length - payload.length);
  return out;
}

/** The texts that a side was delivered, in order. */
export function texts(side: Side): readonly string[] {
  return side.delivered.map(({ packet: bytes }) => Buffer.from(bytes.subarray((bytes[0] ?? 0) >>> 4 === 4 ? 20 : 40)).toString());
}
