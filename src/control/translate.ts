// Messages of the management and signal services as the model's words. Everything in them comes from outside: what is not well
// formed is dropped with a log line, and where that is a permission, dropping it denies. Rules: translate-rules.ts, networks behind peers:
// translate-routes.ts, names: translate-dns.ts, gateway messages: translate-proxy.ts.
import type { MessageInitShape } from '@bufbuild/protobuf';
import { parsePrefix } from '#lib/ip.ts';
import type { Logger } from '#lib/log.ts';
import { parseHostPort } from '#lib/net.ts';
import { parsePublicKey, type PublicKey } from '#model/ids.ts';
import type { MeshEndpoints, NetworkMap, RemotePeer, SelfAddress, TurnEndpoint } from '#model/network-map.ts';
import type { PeerMeta } from '#model/network.ts';
import {
  HostConfig_Protocol,
  type NetbirdConfig,
  type NetworkMap as NetworkMapMessage,
  PeerCapability,
  type PeerConfig,
  type PeerSystemMetaSchema,
  type RemotePeerConfig,
} from '#wire/proto/gen/management_pb.ts';
import { maxPeers, maxTurnServers } from './constants.ts';
import { dnsFrom } from './translate-dns.ts';
import { routingFrom } from './translate-routes.ts';
import { filterFrom, prefixFrom } from './translate-rules.ts';

/** What we tell of ourselves. `syncMessageVersion` 0 asks for whole maps. */
export function metaMessageOf(meta: PeerMeta): MessageInitShape<typeof PeerSystemMetaSchema> {
  const overV6 = meta.ipv6 ? [PeerCapability.PeerCapabilityIPv6Overlay] : [];
  return {
    hostname: meta.hostname,
    goOS: meta.os,
    OS: meta.os,
    core: meta.osVersion,
    OSVersion: meta.osVersion,
    kernel: meta.kernel,
    kernelVersion: meta.kernel,
    platform: meta.platform,
    netbirdVersion: meta.version,
    uiVersion: meta.uiVersion,
    flags: { disableIPv6: !meta.ipv6 },
    capabilities: [PeerCapability.PeerCapabilitySourcePrefixes, ...overV6],
    syncMessageVersion: 0,
  };
}

/**
 * The meeting points after a message: what it leaves out keeps its old value. Undefined where signal is neither said nor known.
 * Signal is read at login only: a stock server may send it later, but a stock client does not look.
 */
export function endpointsAfter(previous: MeshEndpoints | undefined, config: NetbirdConfig, log: Logger): MeshEndpoints | undefined {
  const signal = previous?.signal ?? signalOf(config, log);
  if (signal === undefined) return undefined;
  const stunUrls = config.stuns.map((host) => host.uri).filter((uri) => isStunUrl(uri, log));
  const turn = config.turns.length === 0 ? previous?.turn : turnsFrom(config.turns, log);
  return {
    signal,
    stunUrls: stunUrls.length === 0 ? (previous?.stunUrls ?? []) : stunUrls,
    relay:
      config.relay === undefined
        ? undefined // said to be gone, as stock clients read it
        : {
            urls: config.relay.urls.filter((url) => isRelayUrl(url, log)),
            tokenPayload: config.relay.tokenPayload,
            tokenSignature: config.relay.tokenSignature,
          },
    ...(turn === undefined ? {} : { turn }),
  };
}

/** The TURN servers, each with our account there. Which of them can be used, the overlay decides. */
function turnsFrom(turns: NetbirdConfig['turns'], log: Logger): readonly TurnEndpoint[] {
  return turns.slice(0, maxTurnServers).flatMap(({ hostConfig, user, password }) => {
    const url = hostConfig?.uri ?? '';
    if (url.startsWith('turn:') && url.length <= 512 && user.length <= 512 && password.length <= 512) return [{ url, username: user, password }];
    log.warn('turn server dropped', { address: url.slice(0, 128) });
    return [];
  });
}

function signalOf(config: NetbirdConfig, log: Logger): MeshEndpoints['signal'] | undefined {
  if (config.signal === undefined) return undefined;
  const target = parseHostPort(config.signal.uri);
  if (target === undefined || target.port === 0) {
    log.warn('signal address dropped', { address: config.signal.uri });
    return undefined;
  }
  return { ...target, tls: config.signal.protocol === HostConfig_Protocol.HTTPS };
}

function isStunUrl(uri: string, log: Logger): boolean {
  const good = uri.startsWith('stun:') && parseHostPort(uri.slice(5), 3478) !== undefined;
  if (!good) log.warn('stun address dropped', { address: uri });
  return good;
}

function isRelayUrl(url: string, log: Logger): boolean {
  const good = /^rels?:\/\/[^/]/.test(url) && URL.canParse(url);
  if (!good) log.warn('relay address dropped', { address: url });
  return good;
}

/** The whole map, or undefined where it does not even say our own address. */
export function networkMapFrom(message: NetworkMapMessage, ownKey: PublicKey, log: Logger): NetworkMap | undefined {
  const self = selfFrom(message.peerConfig);
  if (self === undefined) {
    log.warn('network map dropped: it does not say the address of this peer', { serial: String(message.Serial) });
    return undefined;
  }
  const seen = new Set<PublicKey>([ownKey]);
  const peers: RemotePeer[] = [];
  for (const entry of message.remotePeersIsEmpty ? [] : message.remotePeers.slice(0, maxPeers)) {
    const peer = remotePeerFrom(entry, self.v6 !== undefined);
    if (peer === undefined) log.warn('peer dropped from the network map', { peer: entry.wgPubKey.slice(0, 44) });
    else if (!seen.has(peer.publicKey)) {
      seen.add(peer.publicKey);
      peers.push(peer);
    }
  }
  if (message.forwardingRules.length > 0)
    log.warn('port forwarding rules are not supported and are left out', { rules: message.forwardingRules.length });
  const routing = routingFrom(message, log);
  const dns = dnsFrom(message.DNSConfig, log);
  return {
    serial: message.Serial,
    lazy: message.peerConfig?.LazyConnectionEnabled === true,
    self,
    peers,
    filter: filterFrom(message, log),
    ...(routing === undefined ? {} : { routing }),
    ...(dns === undefined ? {} : { dns }),
  };
}

function selfFrom(config: PeerConfig | undefined): SelfAddress | undefined {
  const v4 = config === undefined ? undefined : parsePrefix(config.address);
  if (config === undefined || v4?.address.family !== 4) return undefined;
  const v6 = config.addressV6.length === 17 ? prefixFrom(config.addressV6) : undefined;
  return { v4, v6, fqdn: config.fqdn.slice(0, 255) };
}

function remotePeerFrom(entry: RemotePeerConfig, hasV6: boolean): RemotePeer | undefined {
  const publicKey = parsePublicKey(entry.wgPubKey);
  const allowedIps = entry.allowedIps
    .map((text) => parsePrefix(text))
    .filter((prefix) => prefix !== undefined)
    .filter((prefix) => (prefix.address.family === 4 ? prefix.bits === 32 : hasV6 && prefix.bits === 128));
  if (publicKey === undefined || allowedIps.length === 0) return undefined;
  allowedIps.sort((a, b) => a.address.family - b.address.family);
  return { publicKey, allowedIps, fqdn: entry.fqdn.slice(0, 255), agentVersion: entry.agentVersion.slice(0, 64) };
}
