// One encrypted network as seen by one peer: puts the driver, the paths and the streams together, and follows the network map.
import { randomFillSync } from 'node:crypto';
import { publicFromPrivate } from '#crypto/x25519.ts';
import { toBase64 } from '#lib/bytes.ts';
import type { Clock } from '#lib/clock.ts';
import { describeError } from '#lib/errors.ts';
import { formatIp, formatPrefix, ipFromBytes, type IpPrefix, maskPrefix, parseIp, prefixContains } from '#lib/ip.ts';
import { startScoped, type Scope } from '#lib/lifecycle.ts';
import type { Logger } from '#lib/log.ts';
import type { Dial } from '#lib/net.ts';
import { type PublicKey, parsePublicKey } from '#model/ids.ts';
import type { MeshEndpoints, NetworkMap, RemotePeer } from '#model/network-map.ts';
import type { LinkStatus, PeerPathStatus } from '#model/status.ts';
import type { SocketAddress, TcpConnection } from '#netstack/types.ts';
import { DEFAULT_MTU, KEEPALIVE_MS, MAX_PEERS } from './constants.ts';
import { Dials } from './dials.ts';
import { Driver } from './driver.ts';
import { overlayError } from './errors.ts';
import { OverlayFilter } from './filter.ts';
import { IceRouter } from './path/ice.ts';
import { LocalCandidates } from './path/local-candidates.ts';
import { RelayHub } from './path/relay.ts';
import { type OpenDatagramPort, UdpMux } from './path/udp-mux.ts';
import { PeerConn } from './peer-conn.ts';
import { PeerDirectory } from './peer-directory.ts';
import { describePeer } from './peer-status.ts';
import { Streams } from './streams.ts';
import type { Overlay, OverlayConnection, SignalPort } from './types.ts';

export interface OverlayDeps {
  readonly signal: SignalPort;
  readonly log: Logger;
  readonly clock: Clock;
  /** Fills with cryptographically strong bytes; the system's unless a test brings its own. */
  readonly random?: (target: Uint8Array) => void;
}

export interface OverlayOptions {
  /** 32 bytes. */
  readonly privateKey: Uint8Array;
  /** UDP port for everything; 0 takes any, a taken one the next that is free. */
  readonly listenPort: number;
  /** Largest inner packet; 1280 unless given. */
  readonly mtu?: number;
  /** Told to other peers. */
  readonly version: string;
  /** PEM of extra roots for `rels://`. */
  readonly ca: string | undefined;
  /** Seeks no direct path. */
  readonly forceRelay?: boolean;
  /** The addresses to announce, best first, in the place of this host's own; for tests. */
  readonly hostAddresses?: readonly string[];
  /** How the UDP port is opened; for tests that lose packets. */
  readonly openPort?: OpenDatagramPort;
}

/** Starts an overlay without peers. Rejects with OVERLAY_BAD_KEY, or OVERLAY_UDP_BIND where no UDP port can be opened. */
export function createOverlay(deps: OverlayDeps, options: OverlayOptions): Promise<Overlay> {
  return startScoped(async (scope) => {
    const publicKey = options.privateKey.length === 32 ? parsePublicKey(toBase64(publicFromPrivate(options.privateKey))) : undefined;
    if (publicKey === undefined) throw overlayError('OVERLAY_BAD_KEY', `${options.privateKey.length} bytes`);
    const overlay = new MeshOverlay(deps, options, publicKey, scope);
    await overlay.open();
    return overlay;
  });
}

class MeshOverlay implements Overlay {
  readonly dial: Dial;
  readonly #deps: OverlayDeps;
  readonly #options: OverlayOptions;
  readonly #publicKey: PublicKey;
  readonly #scope: Scope;
  readonly #random: (target: Uint8Array) => void;
  readonly #filter = new OverlayFilter();
  readonly #driver: Driver;
  readonly #streams: Streams;
  readonly #dials: Dials;
  readonly #router = new IceRouter();
  readonly #hub: RelayHub;
  readonly #candidates: LocalCandidates;
  readonly #conns = new Map<string, PeerConn>();
  #peers: ReadonlyMap<PublicKey, RemotePeer> = new Map();
  #directory = new PeerDirectory([]);
  #map: NetworkMap | undefined;
  #ownPrefixes: readonly IpPrefix[] = [];
  #mux: UdpMux | undefined;
  #wants: (port: number) => boolean = () => false;
  #handler: ((connection: OverlayConnection) => void) | undefined;

