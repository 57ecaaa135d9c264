// The last network map and meeting points as JSON text, so that a restart during an outage of the control plane still serves. The
// file holds a relay token, so it is readable by its owner only. What cannot be read is treated as none.
import { formatPrefix } from '#lib/ip.ts';
import { parsePublicKey } from '#model/ids.ts';
import type { MeshEndpoints, NetworkMap, PacketFilter, PacketRule, RemotePeer, TurnEndpoint } from '#model/network-map.ts';
import { Fields, prefixFrom, textFrom } from './saved-fields.ts';
import type { SavedFormat } from './saved-file.ts';
import { dnsFrom, dnsJson, routingFrom, routingJson } from './saved-routes.ts';

export interface SavedMesh {
  readonly map: NetworkMap;
  readonly endpoints: MeshEndpoints;
}

export function savedText({ map, endpoints }: SavedMesh): string {
  const rule = (entry: PacketRule): unknown => ({ ...entry, peer: entry.peer === undefined ? undefined : formatPrefix(entry.peer) });
  return JSON.stringify({
    format: 1,
    serial: String(map.serial),
    lazy: map.lazy === true,
    self: { v4: formatPrefix(map.self.v4), v6: map.self.v6 === undefined ? undefined : formatPrefix(map.self.v6), fqdn: map.self.fqdn },
    peers: map.peers.map((peer) => ({ ...peer, allowedIps: peer.allowedIps.map((prefix) => formatPrefix(prefix)) })),
    filter: map.filter.kind === 'open' ? map.filter : { kind: 'rules', rules: map.filter.rules.map((entry) => rule(entry)) },
    routing: map.routing === undefined ? undefined : routingJson(map.routing),
    dns: map.dns === undefined ? undefined : dnsJson(map.dns),
    endpoints,
  });
}

export const mapFormat: SavedFormat<SavedMesh> = { file: 'last-map.json', what: 'network map', text: savedText, parse: parseSaved };

/** Undefined where any part is not what `savedText` writes: half a map may be more open than the whole. */
export function parseSaved(text: string): SavedMesh | undefined {
  try {
    return savedFrom(new Fields(JSON.parse(text)));
  } catch {
    return undefined; // unreadable is none
  }
}

function savedFrom(file: Fields): SavedMesh | undefined {
  if (file.number('format') !== 1) return undefined;
  const self = file.object('self');
  return {
    map: {
      serial: BigInt(file.text('serial')),
      lazy: file.has('lazy') && file.flag('lazy'),
      self: { v4: self.prefix('v4'), v6: self.has('v6') ? self.prefix('v6') : undefined, fqdn: self.text('fqdn') },
      peers: file.list('peers').map((value) => peerFrom(new Fields(value))),
      filter: filterFrom(file.object('filter')),
      ...(file.has('routing') ? { routing: routingFrom(file.object('routing')) } : {}),
      ...(file.has('dns') ? { dns: dnsFrom(file.object('dns')) } : {}),
    },
    endpoints: endpointsFrom(file.object('endpoints')),
  };
}

function peerFrom(fields: Fields): RemotePeer {
  const publicKey = parsePublicKey(fields.text('publicKey'));
  if (publicKey === undefined) throw new TypeError('publicKey');
  const allowedIps = fields.list('allowedIps').map((value) => prefixFrom(value));
  return { publicKey, allowedIps, fqdn: fields.text('fqdn'), agentVersion: fields.text('agentVersion') };
}

function filterFrom(fields: Fields): PacketFilter {
  if (fields.oneOf('kind', ['open', 'rules']) === 'open') return { kind: 'open' };
  return { kind: 'rules', rules: fields.list('rules').map((value) => ruleFrom(new Fields(value))) };
}

function ruleFrom(fields: Fields): PacketRule {
  const ports = fields.has('ports') ? fields.object('ports') : undefined;
  return {
    direction: fields.oneOf('direction', ['in', 'out']),
    action: fields.oneOf('action', ['accept', 'drop']),
    protocol: fields.oneOf('protocol', ['all', 'tcp', 'udp', 'icmp']),
    peer: fields.has('peer') ? fields.prefix('peer') : undefined,
    ports: ports === undefined ? undefined : { start: ports.number('start'), end: ports.number('end') },
  };
}

function turnFrom(fields: Fields): TurnEndpoint {
  return { url: fields.text('url'), username: fields.text('username'), password: fields.text('password') };
}

function endpointsFrom(fields: Fields): MeshEndpoints {
  const signal = fields.object('signal');
  const relay = fields.has('relay') ? fields.object('relay') : undefined;
  return {
    signal: { host: signal.text('host'), port: signal.number('port'), tls: signal.flag('tls') },
    stunUrls: fields.list('stunUrls').map((value) => textFrom(value)),
    relay:
      relay === undefined
        ? undefined
        : {
            urls: relay.list('urls').map((value) => textFrom(value)),
            tokenPayload: relay.text('tokenPayload'),
            tokenSignature: relay.text('tokenSignature'),
          },
    ...(fields.has('turn') ? { turn: fields.list('turn').map((value) => turnFrom(new Fields(value))) } : {}),
  };
}
