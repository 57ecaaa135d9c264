// One WireGuard interface without the interface: peers, their sessions and timers behind the calls of `WireGuardDevice`.
import { packetAead } from '#crypto/aead-wasm.ts';
import { keyFromText, X25519PrivateKey } from '#crypto/x25519.ts';
import { equalBytes } from '#lib/bytes.ts';
import { formatPrefix, type IpPrefix, maskPrefix } from '#lib/ip.ts';
import { messageKind } from '#wire/wireguard.ts';
import { PrefixTable } from '#lib/prefix-table.ts';
import { defaultLimits } from './constants.ts';
import { type Core, defaultSourceName, endPending, endSessions } from './core.ts';
import { DueHeap } from './due-heap.ts';
import { wireguardError } from './errors.ts';
import { Handshakes } from './handshakes.ts';
import { IndexTable } from './index-table.ts';
import { Inbound } from './inbound.ts';
import { Outbound } from './outbound.ts';
import { PacketQueue } from './packet-queue.ts';
import { Peer } from './peer.ts';
import type { DeviceOptions, DevicePeer, DevicePeerStatus, DeviceSink, PublicKeyText, WireGuardDevice } from './types.ts';

/** Makes a device without peers. Throws CRYPTO_BAD_KEY unless the private key is 32 bytes. */
export function createDevice(options: DeviceOptions, sink: DeviceSink): WireGuardDevice {
  return new Device(options, sink);
}

class Device implements WireGuardDevice {
  readonly cipher: string;
  readonly #core: Core;
  readonly #allowed = new PrefixTable<Peer>();
  readonly #handshakes: Handshakes;
  readonly #outbound: Outbound;
  readonly #inbound: Inbound;
  readonly #budget = { bytes: 0 };
  readonly #wall: () => number;

