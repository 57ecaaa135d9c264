// A TURN client (RFC 8656) without I/O: one allocation at one server for all peers of this process, over the port that WireGuard uses. It
// is asked for when somebody wants it, kept while somebody uses it, and given back afterwards.
//
// What is left out, and why: TCP and TLS to the server (peers have the mesh's own relay for networks without UDP), redirection to another
// server (300 counts as a failure), and even ports (they are RTP's).
import { formatIp, parseIp, unmapIp } from '#lib/ip.ts';
import { channelHeaderBytes, channelOf, channelPayload, decodeTurn, encodeTurn, type TurnMessage, writeChannelData } from '#wire/turn.ts';
import {
  MAX_DATAGRAM_BYTES,
  TURN_AGAIN_FIRST_MS,
  TURN_AGAIN_MAX_MS,
  TURN_CLEARING_MS,
  TURN_CLEARINGS,
  TURN_IDLE_MS,
  TURN_LIFETIME_S,
  TURN_REFRESH_AHEAD_MS,
} from '../constants.ts';
import { usableAddress } from './ice-candidate.ts';
import type { TransportAddress } from './path.ts';
import { TurnPeers } from './turn-peers.ts';
import { type TurnOutcome, TurnRequests } from './turn-requests.ts';

export interface TurnClientOptions {
  /** Whether the server is asked over IPv6, and so gives such an address first. */
  readonly ipv6: boolean;
  readonly username: string;
  readonly password: string;
  readonly random: (target: Uint8Array) => void;
  /** To the server; the bytes are valid only during the call. */
  readonly send: (datagram: Uint8Array) => void;
  /** The allocation is there, or gone. */
  readonly changed: () => void;
  /** A peer's datagram; the bytes are the received datagram's. */
  readonly datagram: (datagram: Uint8Array, address: string, port: number) => void;
}

type State =
  | { readonly kind: 'idle' }
  | { readonly kind: 'allocating' }
  | { readonly kind: 'ready'; readonly relayed: readonly TransportAddress[]; readonly refreshAt: number; readonly endsAt: number }
  /** The last attempt failed. */
  | { readonly kind: 'waiting'; readonly againAt: number };

const none: readonly TransportAddress[] = [];

export class TurnClient {
  readonly #options: TurnClientOptions;
  readonly #requests: TurnRequests;
  readonly #peers = new TurnPeers();
  readonly #frame = new Uint8Array(channelHeaderBytes + MAX_DATAGRAM_BYTES);
  #state: State = { kind: 'idle' };
  #wantedUntil = -Infinity;
  #failures = 0;
  #reason = '';
  /** How often an older allocation of the same port stood in the way (437). */
  #clearings = 0;

  constructor(options: TurnClientOptions) {
    this.#options = options;
    this.#requests = new TurnRequests(options);
  }

  /** Our addresses at the server, one for each family that it serves; empty while there is no allocation. */
  get relayed(): readonly TransportAddress[] {
    return this.#state.kind === 'ready' ? this.#state.relayed : none;
  }

  /** Why there was no allocation the last time; empty where none failed. */
  get reason(): string {
    return this.#reason;
  }

  /** Somebody could use a relayed address now. */
  want(now: number): void {
    this.#wantedUntil = now + TURN_IDLE_MS;
    this.poll(now);
  }

  /** Lets datagrams of the address through for as long as somebody wants it. */
  permit(address: string, now: number): boolean {
    const done = this.#peers.permit(address, now);
    this.poll(now);
    return done;
  }

  release(address: string): void {
    this.#peers.release(address);
  }

  /** Asks for a channel to the peer: four bytes around each datagram in the place of 36. */
  bind(to: TransportAddress, now: number): void {
    this.#peers.bind(to, now);
    this.poll(now);
  }

  unbind(to: TransportAddress, now: number): void {
    this.#peers.unbind(to, now);
  }

