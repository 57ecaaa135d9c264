// Connections through a routing peer, before they are: the way to the destination is opened first, and only then the caller hears that it is
// open. A destination that refuses is a port that refuses.
import type { Duplex } from 'node:stream';
import type { Clock, Timer } from '#lib/clock.ts';
import { formatIp } from '#lib/ip.ts';
import type { Dial } from '#lib/net.ts';
import type { SocketAddress } from '#netstack/types.ts';
import { CARRIED_DIAL_MS, MAX_OPENINGS, MAX_OPENINGS_PER_PEER, OPENING_KEPT_MS } from './constants.ts';

interface Opening {
  readonly caller: string;
  readonly giveUp: AbortController;
  timer: Timer | undefined;
  state: { readonly kind: 'dialling' } | { readonly kind: 'open'; readonly upstream: Duplex } | { readonly kind: 'failed' };
}

export class Openings {
  readonly #clock: Clock;
  readonly #dial: Dial;
  readonly #openings = new Map<string, Opening>();
  readonly #ofCaller = new Map<string, number>();

  constructor(clock: Clock, dial: Dial) {
    this.#clock = clock;
    this.#dial = dial;
  }

  /**
   * A permitted SYN. True: it is held, and `again` is called when it is to be looked at once more; false: go on with it. A caller who opens
   * too many at once is held without an answer, so that he tries again.
   */
  holds(local: SocketAddress, remote: SocketAddress, again: () => void): boolean {
    const key = keyOf(local, remote);
    const known = this.#openings.get(key);
    if (known !== undefined) return known.state.kind === 'dialling';
    const caller = formatIp(remote.ip);
    const ofCaller = this.#ofCaller.get(caller) ?? 0;
    if (this.#openings.size >= MAX_OPENINGS || ofCaller >= MAX_OPENINGS_PER_PEER) return true;
    const opening: Opening = { caller, giveUp: new AbortController(), timer: undefined, state: { kind: 'dialling' } };
    this.#openings.set(key, opening);
    this.#ofCaller.set(caller, ofCaller + 1);
    void this.#open(key, opening, local, again);
    return true;
  }

  /** Whether the way to the destination is open, so that the caller may hear so. A way that could not be opened is forgotten with the answer. */
  isOpen(local: SocketAddress, remote: SocketAddress): boolean {
    const key = keyOf(local, remote);
    const opening = this.#openings.get(key);
    if (opening?.state.kind === 'failed') this.#forget(key, opening);
    return opening?.state.kind === 'open';
  }

  /** Hands over the open way of a connection that was accepted; undefined where there is none. */
  take(local: SocketAddress, remote: SocketAddress): Duplex | undefined {
    const key = keyOf(local, remote);
    const opening = this.#openings.get(key);
    if (opening?.state.kind !== 'open') return undefined;
    this.#forget(key, opening);
    return opening.state.upstream;
  }

  /** Ways that are being opened, or wait for their caller. */
  get size(): number {
    return this.#openings.size;
  }

  close(): void {
    for (const [key, opening] of this.#openings) this.#drop(key, opening);
  }

  async #open(key: string, opening: Opening, { ip, port }: SocketAddress, again: () => void): Promise<void> {
    const signal = AbortSignal.any([opening.giveUp.signal, AbortSignal.timeout(CARRIED_DIAL_MS)]);
    const upstream = await this.#dial({ host: formatIp(ip), port }, { signal }).catch(() => undefined);
    upstream?.on('error', () => undefined);
    if (this.#openings.get(key) !== opening) {
      upstream?.destroy();
      return;
    }
    opening.state = upstream === undefined ? { kind: 'failed' } : { kind: 'open', upstream };
    opening.timer = this.#clock.after(OPENING_KEPT_MS, () => this.#drop(key, opening));
    again();
  }

  /** The caller is gone, or we are. */
  #drop(key: string, opening: Opening): void {
    this.#forget(key, opening);
    opening.giveUp.abort();
    if (opening.state.kind === 'open') opening.state.upstream.destroy();
  }

  #forget(key: string, opening: Opening): void {
    if (this.#openings.get(key) !== opening) return;
    this.#openings.delete(key);
    opening.timer?.cancel();
    const left = (this.#ofCaller.get(opening.caller) ?? 1) - 1;
    if (left > 0) this.#ofCaller.set(opening.caller, left);
    else this.#ofCaller.delete(opening.caller);
  }
}

function keyOf(local: SocketAddress, remote: SocketAddress): string {
  return `${formatIp(remote.ip)} ${remote.port} ${formatIp(local.ip)} ${local.port}`;
}
