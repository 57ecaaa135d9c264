// The relay as a path: our home relay, those of other peers, and for each peer which one it is reached through (netbird-wire §4.7).
import type { Clock, Timer } from '#lib/clock.ts';
import type { Logger } from '#lib/log.ts';
import type { PublicKey } from '#model/ids.ts';
import type { RelayEndpoints } from '#model/network-map.ts';
import type { LinkStatus } from '#model/status.ts';
import { encodeRelayToken, relayPeerId, relayPeerKey } from '#wire/relay.ts';
import { RELAY_FOREIGN_IDLE_MS, RELAY_MAX_FOREIGN } from '../constants.ts';
import type { Path, PathSource } from './path.ts';
import { isRelayUrl } from './relay-link.ts';
import { RelayUplink, type RelayUplinkOptions } from './relay-uplink.ts';

export interface RelayHubOptions {
  readonly publicKey: PublicKey;
  readonly ca: string | undefined;
  readonly clock: Clock;
  readonly log: Logger;
  /** Uniform in [0, 1). */
  readonly random: () => number;
  /** The name of our home relay changed; undefined while we have none. */
  readonly homeChanged: (instanceUrl: string | undefined) => void;
}

export class RelayHub {
  readonly #options: RelayHubOptions;
  readonly #uplinkOptions: RelayUplinkOptions;
  readonly #paths = new Map<string, RelayPath>();
  readonly #foreign = new Map<string, RelayUplink>();
  #home: RelayUplink | undefined;
  #homeUrls: readonly string[] = [];
  /** What our home relay called itself last. */
  #homeName: string | undefined;
  #token: Uint8Array | undefined;
  #sweep: Timer | undefined;

