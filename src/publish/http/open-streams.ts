// Everything that is open under somebody's trust: requests in work and upgraded streams, so that the end of trust can close them.
import { Slots, type Slotted } from '#lib/slots.ts';
import type { DenyReason } from '#model/decision.ts';
import type { Identity, Session } from '#model/identity.ts';
import type { ServiceId } from '#model/ids.ts';
import type { RouteTable } from './routes.ts';

export interface OpenStream extends Slotted {
  readonly kind: 'request' | 'upgrade';
  readonly serviceId: ServiceId;
  readonly identity: Identity | undefined;
  readonly session: Session | undefined;
  /** The session's or service token's digest, as identity/ names the trust that it ends; undefined where it is public. */
  readonly trustKey: string | undefined;
  /** Whether it rests on that trust, among others. */
  restsOn(key: string): boolean;
  /** Monotonic milliseconds after which its trust is asked for again; Infinity for what ends soon anyway. */
  readonly confirmAt: number;
  /** Whether its route is still there, for a service that would let it in. */
  keptBy(routes: RouteTable): boolean;
  /** Whether what decided for it may decide otherwise at another time of the day. */
  readonly asksWhen: boolean;
  /** Why it would not be let in now, with what was proven for it; `again` asks also where its service is the one that it was let in by. */
  refusalUnder(routes: RouteTable, again: boolean): DenyReason | undefined;
  /** Asks again who it is, and cuts the stream where that is nobody any more. */
  confirm(now: number): void;
  /** Cuts it. */
  close(reason: DenyReason): void;
}

export class OpenStreams {
  readonly #streams = new Slots<OpenStream>();
  #routes: RouteTable | undefined;
  #version = 0;
  #around = 0;
  #minute = 0;

  get size(): number {
    return this.#streams.size;
  }

  /** How many of them are upgraded. */
  upgrades(): number {
    let count = 0;
    this.#streams.forEach((stream) => {
      if (stream.kind === 'upgrade') count++;
    });
    return count;
  }

  add(stream: OpenStream): void {
    this.#streams.add(stream);
  }

  remove(stream: OpenStream): void {
    this.#streams.delete(stream);
  }

  /** Closes what the predicate names; returns how many. */
  end(predicate: (stream: OpenStream) => boolean): number {
    return this.#endWhere((stream) => (predicate(stream) ? 'session_revoked' : undefined));
  }

  #endWhere(why: (stream: OpenStream) => DenyReason | undefined): number {
    let ended = 0;
    this.#streams.forEach((stream) => {
      const reason = why(stream);
      if (reason === undefined) return;
      ended++;
      this.#streams.delete(stream);
      stream.close(reason);
    });
    return ended;
  }

  /**
   * For the sweep: ends what outlived its session; once after each change of routes, what the new table does not keep; and once after each change
   * of what decides (`around` is its version, and the minute of the day), what would not be let in any more. Has confirmed what is due.
   */
  sweep(routes: RouteTable, around: number, wall: number, now: number): void {
    this.#streams.forEach((stream) => {
      if (stream.confirmAt <= now) stream.confirm(now);
    });
    const minute = Math.floor(wall / 60_000);
    const changed = this.#routes !== routes || this.#version !== routes.version;
    const otherwise = this.#around !== around;
    const later = this.#minute !== minute;
    this.#routes = routes;
    this.#version = routes.version;
    this.#around = around;
    this.#minute = minute;
    this.#endWhere((stream) => {
      if (stream.session !== undefined && stream.session.expiresAt <= wall) return 'session_revoked';
      const again = otherwise || (later && stream.asksWhen);
      if (!changed && !again) return undefined;
      // A plain request in work finishes under the route that it began with; who would not be let in any more is cut all the same.
      return stream.refusalUnder(routes, again) ?? (changed && stream.kind === 'upgrade' && !stream.keptBy(routes) ? 'session_revoked' : undefined);
    });
  }
}
