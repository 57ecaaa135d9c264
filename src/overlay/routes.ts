// Networks behind peers, as one part of the overlay: those that this peer takes from routing peers, those that it carries for others, and
// the names in both.
import { createSocket } from 'node:dgram';
import { networkInterfaces } from 'node:os';
import type { Clock } from '#lib/clock.ts';
import { describeError } from '#lib/errors.ts';
import { formatIp, formatPrefix, type IpAddress, type IpPrefix, parseIp, prefixContains, sameIp } from '#lib/ip.ts';
import type { Logger } from '#lib/log.ts';
import type { Dial } from '#lib/net.ts';
import type { NameServer } from '#model/dns.ts';
import type { PublicKey } from '#model/ids.ts';
import type { NetworkMap } from '#model/network-map.ts';
import type { RouteStatus } from '#model/status.ts';
import type { SocketAddress, SynVerdict } from '#netstack/types.ts';
import { FORWARDER_PORTS } from './constants.ts';
import { dialByName, resolveByName } from './dns-dial.ts';
import { DnsForwarder } from './dns-forwarder.ts';
import { Names } from './dns-names.ts';
import { Questions, type QuestionSocket } from './dns-questions.ts';
import type { OverlayFilter } from './filter.ts';
import type { InnerFace, InnerUdp, InnerUdpSocket, OpenConnection } from './inner-face.ts';
import type { Destination } from './peer-directory.ts';
import { CarriedRoutes } from './routes-carried.ts';
import { type Reach, TakenRoutes } from './routes-taken.ts';
import { Openings } from './openings.ts';
import { CarriedFlows } from './routes-udp.ts';
import type { Carrier, Overlay, OverlayConnection } from './types.ts';

export interface OverlayRoutesDeps {
  readonly clock: Clock;
  readonly log: Logger;
  readonly random: (target: Uint8Array) => void;
  readonly self: PublicKey;
  /** Take 0.0.0.0/0 and ::/0 from routing peers. */
  readonly exitNodes: boolean;
  readonly filter: OverlayFilter;
  /** What stands inside the tunnel, once it is open. */
  readonly face: () => InnerFace | undefined;
  readonly reach: (peer: PublicKey) => Reach;
  /** The peer that has the overlay address. */
  readonly ownerOf: (ip: IpAddress) => PublicKey | undefined;
  /** A peer's overlay addresses, IPv4 first. */
  readonly addressesOf: (peer: PublicKey) => readonly IpAddress[];
  readonly nameOf: (peer: PublicKey) => string;
  /** The prefixes of these peers are others now. */
  readonly moved: (peers: ReadonlySet<PublicKey>) => void;
}

export class OverlayRoutes {
  readonly #deps: OverlayRoutesDeps;
  readonly #taken: TakenRoutes;
  readonly #carried: CarriedRoutes;
  readonly #questions: Questions;
  readonly #names: Names;
  #own: readonly IpPrefix[] = [];
  #map: NetworkMap | undefined;
  #carrier: Carrier | undefined;
  #forwarder: DnsForwarder | undefined;
  #forwarderSockets: readonly InnerUdpSocket[] = [];
  #flows: CarriedFlows | undefined;
  #openings: Openings | undefined;

