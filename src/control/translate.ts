// Messages of the management and signal services as the model's words. Everything in them comes from outside: what is not well
// formed is dropped with a log line, and where that is a permission, dropping it denies. Gateway messages: translate-proxy.ts.
import type { MessageInitShape } from '@bufbuild/protobuf';
import { hostPrefix, ipFromBytes, type IpPrefix, maskPrefix, parseIp, parsePrefix } from '#lib/ip.ts';
import type { Logger } from '#lib/log.ts';
import { parseHostPort } from '#lib/net.ts';
import { parsePublicKey, type PublicKey } from '#model/ids.ts';
import type { MeshEndpoints, NetworkMap, PacketFilter, PacketProtocol, PacketRule, PortRange, RemotePeer, SelfAddress } from '#model/network-map.ts';
import type { PeerMeta } from '#model/network.ts';
import {
  type FirewallRule,
  HostConfig_Protocol,
  type NetbirdConfig,
  type NetworkMap as NetworkMapMessage,
  PeerCapability,
  type PeerConfig,
  type PeerSystemMetaSchema,
  type PortInfo,
  type RemotePeerConfig,
  RuleAction,
  RuleDirection,
  RuleProtocol,
} from '#wire/proto/gen/management_pb.ts';
import { maxPeers, maxRules } from './constants.ts';

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
    flags: { disableClientRoutes: true, disableServerRoutes: true, disableDNS: true, disableIPv6: !meta.ipv6 },
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
  };
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
  return { serial: message.Serial, self, peers, filter: filterFrom(message, log) };
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

/** An empty list means open only where the message does not say that it is meant to be empty. */
function filterFrom(message: NetworkMapMessage, log: Logger): PacketFilter {
  if (message.FirewallRules.length === 0) return message.firewallRulesIsEmpty ? { kind: 'rules', rules: [] } : { kind: 'open' };
  if (message.FirewallRules.length > maxRules) {
    log.error('too many firewall rules: nothing is admitted', { limit: maxRules }); // what is cut off could be what forbids
    return { kind: 'rules', rules: [] };
  }
  return { kind: 'rules', rules: message.FirewallRules.flatMap((rule) => rulesFrom(rule, log)) };
}

const protocolFrom: Readonly<Partial<Record<number, PacketProtocol>>> = {
  [RuleProtocol.ALL]: 'all',
  [RuleProtocol.TCP]: 'tcp',
  [RuleProtocol.UDP]: 'udp',
  [RuleProtocol.ICMP]: 'icmp',
};

/** What cannot be read grants nothing: an accepting rule is dropped, any other is read as wide as it may be meant. */
function rulesFrom(rule: FirewallRule, log: Logger): readonly PacketRule[] {
  const accept = rule.Action === RuleAction.ACCEPT;
  const protocol = protocolFrom[rule.Protocol];
  const ports = portsFrom(rule);
  const sources = sourcesFrom(rule);
  const readable = protocol !== undefined && ports !== 'bad' && sources !== 'bad';
  if (!readable) {
    log.warn(accept ? 'firewall rule dropped' : 'firewall rule widened', { protocol: rule.Protocol, peer: rule.PeerIP.slice(0, 64) });
    if (accept) return [];
  }
  return (sources === 'bad' ? [undefined] : sources).map((peer) => ({
    direction: rule.Direction === RuleDirection.OUT ? 'out' : 'in',
    action: accept ? 'accept' : 'drop',
    protocol: protocol ?? 'all',
    peer,
    ports: ports === 'bad' ? undefined : ports,
  }));
}

/** The newer field where it is filled, else the older text; all-zero means any address, whatever its prefix length. */
function sourcesFrom(rule: FirewallRule): readonly (IpPrefix | undefined)[] | 'bad' {
  const given = rule.sourcePrefixes.length > 0 ? rule.sourcePrefixes.map((bytes) => prefixFrom(bytes)) : [fromText(rule.PeerIP)];
  if (given.some((prefix) => prefix === undefined)) return 'bad';
  return given.filter((prefix) => prefix !== undefined).map((prefix) => (isAny(prefix) ? anyOf(prefix.address.family, rule) : maskPrefix(prefix)));
}

/** Any address of one family where both are told apart, any at all in the older form. */
function anyOf(family: 4 | 6, rule: FirewallRule): IpPrefix | undefined {
  return rule.sourcePrefixes.length === 0 ? undefined : { address: { family, bytes: new Uint8Array(family === 4 ? 4 : 16) }, bits: 0 };
}

function fromText(text: string): IpPrefix | undefined {
  const ip = parseIp(text);
  return ip === undefined ? undefined : hostPrefix(ip);
}

function isAny(prefix: IpPrefix): boolean {
  return prefix.address.bytes.every((byte) => byte === 0);
}

/** Address bytes and one byte of prefix length. */
function prefixFrom(bytes: Uint8Array): IpPrefix | undefined {
  const address = bytes.length === 5 || bytes.length === 17 ? ipFromBytes(bytes.subarray(0, -1)) : undefined;
  const bits = bytes.at(-1) ?? 0;
  return address === undefined || bits > 8 * address.bytes.length ? undefined : { address, bits };
}

function portsFrom(rule: FirewallRule): PortRange | undefined | 'bad' {
  const range = rule.PortInfo === undefined ? undefined : portInfoFrom(rule.PortInfo);
  if (range !== undefined) return range;
  if (rule.Port === '' || rule.Port === '0') return undefined;
  const port = /^[0-9]{1,5}$/.test(rule.Port) ? Number(rule.Port) : -1;
  return port >= 1 && port <= 65_535 ? { start: port, end: port } : 'bad';
}

function portInfoFrom(info: PortInfo): PortRange | undefined | 'bad' {
  const { portSelection } = info;
  if (portSelection.case === undefined) return undefined;
  const [start, end] =
    portSelection.case === 'port' ? [portSelection.value, portSelection.value] : [portSelection.value.start, portSelection.value.end];
  if (start === 0 && end === 0) return undefined; // as stock clients read it
  return start <= end && end <= 65_535 ? { start, end } : 'bad';
}
