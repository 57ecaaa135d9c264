// What an overlay is made of and with.
import type { Clock } from '#lib/clock.ts';
import type { Logger } from '#lib/log.ts';
import type { AcceleratorChoice } from './accelerators.ts';
import type { NetworkReading } from './network-watch.ts';
import type { SignalPort } from './types.ts';
import type { OpenDatagramPort } from './udp/port.ts';

export interface OverlayDeps {
  readonly signal: SignalPort;
  readonly log: Logger;
  readonly clock: Clock;
  /** Fills with cryptographically strong bytes; the system's unless a test brings its own. */
  readonly random?: (target: Uint8Array) => void;
  /** A peer's path became another, or there is none any more. */
  readonly pathSwitched?: () => void;
  /** `lastEndpoints` says something else now. */
  readonly located?: () => void;
}

export interface OverlayOptions {
  /** 32 bytes. */
  readonly privateKey: Uint8Array;
  /** UDP port for everything; 0 takes any, a taken one the next that is free. */
  readonly listenPort: number;
  /** `userspace` (our own stack, no rights needed) unless given; `system` is the kernel's, behind a TUN device. */
  readonly mode?: 'userspace' | 'system';
  /** System mode: whether programs of this host that listen for themselves may be reached where the filter admits it. Not unless said. */
  readonly hostPrograms?: boolean;
  /** Largest inner packet; 1280 unless given. */
  readonly mtu?: number;
  /** `auto` unless given: what makes the data path fast where the machine has it. */
  readonly accelerators?: AcceleratorChoice;
  /** Also what 0.0.0.0/0 and ::/0 lead to is reached, where a peer offers that and may be taken by itself; false unless given. */
  readonly exitNodes?: boolean;
  /** Told to other peers. */
  readonly version: string;
  /** PEM of extra roots for `rels://`. */
  readonly ca: string | undefined;
  /** Seeks no direct path. */
  readonly forceRelay?: boolean;
  /** Whether peers rest without traffic: as the map says unless given. */
  readonly lazy?: boolean;
  /** How long without traffic is idle, milliseconds; LAZY_IDLE_MS unless given. */
  readonly lazyIdleMs?: number;
  /** 32 bytes that every peer of the network has too, mixed into each handshake. */
  readonly presharedKey?: Uint8Array;
  /** The addresses to announce, best first, in the place of this host's own; for tests. */
  readonly hostAddresses?: readonly string[];
  /** Reads this host's network, in the place of the system's own; for tests. */
  readonly readNetwork?: () => NetworkReading;
  /** How the UDP port is opened; for tests that lose packets. */
  readonly openPort?: OpenDatagramPort;
}
