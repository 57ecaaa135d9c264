// The control plane's client: what peers (`createPeerControl`) and gateways (`createProxyControl`) use of it.
import type { Clock } from '#lib/clock.ts';
import type { Logger } from '#lib/log.ts';
import { PeerControlClient } from './peer-control.ts';
import { ProxyControlClient } from './proxy-control.ts';
import type { PeerControl, PeerControlOptions, ProxyControl, ProxyControlOptions } from './types.ts';

export interface ControlDeps {
  readonly log: Logger;
  readonly clock: Clock;
}

/** Connects at its first call. Throws RPC_BAD_ADDRESS, RPC_BAD_CERTIFICATE or CRYPTO_BAD_KEY for options that cannot work. */
export function createPeerControl(options: PeerControlOptions, deps: ControlDeps): PeerControl {
  return new PeerControlClient(options, deps);
}

/** Connects when started. Throws RPC_BAD_ADDRESS or RPC_BAD_CERTIFICATE for options that cannot work. */
export function createProxyControl(options: ProxyControlOptions, deps: ControlDeps): ProxyControl {
  return new ProxyControlClient(options, deps);
}
