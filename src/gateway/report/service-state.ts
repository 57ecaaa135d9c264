// Whether a service can be reached through this gateway, and if not, the one thing that is missing: a pure function of what is known.
import type { ServiceMapping } from '#model/service.ts';
import type { MeshStatus, ServiceStatus } from '#model/status.ts';

export interface Surroundings {
  /** Whether a certificate for the host is at hand. */
  readonly certificate: (host: string) => boolean;
  /** Why the certificate directory has none, where it says. */
  readonly certificateProblem: (host: string) => string;
  /** Undefined while this gateway has not joined the mesh. */
  readonly mesh: MeshStatus | undefined;
}

/** The first thing that is missing, in the order of a request's way. */
export function serviceState(mapping: ServiceMapping, around: Surroundings): ServiceStatus {
  if (mapping.mode !== 'http') return { state: 'error', reason: `${mapping.mode} services are not served by this version of the gateway` };
  if (mapping.private) return { state: 'error', reason: 'private services are not served by this version of the gateway' };
  if (mapping.auth.unsupported.length > 0 && !mapping.auth.oidc) {
    return {
      state: 'error',
      reason: `sign-in by ${mapping.auth.unsupported.join(', ')} is not supported by this version of the gateway; enable sign-in by the identity provider`,
    };
  }
  const { allowedCountries, blockedCountries, crowdsecMode } = mapping.restrictions;
  if (allowedCountries.length + blockedCountries.length > 0) return { state: 'error', reason: 'countries cannot be checked by this gateway' };
  if (crowdsecMode === 'enforce') return { state: 'error', reason: 'CrowdSec cannot be asked by this gateway' };
  if (mapping.paths.length === 0) return { state: 'error', reason: 'the service has no enabled target' };
  if (!around.certificate(mapping.domain)) {
    const problem = around.certificateProblem(mapping.domain);
    return {
      state: 'certificate_pending',
      reason: problem === '' ? `no certificate for ${mapping.domain}: put one into the gateway's certDir` : problem,
    };
  }
  const overlayPaths = mapping.paths.filter(({ options }) => !options.directUpstream);
  if (overlayPaths.length === 0) return { state: 'active', reason: '' };
  if (around.mesh?.address === undefined) return { state: 'tunnel_not_created', reason: 'the gateway has not joined the mesh yet' };
  const missing = overlayPaths.map(({ target }) => targetProblem(target.host, around.mesh)).find((problem) => problem !== '');
  return missing === undefined ? { state: 'active', reason: '' } : { state: 'tunnel_not_created', reason: missing };
}

/** Why a target's peer cannot be reached; empty where it can. */
function targetProblem(host: string, mesh: MeshStatus | undefined): string {
  const peer = mesh?.peers.find(({ addresses, fqdn }) => fqdn === host || addresses.includes(host));
  if (peer === undefined) return `${host} is no peer that this gateway may see; was it deleted?`;
  // A lazy peer's path is made with its first request.
  if (peer.path === undefined && peer.state !== 'idle')
    return `${peer.fqdn} (${host}) is not connected: ${peer.reason === '' ? 'no path to it yet' : peer.reason}`;
  return '';
}
