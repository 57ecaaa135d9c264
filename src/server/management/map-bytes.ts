// A network map as bytes. Peers and rules are the same values in the maps of a thousand receivers, so each is encoded once and its bytes
// are put together: fields of protobuf messages may be concatenated.
import { create, type MessageInitShape, toBinary } from '@bufbuild/protobuf';
import { BinaryWriter, WireType } from '@bufbuild/protobuf/wire';
import { createHash } from 'node:crypto';
import type { PacketRule, RemotePeer } from '#model/network-map.ts';
import { NetworkMapSchema, SyncResponseSchema } from '#wire/proto/gen/management_pb.ts';
import type { PeerMap } from '../netmap/peer-map.ts';
import { firewallRulesOf, networkMapOf, remotePeerOf } from './translate.ts';

/** A map ready to be sent. */
export interface EncodedMap {
  /** A NetworkMap message. */
  readonly bytes: Uint8Array;
  /** Of the content without its serial: a change elsewhere in the network is no news to this peer. */
  readonly digest: string;
}

/** Encodes maps; keeps the bytes of peers and rules as long as the network's state holds them. */
export class MapEncoder {
  readonly #peers = new WeakMap<RemotePeer, Uint8Array>();
  /** For receivers without IPv6, and with. */
  readonly #rules = [new WeakMap<PacketRule, Uint8Array>(), new WeakMap<PacketRule, Uint8Array>()] as const;

  encode(map: PeerMap): EncodedMap {
    const rules = map.filter.kind === 'rules' ? map.filter.rules : [];
    const hasV6 = map.self.v6 !== undefined;
    const parts = [...map.peers.map((peer) => this.#peer(peer)), ...rules.map((rule) => this.#rule(rule, hasV6))];
    const frame = networkMapOf({ ...map, serial: 0n, peers: [], filter: map.filter.kind === 'rules' ? { kind: 'rules', rules: [] } : map.filter });
    const hasRules = parts.slice(map.peers.length).some(({ length }) => length > 0);
    parts.push(fields({ ...frame, remotePeersIsEmpty: map.peers.length === 0, firewallRulesIsEmpty: map.filter.kind === 'rules' && !hasRules }));
    const content = Buffer.concat(parts);
    const digest = createHash('sha256').update(content).digest('base64');
    return { bytes: Buffer.concat([fields({ Serial: map.serial }), content]), digest };
  }

  #peer(peer: RemotePeer): Uint8Array {
    return kept(this.#peers, peer, () => fields({ remotePeers: [remotePeerOf(peer)] }));
  }

  #rule(rule: PacketRule, hasV6: boolean): Uint8Array {
    return kept(this.#rules[hasV6 ? 1 : 0], rule, () => fields({ FirewallRules: firewallRulesOf(rule, hasV6) }));
  }
}

/** A SyncResponse around a map that is encoded already. */
export function syncResponseBytes(rest: MessageInitShape<typeof SyncResponseSchema>, map: EncodedMap | undefined): Uint8Array {
  const around = toBinary(SyncResponseSchema, create(SyncResponseSchema, rest));
  if (map === undefined) return around;
  const { number } = SyncResponseSchema.field.NetworkMap;
  return Buffer.concat([around, new BinaryWriter().tag(number, WireType.LengthDelimited).bytes(map.bytes).finish()]);
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
