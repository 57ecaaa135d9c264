// Stays connected to one relay out of a list: dials all at once, keeps the first that accepts, comes back after a loss, and repeats
// the subscriptions each time (netbird-wire §4.7).
import { Backoff } from '#lib/backoff.ts';
import type { Clock, Timer } from '#lib/clock.ts';
import { OFFER_JITTER, RELAY_MAX_URLS, RELAY_NEXT_SPREAD_MS, RELAY_QUICK_RETRY_MS, RELAY_RETRY_FIRST_MS, RELAY_RETRY_MAX_MS } from '../constants.ts';
import { RelayLink } from './relay-link.ts';

export interface RelayUplinkOptions {
  readonly selfId: Uint8Array;
  /** The token of now, asked for at each attempt; undefined while there is none. */
  readonly token: () => Uint8Array | undefined;
  readonly ca: string | undefined;
  readonly clock: Clock;
  /** Uniform in [0, 1). */
  readonly random: () => number;
}

export interface RelayUplinkEvents {
  /** A relay accepted us, or none is there any more. */
  changed(uplink: RelayUplink): void;
  packet(uplink: RelayUplink, peerKey: string, datagram: Uint8Array): void;
  presence(uplink: RelayUplink, peerKey: string, online: boolean): void;
}

export class RelayUplink {
  readonly #options: RelayUplinkOptions;
  readonly #events: RelayUplinkEvents;
  readonly #attempts = new Set<RelayLink>();
  readonly #subscriptions = new Map<string, Uint8Array>();
  readonly #online = new Set<string>();
  readonly #backoff: Backoff;
  #urls: readonly string[];
  #link: RelayLink | undefined;
  #retry: Timer | undefined;
  #quick = true;
  /** The next loss is answered at once: the network changed, and the loss is its consequence. */
  #hasty = false;
  #closed = false;
  #dropped = 0;
  #reason = 'connecting';
  #since: number;

