// Which peer owns an overlay address, and which address has a name: the map's peers, indexed.
import { formatIp, type IpAddress, parseIp, prefixContains } from '#lib/ip.ts';
import type { PublicKey } from '#model/ids.ts';
import type { RemotePeer } from '#model/network-map.ts';

export interface Destination {
  readonly peer: PublicKey;
  readonly ip: IpAddress;
}

/** Immutable: a new map makes a new directory. */
export class PeerDirectory {
  readonly #byAddress = new Map<string, PublicKey>();
  readonly #byName = new Map<string, RemotePeer>();
  readonly #wide: { readonly peer: PublicKey; readonly prefix: RemotePeer['allowedIps'][number] }[] = [];

  constructor(peers: readonly RemotePeer[]) {
    for (const peer of peers) {
      if (peer.fqdn !== '') this.#byName.set(canonicalName(peer.fqdn), peer);
      for (const prefix of peer.allowedIps) {
        if (prefix.bits === prefix.address.bytes.length * 8) this.#byAddress.set(formatIp(prefix.address), peer.publicKey);
        else this.#wide.push({ peer: peer.publicKey, prefix });
      }
    }
    this.#wide.sort((a, b) => b.prefix.bits - a.prefix.bits);
  }

  /** The peer that owns the address, by the longest prefix. */
  ownerOf(ip: IpAddress): PublicKey | undefined {
    return this.#byAddress.get(formatIp(ip)) ?? this.#wide.find(({ prefix }) => prefixContains(prefix, ip))?.peer;
  }

  /** Where a dial to this host goes: an overlay address, or a peer's full name (its first address of a family that we have). */
  find(host: string, families: readonly (4 | 6)[]): Destination | undefined {
    const ip = parseIp(host);
    if (ip !== undefined) {
      const owner = this.ownerOf(ip);
      return owner === undefined ? undefined : { peer: owner, ip };
    }
    const peer = this.#byName.get(canonicalName(host));
    const prefix = peer?.allowedIps.find(({ address, bits }) => families.includes(address.family) && bits === address.bytes.length * 8);
    return peer === undefined || prefix === undefined ? undefined : { peer: peer.publicKey, ip: prefix.address };
  }
}

function canonicalName(name: string): string {
  return name.toLowerCase().replace(/\.$/, '');
}
