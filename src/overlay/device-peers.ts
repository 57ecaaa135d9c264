// The peers as the WireGuard engine knows them: with their addresses while they are in use, with their key alone while they rest.
import type { Clock } from '#lib/clock.ts';
import { describeError } from '#lib/errors.ts';
import { type IpPrefix, maskPrefix } from '#lib/ip.ts';
import type { Logger } from '#lib/log.ts';
import type { PublicKey } from '#model/ids.ts';
import type { RemotePeer } from '#model/network-map.ts';
import type { WireGuardDevice } from '#wireguard/types.ts';
import { KEEPALIVE_MS } from './constants.ts';

export interface DevicePeersOptions {
  readonly device: WireGuardDevice;
  readonly clock: Clock;
  readonly log: Logger;
  readonly presharedKey: Uint8Array | undefined;
  /** What is routed to the peer beside its own addresses. */
  readonly prefixesOf: (peer: PublicKey) => readonly IpPrefix[];
}

export class DevicePeers {
  readonly #options: DevicePeersOptions;

  constructor(options: DevicePeersOptions) {
    this.#options = options;
  }

  /** Adds the peer, or changes what differs; false where the map names it in a way that cannot be used. */
  set({ publicKey, allowedIps }: RemotePeer): boolean {
    return this.#set(publicKey, [...allowedIps.map(maskPrefix), ...this.#options.prefixesOf(publicKey)], KEEPALIVE_MS);
  }

  /** Adds a peer that rests, so that it can be known when it calls. */
  setResting(publicKey: PublicKey): boolean {
    return this.#set(publicKey, [], 0);
  }

  /**
   * A resting peer has no addresses and no keys in the engine, so no keepalive wakes it; the first packet to it does. What the engine
   * knows against replays stays.
   */
  rest(publicKey: PublicKey): void {
    if (!this.#options.device.knows(publicKey)) return;
    this.setResting(publicKey);
    this.#options.device.endSessions(publicKey);
  }

  #set(publicKey: PublicKey, allowedIps: readonly IpPrefix[], persistentKeepaliveMs: number): boolean {
    const { device, clock, log, presharedKey } = this.#options;
    try {
      const settings = { publicKey, allowedIps, persistentKeepaliveMs };
      device.setPeer(presharedKey === undefined ? settings : { ...settings, presharedKey }, clock.now());
      return true;
    } catch (error) {
      log.warn('overlay: the map names a peer that cannot be used', { peer: publicKey, reason: describeError(error) });
      return false;
    }
  }
}
