// The TURN servers of the map on the shared socket: names are resolved, clients clocked, relayed addresses offered as candidates.
import type { Clock, Timer } from '#lib/clock.ts';
import { describeError } from '#lib/errors.ts';
import type { Logger } from '#lib/log.ts';
import { formatHostPort, parseHostPort, type DialTarget } from '#lib/net.ts';
import { resolveHost } from '#lib/resolve.ts';
import type { TurnEndpoint } from '#model/network-map.ts';
import { TURN_MAX_REMOTES, TURN_MAX_SERVERS } from '../constants.ts';
import { type Candidate, isLoopback, localCandidate } from './ice-candidate.ts';
import { type RelayBase, type RelayLease, type RemoteAddress, sameTransport, type TransportAddress } from './path.ts';
import { TurnClient } from './turn-client.ts';

const defaultPort = 3478;

export interface TurnRelaysOptions {
  readonly clock: Clock;
  readonly log: Logger;
  readonly random: (target: Uint8Array) => void;
  readonly ipv6: () => boolean;
  readonly send: (datagram: Uint8Array, to: TransportAddress) => void;
  /** A relayed address is there. */
  readonly found: (candidate: Candidate) => void;
  /** A peer's datagram came out of a relay. */
  readonly relayed: (datagram: Uint8Array, source: RemoteAddress) => void;
}

export class TurnRelays {
  readonly #options: TurnRelaysOptions;
  #relays: readonly TurnRelay[] = [];

  constructor(options: TurnRelaysOptions) {
    this.#options = options;
  }

  /** The relayed addresses that are there now. */
  get candidates(): readonly Candidate[] {
    return this.#relays.flatMap((relay) => relay.candidates);
  }