  constructor(options: RelayHubOptions) {
    this.#options = options;
    this.#uplinkOptions = {
      selfId: relayPeerId(options.publicKey),
      token: () => this.#token,
      ca: options.ca,
      clock: options.clock,
      random: options.random,
    };
  }

  /** Our home relay's name for itself, while we are connected to it. */
  get homeUrl(): string | undefined {
    return this.#home?.instanceUrl;
  }

  /** Where relays are and what opens them; a new token serves the next connection, open ones stay. */
  setEndpoints(endpoints: RelayEndpoints | undefined): void {
    this.#homeUrls = (endpoints?.urls ?? []).filter(isRelayUrl);
    this.#token = endpoints === undefined ? undefined : encodeRelayToken({ payload: endpoints.tokenPayload, signature: endpoints.tokenSignature });
    if (this.#home !== undefined) this.#home.setUrls(this.#homeUrls);
    else if (this.#homeUrls.length > 0) this.#home = this.#newUplink(this.#homeUrls);
    for (const uplink of this.#foreign.values()) uplink.hurry();
  }

  /** The path to a peer; it has no relay yet. One for each peer. */
  open(peer: PublicKey, events: RelayPathEvents): RelayPath {
    const path = new RelayPath(this, peer, this.#options.clock, events);
    this.#paths.set(path.peerKey, path);
    return path;
  }

  /** @internal for RelayPath */
  forget(path: RelayPath): void {
    this.#paths.delete(path.peerKey);
  }

  /** The connection to a relay by the name it gives itself: ours, or another's that is opened now. Undefined where it must not be used. */
  uplink(instanceUrl: string): RelayUplink | undefined {
    if (this.#home !== undefined && this.#mayBeHome(this.#home, instanceUrl)) return this.#home;
    const known = this.#foreign.get(instanceUrl);
    if (known !== undefined) return known;
    if (!isRelayUrl(instanceUrl) || this.#foreign.size >= RELAY_MAX_FOREIGN) return undefined;
    // Our token goes there: never in the clear where our own relays use TLS.
    if (instanceUrl.startsWith('rel://') && this.#homeUrls.length > 0 && this.#homeUrls.every((url) => url.startsWith('rels://'))) {
      this.#options.log.warn('overlay: refused a relay without TLS that a peer named', { relay: instanceUrl });
      return undefined;
    }
    const uplink = this.#newUplink([instanceUrl]);
    this.#foreign.set(instanceUrl, uplink);
    this.#sweep ??= this.#options.clock.after(RELAY_FOREIGN_IDLE_MS, () => this.#sweepForeign());
    return uplink;
  }

  /** Tries again at once where it waits. */
  refresh(): void {
    this.#home?.hurry();
    for (const uplink of this.#foreign.values()) uplink.hurry();
  }

  /** The host's network changed; `addresses` are those it has now, undefined where that is not known. */
  networkChanged(addresses: ReadonlySet<string> | undefined): void {
    this.#home?.networkChanged(addresses);
    for (const uplink of this.#foreign.values()) uplink.networkChanged(addresses);
  }

  status(): LinkStatus {
    return this.#describe(this.#home, 'the control plane named no relay');
  }

  /** Relays of other peers that we are connected to, or try to be. */
  foreignStatus(): readonly LinkStatus[] {
    return Array.from(this.#foreign.values(), (uplink) => this.#describe(uplink, ''));
  }

  get droppedPackets(): number {
    let dropped = this.#home?.droppedPackets ?? 0;
    for (const uplink of this.#foreign.values()) dropped += uplink.droppedPackets;
    return dropped;
  }

  close(): void {
    this.#sweep?.cancel();
    this.#home?.close();
    for (const uplink of this.#foreign.values()) uplink.close();
    this.#foreign.clear();
  }

  #describe(uplink: RelayUplink | undefined, none: string): LinkStatus {
    const { clock } = this.#options;
    const since = uplink?.since ?? clock.now();
    return {
      name: 'relay',
      connected: uplink?.instanceUrl !== undefined,
      address: uplink?.address ?? '',
      reason: uplink?.reason ?? none,
      since: new Date(clock.wall() - (clock.now() - since)).toISOString(),
    };
  }

  #newUplink(urls: readonly string[]): RelayUplink {
    return new RelayUplink(urls, this.#uplinkOptions, {
      changed: (uplink) => {
        if (uplink !== this.#home) return;
        this.#options.log.info('overlay: the home relay changed', { relay: uplink.instanceUrl ?? '', reason: uplink.reason });
        if (uplink.instanceUrl !== undefined) this.#settle(uplink.instanceUrl);
        this.#options.homeChanged(uplink.instanceUrl);
      },
      packet: (uplink, peerKey, datagram) => this.#paths.get(peerKey)?.receive(uplink, datagram),
      presence: (uplink, peerKey, online) => this.#paths.get(peerKey)?.presence(uplink, online),
    });
  }

  /**
   * Whether the name is our home relay's, or will be when it is there. A second connection to the same relay would take the place of the
   * first, which would come back and take its place, without end.
   */
  #mayBeHome(home: RelayUplink, instanceUrl: string): boolean {
    if (home.instanceUrl !== undefined) return home.instanceUrl === instanceUrl;
    return instanceUrl === this.#homeName || this.#homeUrls.includes(instanceUrl);
  }

  /** The home relay has told its name: every path looks again for its relay, and no other connection there is left. */
  #settle(homeName: string): void {
    this.#homeName = homeName;
    for (const path of this.#paths.values()) path.settle();
    this.#foreign.get(homeName)?.close();
    this.#foreign.delete(homeName);
  }

  #sweepForeign(): void {
    this.#sweep = undefined;
    for (const [url, uplink] of this.#foreign) {
      if (uplink.subscriptionCount > 0) continue;
      uplink.close();
      this.#foreign.delete(url);
    }
    if (this.#foreign.size > 0) this.#sweep = this.#options.clock.after(RELAY_FOREIGN_IDLE_MS, () => this.#sweepForeign());
  }
}

export interface RelayPathEvents {
  /** The bytes are the receiver's own. */
  datagram(datagram: Uint8Array, source: PathSource): void;
  /** It came up or went down. */
  changed(path: RelayPath): void;
}

/** The way to one peer through whichever relay was agreed. It takes the peer's packets from any relay at any time. */
export class RelayPath implements Path, PathSource {
  readonly kind = 'relay';
  readonly peerKey: string;
  readonly #peerId: Uint8Array;
  readonly #hub: RelayHub;
  readonly #clock: Clock;
  readonly #events: RelayPathEvents;
  /** The name of the relay that was agreed. */
  #wanted: string | undefined;
  #uplink: RelayUplink | undefined;
  /** Where the last packet came from. */
  #arrival: RelayUplink | undefined;
  #up = false;
  #since: number;

  constructor(hub: RelayHub, peer: PublicKey, clock: Clock, events: RelayPathEvents) {
    this.#hub = hub;
    this.#clock = clock;
    this.#events = events;
    this.#peerId = relayPeerId(peer);
    this.peerKey = relayPeerKey(this.#peerId);
    this.#since = clock.now();
  }

  get up(): boolean {
    return this.#up;
  }

  get since(): number {
    return this.#since;
  }

  get remote(): string {
    return this.#uplink?.instanceUrl ?? this.#uplink?.address ?? '';
  }

  get latencyMs(): number | undefined {
    return this.#uplink?.latencyMs;
  }

  /** Uses the relay of this name from now on; undefined for none. */
  use(instanceUrl: string | undefined): void {
    this.#wanted = instanceUrl;
    const uplink = instanceUrl === undefined ? undefined : this.#hub.uplink(instanceUrl);
    if (uplink === this.#uplink) return;
    this.#uplink?.unsubscribe(this.peerKey);
    this.#uplink = uplink;
    uplink?.subscribe(this.peerKey, this.#peerId);
    this.#set(uplink?.isOnline(this.peerKey) ?? false);
  }

  /** @internal for RelayHub: the connection to the relay of that name may be another now */
  settle(): void {
    this.use(this.#wanted);
  }

  send(datagram: Uint8Array): void {
    this.#uplink?.send(this.#peerId, datagram);
  }

  sendRun(run: Uint8Array, size: number): void {
    for (let at = 0; at < run.length; at += size) this.send(run.subarray(at, at + size));
  }

  reply(datagram: Uint8Array): void {
    (this.#arrival ?? this.#uplink)?.send(this.#peerId, datagram);
  }

  close(): void {
    this.#uplink?.unsubscribe(this.peerKey);
    this.#uplink = undefined;
    this.#arrival = undefined;
    this.#up = false;
    this.#hub.forget(this);
  }

  /** @internal for RelayHub */
  receive(uplink: RelayUplink, datagram: Uint8Array): void {
    this.#arrival = uplink;
    this.#events.datagram(datagram, this);
  }

  /** @internal for RelayHub */
  presence(uplink: RelayUplink, online: boolean): void {
    if (uplink === this.#uplink) this.#set(online);
  }

  #set(up: boolean): void {
    if (up === this.#up) return;
    this.#up = up;
    this.#since = this.#clock.now();
    this.#events.changed(this);
  }
}
