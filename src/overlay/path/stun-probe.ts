// Asks STUN servers, from the shared socket, at which address the world sees it: the server-reflexive candidates (netbird-wire §5.4).
import type { Clock, Timer } from '#lib/clock.ts';
import { describeError } from '#lib/errors.ts';
import { formatIp, unmapIp } from '#lib/ip.ts';
import type { Logger } from '#lib/log.ts';
import { parseHostPort } from '#lib/net.ts';
import { resolveHost } from '#lib/resolve.ts';
import { encodeStun, type StunMessage } from '#wire/stun.ts';
import { toHex } from '#lib/bytes.ts';
import { STUN_AGAIN_MS, STUN_ATTEMPTS, STUN_FRESH_MS, STUN_MAX_SERVERS, STUN_RETRY_MS } from '../constants.ts';
import type { Candidate } from './ice-candidate.ts';
import { localCandidate, usableAddress } from './ice-candidate.ts';
import { sameTransport, type TransportAddress } from './path.ts';

const defaultPort = 3478;

export interface StunProbeOptions {
  readonly clock: Clock;
  readonly log: Logger;
  readonly random: (target: Uint8Array) => void;
  readonly send: (datagram: Uint8Array, to: TransportAddress) => void;
  /** A new outer address was seen. */
  readonly found: (candidate: Candidate) => void;
}

export class StunProbe {
  readonly #options: StunProbeOptions;
  readonly #open = new Map<string, TransportAddress>();
  #servers: readonly { readonly host: string; readonly port: number }[] = [];
  #candidates: readonly Candidate[] = [];
  #askedAt = -Infinity;
  #timer: Timer | undefined;
  #run = 0;

  constructor(options: StunProbeOptions) {
    this.#options = options;
  }

  /** What was found last; it stays until the next asking finds something else. */
  get candidates(): readonly Candidate[] {
    return this.#candidates;
  }

  /** `stun:host:port` texts; others are ignored. */
  setServers(urls: readonly string[]): void {
    this.#servers = urls
      .flatMap((url) => (url.startsWith('stun:') ? (parseHostPort(url.slice(5), defaultPort) ?? []) : []))
      .slice(0, STUN_MAX_SERVERS);
    this.askAnew();
  }

  /** The network or the servers are others: what is known is void. */
  askAnew(): void {
    this.#askedAt = -Infinity;
    this.ask(true);
  }

  /** Asks all servers, unless that was done lately; `force` is for who has reason to doubt what is known. */
  ask(force = false): void {
    const now = this.#options.clock.now();
    if (this.#servers.length === 0 || now - this.#askedAt < (force ? STUN_AGAIN_MS : STUN_FRESH_MS)) return;
    this.#askedAt = now;
    if (force) this.#candidates = [];
    const run = ++this.#run;
    void this.#resolve().then((servers) => {
      if (run === this.#run) this.#attempt(servers, STUN_ATTEMPTS);
    });
  }

  /** True where the message answers one of our questions. */
  receive(message: StunMessage, from: TransportAddress): boolean {
    const key = toHex(message.transactionId);
    const asked = this.#open.get(key);
    if (asked === undefined || !sameTransport(asked, from)) return false;
    this.#open.delete(key);
    if (message.class !== 'success' || message.mapped === undefined) return true;
    const address = usableAddress(formatIp(unmapIp(message.mapped.ip)));
    if (address === undefined) return true;
    const candidate = localCandidate('srflx', { address, port: message.mapped.port }, 65_535 - this.#candidates.length);
    if (this.#candidates.some((known) => sameTransport(known, candidate))) return true;
    this.#candidates = [...this.#candidates, candidate];
    this.#options.found(candidate);
    return true;
  }

  close(): void {
    this.#run++;
    this.#timer?.cancel();
    this.#open.clear();
  }

  async #resolve(): Promise<readonly TransportAddress[]> {
    const found: TransportAddress[] = [];
    for (const { host, port } of this.#servers) {
      try {
        const addresses = await resolveHost(host);
        // One of each family: more would be the same server.
        for (const six of [false, true]) {
          const address = addresses.find((text) => text.includes(':') === six);
          if (address !== undefined) found.push({ address, port });
        }
      } catch (error) {
        this.#options.log.warn('overlay: a STUN server has no address', { host, reason: describeError(error) });
      }
    }
    return found;
  }

  #attempt(servers: readonly TransportAddress[], left: number): void {
    const waiting =
      left === STUN_ATTEMPTS ? servers : servers.filter((server) => [...this.#open.values()].some((open) => sameTransport(open, server)));
    if (left === STUN_ATTEMPTS || left === 0) this.#open.clear();
    this.#timer?.cancel();
    if (left === 0) return;
    for (const server of waiting) {
      const transactionId = new Uint8Array(12);
      this.#options.random(transactionId);
      this.#open.set(toHex(transactionId), server);
      this.#options.send(encodeStun({ class: 'request', transactionId }, undefined, false), server);
    }
    this.#timer = this.#options.clock.after(STUN_RETRY_MS, () => this.#attempt(servers, left - 1));
  }
}
