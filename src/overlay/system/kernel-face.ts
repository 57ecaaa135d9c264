// System mode: the kernel's own TCP/IP behind a TUN device, in the place of our stack. Connections are plain kernel sockets.
//
// The kernel has other services too, so what comes out of the tunnel is judged before it sees it: only packets to our overlay address,
// and a connection only where the map's filter and whoever accepts here want it. Everything else is answered as a closed port.
import { Socket } from 'node:net';
import { LendingSocket } from '#lib/lending-socket.ts';
import type { Clock } from '#lib/clock.ts';
import { formatIp, type IpAddress, type IpPrefix, parseIp, unmapIp } from '#lib/ip.ts';
import type { Logger } from '#lib/log.ts';
import { buildReset } from '#netstack/tcp/reset.ts';
import type { SocketAddress, TcpEnd } from '#netstack/types.ts';
import { pseudoSum } from '#wire/checksum.ts';
import { emptyIpHeader, PROTOCOL, readIpv4 } from '#wire/ipv4.ts';
import { readIpv6 } from '#wire/ipv6.ts';
import { tcpStart } from '#wire/segmentation.ts';
import { emptyTcpSegment, FLAG, readTcp } from '#wire/tcp.ts';
import { MAX_STREAMS, SYSTEM_INTERFACE } from '../constants.ts';
import { overlayError } from '../errors.ts';
import type { AcceptedConnection, InnerFace, InnerFaceHooks, InnerUdpSocket, OpenConnection } from '../inner-face.ts';
import type { Destination } from '../peer-directory.ts';
import { OverlayFilter } from '../filter.ts';
import type { OpenDatagramPortAt } from '../udp/port.ts';
import { HostFlows } from './host-flows.ts';
import { SystemInterface } from './interface.ts';
import { resetOnDestroy } from './kernel-stream.ts';
import { bindKernelUdp } from './kernel-udp.ts';
import { Listeners } from './listeners.ts';
import { openTun, type TunDevice } from './tun-device.ts';

/** Room for a reset of either family. */
const RESET_BYTES = 60;
const knownEnds: readonly string[] = ['ECONNREFUSED', 'ECONNRESET', 'ETIMEDOUT', 'EHOSTUNREACH', 'ENETUNREACH', 'EADDRNOTAVAIL'] satisfies TcpEnd[];

export interface KernelFaceDeps {
  readonly clock: Clock;
  readonly log: Logger;
  readonly hooks: InnerFaceHooks;
  readonly mtu: number;
  readonly openPortAt: OpenDatagramPortAt;
  /** Whether programs of this host that listen for themselves may be reached too, where the map's filter admits it. */
  readonly hostPrograms: boolean;
}

/** Makes the device and brings it up. Rejects with OVERLAY_TUN or OVERLAY_INTERFACE. */
export async function openKernelFace(deps: KernelFaceDeps): Promise<InnerFace> {
  const face = new KernelFace(deps);
  await face.open();
  return face;
}

class KernelFace implements InnerFace {
  readonly kind = 'system';
  readonly #deps: KernelFaceDeps;
  readonly #header = emptyIpHeader();
  readonly #segment = emptyTcpSegment();
  readonly #reset = new Uint8Array(RESET_BYTES);
  readonly udp = undefined;
  readonly #open = new Map<Socket, OpenConnection>();
  readonly #listeners: Listeners;
  readonly #hostFlows = new HostFlows();
  readonly #udpSockets = new Map<number, InnerUdpSocket>();
  /** Admits nothing new: what passes it answers a datagram of this host. */
  readonly #answers = new OverlayFilter();
  #own: readonly IpAddress[] = [];
  #tun: TunDevice | undefined;
  #interface: SystemInterface | undefined;
  /** Fulfilled when the device has the addresses that the map gave last. */
  #ready: Promise<void> = Promise.resolve();

  constructor(deps: KernelFaceDeps) {
    this.#deps = deps;
    this.#listeners = new Listeners({ clock: deps.clock, log: deps.log, accepted: (socket) => this.#accepted(socket) });
  }

  async open(): Promise<void> {
    const { hooks, log, mtu } = this.#deps;
    const tun = openTun(
      SYSTEM_INTERFACE,
      (packet, segmentSize) => this.#outbound(packet, segmentSize),
      (work) => hooks.turn(work),
    );
    try {
      const host = new SystemInterface(tun.name, log);
      await host.up(mtu);
      this.#tun = tun;
      this.#interface = host;
    } catch (error) {
      await tun.close();
      throw error;
    }
    log.info('overlay: system mode', { interface: tun.name });
  }

  get full(): boolean {
    return this.#open.size >= MAX_STREAMS;
  }

