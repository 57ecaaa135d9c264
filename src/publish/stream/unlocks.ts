// Ports that are open for somebody: who has signed in at a stream service's page may use it from the address of that sign-in, for as long as the
// session lives. The end of trust closes the port for that address and everything that came through it.
import type { Clock, Timer } from '#lib/clock.ts';
import { describeError } from '#lib/errors.ts';
import type { Closable } from '#lib/lifecycle.ts';
import type { Logger } from '#lib/log.ts';
import type { ProofKind } from '#model/access.ts';
import type { Identity } from '#model/identity.ts';
import type { ServiceId } from '#model/ids.ts';
import { CONFIRM_MS, UNLOCK_SWEEP_MS, UNLOCKS, UNLOCKS_PER_ADDRESS, UNLOCKS_PER_TRUST } from '../constants.ts';

export interface Unlock {
  readonly serviceId: ServiceId;
  /** The service's access that let the holder in; see `keep` for what becomes of it under another one. */
  readonly access: string;
  /** Canonical text. */
  readonly address: string;
  /** The session's or token's digest, as identity/ names the trust that it ends. */
  readonly trustKey: string;
  readonly identity: Identity;
  /** All that the holder has proven; absent: `identity.method` alone. */
  readonly proofs?: readonly ProofKind[] | undefined;
  /** Wall-clock milliseconds. */
  readonly expiresAt: number;
  /** Asks again whether the holder is still trusted. What cannot be asked counts as yes for as long as the session cache says. */
  readonly confirm: () => boolean | Promise<boolean>;
}

export interface UnlocksDeps {
  readonly clock: Clock;
  readonly log: Logger;
}

interface Held {
  readonly unlock: Unlock;
  /** The access under which it holds now. */
  access: string;
  confirmAt: number;
}

export class Unlocks implements Closable {
  readonly #deps: UnlocksDeps;
  readonly #held = new Map<string, Held[]>();
  /** Where each trust has opened a service, the first address first. */
  readonly #addresses = new Map<string, Set<string>>();
  readonly #listeners = new Set<(unlock: Unlock) => void>();
  #size = 0;
  #sweep: Timer | undefined;
  #closed = false;

  constructor(deps: UnlocksDeps) {
    this.#deps = deps;
  }

  get size(): number {
    return this.#size;
  }

  /** Opens the service's port for the address. The same trust again takes the place of what it had, and at too many addresses that of its first. False where too many are open. */
  open(unlock: Unlock): boolean {
    if (this.#closed) return false;
    const key = keyOf(unlock.serviceId, unlock.address);
    const there = this.#held.get(key) ?? [];
    const others = there.filter((held) => held.unlock.trustKey !== unlock.trustKey);
    if (others.length === there.length && (this.#size >= UNLOCKS || there.length >= UNLOCKS_PER_ADDRESS)) return false;
    this.#size += others.length + 1 - there.length;
    this.#held.set(key, [...others, { unlock, access: unlock.access, confirmAt: this.#deps.clock.now() + CONFIRM_MS }]);
    this.#spread(unlock);
    this.#arm();
    return true;
  }

  /** Who may use the service from the address: of several people behind one, the last who signed in and is let in. */
  find(
    { id, access }: { readonly id: ServiceId; readonly access: string },
    address: string,
    letsIn: (unlock: Unlock) => boolean = () => true,
  ): Unlock | undefined {
    const now = this.#deps.clock.wall();
    return this.#held.get(keyOf(id, address))?.findLast((held) => held.unlock.expiresAt > now && held.access === access && letsIn(held.unlock))
      ?.unlock;
  }

  /** Services have changed: ends what `accessOf` has no access for any more; everything else holds under the access that it names. */
  keep(accessOf: (unlock: Unlock, access: string) => string | undefined): void {
    const lost = new Set<Unlock>();
    for (const list of this.#held.values()) {
      for (const held of list) {
        const access = accessOf(held.unlock, held.access);
        if (access === undefined) lost.add(held.unlock);
        else held.access = access;
      }
    }
    if (lost.size > 0) this.#end((unlock) => lost.has(unlock));
  }

  /** A trust has ended at a service. */
  endTrust(trustKey: string, serviceId: ServiceId): void {
    this.#end((unlock) => unlock.trustKey === trustKey && unlock.serviceId === serviceId);
  }

  /** Calls back for each that has ended; returns how to stop. */
  onEnd(listener: (unlock: Unlock) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#sweep?.cancel();
    this.#end(() => true);
  }

  #end(predicate: (unlock: Unlock) => boolean): void {
    for (const key of this.#held.keys()) this.#endAt(key, predicate);
  }

  #endAt(key: string, predicate: (unlock: Unlock) => boolean): void {
    const list = this.#held.get(key) ?? [];
    const ended = list.filter(({ unlock }) => predicate(unlock));
    if (ended.length === 0) return;
    const kept = list.filter((held) => !ended.includes(held));
    this.#size -= ended.length;
    if (kept.length === 0) this.#held.delete(key);
    else this.#held.set(key, kept);
    for (const { unlock } of ended) {
      const of = trustOf(unlock);
      const addresses = this.#addresses.get(of);
      addresses?.delete(unlock.address);
      if (addresses?.size === 0) this.#addresses.delete(of);
      for (const listener of this.#listeners) listener(unlock);
    }
  }

  /** One session must not fill the table from all the addresses of its network. */
  #spread(unlock: Unlock): void {
    const of = trustOf(unlock);
    const addresses = this.#addresses.get(of) ?? new Set();
    this.#addresses.set(of, addresses);
    addresses.delete(unlock.address);
    addresses.add(unlock.address);
    const [first] = addresses;
    if (addresses.size > UNLOCKS_PER_TRUST && first !== undefined)
      this.#endAt(keyOf(unlock.serviceId, first), ({ trustKey }) => trustKey === unlock.trustKey);
  }

  #arm(): void {
    this.#sweep ??= this.#deps.clock.after(UNLOCK_SWEEP_MS, () => {
      this.#sweep = undefined;
      const { clock } = this.#deps;
      const [wall, now] = [clock.wall(), clock.now()];
      this.#end(({ expiresAt }) => expiresAt <= wall);
      for (const list of this.#held.values()) for (const held of list) if (held.confirmAt <= now) this.#confirm(held, now);
      if (this.#size > 0 && !this.#closed) this.#arm();
    });
  }

  #confirm(held: Held, now: number): void {
    held.confirmAt = now + CONFIRM_MS;
    const { unlock } = held;
    const judge = (trusted: boolean): void => {
      if (!trusted) this.endTrust(unlock.trustKey, unlock.serviceId);
    };
    try {
      const trusted = unlock.confirm();
      if (typeof trusted === 'boolean') judge(trusted);
      else trusted.then(judge).catch((error: unknown) => this.#distrust(unlock, error));
    } catch (error) {
      this.#distrust(unlock, error);
    }
  }

  #distrust({ trustKey, serviceId }: Unlock, error: unknown): void {
    this.#deps.log.error('an unlocked port could not be confirmed and is closed', { error: describeError(error) });
    this.endTrust(trustKey, serviceId);
  }
}

/** Whether both stand for one person's trust at one service and address. */
export function sameTrust(a: Unlock, b: Unlock): boolean {
  return a.trustKey === b.trustKey && a.serviceId === b.serviceId && a.address === b.address;
}

function trustOf({ trustKey, serviceId }: Unlock): string {
  return `${trustKey} ${serviceId}`;
}

function keyOf(serviceId: ServiceId, address: string): string {
  return `${serviceId} ${address}`;
}
