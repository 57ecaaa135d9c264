// All TCP connections of a stack: finding, opening, limits, who has to send, who is due.
import type { IpAddress } from '#lib/ip.ts';
import { pseudoSum } from '#wire/checksum.ts';
import { IPV4_HEADER, PROTOCOL } from '#wire/ipv4.ts';
import type { IpHeader } from '#wire/ipv4.ts';
import { IPV6_HEADER } from '#wire/ipv6.ts';
import { FLAG, TCP_HEADER, readInt32 } from '#wire/tcp.ts';
import type { TcpSegment } from '#wire/tcp.ts';
import { MAX_CONNECTIONS, MAX_EXTRA_BUFFERS, MAX_HALF_OPEN, MAX_HALF_OPEN_PER_PEER, MAX_TIME_WAIT, RESETS_PER_SECOND } from './constants.ts';
import { Deadlines } from './deadlines.ts';
import { Flow, FlowTable } from './flow.ts';
import { KeyedHash } from './keyed-hash.ts';
import { ListenTable, pickPort } from './ports.ts';
import { RateLimit } from './rate-limit.ts';
import { SynCookies } from './syn-cookies.ts';
import { connectionOf } from './tcp/connection.ts';
import { takeSyn } from './tcp/handshake.ts';
import { receiveSegment } from './tcp/input.ts';
import { Listener } from './tcp/listener.ts';
import { sendCookie, transmit } from './tcp/output.ts';
import { buildReset } from './tcp/reset.ts';
import { seqLess } from './tcp/seq.ts';
import { ControlBlock, discard, finish, timestampOf } from './tcp/state.ts';
import type { PassiveOpen, TcpHost } from './tcp/state.ts';
import { deadlineOf, runTimers } from './tcp/timers.ts';
import type { Admit, SocketAddress, TcpConnection, TcpEnd, TcpHandler, TcpListener } from './types.ts';

export interface TcpLayerOptions {
  readonly scratch: Uint8Array;
  readonly mtu: number;
  readonly random: (target: Uint8Array) => void;
  readonly superPackets: boolean;
  readonly emit: (length: number, segmentSize: number) => void;
  readonly flush: (now: number) => void;
  /** Tells the sender of a packet by ICMP that what it was sent to cannot be reached. */
  readonly unreachable: (packet: Uint8Array, header: IpHeader, now: number) => void;
  readonly maxConnections?: number;
}

export class TcpLayer implements TcpHost {
  readonly scratch: Uint8Array;
  readonly superPackets: boolean;
  readonly emit: (length: number, segmentSize: number) => void;
  readonly flush: (now: number) => void;
  readonly #mtu: number;
  readonly #unreachable: TcpLayerOptions['unreachable'];
  readonly #random: (target: Uint8Array) => void;
  readonly #maxConnections: number;
  readonly #listeners = new ListenTable();
  readonly #isnHash: KeyedHash;
  readonly #stampHash: KeyedHash;
  readonly #cookies: SynCookies;
  readonly #table: FlowTable<ControlBlock>;
  readonly #deadlines = new Deadlines<ControlBlock>();
  readonly #wanted: ControlBlock[] = [];
  /** In order of entering, for the oldest to go first. */
  readonly #timeWait = new Set<ControlBlock>();
  /** Half-open passive connections, with how many each remote address has. */
  readonly #halfOpen = new Set<ControlBlock>();
  readonly #halfOpenByPeer = new Map<number, number>();
  /** Connections that could not even begin; told at the next `poll`, as no handler is called from inside `connect`. */
  readonly #failed: { readonly handler: TcpHandler; readonly reason: TcpEnd }[] = [];
  readonly #resetLimit = new RateLimit(RESETS_PER_SECOND);
  #extraBytes = 0;
  readonly #flow = new Flow();
  readonly #word = new Uint8Array(4);

