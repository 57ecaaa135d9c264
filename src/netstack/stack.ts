// The stack: takes packets apart, finds whose they are, and runs what became due. All sending for connections happens when the work
// that caused it is done, so callbacks may call back into the stack at any point; packets that arrive from inside `output` wait.
import type { IpAddress } from '#lib/ip.ts';
import { pseudoSum } from '#wire/checksum.ts';
import { icmpMtu } from '#wire/icmp.ts';
import type { IcmpComplaint } from '#wire/icmp.ts';
import { IPV4_HEADER, PROTOCOL, emptyIpHeader, readIpv4, writeIpv4 } from '#wire/ipv4.ts';
import type { IpHeader } from '#wire/ipv4.ts';
import { IPV6_HEADER, readIpv6, writeIpv6 } from '#wire/ipv6.ts';
import { emptyTcpSegment, readTcp } from '#wire/tcp.ts';
import { UDP_HEADER, emptyUdpHeader, readUdp, writeUdp } from '#wire/udp.ts';
import { OwnAddresses, isUnicast } from './addresses.ts';
import { ICMP_PER_SECOND, MAX_DATAGRAM, MAX_MTU, MAX_REENTRANT_PACKETS, MAX_SUPER_PAYLOAD, MIN_MTU, SUPER_HEADERS } from './constants.ts';
import { netstackError } from './errors.ts';
import { fragments } from './fragments.ts';
import { applyIcmpError, buildEchoReply, buildIcmpError, endOf, readIcmp, readQuotedPacket } from './icmp.ts';
import { checkPort } from './ports.ts';
import { RateLimit } from './rate-limit.ts';
import { Reassembler } from './reassembly.ts';
import { TcpLayer } from './tcp-layer.ts';
import type { Admit, IpStack, SocketAddress, StackCounters, StackOptions, TcpConnection, TcpHandler, TcpListener, UdpSocket } from './types.ts';
import { UdpTable } from './udp-socket.ts';
import type { UdpBinding, UdpReceiver } from './udp-socket.ts';

const NO_NEXT_HEADER = 59;

/**
 * Makes a stack. Nothing happens until it is called: the owner feeds `receivePacket`, and calls `poll` at or after `pollAt()`, which
 * it reads again after every call. Throws NETSTACK_MTU.
 */
export function createStack(options: StackOptions): IpStack {
  return new Stack(options);
}

class Stack implements IpStack {
  readonly counters: StackCounters = {
    received: 0,
    sent: 0,
    malformed: 0,
    fragments: 0,
    notOurs: 0,
    unknownProtocol: 0,
    reentrantDropped: 0,
    udpTooBig: 0,
  };
  readonly #output: (packet: Uint8Array, segmentSize: number) => void;
  readonly #mtu: number;
  readonly #own: OwnAddresses;
  readonly #routedUdp: UdpReceiver | undefined;
  readonly #scratch: Uint8Array;
  /** Views of the scratch buffer by length, so that sending a packet makes no new one. */
  readonly #views: (Uint8Array | undefined)[] = [];
  #lastSuper: Uint8Array = new Uint8Array(0);
  readonly #header = emptyIpHeader();
  readonly #segment = emptyTcpSegment();
  readonly #datagram = emptyUdpHeader();
  readonly #tcp: TcpLayer;
  readonly #udp: UdpTable;
  readonly #reassembler = new Reassembler();
  readonly #icmpLimit = new RateLimit(ICMP_PER_SECOND);
  readonly #waiting: { readonly packet: Uint8Array; readonly segmentSize: number }[] = [];
  #busy = false;
  #emitting = false;