  setAddresses(own: readonly IpPrefix[], reachable: readonly IpPrefix[]): void {
    this.#own = own.map(({ address }) => address);
    const texts = this.#own.map(formatIp);
    this.#listeners.keep(texts);
    for (const socket of this.#open.keys()) {
      if (socket.localAddress !== undefined && !texts.includes(plainAddress(socket.localAddress))) {
        socket.destroy(overlayError('ECONNRESET', 'the overlay address changed'));
      }
    }
    if (this.#interface !== undefined) this.#ready = this.#interface.set(own, reachable);
  }

  receive(packet: Uint8Array, segmentSize: number): void {
    const six = (packet[0] ?? 0) >> 4 === 6;
    if (!this.#isOwn(packet, six ? 24 : 16, six ? 16 : 4)) return;
    // A joined packet carries data of one flow, never a SYN.
    if (segmentSize === 0 ? !this.#admits(packet) : this.#isCut(packet)) return;
    this.#tun?.write(packet, segmentSize);
  }

  /** Throws ENOBUFS where too many are open. */
  connect(to: Destination, port: number, opened: (reason: TcpEnd | undefined) => void): Socket {
    if (this.full) throw overlayError('ENOBUFS');
    const local = this.#own.find(({ family }) => family === to.ip.family);
    const socket = new LendingSocket().setNoDelay(true);
    const where = { host: formatIp(to.ip), port, ...(local === undefined ? {} : { localAddress: formatIp(local) }) };
    void this.#ready.then(() => (socket.destroyed ? undefined : socket.connect(where)));
    this.#track(socket, { peer: to.peer, remote: { ip: to.ip, port }, acceptedAt: undefined });
    const failed = (error: Error): void => opened(endOf(error));
    socket.once('error', failed);
    socket.once('connect', () => {
      socket.off('error', failed);
      opened(undefined);
    });
    return resetOnDestroy(socket);
  }

  connections(): Iterable<OpenConnection> {
    return this.#open.values();
  }

  async bindUdp(port: number, receive: (bytes: Uint8Array, from: SocketAddress) => void): Promise<InnerUdpSocket> {
    await this.#ready;
    const socket = await bindKernelUdp(this.#deps.openPortAt, this.#own, port, receive, this.#deps.log);
    this.#udpSockets.set(socket.port, socket);
    return {
      ...socket,
      close: () => {
        this.#udpSockets.delete(socket.port);
        socket.close();
      },
    };
  }

  recheck(verdict: (connection: OpenConnection) => Error | undefined): void {
    this.#hostFlows.recheck(verdict);
    for (const [socket, connection] of this.#open) {
      const error = verdict(connection);
      if (error !== undefined) socket.destroy(error);
    }
  }

  poll(): void {
    // The kernel has timers of its own.
  }

  pollAt(): number {
    return Infinity;
  }

  /** The kernel repeats by its own timers; there is no way to hurry it. */
  hurry(): void {
    // Nothing to do.
  }

  endTurn(): void {
    // Nothing is gathered here.
  }

  async close(): Promise<void> {
    this.#listeners.close();
    for (const socket of this.#open.keys()) socket.on('error', () => undefined).destroy();
    for (const socket of this.#udpSockets.values()) socket.close();
    await this.#tun?.close();
  }

  /** A packet of the kernel's: ours if it comes from our address; what others route here is none of the overlay's business. */
  #outbound(packet: Uint8Array, segmentSize: number): void {
    const six = (packet[0] ?? 0) >> 4 === 6;
    if (!this.#isOwn(packet, six ? 8 : 12, six ? 16 : 4)) return;
    const tcpAt = tcpStart(packet);
    if (tcpAt > 0 && ((packet[tcpAt + 13] ?? 0) & (FLAG.fin | FLAG.rst)) !== 0) this.#hostFlows.ended(packet, six ? 24 : 16, six ? 16 : 4, tcpAt);
    if (segmentSize === 0) this.#answers.noteOutbound(packet, this.#deps.clock.now());
    this.#deps.hooks.send(packet, segmentSize);
  }

  #isOwn(packet: Uint8Array, at: number, length: number): boolean {
    if (packet.length < at + length) return false;
    for (const { bytes } of this.#own) {
      if (bytes.length !== length) continue;
      let i = 0;
      while (i < length && bytes[i] === packet[at + i]) i++;
      if (i === length) return true;
    }
    return false;
  }

  /** Whether the packet may pass now. One that opens a connection is judged; what it was held for, it passes later. */
  #admits(packet: Uint8Array): boolean {
    const header = this.#header;
    const verdict = (packet[0] as number) >> 4 === 6 ? readIpv6(packet, header) : readIpv4(packet, header);
    if (verdict !== 'ok') return false;
    // The map's filter has looked at all of them; what else a program of this host would get is another question.
    if (header.protocol === PROTOCOL.udp) return this.#admitsUdp(packet, header.payloadStart);
    if (header.protocol !== PROTOCOL.tcp) return true;
    const at = header.payloadStart;
    if (header.payloadEnd - at < 20) return false;
    if (((packet[at + 13] as number) & (FLAG.syn | FLAG.ack)) !== FLAG.syn) {
      return !this.#hostFlows.isCut(packet, header.sourceAt, header.addressLength, at);
    }
    const { sourceAt, destinationAt, addressLength, family } = header;
    const pseudo = pseudoSum(packet, sourceAt, packet, destinationAt, addressLength, PROTOCOL.tcp);
    if (!readTcp(packet, at, header.payloadEnd, pseudo, this.#segment)) return false;
    const local = addressAt(packet, destinationAt, addressLength, family, this.#segment.destinationPort);
    const remote = addressAt(packet, sourceAt, addressLength, family, this.#segment.sourcePort);
    const { hooks } = this.#deps;
    const wanted = !this.full && hooks.admits(local, remote);
    const peer = this.#deps.hostPrograms && hooks.passesFilter(local, remote) ? hooks.ownerOf(remote.ip) : undefined;
    if (!wanted) {
      const admitted = peer !== undefined && this.#hostFlows.note(peer, local, remote);
      if (!admitted) this.#refuse(packet);
      return admitted;
    }
    const held = Uint8Array.from(packet);
    let now = false;
    let later = false;
    const proceed = (): void => {
      if (later) this.#tun?.write(held, 0);
      else now = true;
    };
    this.#listeners.ensure(formatIp(local.ip), local.port, proceed, (taken) => {
      if (taken && peer !== undefined && this.#hostFlows.note(peer, local, remote)) proceed();
      else this.#refuse(held);
    });
    later = true;
    return now;
  }

  #admitsUdp(packet: Uint8Array, at: number): boolean {
    const port = ((packet[at + 2] as number) << 8) | (packet[at + 3] as number);
    return this.#deps.hostPrograms || this.#udpSockets.has(port) || this.#answers.admitsPacket(packet, this.#deps.clock.now());
  }

  #isCut(packet: Uint8Array): boolean {
    const six = (packet[0] as number) >> 4 === 6;
    return this.#hostFlows.isCut(packet, six ? 8 : 12, six ? 16 : 4, tcpStart(packet));
  }

  /** Answers a SYN as a closed port would. */
  #refuse(packet: Uint8Array): void {
    const verdict = (packet[0] as number) >> 4 === 6 ? readIpv6(packet, this.#header) : readIpv4(packet, this.#header);
    if (verdict !== 'ok') return;
    const { sourceAt, destinationAt, addressLength, payloadStart, payloadEnd } = this.#header;
    const pseudo = pseudoSum(packet, sourceAt, packet, destinationAt, addressLength, PROTOCOL.tcp);
    if (!readTcp(packet, payloadStart, payloadEnd, pseudo, this.#segment)) return;
    this.#deps.hooks.send(this.#reset.subarray(0, buildReset(this.#reset, packet, this.#header, this.#segment)), 0);
    this.#deps.hooks.touch();
  }

  #accepted(socket: Socket): void {
    resetOnDestroy(socket);
    const local = endpoint(socket.localAddress, socket.localPort);
    const remote = endpoint(socket.remoteAddress, socket.remotePort);
    const peer = remote === undefined ? undefined : this.#deps.hooks.ownerOf(remote.ip);
    // Somebody on this host may also reach the listener, from an address that is no peer's.
    if (local === undefined || remote === undefined || peer === undefined || !this.#deps.hooks.admits(local, remote)) {
      socket.destroy();
      return;
    }
    this.#track(socket, { peer, remote, acceptedAt: local });
    const connection: AcceptedConnection = { stream: socket, local, remote, peer };
    this.#deps.hooks.accepted(connection);
  }

  #track(socket: Socket, entry: OpenConnection): void {
    this.#open.set(socket, entry);
    socket.once('close', () => this.#open.delete(socket));
  }
}

function addressAt(packet: Uint8Array, at: number, length: number, family: 4 | 6, port: number): SocketAddress {
  return { ip: { family, bytes: Uint8Array.from(packet.subarray(at, at + length)) }, port };
}

function endpoint(address: string | undefined, port: number | undefined): SocketAddress | undefined {
  const ip = address === undefined ? undefined : parseIp(address);
  return ip === undefined || port === undefined ? undefined : { ip: unmapIp(ip), port };
}

function plainAddress(address: string): string {
  const ip = parseIp(address);
  return ip === undefined ? address : formatIp(unmapIp(ip));
}

function endOf(error: Error): TcpEnd {
  const code = 'code' in error ? String(error.code) : '';
  return isEnd(code) ? code : 'EHOSTUNREACH';
}

function isEnd(code: string): code is TcpEnd {
  return knownEnds.includes(code);
}
