// What a peer tells of its host at login (netbird-wire §2.2).
import { arch, hostname, platform, release } from 'node:os';
import type { PeerMeta } from '#model/network.ts';

/** The version that peers of other makers judge our abilities by; theirs switch features off below 0.60. */
const protocolVersion = '0.70.0';

/** `name` replaces the host's own name. */
export function hostMeta(name: string | undefined): PeerMeta {
  return {
    hostname: (name ?? hostname()).slice(0, 63),
    os: platform() === 'win32' ? 'windows' : platform(),
    osVersion: release(),
    kernel: release(),
    platform: arch(),
    version: protocolVersion,
    uiVersion: '',
    ipv6: true,
  };
}