  /** Replaces the servers. One that stays keeps its allocation, and takes new credentials when it needs them next. */
  setServers(endpoints: readonly TurnEndpoint[]): void {
    const next: TurnRelay[] = [];
    for (const endpoint of endpoints) {
      const server = parseTurnUrl(endpoint.url);
      if (server === undefined) {
        this.#options.log.warn('overlay: a TURN server cannot be used: only turn:host:port over UDP can', { url: endpoint.url.slice(0, 128) });
        continue;
      }
      if (next.length >= TURN_MAX_SERVERS || next.some((relay) => relay.isAt(server))) continue;
      const known = this.#relays.find((relay) => relay.isAt(server));
      known?.setAccount(endpoint);
      next.push(known ?? new TurnRelay(server, endpoint, this.#options));
    }
    for (const relay of this.#relays) if (!next.includes(relay)) relay.close();
    this.#relays = next;
  }

  /** A run of ICE begins: relayed addresses are wanted. */
  want(): void {
    for (const relay of this.#relays) relay.want();
  }

  /** Our own address may be another. */
  refresh(): void {
    for (const relay of this.#relays) relay.refresh();
  }

  /** Takes what a TURN server sent; anything else is ignored. */
  receive(datagram: Uint8Array, source: RemoteAddress): void {
    // A server behind another relay is none of ours.
    if (source.base !== undefined) return;
    for (const relay of this.#relays) {
      if (relay.address !== undefined && sameTransport(relay.address, source)) return relay.receive(datagram);
    }
  }

  close(): void {
    for (const relay of this.#relays) relay.close();
    this.#relays = [];
  }
}

/** `turn:host[:port][?transport=udp]`; undefined for other schemes and transports. */
export function parseTurnUrl(url: string): DialTarget | undefined {
  const match = /^turn:([^?/]+)(?:\?transport=udp)?$/i.exec(url);
  const target = match?.[1] === undefined ? undefined : parseHostPort(match[1], defaultPort);
  return target === undefined || target.port === 0 ? undefined : target;
}

class TurnRelay implements RelayBase {
  readonly #server: DialTarget;
  readonly #options: TurnRelaysOptions;
  readonly #remotes = new Map<string, RelayedRemote>();
  readonly #leases = new Set<Lease>();
  #account: TurnEndpoint;
  #client: TurnClient | undefined;
  #clientAccount: TurnEndpoint | undefined;
  #address: TransportAddress | undefined;
  #resolving = false;
  #had = false;
  #closed = false;
  #timer: Timer | undefined;
  #timerAt = Infinity;

  constructor(server: DialTarget, account: TurnEndpoint, options: TurnRelaysOptions) {
    this.#server = server;
    this.#account = account;
    this.#options = options;
  }

  get name(): string {
    return `turn ${formatHostPort(this.#server.host, this.#server.port)}`;
  }

  get address(): TransportAddress | undefined {
    return this.#address;
  }

  get candidates(): readonly Candidate[] {
    return (this.#client?.relayed ?? []).map((at, i) => ({ ...localCandidate('relay', at, 65_535 - i), base: this }));
  }

  isAt(server: DialTarget): boolean {
    return server.host === this.#server.host && server.port === this.#server.port;
  }

  setAccount(account: TurnEndpoint): void {
    this.#account = account;
  }

  want(): void {
    const { clock, log } = this.#options;
    if (this.#closed || this.#resolving) return;
    const stale = this.#clientAccount?.username !== this.#account.username || this.#clientAccount.password !== this.#account.password;
    if (this.#client !== undefined && (this.#client.relayed.length > 0 || !stale)) {
      this.#client.want(clock.now());
      return this.#after();
    }
    this.#resolving = true;
    resolveHost(this.#server.host).then(
      (addresses) => {
        this.#resolving = false;
        const address = addresses.find((text) => !text.includes(':')) ?? addresses.find(() => this.#options.ipv6());
        if (this.#closed || address === undefined) return;
        this.#open(address);
        this.#client?.want(clock.now());
        this.#after();
      },
      (error: unknown) => {
        this.#resolving = false;
        log.warn('overlay: a TURN server has no address', { host: this.#server.host, reason: describeError(error) });
      },
    );
  }

  refresh(): void {
    this.#client?.verify(this.#options.clock.now());
    this.#after();
  }

  receive(datagram: Uint8Array): void {
    this.#client?.receive(datagram, this.#options.clock.now());
    // Peers' datagrams change no deadline.
    if (((datagram[0] ?? 0) & 0xc0) === 0) this.#after();
  }

  send(datagram: Uint8Array, to: TransportAddress): void {
    this.#client?.send(datagram, to);
  }

  remote(address: string, port: number): RemoteAddress {
    const key = `${address} ${port}`;
    let remote = this.#remotes.get(key);
    if (remote === undefined) {
      if (this.#remotes.size >= TURN_MAX_REMOTES) this.#remotes.clear();
      remote = new RelayedRemote(this, address, port);
      this.#remotes.set(key, remote);
    }
    return remote;
  }

  join(lost: () => void): RelayLease {
    const lease: Lease = new Lease(lost, {
      permit: (address) => this.#act((client, now) => client.permit(address, now)) ?? false,
      release: (address) => this.#act((client) => client.release(address)),
      bind: (to) => this.#act((client, now) => client.bind(to, now)),
      unbind: (to) => this.#act((client, now) => client.unbind(to, now)),
      left: () => this.#leases.delete(lease),
    });
    this.#leases.add(lease);
    return lease;
  }

  close(): void {
    this.#closed = true;
    this.#timer?.cancel();
    this.#client?.close();
    this.#client = undefined;
  }

  #open(address: string): void {
    const to = { address, port: this.#server.port };
    const account = this.#account;
    this.#address = to;
    this.#clientAccount = account;
    this.#client = new TurnClient({
      ipv6: address.includes(':'),
      username: account.username,
      password: account.password,
      random: this.#options.random,
      send: (datagram) => this.#options.send(datagram, to),
      changed: () => this.#changed(),
      datagram: (datagram, from, port) => this.#options.relayed(datagram, this.remote(from, port)),
    });
  }

  #act<T>(work: (client: TurnClient, now: number) => T): T | undefined {
    if (this.#client === undefined) return undefined;
    const result = work(this.#client, this.#options.clock.now());
    this.#after();
    return result;
  }

  #changed(): void {
    const has = this.candidates.length > 0;
    if (!has && this.#client !== undefined && this.#client.reason !== '') {
      this.#options.log.warn('overlay: no relayed address', { server: this.name, reason: this.#client.reason });
    }
    if (this.#had && !has) for (const lease of this.#leases) lease.lose();
    this.#had = has;
    for (const candidate of this.candidates) this.#options.found(candidate);
  }

  #after(): void {
    const client = this.#client;
    const at = client?.pollAt() ?? Infinity;
    if (this.#closed || at >= this.#timerAt) return;
    this.#timer?.cancel();
    this.#timerAt = at;
    this.#timer = this.#options.clock.after(at - this.#options.clock.now(), () => {
      this.#timerAt = Infinity;
      this.#client?.poll(this.#options.clock.now());
      this.#after();
    });
  }
}

/** An address behind a relay; one object for each. */
export class RelayedRemote implements RemoteAddress {
  readonly kind = 'direct';
  readonly base: RelayBase;
  readonly address: string;
  readonly port: number;

  constructor(base: RelayBase, address: string, port: number) {
    this.base = base;
    this.address = address;
    this.port = port;
  }

  reply(datagram: Uint8Array): void {
    this.base.send(datagram, this);
  }

  toString(): string {
    return `${formatHostPort(this.address, this.port)} by ${this.base.name}`;
  }
}

interface LeaseActions {
  permit(address: string): boolean;
  release(address: string): void;
  bind(to: TransportAddress): void;
  unbind(to: TransportAddress): void;
  left(): void;
}

class Lease implements RelayLease {
  readonly #lost: () => void;
  readonly #actions: LeaseActions;
  readonly #addresses = new Set<string>();
  #bound: TransportAddress | undefined;
  #closed = false;

  constructor(lost: () => void, actions: LeaseActions) {
    this.#lost = lost;
    this.#actions = actions;
  }

  permit(address: string): void {
    // What is on the relay's own host is nobody's peer.
    if (this.#closed || this.#addresses.has(address) || isLoopback(address)) return;
    if (this.#actions.permit(address)) this.#addresses.add(address);
  }

  bind(to: TransportAddress): void {
    if (this.#closed || (this.#bound !== undefined && sameTransport(this.#bound, to))) return;
    if (this.#bound !== undefined) this.#actions.unbind(this.#bound);
    this.#bound = { address: to.address, port: to.port };
    this.#actions.bind(this.#bound);
  }

  lose(): void {
    if (!this.#closed) this.#lost();
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    for (const address of this.#addresses) this.#actions.release(address);
    if (this.#bound !== undefined) this.#actions.unbind(this.#bound);
    this.#actions.left();
  }
}
