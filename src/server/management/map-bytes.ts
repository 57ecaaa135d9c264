// A network map as bytes. Peers, rules and names are the same values in the maps of a thousand receivers, so each is encoded once and its bytes
// are put together: fields of protobuf messages may be concatenated.
import { create, type MessageInitShape, toBinary } from '@bufbuild/protobuf';
import { BinaryWriter, WireType } from '@bufbuild/protobuf/wire';
import { createHash } from 'node:crypto';
import type { IpPrefix } from '#lib/ip.ts';
import type { DnsRecord, DnsZone } from '#model/dns.ts';
import type { PacketFilter, PacketRule, RemotePeer } from '#model/network-map.ts';
import type { Route, RouteRule } from '#model/routes.ts';
import { CustomZoneSchema, DNSConfigSchema, NetworkMapSchema, RouteFirewallRuleSchema, SyncResponseSchema } from '#wire/proto/gen/management_pb.ts';
import { forwarderPort } from '../netmap/constants.ts';
import type { PeerMap } from '../netmap/peer-map.ts';
import { dnsConfigOf, recordOf, routeOf, routeRuleOf, sourceRangesOf, zoneOf } from './translate-plan.ts';
import { firewallRulesOf } from './translate-rules.ts';
import { checksOf, networkMapOf, remotePeerOf } from './translate.ts';

/** A map ready to be sent. */
export interface EncodedMap {
  /** A NetworkMap message. */
  readonly bytes: Uint8Array;
  /** Of the content without its serial: a change elsewhere in the network is no news to this peer. */
  readonly digest: string;
  /** What goes beside the map each time: programs of which the peer has to tell. */
  readonly files: readonly string[];
}

/** Encodes maps; keeps the bytes of peers and rules as long as the network's state holds them. */
export class MapEncoder {
  readonly #peers = new WeakMap<RemotePeer, Uint8Array>();
  /** For receivers without IPv6, and with. */
  readonly #rules = [new WeakMap<PacketRule, Uint8Array>(), new WeakMap<PacketRule, Uint8Array>()] as const;
  readonly #records = new WeakMap<DnsRecord, Uint8Array>();
  readonly #zones = new WeakMap<DnsZone, Uint8Array>();
  readonly #routes = new WeakMap<Route, Uint8Array>();
  /** Sources of route rules: long lists, shared by the rules for all that they may reach. */
  readonly #sources = new WeakMap<readonly IpPrefix[], Uint8Array>();

