// A world made from one seed: two stacks, a link with random faults, connections whose ends write, pause, finish and abort at random, and
// sometimes an attacker who alters packets and puts their checksums right. What must hold is checked while it runs and at its end.
import { createHash } from 'node:crypto';
import type { Hash } from 'node:crypto';
import { pseudoSum } from '#wire/checksum.ts';
import { PROTOCOL, emptyIpHeader, readIpv4 } from '#wire/ipv4.ts';
import { readIpv6 } from '#wire/ipv6.ts';
import { emptyTcpSegment, readTcp, sealTcp } from '#wire/tcp.ts';
import type { TcpConnection, TcpEnd, TcpHandler } from '#netstack/types.ts';
import { B4, B6, Network, at } from './link.ts';
import { seeded } from './link-model.ts';

/** Events after which a world that has not come to rest is broken off: what matters is that it holds, not that it ends. */
const MAX_STEPS = 60_000;
const PORT = 80;

type Random = () => number;

/** One end of a connection: writes so many known bytes at random times, reads at random times, ends or aborts. */
class End implements TcpHandler {
  readonly sent: Hash = createHash('sha256');
  readonly received: Hash = createHash('sha256');
  connection: TcpConnection | undefined;
  ended: TcpEnd | undefined;
  aborted = false;
  remoteEnd = false;
  readonly #random: Random;
  #left: number;
  #unread = 0;
  #finished = false;
  sentBytes = 0;
  receivedBytes = 0;

  constructor(random: Random) {
    this.#random = random;
    this.#left = Math.floor(random() ** 4 * 600_000);
  }

  established(): void {
    this.#check();
  }

  data(bytes: Uint8Array): void {
    this.#check();
    if (this.remoteEnd) throw new TypeError('data after the end');
    this.received.update(bytes);
    this.receivedBytes += bytes.length;
    this.#unread += bytes.length;
  }

  remoteEnded(): void {
    this.#check();
    if (this.remoteEnd) throw new TypeError('ended twice');
    this.remoteEnd = true;
  }

  writable(): void {
    this.#check();
  }

  closed(reason: TcpEnd): void {
    this.#check();
    this.ended = reason;
  }

