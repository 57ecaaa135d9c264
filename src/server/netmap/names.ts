// Names in the maps: the peers' own zone, zones that people made, and name servers, each for the peers whose groups get them.
import { parseIp } from '#lib/ip.ts';
import type { DnsConfig, DnsRecord, DnsZone, NameServerGroup } from '#model/dns.ts';
import type { ZoneId } from '#model/network-plan.ts';
import { keptZones } from './constants.ts';
import type { MapPeer, Members, PeerSet } from './map-peer.ts';
import { append } from './multimap.ts';
import type { NetworkPlan } from './plan.ts';

export class NamesIndex {
  readonly #domain: string;
  readonly #unmanaged: PeerSet;
  readonly #ownZones = new Map<string, DnsZone>();
  readonly #zones: readonly { readonly zone: DnsZone; readonly members: PeerSet }[];
  readonly #servers: readonly { readonly group: NameServerGroup; readonly members: PeerSet; readonly addresses: ReadonlySet<string> }[];

  constructor(domain: string, plan: NetworkPlan, members: Members) {
    this.#domain = domain;
    this.#unmanaged = members.of(plan.dnsDisabledGroups);
    const records = new Map<ZoneId, DnsRecord[]>();
    for (const { zoneId, name, type, ttl, content } of plan.zoneRecords) append(records, zoneId, { name, type, ttlSeconds: ttl, data: content });
    this.#zones = plan.zones
      .filter(({ enabled, id }) => enabled && records.has(id))
      .map((zone) => ({
        zone: { domain: zone.domain, records: records.get(zone.id) ?? [], authoritative: false, searchDisabled: !zone.enableSearchDomain },
        members: members.of(zone.distributionGroups),
      }));
    this.#servers = plan.nameservers
      .filter(({ enabled }) => enabled)
      .map((group) => ({
        group: {
          servers: group.nameservers.flatMap(({ ip, port }) => {
            const address = parseIp(ip);
            return address === undefined ? [] : [{ ip: address, port }];
          }),
          primary: group.primary,
          domains: group.domains,
          searchDomains: group.searchDomainsEnabled,
        },
        members: members.of(group.groups),
        addresses: new Set(group.nameservers.map(({ ip }) => ip)),
      }));
  }

  /** Undefined where the peer keeps its own name servers. `visible` are the peers of its map, `more` zones that are this peer's alone. */
  dnsOf(self: MapPeer, ipv6: boolean, visible: Iterable<MapPeer>, more: readonly DnsZone[]): DnsConfig | undefined {
    const { id, ipv4, ipv6: ownV6, proxyCluster } = self.peer;
    if (proxyCluster !== undefined || this.#unmanaged.has(id)) return undefined;
    return {
      zones: [this.#ownZone([self, ...visible], ipv6), ...this.#zones.filter(({ members }) => members.has(id)).map(({ zone }) => zone), ...more],
      // who is the name server must not be told to ask itself
      nameServerGroups: this.#servers
        .filter(({ members, addresses }) => members.has(id) && !addresses.has(ipv4) && !addresses.has(ownV6))
        .map(({ group }) => group),
    };
  }

  /** Peers that see the same peers, themselves included, share one value: where everybody sees everybody it is made once for all. */
  #ownZone(peers: readonly MapPeer[], ipv6: boolean): DnsZone {
    let [high, low] = [0, 0];
    for (const { mark } of peers) {
      high ^= mark[0] ?? 0;
      low ^= mark[1] ?? 0;
    }
    const key = `${ipv6} ${peers.length} ${high} ${low}`;
    const known = this.#ownZones.get(key);
    if (known !== undefined) return known;
    const records = peers.toSorted((a, b) => a.place - b.place).flatMap((peer) => peer.records(ipv6));
    const zone: DnsZone = { domain: this.#domain, records, authoritative: true, searchDisabled: false };
    const oldest = this.#ownZones.size >= keptZones ? this.#ownZones.keys().next() : undefined;
    if (oldest?.done === false) this.#ownZones.delete(oldest.value);
    this.#ownZones.set(key, zone);
    return zone;
  }
}