  encode(map: PeerMap): EncodedMap {
    const rules = map.filter.kind === 'rules' ? map.filter.rules : [];
    const hasV6 = map.self.v6 !== undefined;
    const parts = [...map.peers.map((peer) => this.#peer(peer)), ...rules.map((rule) => this.#rule(rule, hasV6))];
    const hasRules = parts.slice(map.peers.length).some(({ length }) => length > 0);
    const routing = map.routing === undefined ? {} : { routing: { ...map.routing, routes: [], rules: [] } };
    const bare = { ...map, ...routing, serial: 0n, peers: [], filter: map.filter.kind === 'rules' ? noRules : map.filter };
    const { DNSConfig: _dns, ...frame } = networkMapOf(withoutNames(bare));
    const { routes = [], rules: routeRules = [] } = map.routing ?? {};
    parts.push(...routes.map((route) => this.#route(route)), ...routeRules.map((rule) => this.#routeRule(rule)));
    const flags = {
      remotePeersIsEmpty: map.peers.length === 0,
      firewallRulesIsEmpty: map.filter.kind === 'rules' && !hasRules,
      routesFirewallRulesIsEmpty: routeRules.length === 0,
    };
    parts.push(fields({ ...frame, ...flags }));
    parts.push(...this.#names(map));
    const content = Buffer.concat(parts);
    const { files = [] } = map;
    const digest = createHash('sha256').update(content).update(files.join('\n')).digest('base64');
    return { bytes: Buffer.concat([fields({ Serial: map.serial }), content]), digest, files };
  }

  #peer(peer: RemotePeer): Uint8Array {
    return kept(this.#peers, peer, () => fields({ remotePeers: [remotePeerOf(peer)] }));
  }

  #rule(rule: PacketRule, hasV6: boolean): Uint8Array {
    return kept(this.#rules[hasV6 ? 1 : 0], rule, () => fields({ FirewallRules: firewallRulesOf(rule, hasV6) }));
  }

  #route(route: Route): Uint8Array {
    return kept(this.#routes, route, () => fields({ Routes: [routeOf(route)] }));
  }

  #routeRule(rule: RouteRule): Uint8Array {
    const sources = kept(this.#sources, rule.sources, () => routeRuleBytes({ sourceRanges: sourceRangesOf(rule.sources) }));
    const rest = routeRuleBytes(routeRuleOf({ ...rule, sources: [] }));
    return enclosed(NetworkMapSchema.field.routesFirewallRules.number, Buffer.concat([sources, rest]));
  }

  /** The field DNSConfig. Zones are messages in a message: each gets its length around what is put together. */
  #names(map: PeerMap): readonly Uint8Array[] {
    const config = dnsConfigOf(map.dns && { ...map.dns, zones: [] }, map.routing?.forwarderPort ?? forwarderPort);
    const inside: Uint8Array[] = [toBinary(DNSConfigSchema, create(DNSConfigSchema, config))];
    for (const zone of map.dns?.zones ?? []) inside.push(this.#zone(zone));
    const length = inside.reduce((sum, part) => sum + part.length, 0);
    return [new BinaryWriter().tag(NetworkMapSchema.field.DNSConfig.number, WireType.LengthDelimited).uint32(length).finish(), ...inside];
  }

  /** One field CustomZones. */
  #zone(zone: DnsZone): Uint8Array {
    return kept(this.#zones, zone, () => {
      const frame = toBinary(CustomZoneSchema, create(CustomZoneSchema, zoneOf({ ...zone, records: [] })));
      const records = zone.records.map((record) => this.#record(record, !zone.authoritative));
      return enclosed(DNSConfigSchema.field.CustomZones.number, Buffer.concat([frame, ...records]));
    });
  }

  #record(record: DnsRecord, dotted: boolean): Uint8Array {
    return kept(this.#records, record, () => toBinary(CustomZoneSchema, create(CustomZoneSchema, { Records: [recordOf(record, dotted)] })));
  }
}

const noRules: PacketFilter = { kind: 'rules', rules: [] };

function withoutNames({ dns: _dns, ...map }: PeerMap): PeerMap {
  return map;
}

/** A message as a field of another. */
function enclosed(number: number, message: Uint8Array): Uint8Array {
  return new BinaryWriter().tag(number, WireType.LengthDelimited).bytes(message).finish();
}

/** A SyncResponse around a map that is encoded already. */
export function syncResponseBytes(rest: MessageInitShape<typeof SyncResponseSchema>, map: EncodedMap | undefined): Uint8Array {
  const around = toBinary(SyncResponseSchema, create(SyncResponseSchema, rest));
  if (map === undefined) return around;
  const checks = toBinary(SyncResponseSchema, create(SyncResponseSchema, { Checks: checksOf(map.files) }));
  return Buffer.concat([around, enclosed(SyncResponseSchema.field.NetworkMap.number, map.bytes), checks]);
}

function routeRuleBytes(part: MessageInitShape<typeof RouteFirewallRuleSchema>): Uint8Array {
  return toBinary(RouteFirewallRuleSchema, create(RouteFirewallRuleSchema, part));
}

function fields(part: MessageInitShape<typeof NetworkMapSchema>): Uint8Array {
  return toBinary(NetworkMapSchema, create(NetworkMapSchema, part));
}

function kept<K extends object>(table: WeakMap<K, Uint8Array>, key: K, make: () => Uint8Array): Uint8Array {
  const known = table.get(key);
  if (known !== undefined) return known;
  const made = make();
  table.set(key, made);
  return made;
}
