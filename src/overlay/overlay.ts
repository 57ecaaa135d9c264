// One encrypted network as seen by one peer: puts the driver, the paths and the streams together, and follows the network map.
import { randomFillSync } from 'node:crypto';
import { publicFromPrivate } from '#crypto/x25519.ts';
import { toBase64 } from '#lib/bytes.ts';
import type { Timer } from '#lib/clock.ts';
import { formatIp, formatPrefix, ipFromBytes, type IpPrefix, parseIp, prefixContains } from '#lib/ip.ts';
import { startScoped, type Scope } from '#lib/lifecycle.ts';
import type { Dial, Endpoint } from '#lib/net.ts';
import { type PublicKey, parsePublicKey } from '#model/ids.ts';
import type { MeshEndpoints, NetworkMap, RemotePeer } from '#model/network-map.ts';
import type { OverlayFigures } from '#model/status.ts';
import { type Accelerators, chooseAccelerators } from './accelerators.ts';
import { Admission } from './admission.ts';
import { CHANGE_SPREAD_MS, CHANGE_SPREAD_PER_PEER_MS, DEFAULT_MTU, LAZY_IDLE_MS, MAX_PEERS, PATH_HURRY_MS } from './constants.ts';
import { DevicePeers } from './device-peers.ts';
import { Dials } from './dials.ts';
import { Driver } from './driver.ts';
import { overlayError } from './errors.ts';
import { OverlayFilter } from './filter.ts';
import type { InnerFace, InnerFaceHooks } from './inner-face.ts';
import { knowsLazy } from './idle-watch.ts';
import { breaksPaths, type NetworkChange } from './network-monitor.ts';
import { LastEndpoints } from './last-endpoints.ts';
import { NetworkWatch } from './network-watch.ts';
import { IceRouter } from './path/ice.ts';
import { LocalCandidates } from './path/local-candidates.ts';
import { RelayHub } from './path/relay.ts';
import { sortDatagram, UdpMux, type UdpMuxHandlers } from './path/udp-mux.ts';
import { describeAccelerator } from './udp/port.ts';
import { PeerConn } from './peer-conn.ts';
import { PeerDirectory } from './peer-directory.ts';
import type { OverlayDeps, OverlayOptions } from './options.ts';
import { countPaths, describePeer } from './peer-status.ts';
import { OverlayRoutes } from './routes.ts';
import type { Reach } from './routes-taken.ts';
import { openKernelFace } from './system/kernel-face.ts';
import { UserspaceFace } from './userspace-face.ts';
import type { Carrier, LastEndpoint, Overlay, OverlayStatus, OverlayUdpSocket } from './types.ts';

/** Starts an overlay without peers. Rejects with OVERLAY_BAD_KEY where a key does not have 32 bytes, or OVERLAY_UDP_BIND where no UDP port can be opened. */
export function createOverlay(deps: OverlayDeps, options: OverlayOptions): Promise<Overlay> {
  return startScoped(async (scope) => {
    const publicKey = options.privateKey.length === 32 ? parsePublicKey(toBase64(publicFromPrivate(options.privateKey))) : undefined;
    if (publicKey === undefined) throw overlayError('OVERLAY_BAD_KEY', `private key of ${options.privateKey.length} bytes`);
    if ((options.presharedKey?.length ?? 32) !== 32)
      throw overlayError('OVERLAY_BAD_KEY', `preshared key of ${options.presharedKey?.length ?? 0} bytes`);
    const overlay = new MeshOverlay(deps, options, publicKey, scope);
    await overlay.open();
    return overlay;
  });
}

