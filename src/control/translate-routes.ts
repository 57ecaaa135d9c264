// Routes and their rules as the model's words (netbird-wire §2.6). A route that cannot be read is dropped; a rule that cannot be read
// grants nothing, and where it forbids it is read as wide as it may be meant.
import { type IpPrefix, maskPrefix, parsePrefix } from '#lib/ip.ts';
import type { Logger } from '#lib/log.ts';
import { canonicalDomain } from '#model/dns.ts';
import { parsePublicKey } from '#model/ids.ts';
import type { Route, RouteDestination, RouteRule, Routing } from '#model/routes.ts';
import {
  type NetworkMap as NetworkMapMessage,
  type Route as RouteMessage,
  type RouteFirewallRule,
  RuleAction,
} from '#wire/proto/gen/management_pb.ts';
import { defaultForwarderPort, maxDomainsPerRoute, maxNameText, maxRoutes, maxRules } from './constants.ts';
import { portInfoFrom, protocolFrom } from './translate-rules.ts';

/** The value of NetworkType for names; the two others are the families, which the network itself says. */
const domainNetwork = 3n;

/** Undefined where the map has no routes. */
export function routingFrom(message: NetworkMapMessage, log: Logger): Routing | undefined {
  if (message.Routes.length === 0) return undefined;
  if (message.Routes.length > maxRoutes) log.error('too many routes: the rest is left out', { limit: maxRoutes });
  const routes = new Map<string, Route>();
  for (const entry of message.Routes.slice(0, maxRoutes)) {
    const route = routeFrom(entry);
    if (route === undefined) log.warn('route dropped from the network map', { route: entry.ID.slice(0, maxNameText) });
    else routes.set(route.id, route);
  }
  const port = Number(message.DNSConfig?.ForwarderPort ?? 0n);
  return {
    routes: [...routes.values()],
    rules: rulesFrom(message, log),
    resolveAtRouter: message.peerConfig?.RoutingPeerDnsResolutionEnabled ?? false,
    forwarderPort: port >= 1 && port <= 65_535 ? port : defaultForwarderPort,
  };
}

function routeFrom(entry: RouteMessage): Route | undefined {
  const peer = parsePublicKey(entry.Peer);
  const destination = destinationFrom(entry);
  if (peer === undefined || destination === undefined || entry.ID === '') return undefined;
  return {
    id: entry.ID.slice(0, maxNameText),
    netId: entry.NetID.slice(0, maxNameText),
    destination,
    peer,
    metric: Number(entry.Metric),
    masquerade: entry.Masquerade,
    keepAddresses: entry.keepRoute,
    autoApply: !entry.skipAutoApply,
  };
}

/** Names win over the network, which is a placeholder then. */
function destinationFrom(entry: RouteMessage): RouteDestination | undefined {
  if (entry.NetworkType === domainNetwork || entry.Domains.length > 0) return domainsFrom(entry.Domains);
  const prefix = parsePrefix(entry.Network);
  return prefix === undefined ? undefined : { kind: 'prefix', prefix: maskPrefix(prefix) };
}

/** Names that cannot be read are left out. */
function domainsFrom(texts: readonly string[]): RouteDestination | undefined {
  const domains = texts.slice(0, maxDomainsPerRoute).flatMap((text) => domainFrom(text) ?? []);
  return domains.length === 0 ? undefined : { kind: 'domains', domains: [...new Set(domains)] };
}

/** A route to every name there is would be an exit node by another door. */
function domainFrom(text: string): string | undefined {
  const domain = canonicalDomain(text, true);
  return domain === '' ? undefined : domain;
}

/** Nothing passes without a rule, also where a control plane says none and does not say that it means it: stock peers forward all then. */
function rulesFrom(message: NetworkMapMessage, log: Logger): readonly RouteRule[] {
  if (message.routesFirewallRules.length <= maxRules) return message.routesFirewallRules.flatMap((rule) => ruleFrom(rule, log));
  log.error('too many rules for routes: nothing passes', { limit: maxRules });
  return [];
}

const anywhere: readonly IpPrefix[] = [
  { address: { family: 4, bytes: new Uint8Array(4) }, bits: 0 },
  { address: { family: 6, bytes: new Uint8Array(16) }, bits: 0 },
];

function ruleFrom(rule: RouteFirewallRule, log: Logger): readonly RouteRule[] {
  const accept = rule.action === RuleAction.ACCEPT;
  const protocol = protocolFrom[rule.protocol];
  const ports = rule.portInfo === undefined ? undefined : portInfoFrom(rule.portInfo);
  const sources = rule.sourceRanges.map((text) => parsePrefix(text)).filter((prefix) => prefix !== undefined);
  const destination = ruleDestination(rule);
  const readable = protocol !== undefined && ports !== 'bad' && destination !== undefined && sources.length === rule.sourceRanges.length;
  if (rule.sourceRanges.length === 0 && readable) return []; // nobody, as stock peers read it
  if (!readable) {
    log.warn(accept ? 'route rule dropped' : 'route rule widened', { protocol: rule.protocol, destination: rule.destination.slice(0, 64) });
    if (accept) return [];
  }
  const base = {
    action: accept ? 'accept' : 'drop',
    sources: readable ? sources.map((prefix) => maskPrefix(prefix)) : anywhere,
    protocol: protocol ?? 'all',
    ports: ports === 'bad' ? undefined : ports,
    routeId: rule.RouteID.slice(0, maxNameText),
  } as const;
  const destinations: readonly RouteDestination[] =
    destination === undefined ? anywhere.map((prefix) => ({ kind: 'prefix', prefix })) : [destination];
  return destinations.map((to) => ({ ...base, destination: to }));
}

function ruleDestination(rule: RouteFirewallRule): RouteDestination | undefined {
  if (rule.isDynamic || rule.domains.length > 0) {
    const whole = rule.domains.length <= maxDomainsPerRoute && rule.domains.every((text) => domainFrom(text) !== undefined);
    return whole ? domainsFrom(rule.domains) : undefined;
  }
  const prefix = parsePrefix(rule.destination);
  return prefix === undefined ? undefined : { kind: 'prefix', prefix: maskPrefix(prefix) };
}
