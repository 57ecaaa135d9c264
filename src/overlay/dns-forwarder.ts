// Names of routes, resolved at their routing peer: other peers ask here, this host's own resolver answers, and the addresses that are told
// may be reached for as long as the answer is good. Whoever has no rule for a name is refused.
import { type IpAddress, formatIp, parseIp } from '#lib/ip.ts';
import type { Clock } from '#lib/clock.ts';
import type { SocketAddress } from '#netstack/types.ts';
import { decodeDns, DNS_RCODE, DNS_TYPE, type DnsMessage, encodeDnsAnswer } from '#wire/dns.ts';
import {
  MAX_ANSWER_ADDRESSES,
  MAX_ANSWER_TTL_SECONDS,
  MAX_FORWARDED_QUESTIONS,
  MAX_FORWARDED_QUESTIONS_PER_PEER,
  MIN_ANSWER_TTL_SECONDS,
  RESOLVE_LIMIT_MS,
} from './constants.ts';
import type { CarriedRoutes } from './routes-carried.ts';
import type { HostResolve } from './types.ts';

export interface DnsForwarderDeps {
  readonly clock: Clock;
  readonly carried: CarriedRoutes;
  readonly resolve: HostResolve;
}

export class DnsForwarder {
  readonly #deps: DnsForwarderDeps;
  readonly #closing = new AbortController();
  readonly #ofPeer = new Map<string, number>();
  #open = 0;

  constructor(deps: DnsForwarderDeps) {
    this.#deps = deps;
  }

  /** A question from a peer, by UDP. What is no question gets no answer. */
  receive(bytes: Uint8Array, from: SocketAddress, reply: (answer: Uint8Array) => void): void {
    const query = decodeDns(bytes);
    if (query === undefined || query.response || this.#closing.signal.aborted) return;
    const { question } = query;
    if (query.opcode !== 0) return reply(encodeDnsAnswer(query, DNS_RCODE.notImplemented, [], 0));
    if (question === undefined) return reply(encodeDnsAnswer(query, DNS_RCODE.formatError, [], 0));
    if (!this.#deps.carried.mayResolve(from.ip, question.name)) return reply(encodeDnsAnswer(query, DNS_RCODE.refused, [], 0));
    // Other records would tell nothing that can be reached.
    if (question.type !== DNS_TYPE.a && question.type !== DNS_TYPE.aaaa) return reply(encodeDnsAnswer(query, DNS_RCODE.ok, [], 0));
    void this.#resolve(query, question, from, reply);
  }

  close(): void {
    this.#closing.abort();
  }

  async #resolve(
    query: DnsMessage,
    question: NonNullable<DnsMessage['question']>,
    from: SocketAddress,
    reply: (answer: Uint8Array) => void,
  ): Promise<void> {
    const { clock, carried, resolve } = this.#deps;
    const caller = formatIp(from.ip);
    const ofCaller = this.#ofPeer.get(caller) ?? 0;
    // Dropped, not refused: the other side asks again.
    if (this.#open >= MAX_FORWARDED_QUESTIONS || ofCaller >= MAX_FORWARDED_QUESTIONS_PER_PEER) return;
    this.#open++;
    this.#ofPeer.set(caller, ofCaller + 1);
    const within = AbortSignal.any([this.#closing.signal, AbortSignal.timeout(RESOLVE_LIMIT_MS)]);
    try {
      const found = await resolve(question.name, question.type === DNS_TYPE.a ? 4 : 6, within);
      // The rules may have changed meanwhile.
      if (this.#closing.signal.aborted || !carried.mayResolve(from.ip, question.name)) return;
      if (found === undefined) return reply(encodeDnsAnswer(query, DNS_RCODE.unknownName, [], 0));
      const ttlSeconds = Math.min(Math.max(found.ttlSeconds, MIN_ANSWER_TTL_SECONDS), MAX_ANSWER_TTL_SECONDS);
      const addresses = found.addresses.flatMap((text) => familyOf(text, question.type) ?? []).slice(0, MAX_ANSWER_ADDRESSES);
      const told = carried.learn(question.name, addresses, ttlSeconds * 1000, clock.now());
      reply(encodeDnsAnswer(query, DNS_RCODE.ok, told, ttlSeconds));
    } catch {
      // Not answered by this host's resolver: the caller may try another routing peer.
      if (!this.#closing.signal.aborted) reply(encodeDnsAnswer(query, DNS_RCODE.serverFailure, [], 0));
    } finally {
      this.#open--;
      const left = (this.#ofPeer.get(caller) ?? 1) - 1;
      if (left > 0) this.#ofPeer.set(caller, left);
      else this.#ofPeer.delete(caller);
    }
  }
}

function familyOf(text: string, type: number): IpAddress | undefined {
  const ip = parseIp(text);
  return ip?.family === (type === DNS_TYPE.a ? 4 : 6) ? ip : undefined;
}