  constructor(urls: readonly string[], options: RelayUplinkOptions, events: RelayUplinkEvents) {
    this.#urls = urls.slice(0, RELAY_MAX_URLS);
    this.#options = options;
    this.#events = events;
    this.#since = options.clock.now();
    this.#backoff = new Backoff({
      firstMs: RELAY_RETRY_FIRST_MS,
      factor: 2,
      maxMs: RELAY_RETRY_MAX_MS,
      jitter: OFFER_JITTER,
      random: options.random,
    });
    this.#connect();
  }

  /** The name that the connected relay gives itself. */
  get instanceUrl(): string | undefined {
    return this.#link?.instanceUrl;
  }

  get latencyMs(): number | undefined {
    return this.#link?.latencyMs;
  }

  /** Packets that did not fit into connections to this relay. */
  get droppedPackets(): number {
    return this.#dropped + (this.#link?.droppedPackets ?? 0);
  }

  /** Empty while connected. */
  get reason(): string {
    return this.#reason;
  }

  /** Clock milliseconds of the last change between connected and not. */
  get since(): number {
    return this.#since;
  }

  get address(): string {
    return this.#link?.url ?? this.#urls.join(', ');
  }

  get subscriptionCount(): number {
    return this.#subscriptions.size;
  }

  isOnline(peerKey: string): boolean {
    return this.#online.has(peerKey);
  }

  send(peerId: Uint8Array, datagram: Uint8Array): void {
    this.#link?.send(peerId, datagram);
  }

  /** Wants to know when the peer is at the relay, and asks again after each reconnection. */
  subscribe(peerKey: string, peerId: Uint8Array): void {
    this.#subscriptions.set(peerKey, peerId);
    this.#link?.subscribe([peerId]);
  }

  unsubscribe(peerKey: string): void {
    const peerId = this.#subscriptions.get(peerKey);
    if (peerId === undefined) return;
    this.#subscriptions.delete(peerKey);
    this.#online.delete(peerKey);
    this.#link?.unsubscribe([peerId]);
  }

  /** New places to connect to; the connection stays where its place is still among them. */
  setUrls(urls: readonly string[]): void {
    const next = urls.slice(0, RELAY_MAX_URLS);
    if (next.join() === this.#urls.join()) {
      // A new token may be what was missing.
      if (this.#link === undefined && this.#attempts.size === 0) this.#connect();
      return;
    }
    this.#urls = next;
    if (this.#link !== undefined && next.includes(this.#link.url)) return;
    this.#drop('the list of relays changed');
    this.#connect();
  }

  /** Tries again at once where it waits for the next attempt. */
  hurry(): void {
    if (this.#link === undefined && this.#attempts.size === 0) this.#connect();
  }

  /** The host's network changed: what is open has to prove itself, what is being opened begins anew from where the host is now. */
  networkChanged(addresses: ReadonlySet<string> | undefined): void {
    this.#backoff.reset();
    this.#hasty = true;
    for (const attempt of this.#attempts) attempt.close();
    this.#attempts.clear();
    if (this.#link === undefined) this.#connect();
    else this.#link.verify(addresses);
  }

  close(): void {
    this.#closed = true;
    this.#drop('closed');
  }

  /** Opens connections to all of the list, but for `except`, which has just failed. */
  #connect(except?: string): void {
    this.#retry?.cancel();
    this.#retry = undefined;
    if (this.#closed) return;
    const token = this.#options.token();
    if (token === undefined || this.#urls.length === 0) {
      this.#reason = this.#urls.length === 0 ? 'the control plane named no relay' : 'the control plane gave no relay token';
      return;
    }
    const { selfId, ca, clock } = this.#options;
    for (const url of this.#urls) {
      if (url === except) continue;
      this.#attempts.add(
        new RelayLink(
          { url, selfId, token, ca, clock },
          {
            up: (link) => this.#up(link),
            down: (link, reason) => this.#down(link, reason),
            packet: (link, peerKey, datagram) => {
              if (link === this.#link) this.#events.packet(this, peerKey, datagram);
            },
            presence: (link, peerKeys, online) => {
              if (link === this.#link) for (const peerKey of peerKeys) this.#presence(peerKey, online);
            },
          },
        ),
      );
    }
  }

  #up(link: RelayLink): void {
    this.#attempts.delete(link);
    for (const slower of this.#attempts) slower.close();
    this.#attempts.clear();
    this.#link = link;
    this.#backoff.reset();
    this.#quick = true;
    this.#hasty = false;
    this.#reason = '';
    this.#since = this.#options.clock.now();
    link.subscribe([...this.#subscriptions.values()]);
    this.#events.changed(this);
  }

  #down(link: RelayLink, reason: string): void {
    this.#attempts.delete(link);
    const wasUp = link === this.#link;
    if (wasUp) this.#lose();
    this.#reason = reason;
    if (this.#link === undefined && this.#attempts.size === 0) this.#again(link.url, wasUp);
    if (wasUp) this.#events.changed(this);
  }

  /** After a loss the others of the list are tried nearly at once, the lost one a little later: it may be starting again. */
  #again(failed: string, wasUp: boolean): void {
    const { clock, random } = this.#options;
    const others = wasUp && this.#urls.some((url) => url !== failed);
    let delay = this.#hasty ? 0 : this.#quick ? RELAY_QUICK_RETRY_MS : this.#backoff.next();
    if (others) delay = Math.min(delay, random() * RELAY_NEXT_SPREAD_MS);
    else if (this.#hasty) this.#hasty = false;
    else this.#quick = false;
    this.#retry?.cancel();
    this.#retry = clock.after(delay, () => this.#connect(others ? failed : undefined));
  }

  #lose(): void {
    this.#dropped += this.#link?.droppedPackets ?? 0;
    this.#link = undefined;
    this.#since = this.#options.clock.now();
    for (const peerKey of this.#online) this.#presence(peerKey, false);
  }

  #drop(reason: string): void {
    this.#retry?.cancel();
    this.#retry = undefined;
    for (const attempt of this.#attempts) attempt.close();
    this.#attempts.clear();
    const link = this.#link;
    if (link === undefined) return;
    link.close();
    this.#reason = reason;
    this.#lose();
    this.#events.changed(this);
  }

  #presence(peerKey: string, online: boolean): void {
    if (!this.#subscriptions.has(peerKey)) return;
    if (online) this.#online.add(peerKey);
    else {
      this.#online.delete(peerKey);
      // NetBird tells once that a peer came: to hear of its return, one asks again.
      const peerId = this.#subscriptions.get(peerKey);
      if (peerId !== undefined) this.#link?.subscribe([peerId]);
    }
    this.#events.presence(this, peerKey, online);
  }
}
