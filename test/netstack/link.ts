// A network in virtual time: two stacks joined by an emulated link; and endpoints that send and check hashed streams over it.
import { createHash } from 'node:crypto';
import type { Hash } from 'node:crypto';
import { parseIp } from '#lib/ip.ts';
import type { IpAddress } from '#lib/ip.ts';
import { LinkModel, seeded } from './link-model.ts';
import type { LinkConditions } from './link-model.ts';
import { Coalescer } from '#wire/coalescing.ts';
import { Segmenter } from '#wire/segmentation.ts';
import { createStack } from '#netstack/stack.ts';
import type { IpStack, SocketAddress, StackOptions, TcpConnection, TcpEnd, TcpHandler } from '#netstack/types.ts';

export { seeded } from './link-model.ts';

export function fillWith(random: () => number): (target: Uint8Array) => void {
  return (target) => {
    for (let i = 0; i < target.length; i++) target[i] = Math.floor(random() * 256);
  };
}

export function ip(text: string): IpAddress {
  const parsed = parseIp(text);
  if (parsed === undefined) throw new TypeError(`not an address: ${text}`);
  return parsed;
}

export interface LinkOptions extends LinkConditions {
  readonly mtu?: number;
  /** What arrives within so many milliseconds of the first is joined as a network card would; none by default. */
  readonly coalesceMs?: number;
  readonly options?: Partial<StackOptions>;
  /** Sees every packet that is sent, before the link; false drops it. */
  readonly filter?: (packet: Uint8Array, from: 'a' | 'b', now: number) => boolean;
}

interface Flying {
  readonly at: number;
  readonly order: number;
  readonly to: 'a' | 'b';
  readonly packet: Uint8Array;
}

export const A4 = ip('100.64.0.1');
export const B4 = ip('100.64.0.2');
export const A6 = ip('fd00::1');
export const B6 = ip('fd00::2');

/** Two stacks and what flies between them. */
export class Network {
  now = 1000;
  readonly a: IpStack;
  readonly b: IpStack;
  readonly link: LinkOptions;
  delivered = 0;
  readonly #model: LinkModel;
  readonly #flying: Flying[] = [];
  readonly #arrival = Buffer.alloc(65_536);
  #order = 0;

  constructor(link: LinkOptions = {}) {
    this.link = link;
    this.#model = new LinkModel(link);
    const random = fillWith(seeded((link.seed ?? 1) + 77));
    const mtu = link.mtu ?? 1280;
    this.a = createStack({ addresses: [A4, A6], mtu, random, output: (packet, segmentSize) => this.#cut(packet, segmentSize, 'a'), ...link.options });
    this.b = createStack({ addresses: [B4, B6], mtu, random, output: (packet, segmentSize) => this.#cut(packet, segmentSize, 'b'), ...link.options });
  }

  /** A super-packet becomes the packets that it stands for before the link sees it. */
  #cut(packet: Uint8Array, segmentSize: number, from: 'a' | 'b'): void {
    if (segmentSize === 0) return this.#send(packet, from);
    // One of its own for each: what is sent may come back with more to send.
    const segmenter = new Segmenter();
    if (!segmenter.begin(new Uint8Array(packet), segmentSize)) throw new TypeError('not a super-packet');
    for (let i = 0; i < segmenter.count; i++) {
      const piece = new Uint8Array(segmenter.size);
      this.#send(piece.subarray(0, segmenter.write(i, piece, 0)), from);
    }
  }

  #send(packet: Uint8Array, from: 'a' | 'b'): void {
    if (this.link.filter !== undefined && !this.link.filter(packet, from, this.now)) return;
    this.#model.pass(packet, from, this.now, (at, copy) => {
      this.#insert({ at, order: this.#order++, to: from === 'a' ? 'b' : 'a', packet: copy });
    });
  }

  #insert(entry: Flying): void {
    let index = this.#flying.length;
    while (index > 0 && this.#isLater(index - 1, entry.at)) index--;
    this.#flying.splice(index, 0, entry);
  }

  #isLater(index: number, at: number): boolean {
    return (this.#flying[index]?.at ?? 0) > at;
  }

  get dropped(): number {
    return this.#model.dropped;
  }

  /** Bytes on their way. */
  get flyingBytes(): number {
    return this.#flying.reduce((sum, { packet }) => sum + packet.length, 0);
  }