  /** One random thing that an application does. */
  act(now: number, mayAbort: boolean): void {
    const { connection } = this;
    if (connection === undefined || this.ended !== undefined || this.aborted) return;
    const dice = this.#random();
    if (mayAbort && dice < 0.002) {
      this.aborted = true;
      connection.abort(now);
      return;
    }
    if (dice < 0.5) this.#write(connection, now);
    else if (this.#unread > 0) {
      const count = dice < 0.55 ? Math.ceil(this.#unread * this.#random()) : this.#unread;
      this.#unread -= count;
      connection.consumed(count, now);
    }
    if (this.#left === 0 && !this.#finished && this.#random() < 0.3) {
      this.#finished = true;
      connection.end(now);
    }
  }

  #write(connection: TcpConnection, now: number): void {
    const size = Math.min(this.#left, Math.ceil(this.#random() ** 3 * 70_000));
    if (size === 0) return;
    const bytes = new Uint8Array(size).fill(this.#left & 0xff);
    const taken = connection.write(bytes, now);
    this.sent.update(bytes.subarray(0, taken));
    this.sentBytes += taken;
    this.#left -= taken;
  }

  #check(): void {
    if (this.ended !== undefined || this.aborted) throw new TypeError('called after the end');
  }
}

export interface WorldResult {
  readonly packets: number;
  readonly attacked: boolean;
  readonly finished: boolean;
}

/** Runs the world of `seed`; throws where something does not hold. */
export function runWorld(seed: number): WorldResult {
  const random = seeded(seed);
  const chance = (part: number, most: number): number => (random() < part ? random() * most : 0);
  const attacked = random() < 0.3;
  const injected: ['a' | 'b', Uint8Array][] = [];
  const checker = new Checker();
  const network = new Network({
    seed,
    mtu: 1280 + Math.floor(random() * 3) * 70,
    delayMs: random() < 0.3 ? 0 : random() ** 2 * 120,
    bitsPerSecond: random() < 0.5 ? 0 : 1e6 + random() * 50e6,
    queuePackets: 4 + Math.floor(random() * 200),
    loss: chance(0.5, 0.2),
    reorder: chance(0.4, 0.4),
    reorderMs: random() * 40,
    duplicate: chance(0.3, 0.3),
    corrupt: chance(0.2, 0.05),
    ...(random() < 0.5 ? { coalesceMs: random() } : {}),
    options: { superPackets: random() < 0.5 },
    filter: (packet, from) => {
      checker.check(packet);
      if (attacked && random() < 0.05) injected.push([from, altered(packet, random)]);
      return true;
    },
  });
  const pairs: { client: End; server: End | undefined }[] = [];
  network.b.listen(
    PORT,
    () => true,
    (connection) => {
      const server = new End(random);
      server.connection = connection;
      const pair = pairs.find(({ client }) => client.connection?.local.port === connection.remote.port);
      if (pair !== undefined) pair.server = server;
      connection.attach(server);
    },
  );
  const count = 1 + Math.floor(random() * 4);
  for (let i = 0; i < count; i++) {
    const client = new End(random);
    pairs.push({ client, server: undefined });
    client.connection = network.a.connect(at(random() < 0.5 ? B4 : B6, PORT), client, network.now);
  }
  const mayAbort = random() < 0.2;
  const over = (): boolean => pairs.every(({ client, server }) => isOver(client) && (server === undefined || isOver(server)));
  let steps = 0;
  for (; steps < MAX_STEPS && !over(); steps++) {
    for (const [from, packet] of injected.splice(0)) network[from === 'a' ? 'b' : 'a'].receivePacket(packet, network.now);
    for (const { client, server } of pairs) {
      if (random() < 0.3) client.act(network.now, mayAbort);
      if (random() < 0.3) server?.act(network.now, mayAbort);
    }
    if (!network.step(network.now + 50)) network.pass(5);
  }
  const finished = over();
  if (!attacked) for (const { client, server } of pairs) checkBytes(client, server);
  if (finished) {
    network.pass(400_000);
    if (network.a.connectionCount() + network.b.connectionCount() > 0) throw new TypeError('connections are left');
    if (network.a.pollAt() !== Infinity || network.b.pollAt() !== Infinity) throw new TypeError('a timer is left');
  }
  return { packets: network.delivered + network.dropped, attacked, finished };
}

function isOver(end: End): boolean {
  return end.ended !== undefined || end.aborted;
}

/** What arrived is a beginning of what was sent; and all of it where both ends finished. */
function checkBytes(client: End, server: End | undefined): void {
  if (server === undefined) return;
  for (const [from, to] of [
    [client, server],
    [server, client],
  ] as const) {
    if (to.receivedBytes > from.sentBytes) throw new TypeError('more arrived than was sent');
    if (to.receivedBytes === from.sentBytes && to.received.copy().digest('hex') !== from.sent.copy().digest('hex'))
      throw new TypeError('other bytes arrived');
    if (from.ended === 'finished' && to.ended === 'finished' && to.receivedBytes !== from.sentBytes) throw new TypeError('bytes are missing');
  }
}

/** Every packet that a stack sends is whole, and fits. */
class Checker {
  readonly #header = emptyIpHeader();
  readonly #segment = emptyTcpSegment();

  check(packet: Uint8Array): void {
    const header = this.#header;
    const verdict = (packet[0] as number) >> 4 === 6 ? readIpv6(packet, header) : readIpv4(packet, header);
    if (verdict !== 'ok' || packet.length > 1420 || header.payloadEnd !== packet.length) throw new TypeError('a broken packet was sent');
    if (header.protocol !== PROTOCOL.tcp) return;
    const pseudo = pseudoSum(packet, header.sourceAt, packet, header.destinationAt, header.addressLength, header.protocol);
    if (!readTcp(packet, header.payloadStart, header.payloadEnd, pseudo, this.#segment)) throw new TypeError('a broken segment was sent');
  }
}

/** A copy with a few bytes of its TCP part changed and a right checksum. */
function altered(packet: Uint8Array, random: Random): Uint8Array {
  const bad = new Uint8Array(packet);
  const [start, source, length] = (bad[0] as number) >> 4 === 6 ? [40, 8, 16] : [20, 12, 4];
  for (let flips = 1 + Math.floor(random() * 4); flips > 0; flips--) {
    bad[start + 4 + Math.floor(random() * Math.min(56, bad.length - start - 4))] = Math.floor(random() * 256);
  }
  bad[start + 16] = 0;
  bad[start + 17] = 0;
  sealTcp(bad, start, bad.length, pseudoSum(bad, source, bad, source + length, length, PROTOCOL.tcp));
  return bad;
}