  constructor(deps: OverlayRoutesDeps) {
    const { clock, filter } = deps;
    this.#deps = deps;
    this.#taken = new TakenRoutes({ exitNodes: deps.exitNodes, reach: deps.reach, open: () => this.#openThroughRouters() });
    this.#carried = new CarriedRoutes({
      hostAddresses: () => Object.values(networkInterfaces()).flatMap((list) => (list ?? []).map(({ address }) => address)),
      admitsToSelf: (protocol, from, port) => filter.admits(protocol, from, port),
      isOpen: (ip) => this.#isOpenTo(ip),
    });
    this.#questions = new Questions({ clock, random: deps.random, open: (server, received) => this.#ask(server, received) });
    this.#names = new Names({
      clock,
      taken: this.#taken,
      ask: (servers, question, signal) => this.#questions.ask(servers, question, signal),
      forwarderOf: (router) => this.#forwarderOf(router),
      bound: () => this.refresh(),
    });
    filter.setCarried(this.#carried);
  }

  /** Says who does the carrying. Without one, or where there is no stack of ours, nothing is carried. */
  carry(carrier: Carrier): void {
    const { clock } = this.#deps;
    this.#stopCarrying();
    this.#carrier = carrier;
    this.#openings = new Openings(clock, ({ ip, port }, signal) => carrier.dial({ host: formatIp(ip), port }, { signal }));
    this.#forwarder = new DnsForwarder({ clock, carried: this.#carried, resolve: carrier.resolve });
    this.#flows = new CarriedFlows({
      clock,
      carried: this.#carried,
      ownerOf: (ip) => this.#deps.ownerOf(ip),
      send: (bytes, from, to) => this.#deps.face()?.udp?.send(bytes, from, to),
      open: carrier.openUdp,
    });
    this.#setCarried();
  }

  /** Follows the map; call it when the peers of the map are known, and ask for `prefixesOf` again afterwards. */
  set(map: NetworkMap, own: readonly IpPrefix[]): void {
    this.#map = map;
    this.#own = own;
    this.#taken.set(map.routing, this.#deps.self, own);
    this.#names.set(
      map.dns,
      map.routing?.resolveAtRouter ?? true,
      own.map(({ address }) => address.family),
    );
    this.#setCarried();
    this.refresh();
    this.#flows?.recheck();
  }

  /** The path to the peer is another, or gone. */
  pathChanged(peer: PublicKey): void {
    if (!this.#taken.isRouter(peer)) return;
    this.#names.forgetRouter(peer);
    this.refresh();
  }

  /** Looks again who carries what. */
  refresh(): void {
    if (this.#map?.routing === undefined && this.#taken.empty) return;
    const moved = this.#taken.choose(this.#deps.clock.now());
    if (moved.size === 0) return;
    for (const peer of moved) {
      const prefixes = this.#taken.prefixesOf(peer).map((prefix) => formatPrefix(prefix));
      this.#deps.log.info('overlay: routes moved', { peer, routes: prefixes.length, first: prefixes.slice(0, 4).join(' ') });
    }
    this.#deps.moved(moved);
  }

  /** The prefixes that lead to the peer now, beside its own addresses. */
  prefixesOf(peer: PublicKey): readonly IpPrefix[] {
    return this.#taken.prefixesOf(peer);
  }

  /** The peer that carries packets to the address. */
  routerOf(ip: IpAddress): PublicKey | undefined {
    return this.#taken.routerOf(ip);
  }

  /** Where a dial to an address goes that no peer has. */
  find(host: string): Destination | undefined {
    const ip = parseIp(host);
    const peer = ip === undefined ? undefined : this.#taken.routerOf(ip);
    return ip === undefined || peer === undefined ? undefined : { peer, ip };
  }

  /** Dialling that also knows names, and how it finds their addresses; `addressOf` knows those of the hosts that the dial beneath can do alone. */
  byName(dial: Dial, addressOf: (host: string) => IpAddress | undefined): Pick<Overlay, 'dial' | 'resolve'> {
    const options = {
      dial,
      knows: (host: string) => addressOf(host) !== undefined,
      addressOf,
      names: this.#names,
      ownDomain: () => this.#ownDomain(),
    };
    return { dial: dialByName(options), resolve: async (host, signal) => (await resolveByName(host, options, signal)).map(formatIp) };
  }

  #ownDomain(): string {
    return this.#map?.self.fqdn.replace(/^[^.]*\.?/, '') ?? '';
  }

  /** For the stack: whether a packet to this address is ours to carry. */
  carries(bytes: Uint8Array, at: number, family: 4 | 6): boolean {
    return this.#carrier !== undefined && this.#carried.carries(bytes, at, family);
  }

  datagram(bytes: Uint8Array, from: SocketAddress, to: SocketAddress): void {
    this.#flows?.datagram(bytes, from, to);
  }

  /** What becomes of a SYN of a peer to an address that is not ours. What is not permitted does not wait. */
  judge(local: SocketAddress, remote: SocketAddress, again: (() => void) | undefined): SynVerdict {
    return (this.#permits(local, remote) ? this.#openings?.judge(local, remote, again) : undefined) ?? 'refuse';
  }

  withdrawn(local: SocketAddress, remote: SocketAddress): void {
    this.#openings?.withdraw(local, remote);
  }

  /** Joins an accepted connection to an address behind us with the way that was opened for it. */
  take(connection: OverlayConnection, local: SocketAddress, remote: SocketAddress): void {
    const upstream = this.#openings?.take(local, remote);
    if (upstream === undefined || this.#carrier === undefined) connection.stream.destroy();
    else this.#carrier.connection(connection, upstream);
  }

  /** Whether an open connection through us may go on: a name that was good when it began holds, rules and routes count as they are now. */
  keeps(local: SocketAddress, remote: SocketAddress): boolean {
    return this.#carrier !== undefined && this.#carried.keeps('tcp', remote.ip, local.ip, local.port);
  }

  status(): readonly RouteStatus[] {
    return this.#taken.groups().map(({ netId, to, router, candidates }) => ({
      network: netId,
      to,
      router,
      routerName: router === undefined ? '' : this.#deps.nameOf(router),
      routers: candidates.map(({ peer }) => peer),
    }));
  }

  close(): void {
    this.#names.close();
    this.#stopCarrying();
  }

  #permits(local: SocketAddress, remote: SocketAddress): boolean {
    return this.#carrier !== undefined && this.#carried.admits('tcp', remote.ip, local.ip, local.port, this.#deps.clock.now());
  }

  #stopCarrying(): void {
    this.#openings?.close();
    this.#forwarder?.close();
    this.#flows?.close();
    for (const socket of this.#forwarderSockets) socket.close();
    this.#forwarderSockets = [];
    this.#carrier = undefined;
  }

  #setCarried(): void {
    const udp = this.#deps.face()?.udp;
    const { log, self } = this.#deps;
    const routing = this.#carrier === undefined ? undefined : this.#map?.routing;
    const asked = this.#map?.routing?.routes.some(({ peer }) => peer === self) === true;
    if (asked && this.#carrier === undefined)
      log.warn('overlay: this peer is a router of the network and is not set up to carry: nothing is carried');
    else if (asked && udp === undefined) log.warn('overlay: this peer is a router of the network, which system mode does not do: nothing is carried');
    this.#carried.set(udp === undefined ? undefined : routing, self, this.#own);
    const forwarder = this.#carried.carriesNames ? this.#forwarder : undefined;
    if (forwarder === undefined || udp === undefined) {
      for (const socket of this.#forwarderSockets) socket.close();
      this.#forwarderSockets = [];
    } else if (this.#forwarderSockets.length === 0) {
      this.#forwarderSockets = FORWARDER_PORTS.flatMap((port) => this.#listenForQuestions(udp, port) ?? []);
    }
  }

  #listenForQuestions(udp: InnerUdp, port: number): InnerUdpSocket | undefined {
    try {
      const socket: InnerUdpSocket = udp.bind(port, (bytes, from) => this.#forwarder?.receive(bytes, from, (answer) => socket.send(answer, from)));
      return socket;
    } catch (error) {
      this.#deps.log.warn('overlay: routed names are not answered at a port', { port, reason: describeError(error) });
      return undefined;
    }
  }

  *#openThroughRouters(): Iterable<{ readonly peer: PublicKey; readonly ip: IpAddress }> {
    for (const { peer, remote, acceptedAt } of this.#connections()) {
      if (acceptedAt === undefined && !this.#own.some((own) => prefixContains(own, remote.ip))) yield { peer, ip: remote.ip };
    }
  }

  #connections(): Iterable<OpenConnection> {
    return this.#deps.face()?.connections() ?? [];
  }

  #isOpenTo(ip: IpAddress): boolean {
    if (this.#flows?.isOpen(ip) === true) return true;
    for (const { acceptedAt } of this.#connections()) if (acceptedAt !== undefined && sameIp(acceptedAt.ip, ip)) return true;
    return false;
  }

  #forwarderOf(router: PublicKey): NameServer | undefined {
    const [ip] = this.#deps.addressesOf(router).filter((address) => this.#own.some((own) => own.address.family === address.family));
    return ip === undefined ? undefined : { ip, port: this.#map?.routing?.forwarderPort ?? FORWARDER_PORTS[1] };
  }

  /** A server inside the network is asked through the tunnel, any other by this host's own network. */
  #ask(server: NameServer, received: (bytes: Uint8Array) => void): QuestionSocket {
    const { face, ownerOf } = this.#deps;
    const udp = face()?.udp;
    const inside = ownerOf(server.ip) !== undefined || this.#taken.routerOf(server.ip) !== undefined;
    if (!inside || udp === undefined) return hostQuestion(server, received);
    const socket = udp.bind(0, (bytes, from) => {
      if (from.port === server.port && sameIp(from.ip, server.ip)) received(bytes);
    });
    return { send: (bytes) => socket.send(bytes, server), close: () => socket.close() };
  }
}

/** A question to a server outside of the overlay. Errors are silence: the question is repeated, or another server asked. */
function hostQuestion({ ip, port }: NameServer, received: (bytes: Uint8Array) => void): QuestionSocket {
  const address = formatIp(ip);
  const socket = createSocket(ip.family === 4 ? 'udp4' : 'udp6');
  socket.on('error', () => undefined);
  socket.on('message', (bytes, from) => {
    const sender = parseIp(from.address);
    if (from.port === port && sender !== undefined && sameIp(sender, ip)) received(bytes);
  });
  socket.unref();
  return { send: (bytes) => socket.send(bytes, port, address, () => undefined), close: () => socket.close() };
}
