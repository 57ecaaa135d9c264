// Services whose TLS ends at the agent beside them. Their cluster's gateways carry bytes for them and nothing more: whatever takes somebody to
// have seen a request (sessions, proofs, tokens, diagnoses) is the business of the agent alone. Towards the control plane it is a gateway of a
// cluster of its own, which has no domain and stands in no list.
import { asId, type PeerId, type ProxyId } from '#model/ids.ts';
import { defaultTargetOptions } from '#model/service.ts';
import { plainAccess } from '#model/access.ts';
import { defaultStream } from '#model/stream.ts';
import { agentTlsPort } from '#model/tls-grant.ts';
import { defaultWeb } from '#model/web.ts';
import type { ServiceRecord } from '../store/service-table.ts';

/** No name below it can ever be somebody's (RFC 6761 §6.4). */
const suffix = '.agent.invalid';

type Placed = Pick<ServiceRecord, 'tlsAt' | 'cluster' | 'targets'>;

export function agentCluster(peer: PeerId): string {
  return `${peer}${suffix}`;
}

/** The name under which the agent speaks there. */
export function agentProxyId(peer: PeerId): ProxyId {
  return asId<ProxyId>(`agent-${peer}`);
}

export function isAgentCluster(cluster: string): boolean {
  return cluster.endsWith(suffix);
}

/** The peer whose agent ends TLS; undefined where the gateway does. */
export function agentOf({ tlsAt, targets }: Pick<Placed, 'tlsAt' | 'targets'>): PeerId | undefined {
  const [target] = targets;
  return tlsAt === 'agent' && target !== undefined ? asId<PeerId>(target.targetId) : undefined;
}

/** The one cluster whose gateways see the service's requests, and so may ask who somebody is there. */
export function doorOf(service: Placed): string {
  const agent = agentOf(service);
  return agent === undefined ? service.cluster : agentCluster(agent);
}

/** Everybody who has a mapping of it. */
export function clustersOf(service: Placed): readonly string[] {
  return [...new Set([service.cluster, doorOf(service)])];
}

/** The service as a cluster is told of it; undefined where it is told nothing. */
export function viewOf(service: ServiceRecord, cluster: string): ServiceRecord | undefined {
  if (doorOf(service) === cluster) return service.tlsAt === 'agent' ? atAgent(service) : service;
  return service.cluster === cluster ? passedOn(service) : undefined;
}

/** What the gateway can decide by data bases of its own has been decided there. */
function atAgent(service: ServiceRecord): ServiceRecord {
  const { allowedCidrs, blockedCidrs } = service.restrictions;
  const restrictions = { allowedCidrs, blockedCidrs, allowedCountries: [], blockedCountries: [], crowdsecMode: 'off' } as const;
  return { ...service, restrictions };
}

/** Only the name, who may not even connect, and the way to the agent. Without a listen port it is on the one of HTTPS. */
function passedOn(service: ServiceRecord): ServiceRecord {
  return {
    ...service,
    mode: 'tls',
    listenPort: undefined,
    targets: service.targets.map((target) => ({
      ...target,
      path: '/',
      protocol: 'tcp',
      port: agentTlsPort,
      options: { ...defaultTargetOptions, proxyProtocol: true, proxyProtocolVersion: 2 },
    })),
    passHostHeader: false,
    rewriteRedirects: false,
    auth: { oidc: { enabled: false, groups: [] }, password: undefined, pin: undefined, headers: [] },
    access: plainAccess,
    web: defaultWeb,
    stream: defaultStream,
  };
}
