// The model's words as messages of the management service. A stock client is unforgiving: what it must always find, and what it
// must never find, is in netbird-wire §2.3–2.6 and §8.
import type { MessageInitShape } from '@bufbuild/protobuf';
import { timestampFromMs, type TimestampSchema } from '@bufbuild/protobuf/wkt';
import { formatIp, formatPrefix, type IpAddress, type IpPrefix } from '#lib/ip.ts';
import { formatHostPort } from '#lib/net.ts';
import type { MeshEndpoints, PacketProtocol, PacketRule, PortRange, RemotePeer, SelfAddress } from '#model/network-map.ts';
import type { PeerMeta } from '#model/network.ts';
import {
  type FirewallRuleSchema,
  HostConfig_Protocol,
  type NetbirdConfigSchema,
  type NetworkMapSchema,
  PeerCapability,
  type PeerConfigSchema,
  type PeerSystemMeta,
  type PortInfoSchema,
  type RemotePeerConfigSchema,
  RuleAction,
  RuleDirection,
  RuleProtocol,
} from '#wire/proto/gen/management_pb.ts';
import type { PeerMap } from '../netmap/peer-map.ts';
import { maxMetaText } from './constants.ts';

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

/** The peer's own address. Its text must be the same in every message, or a stock client starts over without end. */
export function peerConfigOf(self: SelfAddress): MessageInitShape<typeof PeerConfigSchema> {
  return {
    address: formatPrefix(self.v4),
    fqdn: self.fqdn,
    RoutingPeerDnsResolutionEnabled: false,
    LazyConnectionEnabled: false,
    ...(self.v6 === undefined ? {} : { addressV6: compact(self.v6) }),
  };
}

/** The whole map. Both `IsEmpty` flags are set exactly where their list is meant to be empty. */
export function networkMapOf(map: PeerMap): MessageInitShape<typeof NetworkMapSchema> {
  const rules = map.filter.kind === 'open' ? [] : map.filter.rules.flatMap((rule) => firewallRulesOf(rule, map.self.v6 !== undefined));
  return {
    Serial: map.serial,
    peerConfig: peerConfigOf(map.self),
    remotePeers: map.peers.map((peer) => remotePeerOf(peer)),
    remotePeersIsEmpty: map.peers.length === 0,
    offlinePeers: (map.offline ?? []).map((peer) => remotePeerOf(peer)),
    FirewallRules: rules,
    firewallRulesIsEmpty: map.filter.kind === 'rules' && rules.length === 0,
    routesFirewallRulesIsEmpty: true,
    DNSConfig: { ServiceEnable: false },
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

const anyV4: IpPrefix = { address: { family: 4, bytes: new Uint8Array(4) }, bits: 0 };
const anyV6: IpPrefix = { address: { family: 6, bytes: new Uint8Array(16) }, bits: 0 };

const protocolOf: Readonly<Record<PacketProtocol, RuleProtocol>> = {
  all: RuleProtocol.ALL,
  tcp: RuleProtocol.TCP,
  udp: RuleProtocol.UDP,
  icmp: RuleProtocol.ICMP,
};

/** One message per address: a stock client reads the first one of a rule only. */
export function firewallRulesOf(rule: PacketRule, hasV6: boolean): MessageInitShape<typeof FirewallRuleSchema>[] {
  const peers = rule.peer === undefined ? [anyV4, anyV6] : [rule.peer];
  return peers
    .filter((peer) => hasV6 || peer.address.family === 4)
    .map((peer) => ({
      PeerIP: formatIp(peer.address),
      Direction: rule.direction === 'in' ? RuleDirection.IN : RuleDirection.OUT,
      Action: rule.action === 'accept' ? RuleAction.ACCEPT : RuleAction.DROP,
      Protocol: protocolOf[rule.protocol],
      Port: rule.ports !== undefined && rule.ports.start === rule.ports.end ? String(rule.ports.start) : '',
      ...(rule.ports === undefined ? {} : { PortInfo: portInfoOf(rule.ports) }),
      sourcePrefixes: [compact(peer)],
    }));
}

function portInfoOf(ports: PortRange): MessageInitShape<typeof PortInfoSchema> {
  return ports.start === ports.end
    ? { portSelection: { case: 'port', value: ports.start } }
    : { portSelection: { case: 'range', value: { start: ports.start, end: ports.end } } };
}

/** Address bytes and one byte of prefix length. */
function compact(prefix: { readonly address: IpAddress; readonly bits: number }): Uint8Array {
  const { bytes } = prefix.address;
  const made = new Uint8Array(bytes.length + 1);
  made.set(bytes);
  made[bytes.length] = prefix.bits;
  return made;
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
  };
}

/** Printable and of a bounded length: it ends up in lists, logs and DNS labels. */
function clean(text: string): string {
  return text.slice(0, maxMetaText).replaceAll(/\p{C}/gu, '');
}
