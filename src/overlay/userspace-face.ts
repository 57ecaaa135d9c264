// Userspace mode: our own TCP/IP stack inside the tunnel. Its connections are made here, counted, and ended when their peer or their
// permission goes.
import type { Clock } from '#lib/clock.ts';
import { formatPrefix, type IpPrefix } from '#lib/ip.ts';
import type { PublicKey } from '#model/ids.ts';
import { createStack } from '#netstack/stack.ts';
import type { IpStack, SocketAddress, SynVerdict, TcpConnection } from '#netstack/types.ts';
import { MAX_STREAMS } from './constants.ts';
import { overlayError } from './errors.ts';
import type { InnerFace, InnerFaceHooks, InnerUdp, InnerUdpSocket, OpenConnection } from './inner-face.ts';
import type { Destination } from './peer-directory.ts';
import { OverlayStream, type StreamEvents, type StreamLoop } from './stream.ts';

export interface UserspaceFaceDeps {
  readonly clock: Clock;
  readonly hooks: InnerFaceHooks;
  readonly mtu: number;
  readonly random: (target: Uint8Array) => void;
}

export class UserspaceFace implements InnerFace, StreamLoop {
  readonly kind = 'userspace';
  readonly clock: Clock;
  readonly #hooks: InnerFaceHooks;
  readonly #stack: IpStack;
  readonly #open = new Map<OverlayStream, OpenConnection>();
  readonly udp: InnerUdp;
  readonly #gathered: OverlayStream[] = [];
  #addresses = '';

  constructor({ clock, hooks, mtu, random }: UserspaceFaceDeps) {
    this.clock = clock;
    this.#hooks = hooks;
    this.#stack = createStack({
      addresses: [],
      mtu,
      random,
      superPackets: true,
      output: (packet, segmentSize) => hooks.send(packet, segmentSize),
      routed: (bytes, at, family) => hooks.carries(bytes, at, family),
      routedUdp: (bytes, from, to) => hooks.datagram(bytes, from, to),
    });
    this.udp = {
      bind: (at, receive) => {
        const socket = this.#stack.bindUdp(at, receive);
        return { port: socket.local.port, send: (bytes, to) => this.#sending((now) => socket.send(bytes, to, now)), close: () => socket.close() };
      },
      send: (bytes, from, to) => this.#sending((now) => this.#stack.sendUdp(bytes, from, to, now)),
    };
    this.#stack.listen(
      'any',
      (local, remote, syn) => this.#judge(local, remote, syn),
      (connection) => this.#accepted(connection),
      (local, remote) => hooks.withdrawn(local, remote),
    );
  }

  get full(): boolean {
    return this.#open.size >= MAX_STREAMS;
  }

  setAddresses(own: readonly IpPrefix[], _reachable: readonly IpPrefix[], now: number): void {
    const addresses = own.map(formatPrefix).join();
    if (addresses === this.#addresses) return;
    this.#addresses = addresses;
    this.#stack.setAddresses(
      own.map(({ address }) => address),
      now,
    );
  }

  receive(packet: Uint8Array, segmentSize: number, now: number): void {
    this.#stack.receivePacket(packet, now, segmentSize);
  }

  /** A SYN that has to wait is kept, and handed in again when its way is open, or has failed. */
  #judge(local: SocketAddress, remote: SocketAddress, syn: Uint8Array | undefined): SynVerdict {
    if (this.full) return 'refuse';
    if (syn === undefined) return this.#hooks.judge(local, remote, undefined);
    let held: Uint8Array | undefined;
    const verdict = this.#hooks.judge(local, remote, () => {
      if (held !== undefined) this.#receiveAgain(held);
    });
    if (verdict === 'hold') held = Uint8Array.from(syn);
    return verdict;
  }

  #receiveAgain(syn: Uint8Array): void {
    this.#sending((now) => this.#stack.receivePacket(syn, now));
  }

  connect(to: Destination, port: number, opened: StreamEvents['opened']): OverlayStream {
    if (this.full) throw overlayError('ENOBUFS');
    const stream = this.#make(false, { peer: to.peer, remote: { ip: to.ip, port }, acceptedAt: undefined }, opened);
    stream.bind(this.#stack.connect({ ip: to.ip, port }, stream.handler, this.clock.now()));
    this.touch();
    return stream;
  }

  bindUdp(port: number, receive: (bytes: Uint8Array, from: SocketAddress) => void): Promise<InnerUdpSocket> {
    return new Promise((resolve, reject) => {
      try {
        resolve(this.udp.bind(port, receive));
      } catch (error) {
        reject(overlayError('EADDRNOTAVAIL', `UDP port ${port}`, error));
      }
    });
  }

  connections(): Iterable<OpenConnection> {
    return this.#open.values();
  }

  recheck(verdict: (connection: OpenConnection) => Error | undefined): void {
    for (const [stream, connection] of this.#open) {
      const error = verdict(connection);
      if (error !== undefined) stream.destroy(error);
    }
  }

  hurry(isBack: (peer: PublicKey) => boolean): void {
    for (const [stream, { peer }] of this.#open) if (isBack(peer)) stream.hurry();
    this.touch();
  }

  touch(): void {
    this.#hooks.touch();
  }

  gather(stream: OverlayStream): void {
    this.#gathered.push(stream);
    this.touch();
  }

  endTurn(): void {
    for (const stream of this.#gathered.splice(0)) stream.flush();
  }

  poll(now: number): void {
    this.#stack.poll(now);
  }

  pollAt(): number {
    return this.#stack.pollAt();
  }

  /** Resets all, without an error: whoever closes the overlay knows. */
  close(): Promise<void> {
    for (const stream of this.#open.keys()) stream.destroy();
    this.#gathered.length = 0;
    return Promise.resolve();
  }

  #sending(send: (now: number) => void): void {
    send(this.clock.now());
    this.touch();
  }

  #make(accepted: boolean, entry: OpenConnection, opened: StreamEvents['opened']): OverlayStream {
    const stream = new OverlayStream(this, accepted, { opened, gone: (gone) => this.#open.delete(gone) });
    this.#open.set(stream, entry);
    return stream;
  }

  #accepted(connection: TcpConnection): void {
    const { local, remote } = connection;
    const peer = this.#hooks.ownerOf(remote.ip);
    // It may have changed since the SYN.
    if (peer === undefined) return connection.abort(this.clock.now());
    const stream = this.#make(true, { peer, remote, acceptedAt: local }, () => undefined);
    connection.attach(stream.handler);
    stream.bind(connection);
    this.#hooks.accepted({ stream, local, remote, peer });
  }
}
