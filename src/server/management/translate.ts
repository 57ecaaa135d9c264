// The model's words as messages of the management service. A stock client is unforgiving: what it must always find, and what it
// must never find, is in netbird-wire §2.3–2.6 and §8.
import type { MessageInitShape } from '@bufbuild/protobuf';
import { timestampFromMs, type TimestampSchema } from '@bufbuild/protobuf/wkt';
import { formatPrefix, parsePrefix } from '#lib/ip.ts';
import { formatHostPort } from '#lib/net.ts';
import type { MeshEndpoints, RemotePeer } from '#model/network-map.ts';
import type { PeerMeta } from '#model/network.ts';
import type { PostureFacts } from '#model/posture.ts';
import {
  type ChecksSchema,
  HostConfig_Protocol,
  type NetbirdConfigSchema,
  type NetworkMapSchema,
  PeerCapability,
  type PeerConfigSchema,
  type PeerSystemMeta,
  type RemotePeerConfigSchema,
} from '#wire/proto/gen/management_pb.ts';
import { forwarderPort } from '../netmap/constants.ts';
import type { PeerMap } from '../netmap/peer-map.ts';
import { maxMetaFiles, maxMetaNetworks, maxMetaText } from './constants.ts';
import { dnsConfigOf, routeOf, routeRuleOf } from './translate-plan.ts';
import { compact, firewallRulesOf } from './translate-rules.ts';

/** Where the meeting points are. The relay is always said: leaving it out would wipe it at stock clients. */
export function configOf(endpoints: MeshEndpoints): MessageInitShape<typeof NetbirdConfigSchema> {
  const { signal, relay } = endpoints;
  return {
    stuns: endpoints.stunUrls.map((uri) => ({ uri, protocol: HostConfig_Protocol.UDP })),
    turns: (endpoints.turn ?? []).map(({ url, username, password }) => ({
      hostConfig: { uri: url, protocol: HostConfig_Protocol.UDP },
      user: username,
      password,
    })),
    signal: { uri: formatHostPort(signal.host, signal.port), protocol: signal.tls ? HostConfig_Protocol.HTTPS : HostConfig_Protocol.HTTP },
    ...(relay === undefined ? {} : { relay: { urls: [...relay.urls], tokenPayload: relay.tokenPayload, tokenSignature: relay.tokenSignature } }),
  };
}

/** When the peer's user has to sign in again; zero where never, which is something else than not saying it (netbird-wire §2.1). */
export function sessionEndOf(expiresAt: number | undefined): MessageInitShape<typeof TimestampSchema> {
  return timestampFromMs(expiresAt ?? 0);
}

/** The peer's own address, and what holds for all. The address' text must be the same in every message, or a stock client starts over without end. */
export function peerConfigOf(map: Pick<PeerMap, 'self' | 'lazy' | 'resolveAtRouter' | 'routing'>): MessageInitShape<typeof PeerConfigSchema> {
  const { self } = map;
  return {
    address: formatPrefix(self.v4),
    fqdn: self.fqdn,
    RoutingPeerDnsResolutionEnabled: map.resolveAtRouter ?? map.routing?.resolveAtRouter ?? false,
    LazyConnectionEnabled: map.lazy ?? false,
    ...(self.v6 === undefined ? {} : { addressV6: compact(self.v6) }),
  };
}

/** The whole map. All `IsEmpty` flags are set exactly where their list is meant to be empty. */
export function networkMapOf(map: PeerMap): MessageInitShape<typeof NetworkMapSchema> {
  const rules = map.filter.kind === 'open' ? [] : map.filter.rules.flatMap((rule) => firewallRulesOf(rule, map.self.v6 !== undefined));
  const routeRules = map.routing?.rules ?? [];
  return {
    Serial: map.serial,
    peerConfig: peerConfigOf(map),
    remotePeers: map.peers.map((peer) => remotePeerOf(peer)),
    remotePeersIsEmpty: map.peers.length === 0,
    offlinePeers: (map.offline ?? []).map((peer) => remotePeerOf(peer)),
    FirewallRules: rules,
    firewallRulesIsEmpty: map.filter.kind === 'rules' && rules.length === 0,
    Routes: (map.routing?.routes ?? []).map((route) => routeOf(route)),
    routesFirewallRules: routeRules.map((rule) => routeRuleOf(rule)),
    routesFirewallRulesIsEmpty: routeRules.length === 0,
    DNSConfig: dnsConfigOf(map.dns, map.routing?.forwarderPort ?? forwarderPort),
  };
}

export function remotePeerOf(peer: RemotePeer): MessageInitShape<typeof RemotePeerConfigSchema> {
  return {
    wgPubKey: peer.publicKey,
    allowedIps: peer.allowedIps.map((prefix) => formatPrefix(prefix)),
    fqdn: peer.fqdn,
    agentVersion: peer.agentVersion,
  };
}

/** Programs of which the peer has to tell; a stock client forgets them where a map comes without. */
export function checksOf(files: readonly string[]): MessageInitShape<typeof ChecksSchema>[] {
  return files.length === 0 ? [] : [{ Files: [...files] }];
}

/** What we keep of a peer's description of itself, cut to sane lengths. */
export function metaOf(meta: PeerSystemMeta): PeerMeta {
  return {
    hostname: clean(meta.hostname),
    os: clean(meta.goOS),
    osVersion: clean(meta.OSVersion === '' ? meta.core : meta.OSVersion),
    kernel: clean(meta.kernelVersion === '' ? meta.kernel : meta.kernelVersion),
    platform: clean(meta.platform),
    version: clean(meta.netbirdVersion),
    uiVersion: clean(meta.uiVersion),
    ipv6: meta.capabilities.includes(PeerCapability.PeerCapabilityIPv6Overlay),
    ...postureOf(meta),
  };
}

/** Nothing where there is nothing, so that descriptions stay small. */
function postureOf(meta: PeerSystemMeta): { readonly posture?: PostureFacts } {
  const prefixes = meta.networkAddresses.flatMap(({ netIP }) => parsePrefix(netIP) ?? []);
  const networks = [...new Set(prefixes.map((prefix) => formatPrefix(prefix)))].slice(0, maxMetaNetworks);
  const told = meta.files.filter(({ path, processIsRunning }) => processIsRunning && path.length <= maxMetaText);
  const running = told.map(({ path }) => path).slice(0, maxMetaFiles);
  return networks.length + running.length === 0 ? {} : { posture: { networks, running } };
}

/** Printable and of a bounded length: it ends up in lists, logs and DNS labels. */
function clean(text: string): string {
  return text.slice(0, maxMetaText).replaceAll(/\p{C}/gu, '');
}