class MeshOverlay implements Overlay {
  readonly dial: Dial;
  readonly resolve: Overlay['resolve'];
  readonly #deps: OverlayDeps;
  readonly #options: OverlayOptions;
  readonly #publicKey: PublicKey;
  readonly #scope: Scope;
  readonly #random: (target: Uint8Array) => void;
  readonly #filter = new OverlayFilter();
  readonly #accelerators: Accelerators;
  readonly #driver: Driver;
  readonly #devicePeers: DevicePeers;
  readonly #dials: Dials;
  readonly #routes: OverlayRoutes;
  readonly #admission: Admission;
  readonly #router = new IceRouter();
  /** Where datagrams go, by what they are. */
  readonly #received: UdpMuxHandlers = {
    wireGuard: (run, size, source) => this.#driver.receive(run, size, source),
    stun: (message, source) => {
      if (!this.#router.route(message, source)) this.#candidates.receive(message, source);
    },
    turn: (datagram, source) => this.#candidates.receiveTurn(datagram, source),
  };
  readonly #hub: RelayHub;
  readonly #candidates: LocalCandidates;
  readonly #conns = new Map<string, PeerConn>();
  #peers: ReadonlyMap<PublicKey, RemotePeer> = new Map();
  #directory = new PeerDirectory([]);
  #map: NetworkMap | undefined;
  readonly #lastEndpoints = new LastEndpoints(() => this.#deps.located?.());
  #ownPrefixes: readonly IpPrefix[] = [];
  #mux: UdpMux | undefined;
  #face: InnerFace | undefined;
  #watch: NetworkWatch | undefined;
  #pathSwitches = 0;
  /** Peers whose path is another, or there again, and whose connections have not been told yet. */
  readonly #back = new Set<PublicKey>();
  #hurrying: Timer | undefined;
  #networkChanges = 0;
  #lastNetworkChange: { readonly at: string; readonly what: string } | undefined;