  /** When something happens next. */
  next(): number {
    return Math.max(this.now, Math.min(this.#flying[0]?.at ?? Infinity, this.a.pollAt(), this.b.pollAt()));
  }

  /** One event; false when there is none until `limit`. */
  step(limit = Infinity): boolean {
    const at = this.next();
    if (at === Infinity || at > limit) return false;
    this.now = at;
    const first = this.#flying[0];
    if (first !== undefined && first.at <= at && this.link.coalesceMs !== undefined) {
      this.#deliverTogether(first, this.link.coalesceMs);
    } else if (first !== undefined && first.at <= at) {
      this.#flying.shift();
      this.delivered++;
      // Drivers read into one Buffer again and again: what the stack keeps it has to copy.
      const view = this.#arrival.subarray(0, first.packet.length);
      view.set(first.packet);
      this[first.to].receivePacket(view, this.now);
      view.fill(0xee);
    }
    if (this.a.pollAt() <= this.now) this.a.poll(this.now);
    if (this.b.pollAt() <= this.now) this.b.poll(this.now);
    return true;
  }

  /** What follows soon behind the first, to the same side, arrives with it. */
  #deliverTogether(first: Flying, within: number): void {
    const coalescer = new Coalescer((packet, segmentSize) => this[first.to].receivePacket(packet, this.now, segmentSize));
    for (let next: Flying | undefined = first; next !== undefined && next.to === first.to && next.at <= first.at + within; next = this.#flying[0]) {
      this.#flying.shift();
      this.delivered++;
      this.now = Math.max(this.now, next.at);
      coalescer.add(next.packet);
    }
    coalescer.flush();
  }

  /** Runs until `done` holds; returns whether it did within `limitMs` of virtual time. */
  runUntil(done: () => boolean, limitMs: number): boolean {
    const limit = this.now + limitMs;
    while (!done()) if (!this.step(limit)) return done();
    return true;
  }

  /** Lets `ms` pass. */
  pass(ms: number): void {
    const end = this.now + ms;
    while (this.step(end)) continue;
    this.now = end;
  }
}

/** An endpoint that writes a stream of known bytes, hashes what it reads, and remembers what happened. */
export class Endpoint implements TcpHandler {
  readonly hash: Hash = createHash('sha256');
  connection: TcpConnection | undefined;
  isEstablished = false;
  ended = false;
  end: TcpEnd | undefined;
  received = 0;
  /** Bytes received and not consumed, while `reading` is false. */
  held = 0;
  reading = true;
  endWhenRemoteEnds = true;
  keep = false;
  readonly chunks: Buffer[] = [];
  #source: Uint8Array = new Uint8Array(0);
  #written = 0;
  #endAfter = false;

  established(now: number): void {
    this.isEstablished = true;
    this.#pump(now);
  }

  data(bytes: Uint8Array, now: number): void {
    this.received += bytes.length;
    this.hash.update(bytes);
    if (this.keep) this.chunks.push(Buffer.from(bytes));
    if (this.reading) this.connection?.consumed(bytes.length, now);
    else this.held += bytes.length;
  }

  remoteEnded(now: number): void {
    this.ended = true;
    if (this.endWhenRemoteEnds) this.connection?.end(now);
  }

  writable(now: number): void {
    this.#pump(now);
  }

  closed(reason: TcpEnd): void {
    if (this.end !== undefined) throw new TypeError('closed twice');
    this.end = reason;
  }

  /** Sends `bytes`, and then ends where asked. */
  send(bytes: Uint8Array, end: boolean, now: number): void {
    this.#source = bytes;
    this.#written = 0;
    this.#endAfter = end;
    this.#pump(now);
  }

  resume(now: number): void {
    this.reading = true;
    const { held } = this;
    this.held = 0;
    this.connection?.consumed(held, now);
  }

  get written(): number {
    return this.#written;
  }

  #pump(now: number): void {
    const { connection } = this;
    if (connection === undefined) return;
    while (this.#written < this.#source.length) {
      const taken = connection.write(this.#source.subarray(this.#written, this.#written + 65_536), now);
      if (taken === 0) return;
      this.#written += taken;
    }
    if (this.#endAfter) {
      this.#endAfter = false;
      connection.end(now);
    }
  }
}

/** Connects a to b over `network`; the server's endpoint comes back as soon as there is one. */
export function dial(network: Network, family: 4 | 6 = 4, port = 80): { client: Endpoint; server: Endpoint } {
  const client = new Endpoint();
  const server = new Endpoint();
  network.b.listen(
    port,
    () => true,
    (connection) => {
      server.connection = connection;
      server.isEstablished = true;
      connection.attach(server);
    },
  );
  client.connection = network.a.connect(at(family === 4 ? B4 : B6, port), client, network.now);
  return { client, server };
}

export function at(address: IpAddress, port: number): SocketAddress {
  return { ip: address, port };
}

/** `length` bytes that differ from place to place, and their hash. */
export function payload(length: number, seed = 5): { bytes: Uint8Array; digest: string } {
  const random = seeded(seed);
  const bytes = new Uint8Array(length);
  for (let i = 0; i < length; i += 4) {
    const word = Math.floor(random() * 4294967296);
    bytes[i] = word;
    bytes[i + 1] = word >>> 8;
    bytes[i + 2] = word >>> 16;
    bytes[i + 3] = word >>> 24;
  }
  return { bytes, digest: createHash('sha256').update(bytes).digest('hex') };
}
