// Our own candidates: this host's addresses, what STUN servers see of us, and relayed addresses at TURN servers.
import type { Clock } from '#lib/clock.ts';
import type { Logger } from '#lib/log.ts';
import type { MeshEndpoints } from '#model/network-map.ts';
import type { StunMessage } from '#wire/stun.ts';
import { HOST_ADDRESSES_FRESH_MS } from '../constants.ts';
import { hostCandidates, listHostAddresses } from './host-addresses.ts';
import type { Candidate } from './ice-candidate.ts';
import { type RemoteAddress, sameTransport } from './path.ts';
import { StunProbe } from './stun-probe.ts';
import { TurnRelays } from './turn.ts';
import type { UdpMux } from './udp-mux.ts';

export interface LocalCandidatesOptions {
  readonly clock: Clock;
  readonly log: Logger;
  readonly random: (target: Uint8Array) => void;
  readonly mux: () => UdpMux | undefined;
  /** In the place of this host's own. */
  readonly addresses: readonly string[] | undefined;
  /** Whether the address may be announced. */
  readonly allowed: (address: string) => boolean;
  /** An outer or a relayed address was found. */
  readonly found: (candidate: Candidate) => void;
  /** A peer's datagram came out of a TURN relay. */
  readonly relayed: (datagram: Uint8Array, source: RemoteAddress) => void;
}

export class LocalCandidates {
  readonly #options: LocalCandidatesOptions;
  readonly #probe: StunProbe;
  readonly #turn: TurnRelays;
  #hosts: readonly Candidate[] = [];
  #readAt = -Infinity;

  constructor(options: LocalCandidatesOptions) {
    this.#options = options;
    this.#probe = new StunProbe({
      clock: options.clock,
      log: options.log,
      random: options.random,
      send: (datagram, to) => options.mux()?.send(datagram, to),
      found: (candidate) => {
        // Without a NAT the world sees a host address: nothing new.
        if (options.allowed(candidate.address) && !this.#hosts.some((host) => sameTransport(host, candidate))) options.found(candidate);
      },
    });
    this.#turn = new TurnRelays({
      clock: options.clock,
      log: options.log,
      random: options.random,
      ipv6: () => options.mux()?.ipv6 ?? false,
      send: (datagram, to) => options.mux()?.send(datagram, to),
      found: (candidate) => {
        if (options.allowed(candidate.address)) options.found(candidate);
      },
      relayed: options.relayed,
    });
  }

  /**
   * All candidates of now. The system is asked once in a while; an outer address that is old or doubted is asked for again meanwhile.
   */
  list(doubted: boolean): readonly Candidate[] {
    const { clock, mux, addresses, allowed } = this.#options;
    const now = clock.now();
    const socket = mux();
    if (socket === undefined) return [];
    if (now - this.#readAt >= HOST_ADDRESSES_FRESH_MS) {
      this.#readAt = now;
      this.#hosts = hostCandidates(addresses ?? listHostAddresses(), socket.port, socket.ipv6, allowed);
    }
    this.#probe.ask(doubted);
    this.#turn.want();
    const outer = this.#probe.candidates.filter(
      (candidate) => allowed(candidate.address) && !this.#hosts.some((host) => sameTransport(host, candidate)),
    );
    return [...this.#hosts, ...outer, ...this.#turn.candidates.filter(({ address }) => allowed(address))];
  }

  setServers({ stunUrls, turn }: Pick<MeshEndpoints, 'stunUrls' | 'turn'>): void {
    this.#probe.setServers(stunUrls);
    this.#turn.setServers(turn ?? []);
  }

  /** The host's network changed: what is known may be wrong. */
  refresh(): void {
    this.#readAt = -Infinity;
    this.#probe.askAnew();
    this.#turn.refresh();
  }

  /** A STUN message that no agent knows. */
  receive(message: StunMessage, from: RemoteAddress): void {
    if (from.base === undefined) this.#probe.receive(message, from);
  }

  /** What may be a TURN server's. */
  receiveTurn(datagram: Uint8Array, from: RemoteAddress): void {
    this.#turn.receive(datagram, from);
  }

  close(): void {
    this.#probe.close();
    this.#turn.close();
  }
}