  constructor(options: TcpLayerOptions) {
    this.scratch = options.scratch;
    this.superPackets = options.superPackets;
    this.emit = options.emit;
    this.flush = options.flush;
    this.#mtu = options.mtu;
    this.#unreachable = options.unreachable;
    this.#random = options.random;
    this.#maxConnections = Math.min(options.maxConnections ?? MAX_CONNECTIONS, MAX_CONNECTIONS);
    this.#isnHash = new KeyedHash(this.random32(), this.random32());
    this.#stampHash = new KeyedHash(this.random32(), this.random32());
    this.#cookies = new SynCookies(new KeyedHash(this.random32(), this.random32()));
    this.#table = new FlowTable(new KeyedHash(this.random32(), this.random32()));
  }

  get openCount(): number {
    return this.#table.size - this.#timeWait.size;
  }

  /** 32 random bits as a signed integer. */
  random32(): number {
    this.#random(this.#word);
    return readInt32(this.#word, 0);
  }

  connect(source: IpAddress | undefined, remote: SocketAddress, handler: TcpHandler, now: number): TcpConnection {
    const ip = source ?? { family: remote.ip.family, bytes: new Uint8Array(remote.ip.bytes.length) };
    const to = { ip: { family: remote.ip.family, bytes: new Uint8Array(remote.ip.bytes) }, port: remote.port };
    const flow = this.#flow;
    let reason: TcpEnd | undefined;
    let port: number | undefined;
    if (source === undefined) reason = 'ENETUNREACH';
    else if (this.openCount < this.#maxConnections) {
      port = pickPort(
        this.random32(),
        (candidate) => this.#table.find(flow.set(ip.family, ip.bytes, 0, to.ip.bytes, 0, candidate, to.port)) === undefined,
      );
    }
    if (port === undefined) reason ??= 'EADDRNOTAVAIL';
    flow.set(ip.family, ip.bytes, 0, to.ip.bytes, 0, port ?? 0, to.port);
    const block = this.#newBlock(flow.copy(), { ip, port: port ?? 0 }, to, undefined, now);
    if (reason !== undefined) {
      block.state = 'closed';
      this.#failed.push({ handler, reason });
      return connectionOf(block);
    }
    block.handler = handler;
    block.synPending = true;
    this.#table.add(block);
    this.wantOutput(block);
    return connectionOf(block);
  }

  listen(
    port: number | 'any',
    admit: Admit,
    accept: (connection: TcpConnection, now: number) => void,
    withdrawn?: (local: SocketAddress, remote: SocketAddress) => void,
  ): TcpListener {
    const listener = new Listener(port, admit, accept, withdrawn);
    this.#listeners.add(listener);
    return {
      close: () => {
        listener.open = false;
        this.#listeners.remove(listener);
      },
    };
  }

  find(family: 4 | 6, packet: Uint8Array, localAt: number, remoteAt: number, localPort: number, remotePort: number): ControlBlock | undefined {
    return this.#table.find(this.#flow.set(family, packet, localAt, packet, remoteAt, localPort, remotePort));
  }

  /** A checked segment to one of our addresses. */
  receive(packet: Uint8Array, header: IpHeader, segment: TcpSegment, local: IpAddress, now: number): void {
    let block = this.find(header.family, packet, header.destinationAt, header.sourceAt, segment.destinationPort, segment.sourcePort);
    if (block !== undefined && mayReuse(block, segment)) {
      discard(block);
      block = undefined;
    }
    if (block !== undefined) {
      if (!receiveSegment(block, segment, packet, now)) this.#reset(packet, header, segment, now);
      this.wantOutput(block);
      return;
    }
    if ((segment.flags & FLAG.rst) !== 0) {
      this.#listeners.find(segment.destinationPort)?.withdrawn({ ip: local, port: segment.destinationPort }, remoteOf(packet, header, segment));
      return;
    }
    if ((segment.flags & (FLAG.syn | FLAG.ack | FLAG.fin)) === FLAG.syn) this.#receiveSyn(packet, header, segment, local, now);
    else if ((segment.flags & (FLAG.syn | FLAG.ack)) !== FLAG.ack || !this.#receiveCookie(packet, header, segment, local, now)) {
      this.#reset(packet, header, segment, now);
    }
  }

  /** The last step of a handshake of which nothing was kept. False where it is none. */
  #receiveCookie(packet: Uint8Array, header: IpHeader, segment: TcpSegment, ip: IpAddress, now: number): boolean {
    const { family, sourceAt } = header;
    const listener = this.#listeners.find(segment.destinationPort);
    if (listener === undefined) return false;
    const flow = new Flow().set(family, ip.bytes, 0, packet, sourceAt, segment.destinationPort, segment.sourcePort);
    const syn = this.#cookies.check(flow, segment, now);
    if (syn === undefined || this.openCount >= this.#maxConnections) return false;
    const local = { ip, port: segment.destinationPort };
    const remote = remoteOf(packet, header, segment);
    if (listener.judge(local, remote, undefined) !== 'accept' || this.#table.find(flow) !== undefined) return false;
    const block = this.#newBlock(flow, local, remote, listener, now, (segment.ack - 1) | 0);
    takeSyn(block, syn, now);
    block.sndNxt = segment.ack;
    this.#table.add(block);
    if (!receiveSegment(block, segment, packet, now)) discard(block);
    this.wantOutput(block);
    return true;
  }

  #receiveSyn(packet: Uint8Array, header: IpHeader, segment: TcpSegment, ip: IpAddress, now: number): void {
    const listener = this.#listeners.find(segment.destinationPort);
    const { family } = header;
    const local = { ip, port: segment.destinationPort };
    const remote = remoteOf(packet, header, segment);
    if (listener === undefined) return this.#reset(packet, header, segment, now);
    // Full: dropped, not refused, so that the other side tries again.
    if (this.openCount >= this.#maxConnections) return;
    const verdict = listener.judge(local, remote, packet);
    if (verdict === 'hold') return;
    if (verdict === 'unreachable') return this.#unreachable(packet, header, now);
    if (verdict === 'refuse') return this.#reset(packet, header, segment, now);
    const flow = new Flow().set(family, ip.bytes, 0, remote.ip.bytes, 0, local.port, remote.port);
    if (this.#table.find(flow) !== undefined) return; // `admit` has opened it meanwhile
    const peer = peerKey(remote.ip);
    const ofPeer = this.#halfOpenByPeer.get(peer) ?? 0;
    if (this.#halfOpen.size >= MAX_HALF_OPEN || ofPeer >= MAX_HALF_OPEN_PER_PEER) {
      const cookie = this.#newBlock(flow, local, remote, undefined, now, this.#cookies.issue(flow, segment, now));
      takeSyn(cookie, segment, now);
      sendCookie(cookie, this.#cookies.stamp(timestampOf(cookie, now), segment));
      return;
    }
    const block = this.#newBlock(flow, local, remote, listener, now);
    takeSyn(block, segment, now);
    block.synPending = true;
    this.#table.add(block);
    this.#halfOpen.add(block);
    this.#halfOpenByPeer.set(peer, ofPeer + 1);
    this.wantOutput(block);
  }

  #reset(packet: Uint8Array, header: IpHeader, segment: TcpSegment, now: number): void {
    if (this.#resetLimit.take(now)) this.emit(buildReset(this.scratch, packet, header, segment), 0);
  }

  #newBlock(flow: Flow, local: SocketAddress, remote: SocketAddress, passive: PassiveOpen | undefined, now: number, cookie?: number): ControlBlock {
    const ipHeader = flow.family === 4 ? IPV4_HEADER : IPV6_HEADER;
    // RFC 6528: a clock of 4 µs plus a keyed hash of the four-tuple, so numbers of one tuple grow and tell nothing of another's.
    const iss = cookie ?? (Math.floor(now * 250) + flow.hash(this.#isnHash)) | 0;
    const open = {
      passive,
      iss,
      tsOffset: flow.hash(this.#stampHash),
      mss: this.#mtu - ipHeader - TCP_HEADER,
      pseudo: pseudoSum(local.ip.bytes, 0, remote.ip.bytes, 0, local.ip.bytes.length, PROTOCOL.tcp),
      ipHeader,
    };
    return new ControlBlock(this, flow, local, remote, open, now);
  }

  wantOutput(block: ControlBlock): void {
    if (block.wantsOutput) return;
    block.wantsOutput = true;
    this.#wanted.push(block);
  }

  /** Lets every connection that asked for it send, also those that ask meanwhile. */
  transmitWanted(now: number): void {
    const wanted = this.#wanted;
    for (let i = 0; i < wanted.length; i++) {
      const block = wanted[i] as ControlBlock;
      block.wantsOutput = false;
      transmit(block, now);
      this.#deadlines.schedule(block, deadlineOf(block));
    }
    wanted.length = 0;
  }

  nextDue(): number {
    return this.#failed.length > 0 ? -Infinity : this.#deadlines.next();
  }

  runDue(now: number): void {
    for (const { handler, reason } of this.#failed.splice(0)) handler.closed(reason, now);
    for (let block = this.#deadlines.takeDue(now); block !== undefined; block = this.#deadlines.takeDue(now)) {
      const due = deadlineOf(block);
      if (due > now) {
        this.#deadlines.schedule(block, due);
        continue;
      }
      runTimers(block, now);
      this.wantOutput(block);
    }
  }

  /** Resets the connections whose own address is no longer ours. */
  dropWithoutAddress(isOurs: (ip: IpAddress) => boolean, now: number): void {
    for (const block of this.#table.entries()) {
      if (isOurs(block.local.ip)) continue;
      if (block.state === 'time-wait') discard(block);
      else finish(block, 'ECONNRESET', now);
    }
  }

  reserve(block: { extraBytes: number }, bytes: number, most = MAX_EXTRA_BUFFERS): boolean {
    if (bytes > 0 && this.#extraBytes + bytes > most) return false;
    this.#extraBytes += bytes;
    block.extraBytes += bytes;
    return true;
  }

  handshakeDone(block: ControlBlock): boolean {
    if (!this.#halfOpen.delete(block)) return false;
    const peer = peerKey(block.remote.ip);
    const left = (this.#halfOpenByPeer.get(peer) ?? 1) - 1;
    if (left > 0) this.#halfOpenByPeer.set(peer, left);
    else this.#halfOpenByPeer.delete(peer);
    return true;
  }

  waiting(block: ControlBlock): void {
    this.#timeWait.add(block);
    if (this.#timeWait.size <= MAX_TIME_WAIT) return;
    for (const oldest of this.#timeWait) {
      discard(oldest);
      return;
    }
  }

  forget(block: ControlBlock): void {
    this.#table.remove(block);
    this.#deadlines.remove(block);
    this.#timeWait.delete(block);
    this.reserve(block, -block.extraBytes);
    const { local, remote } = block;
    if (this.handshakeDone(block)) this.#listeners.find(local.port)?.withdrawn(local, remote);
  }
}

function remoteOf(packet: Uint8Array, { family, sourceAt, addressLength }: IpHeader, { sourcePort }: TcpSegment): SocketAddress {
  return { ip: { family, bytes: new Uint8Array(packet.subarray(sourceAt, sourceAt + addressLength)) }, port: sourcePort };
}

/** A new SYN may take over a four-tuple in TIME-WAIT when nothing old can be mistaken for new (RFC 9293 §3.10.7.4, RFC 6191). */
function mayReuse(block: ControlBlock, segment: TcpSegment): boolean {
  if (block.state !== 'time-wait' || (segment.flags & (FLAG.syn | FLAG.ack | FLAG.rst | FLAG.fin)) !== FLAG.syn) return false;
  if (block.timestamps && segment.hasTimestamps && segment.tsValue !== block.tsRecent) return seqLess(block.tsRecent, segment.tsValue);
  return seqLess(block.rcvNxt, segment.seq);
}

/** One number per remote address (IPv6: its words mixed); a collision only makes two peers share a limit. */
function peerKey(ip: IpAddress): number {
  let key = 0;
  for (let i = 0; i < ip.bytes.length; i += 4) key = (Math.imul(key, 0x01000193) ^ readInt32(ip.bytes, i)) | 0;
  return key;
}
