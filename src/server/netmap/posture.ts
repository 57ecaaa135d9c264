// Whether a machine passes a posture check, by what it says of itself and where it comes from. What it does not say, it does not pass.
import { hostPrefix, type IpPrefix, maskPrefix, parseIp, parsePrefix, prefixContains, unmapIp } from '#lib/ip.ts';
import type { Peer } from '#model/network.ts';
import type { PostureCheck, PostureCheckId, ProcessPaths } from '#model/posture.ts';
import type { MapPeer, PeerSet } from './map-peer.ts';

/** The checks of one state, and who passes them, asked once for each machine. */
export class Posture {
  readonly #checks: ReadonlyMap<PostureCheckId, PostureCheck>;
  readonly #passes = new Map<PostureCheckId, Map<MapPeer, boolean>>();

  constructor(checks: readonly PostureCheck[]) {
    this.#checks = new Map(checks.map((check) => [check.id, check]));
  }

  /** Those that pass all of these checks. One that does not exist is passed by nobody. */
  passing(peers: PeerSet, ids: readonly PostureCheckId[]): PeerSet {
    if (ids.length === 0) return peers;
    return new Map([...peers].filter(([, entry]) => ids.every((id) => this.#passesOne(entry, id))));
  }

  /** Programs that these checks ask for, on every system: the machine answers for those that it has. */
  filesOf(ids: readonly PostureCheckId[]): readonly string[] {
    const paths = ids.flatMap((id) => this.#checks.get(id)?.processes ?? []).flatMap(({ linux, mac, windows }) => [linux, mac, windows]);
    return paths.filter((path) => path !== undefined && path !== '').map(String);
  }

  #passesOne(entry: MapPeer, id: PostureCheckId): boolean {
    const known = this.#passes.get(id) ?? new Map<MapPeer, boolean>();
    this.#passes.set(id, known);
    let passes = known.get(entry);
    if (passes === undefined) {
      const check = this.#checks.get(id);
      passes = check !== undefined && passesCheck(entry.peer, check);
      known.set(entry, passes);
    }
    return passes;
  }
}

export function passesCheck(peer: Peer, { minVersion, systems, networks, processes }: PostureCheck): boolean {
  if (minVersion !== undefined && !isAtLeast(peer.meta.version, minVersion)) return false;
  if (systems !== undefined && !passesSystem(peer, systems)) return false;
  if (networks !== undefined && !passesNetworks(peer, networks)) return false;
  return processes === undefined || processes.every((paths) => runs(peer, paths));
}

/** A system that nobody names here, such as FreeBSD, passes; one that the check leaves out does not (netbird-features C). */
function passesSystem({ meta }: Peer, systems: NonNullable<PostureCheck['systems']>): boolean {
  switch (meta.os) {
    case 'android':
    case 'darwin':
    case 'ios':
      return isAtLeast(meta.osVersion, systems[meta.os]);
    case 'linux':
    case 'windows':
      return isAtLeast(meta.kernel, systems[meta.os]);
    default:
      return true;
  }
}

/** A range fits where it holds the whole of one of the machine's networks, or the address that it comes from. */
function passesNetworks({ meta, connectionIp }: Peer, { action, ranges }: NonNullable<PostureCheck['networks']>): boolean {
  const from = parseIp(connectionIp);
  const own = (meta.posture?.networks ?? []).flatMap((text) => parsePrefix(text) ?? []);
  const all = from === undefined ? own : [...own, hostPrefix(unmapIp(from))];
  if (all.length === 0) return false;
  const fits = ranges.flatMap((text) => parsePrefix(text) ?? []).some((range) => all.some((prefix) => holds(range, prefix)));
  return fits === (action === 'allow');
}

function holds(outer: IpPrefix, inner: IpPrefix): boolean {
  return outer.bits <= inner.bits && prefixContains(maskPrefix(outer), inner.address);
}

function runs({ meta }: Peer, paths: ProcessPaths): boolean {
  const path = meta.os === 'linux' ? paths.linux : meta.os === 'darwin' ? paths.mac : meta.os === 'windows' ? paths.windows : undefined;
  return path !== undefined && path !== '' && meta.posture?.running.includes(path) === true;
}

function isAtLeast(text: string, minimum: string | undefined): boolean {
  const [have, least] = [parseVersion(text), parseVersion(minimum ?? '')];
  if (have === undefined || least === undefined) return false;
  for (let i = 0; i < Math.max(have.length, least.length); i++) {
    const [a = 0, b = 0] = [have[i], least[i]];
    if (a !== b) return a > b;
  }
  return true;
}

/** The numbers of a version such as v1.2.3-rc.1: what follows a dash or a plus is a name. Undefined where it does not begin with a number. */
export function parseVersion(text: string): readonly number[] | undefined {
  const match = /^v?([0-9]{1,9}(?:\.[0-9]{1,9}){0,5})(?:[-+].{0,200})?$/.exec(text.trim());
  return match?.[1]?.split('.').map(Number);
}