  constructor(deps: OverlayDeps, options: OverlayOptions, publicKey: PublicKey, scope: Scope) {
    this.#deps = deps;
    this.#options = options;
    this.#publicKey = publicKey;
    this.#scope = scope;
    this.#random = deps.random ?? ((target) => void randomFillSync(target));
    this.#accelerators = chooseAccelerators(options.accelerators ?? 'auto');
    const { aead } = this.#accelerators;
    this.#driver = new Driver(
      { privateKey: options.privateKey, mtu: options.mtu ?? DEFAULT_MTU, clock: deps.clock, random: this.#random, filter: this.#filter, aead },
      {
        send: (peer, run, size) => this.#conns.get(peer)?.sendRun(run, size),
        authenticated: (peer, source) => this.#conns.get(peer)?.authenticated(source),
        delivered: (peer) => this.#conns.get(peer)?.noteActivity(),
        handshake: (peer, completed) => {
          if (completed) this.#conns.get(peer)?.handshakeCompleted();
          else this.#conns.get(peer)?.handshakeFailed();
        },
        unroutable: (packet) => this.#wakeFor(packet),
      },
    );
    this.#routes = new OverlayRoutes({
      clock: deps.clock,
      log: deps.log,
      random: this.#random,
      self: publicKey,
      exitNodes: options.exitNodes ?? false,
      filter: this.#filter,
      face: () => this.#face,
      reach: (peer) => this.#reach(peer),
      ownerOf: (ip) => this.#directory.ownerOf(ip),
      addressesOf: (peer) => this.#peers.get(peer)?.allowedIps.map(({ address }) => address) ?? [],
      nameOf: (peer) => this.#peers.get(peer)?.fqdn ?? '',
      moved: (peers) => this.#routesMoved(peers),
    });
    this.#devicePeers = new DevicePeers({
      device: this.#driver.device,
      clock: deps.clock,
      log: deps.log,
      presharedKey: options.presharedKey,
      prefixesOf: (peer) => this.#routes.prefixesOf(peer),
    });
    this.#admission = new Admission({
      ...deps,
      filter: this.#filter,
      routes: this.#routes,
      own: () => this.#ownPrefixes,
      ownerOf: (ip) => this.#directory.ownerOf(ip),
    });
    this.#dials = new Dials({
      find: (host) => this.#findPeer(host) ?? this.#routes.find(host),
      wants: (peer) => {
        this.#conns.get(peer)?.wake();
        return this.#conns.get(peer)?.path !== undefined;
      },
      connect: (to, port, opened) => {
        if (this.#filter.forbids('tcp', to.ip, port)) throw overlayError('ECONNREFUSED', 'a rule of the network forbids it');
        return this.#inside.connect(to, port, opened);
      },
    });
    ({ dial: this.dial, resolve: this.resolve } = this.#routes.byName(this.#dials.dial, (host) => this.#findPeer(host)?.ip));
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
      relayed: (datagram, source) => sortDatagram(datagram, source, this.#received),
    });
    // Undone in reverse: first what uses the network, last the network.
    scope.defer(() => this.#watch?.close());
    scope.defer(() => this.#hurrying?.cancel());
    scope.defer(() => this.#mux?.close());
    scope.defer(() => this.#hub.close());
    scope.defer(() => this.#candidates.close());
    scope.defer(() => this.#eachConn((conn) => conn.close()));
    scope.defer(() => this.#driver.close());
    scope.defer(() => this.#face?.close());
    scope.defer(() => this.#routes.close());
    scope.defer(() => this.#admission.close());
    scope.defer(() => this.#dials.close());
  }

  async open(): Promise<void> {
    const { log, signal } = this.#deps;
    this.#face = await this.#openFace();
    this.#driver.setFace(this.#face);
    const openPort = this.#options.openPort ?? this.#accelerators.openPort;
    this.#mux = await UdpMux.open(this.#options.listenPort, this.#received, log, openPort, () => this.#driver.endTurn());
    signal.receive((from, message) => {
      if (!this.#scope.closed) this.#conns.get(from)?.receive(message);
    });
    signal.onConnected(() => {
      if (this.#scope.closed) return;
      // Relays are often where signal is, and come back with it.
      this.#hub.refresh();
      this.#eachConn((conn) => conn.refresh());
    });
    const { readNetwork } = this.#options;
    this.#watch = new NetworkWatch({
      clock: this.#deps.clock,
      log,
      changed: (changes) => this.#networkChanged(changes),
      ...(readNetwork === undefined ? {} : { read: readNetwork }),
    });
    log.info('overlay: open', { port: this.#mux.port, publicKey: this.#publicKey });
  }

  readonly accept: Overlay['accept'] = (...acceptor) => this.#admission.accept(...acceptor);

  readonly carry = (carrier: Carrier): void => this.#routes.carry(carrier);

  async bindUdp(port: number, receive: (bytes: Uint8Array, from: Endpoint) => void): Promise<OverlayUdpSocket> {
    const socket = await this.#inside.bindUdp(port, (bytes, from) => receive(bytes, { address: formatIp(from.ip), port: from.port }));
    return {
      port: socket.port,
      send: (bytes, to) => {
        const ip = parseIp(to.address);
        if (ip !== undefined && !this.#scope.closed) socket.send(bytes, { ip, port: to.port });
      },
      close: () => socket.close(),
    };
  }

  apply(map: NetworkMap): void {
    if (this.#scope.closed || (this.#map !== undefined && map.serial < this.#map.serial)) return;
    this.#map = map;
    this.#filter.set(map.filter);
    const own = map.self.v6 === undefined ? [map.self.v4] : [map.self.v4, map.self.v6];
    this.#ownPrefixes = own;
    this.#setPeers(map.peers.filter(({ publicKey }) => publicKey !== this.#publicKey).slice(0, MAX_PEERS));
    this.#routes.set(map, own);
    this.#setReachable();
    this.#recheck();
    this.#driver.touch();
  }

  setEndpoints(endpoints: MeshEndpoints): void {
    if (this.#scope.closed) return;
    this.#hub.setEndpoints(endpoints.relay);
    if (this.#options.forceRelay !== true) this.#candidates.setServers(endpoints);
  }

  setLastEndpoints(endpoints: readonly LastEndpoint[]): void {
    this.#lastEndpoints.restore(endpoints);
  }

  lastEndpoints(): readonly LastEndpoint[] {
    return this.#lastEndpoints.list(this.#peers);
  }

  refresh(): void {
    this.#lookAgain(false, undefined);
  }

  status(): OverlayStatus {
    const devices = new Map(this.#driver.device.status().map((peer) => [peer.publicKey, peer]));
    const peers = [...this.#peers.values()].map((peer) =>
      describePeer(peer, this.#conns.get(peer.publicKey), devices.get(peer.publicKey), this.#deps.clock),
    );
    const figures: OverlayFigures = {
      mode: this.#options.mode ?? 'userspace',
      port: this.#mux?.port ?? 0,
      accelerators: { udp: this.#mux === undefined ? '' : describeAccelerator(this.#mux.accelerator), cipher: this.#accelerators.aead.cipher },
      peers: countPaths(peers),
      pathSwitches: this.#pathSwitches,
      networkChanges: this.#networkChanges,
      lastNetworkChange: this.#lastNetworkChange,
      foreignRelays: this.#hub.foreignStatus(),
      relayDroppedPackets: this.#hub.droppedPackets,
    };
    return { relay: this.#hub.status(), peers, routes: this.#routes.status(), figures };
  }

  close(): Promise<void> {
    return this.#scope.close();
  }

  /** The host is elsewhere, or was away. Each part looks after what it has; nothing that works is cut. */
  #networkChanged(changes: readonly NetworkChange[]): void {
    if (this.#scope.closed) return;
    const what = changes.map((change) => `${change.kind}: ${change.what}`).join('; ');
    this.#networkChanges++;
    this.#lastNetworkChange = { at: new Date(this.#deps.clock.wall()).toISOString(), what };
    this.#deps.log.info('overlay: this host’s network changed', { what });
    this.#lookAgain(changes.some(breaksPaths), this.#watch?.hostAddresses);
  }

  /** Where the host's addresses are not known, everything that is open is asked to prove itself. */
  #lookAgain(breaks: boolean, addresses: ReadonlySet<string> | undefined): void {
    if (this.#scope.closed) return;
    this.#candidates.refresh();
    if (breaks) {
      this.#hub.networkChanged(addresses);
      this.#deps.signal.networkChanged?.();
    } else this.#hub.refresh();
    this.#eachConn((conn) => conn.networkChanged(breaks));
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
      if (conn === undefined) {
        this.#add(peer);
        continue;
      }
      if (!same && !conn.resting) this.#devicePeers.set(peer);
      conn.setLazy(this.#lazy(peer));
    }
  }

  #lazy(peer: RemotePeer): boolean {
    return (this.#options.lazy ?? this.#map?.lazy ?? false) && knowsLazy(peer.agentVersion);
  }

  #add(peer: RemotePeer): void {
    const lazy = this.#lazy(peer);
    // The engine learns of a lazy peer with its first traffic: ten thousand that are never used cost it nothing.
    if (!lazy && !this.#devicePeers.set(peer)) return;
    // One that was there before may call by itself while signal is away.
    if (lazy && this.#lastEndpoints.of(peer.publicKey) !== undefined && !this.#devicePeers.setResting(peer.publicKey)) return;
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
        lazy,
        idleMs: this.#options.lazyIdleMs ?? LAZY_IDLE_MS,
        spreadMs: () => Math.max(CHANGE_SPREAD_MS, CHANGE_SPREAD_PER_PEER_MS * this.#conns.size),
        direct: {
          mux: () => this.#mux,
          router: this.#router,
          random: this.#random,
          localCandidates: (doubted) => this.#candidates.list(doubted),
          allowed: (address) => this.#outside(address),
        },
        signal: (message) => this.#deps.signal.send(peer.publicKey, message),
        meeting: () => this.#deps.signal.connected?.() ?? true,
        lastAddress: this.#lastEndpoints.of(peer.publicKey),
      },
      {
        datagram: (datagram, source) => this.#driver.receive(datagram, datagram.length, source),
        switched: (conn, path) => {
          this.#pathSwitches++;
          this.#routes.pathChanged(conn.peer);
          this.#deps.pathSwitched?.();
          if (path === undefined) return;
          this.#dials.ready(conn.peer);
          this.#hurry(conn.peer);
        },
        initiate: (conn) => {
          this.#driver.device.initiate(conn.peer, this.#deps.clock.now());
          this.#driver.touch();
        },
        probe: (conn) => {
          this.#driver.device.probe(conn.peer, this.#deps.clock.now());
          this.#driver.touch();
        },
        located: (conn, address) => this.#lastEndpoints.note(conn.peer, address),
        rested: (conn, resting) => {
          this.#rested(conn.peer, resting);
          this.#routes.pathChanged(conn.peer);
        },
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
    this.#lastEndpoints.forget(peer);
  }

  /** What was lost on the way that is gone would be repeated late. One look at all connections serves every peer that came back meanwhile. */
  #hurry(peer: PublicKey): void {
    this.#back.add(peer);
    this.#hurrying ??= this.#deps.clock.after(PATH_HURRY_MS, () => {
      this.#hurrying = undefined;
      this.#face?.hurry((key) => this.#back.has(key));
      this.#back.clear();
    });
  }

  #rested(key: PublicKey, resting: boolean): void {
    const peer = this.#peers.get(key);
    if (peer === undefined) return;
    if (resting) this.#devicePeers.rest(key);
    else this.#devicePeers.set(peer);
  }

  #wakeFor(packet: Uint8Array): void {
    const six = (packet[0] ?? 0) >> 4 === 6;
    const ip = ipFromBytes(six ? packet.subarray(24, 40) : packet.subarray(16, 20));
    const owner = ip === undefined ? undefined : this.#admission.leadsTo(ip);
    const conn = owner === undefined ? undefined : this.#conns.get(owner);
    if (conn?.resting !== true) return;
    conn.wake();
    // The engine knows the peer now and keeps the packet until there is a session.
    this.#driver.device.sendPacket(packet, this.#deps.clock.now());
  }

  #findPeer(host: string): ReturnType<PeerDirectory['find']> {
    const families = this.#ownPrefixes.map(({ address }) => address.family);
    return this.#directory.find(host, families);
  }

  #reach(peer: PublicKey): Reach {
    const conn = this.#conns.get(peer);
    return conn === undefined ? 'gone' : conn.resting ? 'idle' : (conn.path?.kind ?? 'seeking');
  }

  #routesMoved(peers: ReadonlySet<PublicKey>): void {
    for (const key of peers) {
      const peer = this.#peers.get(key);
      if (peer !== undefined && this.#conns.get(key)?.resting === false) this.#devicePeers.set(peer);
    }
    this.#setReachable();
    this.#recheck();
    this.#dials.lookAgain();
  }

  #setReachable(): void {
    const routed = [...this.#peers.keys()].flatMap((peer) => this.#routes.prefixesOf(peer)).filter(({ bits }) => bits > 0);
    const reachable = [...[...this.#peers.values()].flatMap(({ allowedIps }) => allowedIps), ...routed];
    this.#inside.setAddresses(this.#ownPrefixes, reachable, this.#deps.clock.now());
  }

  /** Ends what leads elsewhere now, and what is no longer permitted. */
  #recheck(): void {
    this.#inside.recheck((connection) => this.#admission.verdict(connection));
  }

  get #inside(): InnerFace {
    if (this.#face === undefined) throw overlayError('EADDRNOTAVAIL', 'the overlay is not open');
    return this.#face;
  }

  async #openFace(): Promise<InnerFace> {
    const { clock, log } = this.#deps;
    const mtu = this.#options.mtu ?? DEFAULT_MTU;
    const hooks: InnerFaceHooks = {
      send: (packet, segmentSize) => this.#driver.send(packet, segmentSize),
      touch: () => this.#driver.touch(),
      turn: (work) => this.#driver.turn(work),
      admits: (local, remote) => this.#admission.admits(local, remote),
      passesFilter: (local, remote) => this.#admission.passesFilter(local, remote),
      ownerOf: (ip) => this.#directory.ownerOf(ip),
      accepted: (connection) => this.#admission.accepted(connection),
      carries: (bytes, at, family) => this.#routes.carries(bytes, at, family),
      judge: (local, remote, again) => this.#admission.judge(local, remote, again),
      withdrawn: (local, remote) => this.#admission.withdrawn(local, remote),
      datagram: (bytes, from, to) => this.#routes.datagram(bytes, from, to),
    };
    if (this.#options.mode === 'system') {
      const { openPortAt } = this.#accelerators;
      return await openKernelFace({ clock, log, hooks, mtu, openPortAt, hostPrograms: this.#options.hostPrograms ?? false });
    }
    return new UserspaceFace({ clock, hooks, mtu, random: this.#random });
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
