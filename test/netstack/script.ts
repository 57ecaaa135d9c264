// Packet scripts: one stack, and a peer whose every segment the test writes and whose every answer it reads.
import { pseudoSum } from '#wire/checksum.ts';
import { IPV4_HEADER, PROTOCOL, emptyIpHeader, readIpv4, writeIpv4 } from '#wire/ipv4.ts';
import { IPV6_HEADER, readIpv6, writeIpv6 } from '#wire/ipv6.ts';
import { FLAG, TCP_HEADER, emptyTcpSegment, readTcp, sealTcp, writeSack, writeSynOptions, writeTcp, writeTimestamps } from '#wire/tcp.ts';
import { createStack } from '#netstack/stack.ts';
import type { IpStack, StackOptions, TcpConnection } from '#netstack/types.ts';
import { A4, A6, B4, B6, Endpoint, at, fillWith, seeded } from './link.ts';

/** A segment as the test sees it; `seq` and `ack` count from each side's first number. */
export interface Seen {
  readonly flags: string;
  readonly seq: number;
  readonly ack: number;
  readonly window: number;
  readonly length: number;
  readonly mss: number;
  readonly scale: number;
  readonly sackPermitted: boolean;
  readonly hasTimestamps: boolean;
  readonly tsValue: number;
  readonly tsEcho: number;
  /** Relative to the peer's first number. */
  readonly sack: readonly number[];
}

export interface Sent {
  readonly flags: string;
  readonly seq?: number;
  readonly ack?: number;
  readonly window?: number;
  readonly data?: number | Uint8Array;
  readonly mss?: number;
  readonly scale?: number;
  readonly sackPermitted?: boolean;
  readonly tsValue?: number;
  readonly tsEcho?: number;
  /** Relative to the stack's first number. */
  readonly sack?: readonly number[];
}

const PEER_ISS = 0x7ffffff0; // wraps soon, on purpose

/** The stack under test has A4 and A6, the scripted peer B4 and B6. */
export class Script {
  now = 5000;
  readonly stack: IpStack;
  readonly family: 4 | 6;
  readonly packets: Uint8Array[] = [];
  readonly endpoint = new Endpoint();
  peerPort = 4000;
  stackPort = 80;
  /** The stack's first sequence number, learnt from its SYN. */
  iss = 0;
  /** Timestamps on every segment of the peer, once agreed. */
  stamps = false;
  stamp = 1000;
  lastStackStamp = 0;

  constructor(family: 4 | 6 = 4, options: Partial<StackOptions> = {}) {
    this.family = family;
    this.stack = createStack({
      addresses: [A4, A6],
      mtu: 1280,
      random: fillWith(seeded(9)),
      output: (packet) => this.packets.push(new Uint8Array(packet)),
      ...options,
    });
    this.endpoint.endWhenRemoteEnds = false;
  }

  get connection(): TcpConnection {
    if (this.endpoint.connection === undefined) throw new TypeError('no connection');
    return this.endpoint.connection;
  }

  build(sent: Sent): Uint8Array {
    const packet = new Uint8Array(65_536);
    const start = this.family === 4 ? IPV4_HEADER : IPV6_HEADER;
    const flags = sent.flags
      .split('')
      .reduce((sum, letter) => sum | ({ S: FLAG.syn, A: FLAG.ack, F: FLAG.fin, R: FLAG.rst, P: FLAG.psh }[letter] ?? 0), 0);
    let end = start + TCP_HEADER;
    if (flags & FLAG.syn && sent.mss !== undefined) {
      end = writeSynOptions(
        packet,
        end,
        sent.mss,
        sent.scale ?? -1,
        sent.sackPermitted ?? false,
        sent.tsValue !== undefined,
        sent.tsValue ?? 0,
        sent.tsEcho ?? 0,
      );
    } else if (sent.tsValue !== undefined || this.stamps) {
      end = writeTimestamps(packet, end, sent.tsValue ?? ++this.stamp, sent.tsEcho ?? this.lastStackStamp);
    }
    if (sent.sack !== undefined)
      end = writeSack(
        packet,
        end,
        Int32Array.from(sent.sack, (edge) => (this.iss + edge) | 0),
        sent.sack.length / 2,
      );
    const header = end - start;
    const data = typeof sent.data === 'number' ? new Uint8Array(sent.data).fill(0x61) : (sent.data ?? new Uint8Array(0));
    packet.set(data, end);
    end += data.length;
    const seq = (PEER_ISS + (sent.seq ?? 0)) | 0;
    const ack = flags & FLAG.ack ? (this.iss + (sent.ack ?? 0)) | 0 : 0;
    writeTcp(packet, start, header, this.peerPort, this.stackPort, seq, ack, flags, sent.window ?? 65_535);
    const [local, remote] = this.family === 4 ? [A4, B4] : [A6, B6];
    sealTcp(packet, start, end, pseudoSum(remote.bytes, 0, local.bytes, 0, remote.bytes.length, PROTOCOL.tcp));
    if (this.family === 4) writeIpv4(packet, end, PROTOCOL.tcp, remote.bytes, local.bytes);
    else writeIpv6(packet, end, PROTOCOL.tcp, remote.bytes, local.bytes);
    return packet.slice(0, end);
  }

