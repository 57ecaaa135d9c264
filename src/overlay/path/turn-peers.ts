// Whom an allocation carries: permissions by address (RFC 8656 §9), channels by address and port (§12). It says what to ask of the server;
// the client asks.
import { parseIp, type IpAddress } from '#lib/ip.ts';
import { firstChannel, lastChannel } from '#wire/turn.ts';
import {
  TURN_AGAIN_FIRST_MS,
  TURN_CHANNEL_REFRESH_MS,
  TURN_CHANNEL_REUSE_MS,
  TURN_MAX_PERMISSIONS,
  TURN_PERMISSION_BATCH,
  TURN_PERMISSION_REFRESH_MS,
} from '../constants.ts';
import type { TransportAddress } from './path.ts';

export interface Permission {
  readonly address: string;
  readonly ip: IpAddress;
  users: number;
  granted: boolean;
  /** Asked in a request of its own: one address that is refused refuses the whole request. */
  alone: boolean;
  /** When to ask, or ask again; Infinity while an answer is awaited or the server has refused. */
  askAt: number;
}

export interface Channel {
  readonly number: number;
  readonly ip: IpAddress;
  readonly to: TransportAddress;
  users: number;
  bound: boolean;
  askAt: number;
  /** When the number is free for another peer. */
  freeAt: number;
}

export class TurnPeers {
  readonly #permissions = new Map<string, Permission>();
  readonly #channels = new Map<string, Channel>();
  readonly #byNumber = new Map<number, Channel>();
  #nextNumber = firstChannel;

  /** Whether somebody still wants something. */
  get used(): boolean {
    return this.#permissions.size > 0;
  }

  granted(address: string): boolean {
    return this.#permissions.get(address)?.granted ?? false;
  }

  /** Counts users; false where the table is full. */
  permit(address: string, now: number): boolean {
    const known = this.#permissions.get(address);
    if (known !== undefined) {
      known.users++;
      return true;
    }
    const ip = parseIp(address);
    if (ip === undefined || this.#permissions.size >= TURN_MAX_PERMISSIONS) return false;
    this.#permissions.set(address, { address, ip, users: 1, granted: false, alone: false, askAt: now });
    return true;
  }

  release(address: string): void {
    const known = this.#permissions.get(address);
    if (known !== undefined && --known.users === 0) this.#permissions.delete(address);
  }

  /** Counts users; undefined where all numbers are taken. */
  bind(to: TransportAddress, now: number): Channel | undefined {
    const key = keyOf(to);
    const known = this.#channels.get(key);
    if (known !== undefined) {
      known.users++;
      if (!known.bound) known.askAt = Math.min(known.askAt, now);
      return known;
    }
    const ip = parseIp(to.address);
    const number = this.#freeNumber(now);
    if (ip === undefined || number === undefined) return undefined;
    const channel: Channel = { number, ip, to: { address: to.address, port: to.port }, users: 1, bound: false, askAt: now, freeAt: Infinity };
    this.#channels.set(key, channel);
    this.#byNumber.set(number, channel);
    return channel;
  }

  /** The channel is no longer refreshed once nobody uses it; its number rests until the server has forgotten it. */
  unbind(to: TransportAddress, now: number): void {
    const channel = this.#channels.get(keyOf(to));
    if (channel === undefined || channel.users === 0 || --channel.users > 0) return;
    channel.askAt = Infinity;
    channel.freeAt = now + TURN_CHANNEL_REUSE_MS;
  }

  channelTo(to: TransportAddress): Channel | undefined {
    return this.#channels.get(keyOf(to));
  }

  channel(number: number): Channel | undefined {
    return this.#byNumber.get(number);
  }

  /** Addresses to ask for in one request; empty where there is nothing to ask. */
  nextPermissions(now: number): readonly Permission[] {
    const batch: Permission[] = [];
    for (const permission of this.#permissions.values()) {
      if (permission.askAt > now) continue;
      if (permission.alone) {
        if (batch.length > 0) continue;
        return [permission];
      }
      batch.push(permission);
      if (batch.length === TURN_PERMISSION_BATCH) break;
    }
    return batch;
  }

  /** The server's word on a request of permissions. */
  permissionsAnswered(batch: readonly Permission[], outcome: 'granted' | 'refused' | 'silence', now: number): void {
    for (const permission of batch) {
      switch (outcome) {
        case 'granted':
          permission.granted = true;
          permission.askAt = now + TURN_PERMISSION_REFRESH_MS;
          break;
        case 'refused':
          permission.granted = false;
          permission.askAt = batch.length === 1 ? Infinity : now;
          permission.alone = true;
          break;
        case 'silence':
          permission.askAt = now + TURN_AGAIN_FIRST_MS;
      }
    }
  }

  nextChannel(now: number): Channel | undefined {
    for (const channel of this.#channels.values()) if (channel.askAt <= now) return channel;
    return undefined;
  }

  channelAnswered(channel: Channel, bound: boolean, now: number): void {
    channel.bound = bound;
    channel.askAt = channel.users === 0 ? Infinity : bound ? now + TURN_CHANNEL_REFRESH_MS : now + TURN_AGAIN_FIRST_MS;
  }

  /** When something is to be asked. */
  askAt(): number {
    let at = Infinity;
    for (const { askAt } of this.#permissions.values()) at = Math.min(at, askAt);
    for (const { askAt } of this.#channels.values()) at = Math.min(at, askAt);
    return at;
  }

  /** The allocation is gone, and with it what it carried; what is still wanted is asked for anew at the next one. */
  forget(now: number): void {
    for (const permission of this.#permissions.values()) Object.assign(permission, { granted: false, alone: false, askAt: now });
    this.#channels.clear();
    this.#byNumber.clear();
    this.#nextNumber = firstChannel;
  }

  #freeNumber(now: number): number | undefined {
    if (this.#nextNumber <= lastChannel) return this.#nextNumber++;
    for (const channel of this.#channels.values()) {
      if (channel.freeAt > now) continue;
      this.#channels.delete(keyOf(channel.to));
      this.#byNumber.delete(channel.number);
      return channel.number;
    }
    return undefined;
  }
}

function keyOf(to: TransportAddress): string {
  return `${to.address} ${to.port}`;
}