  constructor(deps: OverlayDeps, options: OverlayOptions, publicKey: PublicKey, scope: Scope) {
    this.#deps = deps;
    this.#options = options;
    this.#publicKey = publicKey;
    this.#scope = scope;
    this.#random = deps.random ?? ((target) => void randomFillSync(target));
    this.#driver = new Driver(
      { privateKey: options.privateKey, mtu: options.mtu ?? DEFAULT_MTU, clock: deps.clock, random: this.#random, filter: this.#filter },
      {
        send: (peer, datagram) => this.#conns.get(peer)?.send(datagram),
        authenticated: (peer, source) => this.#conns.get(peer)?.authenticated(source),
        handshake: (peer, completed) => {
          if (!completed) this.#conns.get(peer)?.handshakeFailed();
        },
        unroutable: (packet) => this.#wakeFor(packet),
      },
    );
    this.#streams = new Streams(this.#driver);
    this.#dials = new Dials({
      find: (host) =>
        this.#directory.find(
          host,
          this.#ownPrefixes.map(({ address }) => address.family),
        ),
      wants: (peer) => {
        this.#conns.get(peer)?.wake();
        return this.#conns.get(peer)?.path !== undefined;
      },
      connect: (to, port, opened) => this.#streams.connect(to, port, opened),
    });
    this.dial = this.#dials.dial;
    this.#hub = new RelayHub({
      publicKey,
      ca: options.ca,
      clock: deps.clock,
      log: deps.log,
      random: () => this.#uniform(),
      homeChanged: () => this.#eachConn((conn) => conn.refresh()),
    });
    this.#candidates = new LocalCandidates({
      clock: deps.clock,
      log: deps.log,
      random: this.#random,
      mux: () => this.#mux,
      addresses: options.hostAddresses,
      allowed: (address) => this.#outside(address),
      found: (candidate) => this.#eachConn((conn) => conn.addLocalCandidate(candidate)),
    });
    this.#driver.stack.listen(
      'any',
      (local, remote) => this.#admits(local, remote),
      (connection) => this.#accepted(connection),
    );
    // Undone in reverse: first what uses the network, last the network.
    scope.defer(() => this.#mux?.close());
    scope.defer(() => this.#hub.close());
    scope.defer(() => this.#candidates.close());
    scope.defer(() => this.#eachConn((conn) => conn.close()));
    scope.defer(() => this.#driver.close());
    scope.defer(() => this.#streams.close());
    scope.defer(() => this.#dials.close());
  }

  async open(): Promise<void> {
    const { log, signal } = this.#deps;
    this.#mux = await UdpMux.open(
      this.#options.listenPort,
      {
        wireGuard: (datagram, source) => this.#driver.receive(datagram, source),
        stun: (message, source) => {
          if (!this.#router.route(message, source)) this.#candidates.receive(message, source);
        },
      },
      log,
      this.#options.openPort,
    );
    signal.receive((from, message) => {
      if (!this.#scope.closed) this.#conns.get(from)?.receive(message);
    });
    signal.onConnected(() => {
      if (!this.#scope.closed) this.#eachConn((conn) => conn.refresh());
    });
    log.info('overlay: open', { port: this.#mux.port, publicKey: this.#publicKey });
  }

  accept(wants: (port: number) => boolean, handler: (connection: OverlayConnection) => void): void {
    this.#wants = wants;
    this.#handler = handler;
  }

  apply(map: NetworkMap): void {
    if (this.#scope.closed || (this.#map !== undefined && map.serial < this.#map.serial)) return;
    this.#map = map;
    const now = this.#deps.clock.now();
    this.#filter.set(map.filter);
    const own = map.self.v6 === undefined ? [map.self.v4] : [map.self.v4, map.self.v6];
    if (own.map(formatPrefix).join() !== this.#ownPrefixes.map(formatPrefix).join()) {
      this.#ownPrefixes = own;
      this.#driver.stack.setAddresses(
        own.map(({ address }) => address),
        now,
      );
    }
    this.#setPeers(map.peers.filter(({ publicKey }) => publicKey !== this.#publicKey).slice(0, MAX_PEERS));
    this.#streams.recheck(
      (ip) => this.#directory.ownerOf(ip),
      (from, port) => this.#filter.admitsTcp(from, port),
    );
    this.#driver.touch();
  }

  setEndpoints(endpoints: MeshEndpoints): void {
    if (this.#scope.closed) return;
    this.#hub.setEndpoints(endpoints.relay);
    if (this.#options.forceRelay !== true) this.#candidates.setServers(endpoints.stunUrls);
  }

  refresh(): void {
    if (this.#scope.closed) return;
    this.#candidates.refresh();
    this.#hub.refresh();
    this.#eachConn((conn) => conn.networkChanged());
  }

  status(): { readonly relay: LinkStatus; readonly peers: readonly PeerPathStatus[] } {
    const devices = new Map(this.#driver.device.status().map((peer) => [peer.publicKey, peer]));
    const peers = [...this.#peers.values()].map((peer) =>
      describePeer(peer, this.#conns.get(peer.publicKey), devices.get(peer.publicKey), this.#deps.clock),
    );
    return { relay: this.#hub.status(), peers };
  }

  close(): Promise<void> {
    return this.#scope.close();
  }

  #setPeers(list: readonly RemotePeer[]): void {
    const next = new Map(list.map((peer) => [peer.publicKey, peer]));
    for (const conn of this.#conns.values()) {
      if (!next.has(conn.peer)) this.#remove(conn.peer);
    }
    this.#directory = new PeerDirectory(list);
    const before = this.#peers;
    this.#peers = next;
    for (const peer of list) {
      const conn = this.#conns.get(peer.publicKey);
      const same = before.get(peer.publicKey)?.allowedIps.map(formatPrefix).join() === peer.allowedIps.map(formatPrefix).join();
      if (conn === undefined) this.#add(peer);
      else if (!same && !conn.resting) this.#setDevicePeer(peer);
    }
  }

  #add(peer: RemotePeer): void {
    if (!this.#setDevicePeer(peer)) return;
    const conn = new PeerConn(
      {
        self: this.#publicKey,
        peer: peer.publicKey,
        clock: this.#deps.clock,
        log: this.#deps.log,
        random: () => this.#uniform(),
        version: this.#options.version,
        listenPort: () => this.#mux?.port ?? 0,
        forceRelay: this.#options.forceRelay ?? false,
        hub: this.#hub,
        direct: {
          mux: () => this.#mux,
          router: this.#router,
          random: this.#random,
          localCandidates: () => this.#candidates.list(),
          allowed: (address) => this.#outside(address),
        },
        signal: (message) => this.#deps.signal.send(peer.publicKey, message),
      },
      {
        datagram: (datagram, source) => this.#driver.receive(datagram, source),
        switched: (conn, path) => {
          if (path !== undefined) this.#dials.ready(conn.peer);
        },
        initiate: (conn) => {
          this.#driver.device.initiate(conn.peer, this.#deps.clock.now());
          this.#driver.touch();
        },
        rested: (conn, resting) => this.#rested(conn.peer, resting),
      },
    );
    this.#conns.set(peer.publicKey, conn);
    conn.start();
  }

  #remove(peer: PublicKey): void {
    this.#conns.get(peer)?.close();
    this.#conns.delete(peer);
    this.#driver.device.removePeer(peer);
    this.#dials.gone(peer);
  }

  /** A resting peer is unknown to the engine, so no keepalive wakes it; the first packet to it does. */
  #rested(key: PublicKey, resting: boolean): void {
    const peer = this.#peers.get(key);
    if (resting) this.#driver.device.removePeer(key);
    else if (peer !== undefined) this.#setDevicePeer(peer);
  }

  #setDevicePeer(peer: RemotePeer): boolean {
    const { publicKey, allowedIps } = peer;
    try {
      this.#driver.device.setPeer({ publicKey, allowedIps: allowedIps.map(maskPrefix), persistentKeepaliveMs: KEEPALIVE_MS }, this.#deps.clock.now());
      return true;
    } catch (error) {
      this.#deps.log.warn('overlay: the map names a peer that cannot be used', { peer: publicKey, reason: describeError(error) });
      return false;
    }
  }

  #wakeFor(packet: Uint8Array): void {
    const six = (packet[0] ?? 0) >> 4 === 6;
    const ip = ipFromBytes(six ? packet.subarray(24, 40) : packet.subarray(16, 20));
    const owner = ip === undefined ? undefined : this.#directory.ownerOf(ip);
    if (owner !== undefined) this.#conns.get(owner)?.wake();
  }

  #admits(local: SocketAddress, remote: SocketAddress): boolean {
    return (
      !this.#streams.full &&
      this.#handler !== undefined &&
      this.#filter.admitsTcp(remote.ip, local.port) &&
      this.#directory.ownerOf(remote.ip) !== undefined &&
      this.#wants(local.port)
    );
  }

  #accepted(connection: TcpConnection): void {
    const { local, remote } = connection;
    const peer = this.#directory.ownerOf(remote.ip);
    // Both may have changed since the SYN.
    if (peer === undefined || this.#handler === undefined) return connection.abort(this.#deps.clock.now());
    const stream = this.#streams.accept(connection, peer);
    try {
      this.#handler({
        stream,
        local: { address: formatIp(local.ip), port: local.port },
        remote: { address: formatIp(remote.ip), port: remote.port },
        peer,
      });
    } catch (error) {
      this.#deps.log.error('overlay: what accepts connections failed', { reason: describeError(error) });
      stream.on('error', () => undefined).destroy();
    }
  }

  /** Whether the address is outside the overlay: a path inside the tunnel would carry itself. */
  #outside(address: string): boolean {
    const ip = parseIp(address);
    return ip !== undefined && !this.#ownPrefixes.some((prefix) => prefixContains(prefix, ip));
  }

  #eachConn(act: (conn: PeerConn) => void): void {
    for (const conn of this.#conns.values()) act(conn);
  }

  #uniform(): number {
    const bytes = Buffer.alloc(4);
    this.#random(bytes);
    return bytes.readUInt32BE() / 0x1_0000_0000;
  }
}
