// Whether a service can be reached through this gateway, and if not, the one thing that is missing: a pure function of what is known.
import { parseIp, parsePrefix, prefixContains } from '#lib/ip.ts';
import { asksFor, type ProofAlternatives } from '#model/access.ts';
import { formatHostPort } from '#lib/net.ts';
import { matchesDomain } from '#model/dns.ts';
import type { MappingPath, ServiceMapping } from '#model/service.ts';
import { compileClientRule, type GeoLookup, policyProblem, type Reputation, streamRefusal } from '#publish/index.ts';
import { listenPorts } from '#model/stream.ts';
import type { CertificateStatus, MeshStatus, PeerPathStatus, RouteStatus, ServiceStatus } from '#model/status.ts';

export interface Surroundings {
  /** What policies are decided by. */
  readonly geo: Pick<GeoLookup, 'problem'>;
  readonly reputation: Pick<Reputation, 'problem'>;
  /** Whether a certificate for the host is at hand. */
  readonly certificate: (host: string) => boolean;
  /** Of the host's automatic certificate; undefined where it has none. */
  readonly automatic: (host: string) => CertificateStatus | undefined;
  /** Why the certificate directory has none, where it says. */
  readonly certificateProblem: (host: string) => string;
  /** Why a service's own port is not open; empty where it is. */
  /** Of HTTPS. */
  readonly publicPort: number;
  readonly portProblem: (protocol: 'tcp' | 'udp', port: number) => string;
  /** Whether a tls service takes the name on the port of HTTPS. */
  readonly nameTaken: (domain: string) => boolean;
  /** Why a target gets no requests of this service now; empty where it does. */
  readonly leftOut: (host: string, port: number) => string;
  /** Undefined while this gateway has not joined the mesh. */
  readonly mesh: MeshStatus | undefined;
}

/** The first thing that is missing, in the order of a request's way. */
export function serviceState(mapping: ServiceMapping, around: Surroundings): ServiceStatus {
  const refused = mapping.mode === 'http' ? webRefusal(mapping) : streamRefusal(mapping);
  if (refused !== undefined) return { state: 'error', reason: refused };
  const closed = restrictionProblem(mapping, around);
  if (closed !== '') return { state: 'error', reason: `everybody is denied: ${closed}` };
  // People sign in for a stream service at a page of its name.
  const here = mapping.mode === 'http' || mapping.stream.termination !== undefined;
  const page = here || asksFor(mapping.access, 'oidc') ? certificateState(mapping, around) : undefined;
  const way = (mapping.mode === 'http' ? nameState(mapping, around) : portState(mapping, around)) ?? page;
  if (way !== undefined) return way;
  const { mesh } = around;
  const overlay = mapping.paths.some(({ options }) => !options.directUpstream);
  if (overlay && mesh?.address === undefined) return { state: 'tunnel_not_created', reason: 'the gateway has not joined the mesh yet' };
  let less = ruleProblem(mapping, around);
  for (const path of mapping.paths) {
    const state = pathState(path, mesh, around);
    if (state.state !== 'active') return state;
    if (less === '') less = state.reason;
  }
  return active(mapping, less);
}

/** Why nobody can be let in by the service's restrictions; empty where somebody can. */
function restrictionProblem({ restrictions }: ServiceMapping, { geo, reputation }: Surroundings): string {
  const { allowedCountries, blockedCountries, crowdsecMode } = restrictions;
  const country = allowedCountries.length + blockedCountries.length > 0 ? geo.problem('countries') : '';
  return country === '' && crowdsecMode === 'enforce' ? reputation.problem() : country;
}

/** What the access rules ask for and cannot be told: such a rule denies, and lets nobody in. */
function ruleProblem({ access }: ServiceMapping, { geo }: Surroundings): string {
  for (const { name, when } of access.rules) {
    const problem = (when.countries.length > 0 ? geo.problem('countries') : '') || (when.networks.length > 0 ? geo.problem('networks') : '');
    if (problem !== '') return `warning: the access rule "${name}" cannot be decided: ${problem}`;
  }
  return '';
}

/** Whether one target at least takes the path's requests; where not all of them do, the reason says how many. */
function pathState({ targets, options }: MappingPath, mesh: MeshStatus | undefined, around: Surroundings): ServiceStatus {
  const problems = targets.flatMap(({ host, port }) => {
    const missing = options.directUpstream || mesh === undefined ? '' : targetProblem(host, mesh);
    const problem = missing === '' ? around.leftOut(host, port) : missing;
    return problem === '' ? [] : [{ place: formatHostPort(host, port), problem, missing: missing !== '' }];
  });
  const [first] = problems;
  if (first === undefined) return { state: 'active', reason: '' };
  const well = targets.length - problems.length;
  const reason =
    targets.length === 1 && first.missing ? first.problem : `${well} of ${targets.length} targets healthy: ${first.place}: ${first.problem}`;
  return { state: well > 0 ? 'active' : problems.some(({ missing }) => missing) ? 'tunnel_not_created' : 'error', reason };
}

/** Why nobody gets through to a web service, whoever it is. */
function webRefusal({ access, paths, web }: ServiceMapping): string | undefined {
  const problem = policyProblem(access, web.clientCertificate);
  if (problem !== undefined) return problem;
  const clients = web.clientCertificate && compileClientRule(web.clientCertificate);
  if (clients !== undefined && 'problem' in clients) return clients.problem;
  return paths.length === 0 && web.answers.length === 0 ? 'the service has no enabled target' : undefined;
}