  constructor(options: DeviceOptions, sink: DeviceSink) {
    const aead = options.aead ?? packetAead();
    this.cipher = aead.cipher;
    this.#wall = options.wall;
    this.#core = {
      local: { key: new X25519PrivateKey(options.privateKey), aead, random: options.random },
      limits: { ...defaultLimits, ...options.limits },
      sink,
      indices: new IndexTable(options.random),
      due: new DueHeap(),
      peers: new Map(),
      sourceName: options.sourceName ?? defaultSourceName,
      mtu: options.mtu ?? Infinity,
    };
    this.#handshakes = new Handshakes(this.#core, (peer, now) => this.#outbound.confirm(peer, now));
    this.#outbound = new Outbound(this.#core, this.#handshakes, this.#allowed);
    this.#inbound = new Inbound(this.#core, this.#handshakes, this.#outbound, this.#allowed);
  }

  setPeer(config: DevicePeer, now: number): void {
    const bytes = this.#check(config);
    const { peers, local, limits, due } = this.#core;
    const known = peers.get(config.publicKey);
    const peer = known ?? new Peer(config.publicKey, bytes, local.key, this.#wall, new PacketQueue(limits, this.#budget));
    peers.set(config.publicKey, peer);
    if (config.presharedKey !== undefined) peer.presharedKey = config.presharedKey.slice();
    else peer.presharedKey = new Uint8Array(32);
    this.#route(peer, config.allowedIps);
    peer.timers.setPersistent(config.persistentKeepaliveMs, now);
    due.update(peer);
  }

  removePeer(publicKey: PublicKeyText): void {
    const { peers, due } = this.#core;
    const peer = peers.get(publicKey);
    if (peer === undefined) return;
    peer.removed = true;
    peers.delete(publicKey);
    due.remove(peer);
    this.#route(peer, []);
    peer.queue.clear();
    this.#erase(peer);
  }

  knows(publicKey: PublicKeyText): boolean {
    return this.#core.peers.has(publicKey);
  }

  endSessions(publicKey: PublicKeyText): void {
    const peer = this.#core.peers.get(publicKey);
    if (peer === undefined) return;
    peer.timers.gaveUp();
    peer.timers.zeroKeysAt = Infinity;
    peer.queue.clear();
    this.#erase(peer);
    this.#core.due.update(peer);
  }

  initiate(publicKey: PublicKeyText, now: number): void {
    const peer = this.#core.peers.get(publicKey);
    if (peer !== undefined) this.#handshakes.startOnPath(peer, now);
  }

  probe(publicKey: PublicKeyText, now: number): void {
    const peer = this.#core.peers.get(publicKey);
    if (peer !== undefined) this.#handshakes.probe(peer, now);
  }

  receiveDatagram(datagram: Uint8Array, source: unknown, now: number): void {
    this.#inbound.begin();
    this.#receive(datagram, 0, datagram.length, source, now);
  }

  receiveDatagrams(run: Uint8Array, size: number, source: unknown, now: number): void {
    if (size < 1) return;
    this.#inbound.begin();
    for (let start = 0; start < run.length; start += size) this.#receive(run, start, Math.min(start + size, run.length), source, now);
  }

  sendPacket(packet: Uint8Array, now: number): boolean {
    return this.#outbound.send(packet, now);
  }

  sendSegments(packet: Uint8Array, segmentSize: number, now: number): boolean {
    return this.#outbound.sendSegments(packet, segmentSize, now);
  }

  poll(now: number): void {
    for (let peer = this.#core.due.first(); peer !== undefined && peer.heapAt <= now; peer = this.#core.due.first()) {
      this.#act(peer, now);
    }
  }

  pollAt(): number {
    return this.#core.due.first()?.heapAt ?? Infinity;
  }

  status(): readonly DevicePeerStatus[] {
    return Array.from(this.#core.peers.values(), ({ publicKey, lastHandshake, receivedBytes, sentBytes }) => ({
      publicKey,
      lastHandshake,
      receivedBytes,
      sentBytes,
    }));
  }

  #receive(bytes: Uint8Array, start: number, end: number, source: unknown, now: number): void {
    switch (messageKind(bytes, start, end)) {
      case 'transport':
        return this.#inbound.receive(bytes, start, end, source, now);
      case 'initiation':
        return this.#handshakes.receiveInitiation(bytes.subarray(start, end), source, now);
      case 'response':
        return this.#handshakes.receiveResponse(bytes.subarray(start, end), source, now);
      case 'cookieReply':
        return this.#handshakes.receiveCookieReply(bytes.subarray(start, end), now);
      case undefined:
        return;
    }
  }

  /** Does what is due for one peer; every step moves or ends the timer that it serves. */
  #act(peer: Peer, now: number): void {
    const { timers } = peer;
    if (timers.zeroKeysAt <= now) {
      timers.zeroKeysAt = Infinity;
      this.#erase(peer);
    }
    if (timers.retransmitAt <= now) this.#handshakes.retransmit(peer, now);
    if (timers.keepaliveAt <= now && !peer.removed) {
      const another = timers.keepaliveDue();
      this.#outbound.sendKeepalive(peer, now);
      if (another) timers.dataReceived(now);
    }
    if (timers.newHandshakeAt <= now && !peer.removed) {
      timers.newHandshakeAt = Infinity;
      this.#handshakes.start(peer, now);
    }
    if (timers.persistentAt <= now && !peer.removed) {
      timers.persistentAt = now + timers.persistentMs;
      this.#outbound.sendKeepalive(peer, now);
    }
    if (!peer.removed) this.#core.due.update(peer);
  }

  /** Erases all keys that were agreed with the peer. */
  #erase(peer: Peer): void {
    endPending(this.#core, peer);
    endSessions(this.#core, peer.endSessions());
  }

  /** Gives the peer exactly these prefixes. */
  #route(peer: Peer, prefixes: readonly IpPrefix[]): void {
    const wanted = new Set(prefixes.map(canonical));
    for (const prefix of peer.allowedIps) {
      if (!wanted.has(canonical(prefix)) && this.#allowed.get(prefix) === peer) this.#allowed.delete(prefix);
    }
    for (const prefix of prefixes) this.#allowed.set(prefix, peer);
    peer.allowedIps = prefixes;
  }

  /** The key's bytes, if the peer may be set. */
  #check(config: DevicePeer): Uint8Array {
    const { peers, limits, local } = this.#core;
    const bytes = keyFromText(config.publicKey);
    if (bytes === undefined) throw wireguardError('WIREGUARD_BAD_PEER', 'public key');
    if (equalBytes(bytes, local.key.publicBytes)) throw wireguardError('WIREGUARD_SELF_PEER');
    if (config.presharedKey !== undefined && config.presharedKey.length !== 32) throw wireguardError('WIREGUARD_BAD_PEER', 'preshared key');
    if (!Number.isFinite(config.persistentKeepaliveMs) || config.persistentKeepaliveMs < 0) throw wireguardError('WIREGUARD_BAD_PEER', 'keepalive');
    const known = peers.get(config.publicKey);
    if (known === undefined && peers.size >= limits.peers) throw wireguardError('WIREGUARD_PEER_LIMIT');
    const held = known?.allowedIps.filter((prefix) => this.#allowed.get(prefix) === known).length ?? 0;
    if (this.#allowed.size - held + config.allowedIps.length > limits.prefixes) throw wireguardError('WIREGUARD_PREFIX_LIMIT');
    return bytes;
  }
}

function canonical(prefix: IpPrefix): string {
  return formatPrefix(maskPrefix(prefix));
}