  /** Sends to a peer, or drops: without an allocation or permission nothing would arrive. The bytes are copied. */
  send(datagram: Uint8Array, to: TransportAddress): void {
    if (this.#state.kind !== 'ready' || datagram.length > MAX_DATAGRAM_BYTES) return;
    const channel = this.#peers.channelTo(to);
    if (channel?.bound === true) {
      const length = writeChannelData(this.#frame, channel.number, datagram);
      this.#options.send(this.#frame.subarray(0, length));
      return;
    }
    const ip = parseIp(to.address);
    if (ip === undefined || !this.#peers.granted(to.address)) return;
    const transactionId = new Uint8Array(12);
    this.#options.random(transactionId);
    this.#options.send(encodeTurn({ method: 'send', class: 'indication', transactionId, peers: [{ ip, port: to.port }], data: datagram }));
  }

  /** A datagram of the server. */
  receive(datagram: Uint8Array, now: number): void {
    const number = channelOf(datagram);
    if (number >= 0) {
      const channel = this.#peers.channel(number);
      if (channel !== undefined && this.#state.kind === 'ready') {
        this.#options.datagram(channelPayload(datagram), channel.to.address, channel.to.port);
      }
      return;
    }
    const message = decodeTurn(datagram);
    if (message === undefined) return;
    if (message.class === 'indication') this.#indicated(message);
    else if (this.#requests.receive(message, now)) this.poll(now);
  }

  /** Our own address may be another: ask the server at once whether it still knows us. */
  verify(now: number): void {
    if (this.#state.kind === 'ready' && this.#state.refreshAt !== Infinity) this.#refresh(this.#state, now);
    else if (this.#state.kind === 'waiting') this.#state = { kind: 'idle' };
    this.poll(now);
  }

  poll(now: number): void {
    this.#requests.poll(now);
    const state = this.#state;
    switch (state.kind) {
      case 'idle':
        if (this.#isWanted(now)) this.#allocate(now);
        return;
      case 'waiting':
        if (now >= state.againAt) this.#state = { kind: 'idle' };
        if (now >= state.againAt && this.#isWanted(now)) this.#allocate(now);
        return;
      case 'ready':
        if (now >= state.endsAt) return this.#lost('the server did not prolong it', now);
        if (!this.#isWanted(now)) return this.close();
        if (now >= state.refreshAt) this.#refresh(state, now);
        this.#askForPeers(now);
        return;
      case 'allocating':
    }
  }

  pollAt(): number {
    const requests = this.#requests.pollAt();
    const state = this.#state;
    switch (state.kind) {
      case 'idle':
      case 'allocating':
        return requests;
      case 'waiting':
        return Math.min(requests, state.againAt);
      case 'ready': {
        const rest = this.#peers.used ? Infinity : this.#wantedUntil;
        return Math.min(requests, state.refreshAt, state.endsAt, rest, this.#requests.full ? Infinity : this.#peers.askAt());
      }
    }
  }

  /** Gives the allocation back (a lifetime of zero, §7). */
  close(): void {
    if (this.#state.kind === 'ready') this.#requests.tell({ method: 'refresh', lifetime: 0 });
    this.#requests.clear();
    const had = this.#state.kind === 'ready';
    this.#state = { kind: 'idle' };
    this.#peers.forget(0);
    if (had) this.#options.changed();
  }

  #isWanted(now: number): boolean {
    return now < this.#wantedUntil || this.#peers.used;
  }

  #allocate(now: number): void {
    this.#state = { kind: 'allocating' };
    const allocation = this.#options.ipv6 ? 'ipv6' : 'both';
    this.#requests.send({ method: 'allocate', allocation, lifetime: TURN_LIFETIME_S }, (outcome, at) => this.#allocated(outcome, at), now);
  }

  #allocated(outcome: TurnOutcome, now: number): void {
    if (outcome.kind === 'error' && outcome.code === 437 && this.#clearings < TURN_CLEARINGS) {
      // Give the older one back. Servers take a moment to forget it.
      this.#requests.send({ method: 'refresh', lifetime: 0 }, () => undefined, now);
      this.#state = { kind: 'waiting', againAt: now + TURN_CLEARING_MS * 2 ** this.#clearings };
      this.#clearings++;
      return;
    }
    const relayed = outcome.kind === 'success' ? addressesOf(outcome.message) : none;
    if (outcome.kind !== 'success' || relayed.length === 0) return this.#lost(reasonOf(outcome), now);
    this.#clearings = 0;
    this.#reason = '';
    this.#state = { kind: 'ready', relayed, ...timesOf(outcome.message, now) };
    this.#peers.forget(now);
    this.#options.changed();
  }

  #refresh(state: State & { readonly kind: 'ready' }, now: number): void {
    this.#state = { ...state, refreshAt: Infinity };
    this.#requests.send(
      { method: 'refresh', lifetime: TURN_LIFETIME_S },
      (outcome, at) => {
        if (this.#state.kind !== 'ready') return;
        if (outcome.kind === 'success') {
          this.#failures = 0;
          this.#state = { ...this.#state, ...timesOf(outcome.message, at) };
        } else this.#lost(reasonOf(outcome), at);
      },
      now,
    );
  }

  #askForPeers(now: number): void {
    while (!this.#requests.full) {
      const batch = this.#peers.nextPermissions(now);
      if (batch.length === 0) break;
      for (const permission of batch) permission.askAt = Infinity;
      this.#requests.send(
        { method: 'createPermission', peers: batch.map(({ ip }) => ({ ip, port: 0 })) },
        (outcome, at) => {
          if (outcome.kind === 'error' && outcome.code === 437) return this.#lost(reasonOf(outcome), at);
          const word = outcome.kind === 'success' ? 'granted' : outcome.kind === 'error' ? 'refused' : 'silence';
          this.#peers.permissionsAnswered(batch, word, at);
        },
        now,
      );
    }
    while (!this.#requests.full) {
      const channel = this.#peers.nextChannel(now);
      if (channel === undefined) break;
      channel.askAt = Infinity;
      this.#requests.send(
        { method: 'channelBind', channel: channel.number, peers: [{ ip: channel.ip, port: channel.to.port }] },
        (outcome, at) => {
          if (outcome.kind === 'error' && outcome.code === 437) return this.#lost(reasonOf(outcome), at);
          this.#peers.channelAnswered(channel, outcome.kind === 'success', at);
        },
        now,
      );
    }
  }

  /** No allocation now: another attempt later, each time later. */
  #lost(reason: string, now: number): void {
    const had = this.#state.kind === 'ready';
    this.#requests.clear();
    this.#peers.forget(now);
    this.#reason = reason;
    this.#clearings = 0;
    // One that has held is asked for anew at once; one that was lost again before its first refresh is not.
    const pause = had && this.#failures === 0 ? 0 : Math.min(TURN_AGAIN_MAX_MS, TURN_AGAIN_FIRST_MS * 2 ** this.#failures);
    this.#state = { kind: 'waiting', againAt: now + pause };
    this.#failures++;
    this.#options.changed();
  }

  #indicated({ method, peer, data }: TurnMessage): void {
    if (method !== 'data' || peer === undefined || data === undefined || peer.port === 0 || this.#state.kind !== 'ready') return;
    const address = usableAddress(formatIp(unmapIp(peer.ip)));
    if (address !== undefined) this.#options.datagram(data, address, peer.port);
  }
}

function addressesOf(message: TurnMessage): readonly TransportAddress[] {
  return message.relayed.slice(0, 2).flatMap(({ ip, port }) => {
    const address = usableAddress(formatIp(unmapIp(ip)));
    return address === undefined || port === 0 ? [] : [{ address, port }];
  });
}

function timesOf(message: TurnMessage, now: number): { readonly refreshAt: number; readonly endsAt: number } {
  const lifetime = Math.min(message.lifetime ?? TURN_LIFETIME_S, 3600) * 1000;
  return { refreshAt: now + Math.max(lifetime - TURN_REFRESH_AHEAD_MS, lifetime / 2), endsAt: now + lifetime };
}

function reasonOf(outcome: TurnOutcome): string {
  switch (outcome.kind) {
    case 'silence':
      return 'the server does not answer';
    case 'success':
      return 'the server named no usable address';
    case 'error':
      return `the server refuses with ${outcome.code}`;
  }
}