function certificateState({ domain }: ServiceMapping, around: Surroundings): ServiceStatus | undefined {
  if (around.certificate(domain)) return undefined;
  const automatic = around.automatic(domain);
  if (automatic !== undefined) return waitingState(domain, automatic);
  const problem = around.certificateProblem(domain);
  return { state: 'certificate_pending', reason: problem === '' ? `no certificate for ${domain}: put one into the gateway's certDir` : problem };
}

function nameState({ domain }: ServiceMapping, around: Surroundings): ServiceStatus | undefined {
  return around.nameTaken(domain)
    ? { state: 'error', reason: `a tls service has the name ${domain} on port ${around.publicPort}, the one of HTTPS. Give it another port` }
    : undefined;
}

/** Nobody needs a page for it. */
function byCertificate(all: ProofAlternatives[number]): boolean {
  return all.every((kind) => kind === 'certificate');
}

function portState({ mode, listenPort, access, stream }: ServiceMapping, around: Surroundings): ServiceStatus | undefined {
  if (mode === 'tls' && access.proofs.length > 0 && !access.proofs.some(byCertificate) && listenPort === around.publicPort) {
    return { state: 'error', reason: 'nobody could sign in: the service takes its name on the port of HTTPS. Give it another port' };
  }
  // The one of HTTPS: TLS ends at the agent.
  if (listenPort === undefined && mode === 'tls') return undefined;
  if (listenPort === undefined) return { state: 'error', reason: 'the service has no port' };
  const ports = listenPorts(listenPort, stream.portRanges);
  const problems = ports.flatMap((port) => {
    const problem = around.portProblem(mode === 'udp' ? 'udp' : 'tcp', port);
    return problem === '' ? [] : [{ port, problem }];
  });
  const [first] = problems;
  if (first === undefined) return undefined;
  if (ports.length === 1) return { state: 'error', reason: first.problem };
  const shown = problems.slice(0, 3).map(({ port, problem }) => `${port}: ${problem}`);
  const more = problems.length > shown.length ? [`and ${problems.length - shown.length} more`] : [];
  return { state: 'error', reason: `${problems.length} of ${ports.length} ports are not open: ${[...shown, ...more].join('; ')}` };
}

/** Served; what its owner has switched off is said all the same (attack row T-17). */
function active({ paths }: ServiceMapping, less: string): ServiceStatus {
  const unchecked = paths.flatMap(({ targets, options }) =>
    options.skipTlsVerify ? targets.filter(({ protocol }) => protocol === 'https').map(({ host, port }) => formatHostPort(host, port)) : [],
  );
  const shown = unchecked.slice(0, 3).join(', ') + (unchecked.length > 3 ? ' and others' : '');
  const warning = unchecked.length === 0 ? '' : `warning: the certificate of ${shown} is not checked (skip_tls_verify)`;
  return { state: 'active', reason: [less, warning].filter((text) => text !== '').join('; ') };
}

/** A certificate that is ordered: on its way, or why not and what comes next. */
function waitingState(host: string, { state, reason, nextAction, nextAt }: CertificateStatus): ServiceStatus {
  const next = nextAction === '' ? '' : `; next: ${nextAction}${nextAt === undefined ? '' : ` at ${nextAt}`}`;
  if (state === 'failed') return { state: 'certificate_failed', reason: `no certificate for ${host}: ${reason}${next}` };
  return { state: 'certificate_pending', reason: `the certificate for ${host} is being ordered${reason === '' ? '' : `: ${reason}`}` };
}

/** Why a target cannot be reached: its peer, or who carries its network; empty where it can. */
function targetProblem(host: string, mesh: MeshStatus): string {
  const peer = mesh.peers.find(({ addresses, fqdn }) => fqdn === host || addresses.includes(host));
  if (peer !== undefined) return pathProblem(peer, host);
  const route = routeTo(host, mesh.routes);
  const ip = parseIp(host);
  // A name may stand in a zone of the network, or with one of its name servers: dialling it says more.
  if (route === undefined)
    return ip === undefined ? '' : `${host} is no peer that this gateway may see, and in no network that a peer leads to; was it deleted?`;
  const router = mesh.peers.find(({ publicKey }) => publicKey === route.router);
  return router === undefined ? `no peer that leads to ${route.network} (${host}) is there` : pathProblem(router, host);
}

function pathProblem(peer: PeerPathStatus, host: string): string {
  // A lazy peer's path is made with its first request.
  if (peer.path !== undefined || peer.state === 'idle') return '';
  return `${peer.fqdn} (${host}) is not connected: ${peer.reason === '' ? 'no path to it yet' : peer.reason}`;
}

/** The longest prefix that holds an address, or the route of a name. */
function routeTo(host: string, routes: readonly RouteStatus[]): RouteStatus | undefined {
  const ip = parseIp(host);
  if (ip === undefined) return routes.find(({ to }) => to.split(' ').some((domain) => matchesDomain(domain, host)));
  const holding = routes.flatMap((route) => {
    const prefix = parsePrefix(route.to);
    return prefix !== undefined && prefixContains(prefix, ip) ? [{ route, bits: prefix.bits }] : [];
  });
  return holding.toSorted((a, b) => b.bits - a.bits)[0]?.route;
}