  /** Sends one segment to the stack and returns what it answers at once. */
  send(sent: Sent): Seen[] {
    this.stack.receivePacket(this.build(sent), this.now);
    return this.take();
  }

  /** What the stack has sent since the last look. */
  take(): Seen[] {
    return this.packets.splice(0).map((packet) => this.see(packet));
  }

  see(packet: Uint8Array): Seen {
    const header = emptyIpHeader();
    const verdict = (packet[0] ?? 0) >> 4 === 6 ? readIpv6(packet, header) : readIpv4(packet, header);
    const segment = emptyTcpSegment();
    const pseudo = pseudoSum(packet, header.sourceAt, packet, header.destinationAt, header.addressLength, header.protocol);
    if (verdict !== 'ok' || header.protocol !== PROTOCOL.tcp || !readTcp(packet, header.payloadStart, header.payloadEnd, pseudo, segment)) {
      throw new TypeError('the stack sent a broken segment');
    }
    const { flags } = segment;
    if (flags & FLAG.syn) {
      this.iss = segment.seq;
      this.stackPort = segment.sourcePort;
    }
    if (segment.hasTimestamps) this.lastStackStamp = segment.tsValue;
    const letters = [
      [FLAG.syn, 'S'],
      [FLAG.fin, 'F'],
      [FLAG.rst, 'R'],
      [FLAG.psh, 'P'],
      [FLAG.ack, 'A'],
    ] as const;
    return {
      flags: letters.map(([bit, letter]) => (flags & bit ? letter : '')).join(''),
      seq: (segment.seq - this.iss) | 0,
      ack: flags & FLAG.ack ? (segment.ack - PEER_ISS) | 0 : 0,
      window: segment.window,
      length: segment.dataEnd - segment.dataStart,
      mss: segment.mss,
      scale: segment.windowScale,
      sackPermitted: segment.sackPermitted,
      hasTimestamps: segment.hasTimestamps,
      tsValue: segment.tsValue,
      tsEcho: segment.tsEcho,
      sack: [...segment.sackEdges.subarray(0, 2 * segment.sackBlocks)].map((edge) => (edge - PEER_ISS) | 0),
    };
  }

  /** Lets time pass, with every poll that falls due, and returns what was sent. */
  pass(ms: number): Seen[] {
    const end = this.now + ms;
    for (let due = this.stack.pollAt(); due <= end; due = this.stack.pollAt()) {
      this.now = Math.max(this.now, due);
      this.stack.poll(this.now);
    }
    this.now = end;
    return this.take();
  }

  /** The stack opens; returns its SYN. */
  connect(port = 80): Seen {
    this.peerPort = port;
    this.endpoint.connection = this.stack.connect(at(this.family === 4 ? B4 : B6, port), this.endpoint, this.now);
    const [syn] = this.take();
    if (syn === undefined) throw new TypeError('no SYN');
    return syn;
  }

  /** The stack listens on 80. */
  listen(admit: () => boolean = () => true): void {
    this.stack.listen(80, admit, (connection) => {
      this.endpoint.connection = connection;
      this.endpoint.isEstablished = true;
      connection.attach(this.endpoint);
    });
  }

  /** An established connection that the stack opened; next numbers are 1 on both sides. */
  established(options: Partial<Sent> = {}): this {
    this.connect();
    this.stamps = options.tsValue !== undefined;
    this.send({ flags: 'SA', seq: 0, ack: 1, mss: 1240, tsEcho: this.lastStackStamp, ...options });
    return this;
  }

  write(length: number): number {
    return this.connection.write(new Uint8Array(length).fill(0x62), this.now);
  }
}

/** One line per segment: what most scripts compare. */
export function brief(seen: readonly Seen[]): string[] {
  return seen.map(({ flags, seq, ack, length }) => `${flags} ${seq}+${length} ack ${ack}`);
}