  constructor(options: StackOptions) {
    if (!Number.isInteger(options.mtu) || options.mtu < MIN_MTU || options.mtu > MAX_MTU) throw netstackError('NETSTACK_MTU', String(options.mtu));
    this.#output = options.output;
    this.#mtu = options.mtu;
    const superPackets = options.superPackets ?? false;
    this.#scratch = new Uint8Array(superPackets ? Math.max(options.mtu, MAX_SUPER_PAYLOAD + SUPER_HEADERS) : options.mtu);
    this.#own = new OwnAddresses(options.routed);
    this.#own.replace(options.addresses);
    this.#routedUdp = options.routedUdp;
    this.#tcp = new TcpLayer({
      scratch: this.#scratch,
      mtu: options.mtu,
      random: options.random,
      superPackets,
      emit: (length, segmentSize) => this.#emit(length, segmentSize),
      flush: (now) => this.#flush(now),
      unreachable: (packet, header, now) => this.#quote(packet, header, 'host', now),
      ...(options.maxConnections === undefined ? {} : { maxConnections: options.maxConnections }),
    });
    this.#udp = new UdpTable(() => this.#tcp.random32());
  }

  setAddresses(addresses: readonly IpAddress[], now: number): void {
    this.#own.replace(addresses);
    this.#run(now, () => this.#tcp.dropWithoutAddress((ip) => this.#own.match(ip.bytes, 0, ip.family) !== undefined, now));
  }

  receivePacket(packet: Uint8Array, now: number, segmentSize = 0): void {
    if (this.#busy) {
      if (this.#waiting.length < MAX_REENTRANT_PACKETS) this.#waiting.push({ packet: new Uint8Array(packet), segmentSize });
      else this.counters.reentrantDropped++;
      return;
    }
    this.#busy = true;
    try {
      this.#dispatch(packet, now, segmentSize);
      this.#drain(now);
    } finally {
      this.#busy = false;
    }
  }

  connect(remote: SocketAddress, handler: TcpHandler, now: number): TcpConnection {
    checkPort(remote.port);
    const connection = this.#tcp.connect(this.#own.sourceFor(remote.ip.family), remote, handler, now);
    this.#flush(now);
    return connection;
  }

  listen(
    port: number | 'any',
    admit: Admit,
    accept: (connection: TcpConnection, now: number) => void,
    withdrawn?: (local: SocketAddress, remote: SocketAddress) => void,
  ): TcpListener {
    return this.#tcp.listen(port, admit, accept, withdrawn);
  }

  bindUdp(port: number, receive: UdpReceiver, failed?: UdpBinding['failed']): UdpSocket {
    // A binding of its own for each socket, so that closing twice never frees a port that somebody else has taken since.
    const binding: UdpBinding = { receive, failed };
    const bound = this.#udp.bind(port, binding);
    const own = this.#own;
    let open = true;
    return {
      get local() {
        const ip = own.sourceFor(4) ?? own.sourceFor(6) ?? { family: 4 as const, bytes: new Uint8Array(4) };
        return { ip, port: bound };
      },
      send: (bytes, to) => {
        const source = this.#own.sourceFor(to.ip.family);
        if (open && source !== undefined) this.#sendUdp(bytes, { ip: source, port: bound }, to);
      },
      close: () => {
        open = false;
        this.#udp.release(bound, binding);
      },
    };
  }

  sendUdp(bytes: Uint8Array, from: SocketAddress, to: SocketAddress): void {
    checkPort(from.port);
    this.#sendUdp(bytes, from, to);
  }

  poll(now: number): void {
    this.#run(now, () => {
      this.#reassembler.expire(now);
      this.#tcp.runDue(now);
    });
  }

  pollAt(): number {
    return this.#waiting.length > 0 ? -Infinity : Math.min(this.#tcp.nextDue(), this.#reassembler.nextDue());
  }

  connectionCount(): number {
    return this.#tcp.openCount;
  }

  #run(now: number, work: () => void): void {
    if (this.#busy) return work();
    this.#busy = true;
    try {
      work();
      this.#drain(now);
    } finally {
      this.#busy = false;
    }
  }

  /** Sends what calls from outside have asked for. Packets that arrive meanwhile wait for `poll`, so no handler runs inside such a call. */
  #flush(now: number): void {
    if (this.#busy) return;
    this.#busy = true;
    try {
      this.#tcp.transmitWanted(now);
    } finally {
      this.#busy = false;
    }
  }

  #drain(now: number): void {
    this.#tcp.transmitWanted(now);
    // As many as wait now: two stacks that answer each other at once must not keep this call forever.
    for (let left = MAX_REENTRANT_PACKETS; left > 0; left--) {
      const first = this.#waiting.shift();
      if (first === undefined) return;
      this.#dispatch(first.packet, now, first.segmentSize);
      this.#tcp.transmitWanted(now);
    }
  }

  #dispatch(packet: Uint8Array, now: number, segmentSize: number): void {
    this.counters.received++;
    const header = this.#header;
    const verdict = packet.length > 0 && (packet[0] as number) >> 4 === 6 ? readIpv6(packet, header) : readIpv4(packet, header, segmentSize > 0);
    if (verdict === 'fragment') return this.#receiveFragment(packet, now);
    if (verdict !== 'ok' && verdict !== 'parameter') {
      this.counters.malformed++;
      return;
    }
    const local = this.#own.match(packet, header.destinationAt, header.family);
    if (local === undefined || !isUnicast(packet, header.sourceAt, header.family)) {
      this.counters.notOurs++;
      return;
    }
    if (verdict === 'parameter') {
      this.counters.malformed++;
      this.#complain(packet, header, local, 'parameter', now);
      return;
    }
    switch (header.protocol) {
      case PROTOCOL.tcp:
        return this.#receiveTcp(packet, header, local, now, segmentSize);
      case PROTOCOL.udp:
        return this.#receiveUdp(packet, header, local, now);
      case header.family === 4 ? PROTOCOL.icmp : PROTOCOL.icmpv6:
        return this.#receiveIcmp(packet, header, local, now);
      default:
        this.counters.unknownProtocol++;
        // IPv6's "no next header" is an empty packet, not an unknown protocol (RFC 8200 §4.7).
        if (header.family === 4 || header.protocol !== NO_NEXT_HEADER) this.#complain(packet, header, local, 'protocol', now);
    }
  }

  /** Only what is for us is put together. */
  #receiveFragment(packet: Uint8Array, now: number): void {
    this.counters.fragments++;
    const family = (packet[0] as number) >> 4 === 6 ? 6 : 4;
    const [sourceAt, destinationAt] = family === 4 ? [12, 16] : [8, 24];
    if (this.#own.match(packet, destinationAt, family) === undefined || !isUnicast(packet, sourceAt, family)) {
      this.counters.notOurs++;
      return;
    }
    const whole = this.#reassembler.add(packet, now);
    if (whole === undefined) return;
    this.counters.received--;
    this.#dispatch(whole, now, 0);
  }

  /** Tells the sender of a packet for us what is wrong with it, at a bounded rate. A host behind us is not ours to answer for. */
  #complain(packet: Uint8Array, header: IpHeader, local: IpAddress, complaint: IcmpComplaint, now: number): void {
    if (this.#own.owns(local)) this.#quote(packet, header, complaint, now);
  }

  #quote(packet: Uint8Array, header: IpHeader, complaint: IcmpComplaint, now: number): void {
    if (!this.#icmpLimit.take(now)) return;
    this.#answer(packet, header, buildIcmpError(this.#scratch, headerSize(header.family), packet, header, complaint));
  }

  #pseudo(packet: Uint8Array, header: IpHeader): number {
    return pseudoSum(packet, header.sourceAt, packet, header.destinationAt, header.addressLength, header.protocol);
  }

  #receiveTcp(packet: Uint8Array, header: IpHeader, local: IpAddress, now: number, segmentSize: number): void {
    const segment = this.#segment;
    const joined = segmentSize > 0;
    const pseudo = joined ? 0 : this.#pseudo(packet, header);
    if (!readTcp(packet, header.payloadStart, header.payloadEnd, pseudo, segment, joined)) {
      this.counters.malformed++;
      return;
    }
    if (joined) segment.segments = Math.max(1, Math.ceil((segment.dataEnd - segment.dataStart) / segmentSize));
    this.#tcp.receive(packet, header, segment, local, now);
  }

  #receiveUdp(packet: Uint8Array, header: IpHeader, local: IpAddress, now: number): void {
    const datagram = this.#datagram;
    if (!readUdp(packet, header.payloadStart, header.payloadEnd, this.#pseudo(packet, header), header.family, datagram)) {
      this.counters.malformed++;
      return;
    }
    const own = this.#own.owns(local);
    const receiver = own ? this.#udp.find(datagram.destinationPort)?.receive : this.#routedUdp;
    if (receiver === undefined) {
      if (!own) this.counters.notOurs++;
      this.#complain(packet, header, local, 'port', now);
      return;
    }
    const from = { ip: sourceOf(packet, header), port: datagram.sourcePort };
    receiver(packet.subarray(datagram.payloadStart, datagram.payloadEnd), from, { ip: local, port: datagram.destinationPort }, now);
  }

  #receiveIcmp(packet: Uint8Array, header: IpHeader, local: IpAddress, now: number): void {
    const kind = readIcmp(packet, header);
    if (kind === undefined) {
      this.counters.malformed++;
      return;
    }
    if (kind === 'other') return;
    if (kind === 'echo-request') {
      // A host behind us is not ours to answer for.
      if (!this.#own.owns(local)) {
        this.counters.notOurs++;
        return;
      }
      const size = headerSize(header.family) + header.payloadEnd - header.payloadStart;
      if (size <= this.#mtu && this.#icmpLimit.take(now)) {
        this.#answer(packet, header, buildEchoReply(this.#scratch, headerSize(header.family), packet, header));
      }
      return;
    }
    const quoted = readQuotedPacket(packet, header);
    if (quoted === undefined) return;
    if (quoted.header.protocol === PROTOCOL.udp) {
      const { destinationAt, addressLength } = quoted.header;
      const source = this.#own.match(packet, quoted.header.sourceAt, header.family);
      if (source === undefined || !this.#own.owns(source)) return;
      const ip = { family: header.family, bytes: new Uint8Array(packet.subarray(destinationAt, destinationAt + addressLength)) };
      this.#udp.find(quoted.localPort)?.failed?.(kind === 'too-big' ? 'EMSGSIZE' : endOf(kind), { ip, port: quoted.remotePort }, now);
      return;
    }
    const block = this.#tcp.find(header.family, packet, quoted.header.sourceAt, quoted.header.destinationAt, quoted.localPort, quoted.remotePort);
    if (block === undefined) return;
    applyIcmpError(block, kind, quoted.seq, icmpMtu(header.family, packet, header.payloadStart), now);
    this.#tcp.wantOutput(block);
  }

  /** Sends the ICMP message that stands in the scratch buffer back to where `packet` came from. */
  #answer(packet: Uint8Array, header: IpHeader, length: number): void {
    const { sourceAt, destinationAt, addressLength } = header;
    const local = packet.subarray(destinationAt, destinationAt + addressLength);
    const remote = packet.subarray(sourceAt, sourceAt + addressLength);
    if (header.family === 4) writeIpv4(this.#scratch, length, PROTOCOL.icmp, local, remote);
    else writeIpv6(this.#scratch, length, PROTOCOL.icmpv6, local, remote);
    this.#emit(length);
  }

  #sendUdp(bytes: Uint8Array, from: SocketAddress, to: SocketAddress): void {
    checkPort(to.port);
    const { family } = to.ip;
    const at = headerSize(family);
    const length = at + UDP_HEADER + bytes.length;
    const source = from.ip;
    if (length > MAX_DATAGRAM) {
      this.counters.udpTooBig++;
      return;
    }
    // While a packet is being emitted the scratch buffer belongs to it.
    const target = this.#emitting || length > this.#mtu ? new Uint8Array(length) : this.#scratch;
    target.set(bytes, at + UDP_HEADER);
    const pseudo = pseudoSum(source.bytes, 0, to.ip.bytes, 0, source.bytes.length, PROTOCOL.udp);
    writeUdp(target, at, length, from.port, to.port, pseudo);
    if (family === 4) writeIpv4(target, length, PROTOCOL.udp, source.bytes, to.ip.bytes);
    else writeIpv6(target, length, PROTOCOL.udp, source.bytes, to.ip.bytes);
    if (target === this.#scratch) return this.#emit(length);
    for (const packet of length > this.#mtu ? fragments(target, this.#mtu, this.#tcp.random32()) : [target]) {
      this.counters.sent++;
      this.#output(packet, 0);
    }
  }

  #emit(length: number, segmentSize = 0): void {
    const view = segmentSize > 0 ? this.#superView(length) : (this.#views[length] ??= this.#scratch.subarray(0, length));
    this.counters.sent++;
    this.#emitting = true;
    try {
      this.#output(view, segmentSize);
    } finally {
      this.#emitting = false;
    }
  }

  /** Super-packets of one transfer are mostly of one length. */
  #superView(length: number): Uint8Array {
    if (this.#lastSuper.length !== length) this.#lastSuper = this.#scratch.subarray(0, length);
    return this.#lastSuper;
  }
}

function headerSize(family: 4 | 6): number {
  return family === 4 ? IPV4_HEADER : IPV6_HEADER;
}

function sourceOf(packet: Uint8Array, header: IpHeader): IpAddress {
  return { family: header.family, bytes: new Uint8Array(packet.subarray(header.sourceAt, header.sourceAt + header.addressLength)) };
}
