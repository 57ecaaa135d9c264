// Services as gateways get them: only what is enabled, only targets that exist.
import type { AccountId } from '#model/ids.ts';
import { asksFor, signInProofs, type CredentialHeader, type ProofAlternatives } from '#model/access.ts';
import type { ClientCertificateRule } from '#model/client-certificate.ts';
import type { MappingPath, ServiceAuth, ServiceMapping } from '#model/service.ts';
import type { ServiceState, ServiceStatus } from '#model/status.ts';
import type { GatewayReport, ServiceRecord } from '../store/service-table.ts';
import type { AccountSettings } from './contract.ts';
import type { OneTimeTokens } from './one-time-tokens.ts';
import type { Sealer } from './seal.ts';
import { sessionTimes } from './session-times.ts';
import type { TargetHosts } from './target-hosts.ts';
import { openTls } from './upstream-keys.ts';

/** The mapping with a fresh one-time token, or undefined where the service is disabled or has no target left. */
export function mappingOf(
  service: ServiceRecord,
  accountId: AccountId,
  hosts: TargetHosts,
  sealer: Sealer,
  tokens: OneTimeTokens,
  settings: AccountSettings,
  clientAuthority: string,
): ServiceMapping | undefined {
  if (!service.enabled) return undefined;
  const paths = pathsOf(service, hosts, sealer);
  if (paths.length === 0 && service.web.answers.length === 0) return undefined;
  return {
    id: service.id,
    accountId,
    domain: service.domain,
    mode: service.mode,
    listenPort: service.listenPort,
    paths,
    passHostHeader: service.passHostHeader,
    rewriteRedirects: service.rewriteRedirects,
    restrictions: service.restrictions,
    access: {
      ...service.access,
      proofs: proofsOf(service),
      headers: headersOf(service.auth),
      session: sessionTimes(service, settings),
    },
    private: service.private,
    web: { ...service.web, clientCertificate: withAuthority(service.web.clientCertificate, clientAuthority) },
    stream: {
      ...service.stream,
      termination: service.stream.termination && {
        ...service.stream.termination,
        clientCertificate: withAuthority(service.stream.termination.clientCertificate, clientAuthority),
      },
    },
    authToken: tokens.issue(service.id),
  };
}

function withAuthority(rule: ClientCertificateRule | undefined, authority: string): ClientCertificateRule | undefined {
  return rule?.account === true ? { ...rule, ca: authority } : rule;
}

/** Targets with the same path and match are one path that shares the load; what is asked of one of them is asked of all (service-rules). */
function pathsOf(service: ServiceRecord, hosts: TargetHosts, sealer: Sealer): readonly MappingPath[] {
  const paths = new Map<string, MappingPath>();
  for (const target of service.targets) {
    if (!target.enabled) continue;
    const { path, protocol, port, options } = target;
    for (const host of hosts.hostsOf(target)) {
      const key = `${path} ${JSON.stringify(options.match)}`;
      const there = paths.get(key);
      const targets = [...(there?.targets ?? []), { protocol, host, port, basePath: '', weight: options.weight }];
      paths.set(key, { path, targets, options: there?.options ?? { ...options, tls: openTls(sealer, service.id, options.tls) } });
    }
  }
  return [...paths.values()];
}

interface Switched {
  readonly enabled: boolean;
}

/** What of a service says which proofs are asked for. */
interface SwitchedProofs {
  readonly private: boolean;
  /** Of what the service asks TLS clients for. */
  readonly stream: { readonly termination: { readonly clientCertificate: ClientCertificateRule | undefined } | undefined };
  readonly web: { readonly clientCertificate: ClientCertificateRule | undefined };
  readonly access: Pick<ServiceRecord['access'], 'proofs' | 'devices'>;
  readonly auth: {
    readonly oidc: Switched;
    readonly password: Switched | undefined;
    readonly pin: Switched | undefined;
    readonly headers: readonly Switched[];
    readonly basic?: Switched | undefined;
    readonly link?: Switched | undefined;
  };
}

/** The alternatives that the service's policy names, or else any one of the proofs that are switched on. */
export function proofsOf({ access, auth, private: isPrivate, stream, web }: SwitchedProofs): ProofAlternatives {
  if (isPrivate) return access.proofs.length > 0 ? access.proofs : [['peer']];
  // A device was paired by somebody who had proven all the rest.
  const devices: ProofAlternatives = access.devices && !access.proofs.some((all) => all.includes('device')) ? [['device']] : [];
  if (access.proofs.length > 0) return [...access.proofs, ...devices];
  return [
    ...devices,
    ...(auth.oidc.enabled ? signInProofs : []),
    ...((stream.termination?.clientCertificate ?? web.clientCertificate)?.account === true ? [['certificate'] as const] : []),
    ...(auth.password?.enabled === true ? [['password'] as const] : []),
    ...(auth.pin?.enabled === true ? [['pin'] as const] : []),
    ...(auth.headers.some((header) => header.enabled) ? [['header'] as const] : []),
    ...(auth.basic?.enabled === true ? [['basic'] as const] : []),
    ...(auth.link?.enabled === true ? [['link'] as const] : []),
  ];
}

function headersOf({ headers }: ServiceAuth): readonly CredentialHeader[] {
  const enabled = headers.filter((header) => header.enabled).map(({ header, keep = false }) => ({ name: header.toLowerCase(), keep }));
  // Of several values of one header, one that is kept keeps all.
  return [...new Set(enabled.map(({ name }) => name))].map((name) => ({ name, keep: enabled.some((one) => one.name === name && one.keep) }));
}

/** Whether peers of its access groups may come to it over the mesh. A wildcard has no address of its own that could be told. */
export function isForPeers({ mode, domain, private: isPrivate, access, accessGroups }: ServiceRecord): boolean {
  return mode === 'http' && accessGroups.length > 0 && !domain.startsWith('*') && (isPrivate || asksFor(access, 'peer'));
}

/** From what needs somebody's hand to what is well. */
const severity: readonly ServiceState[] = ['error', 'certificate_failed', 'tunnel_not_created', 'certificate_pending', 'pending', 'active'];

/**
 * One status out of what several gateways say: the worst, so that one good gateway does not hide a bad one. Where there are several, the reason
 * says which of them it is, by the name of its token, and by its id where they share one.
 */
export function worstStatus(enabled: boolean, reports: readonly GatewayReport[]): ServiceStatus {
  if (!enabled) return { state: 'pending', reason: 'The service is switched off.' };
  for (const state of severity) {
    const those = reports.filter((entry) => entry.state === state);
    const first = those.find(({ reason }) => reason !== '') ?? those[0];
    if (first === undefined) continue;
    const { reason, token, proxyId } = first;
    if (reports.length === 1 || reason === '') return { state, reason };
    const alone = token !== undefined && reports.every((other) => other === first || other.token !== token);
    const name = alone ? token : `${token ?? 'unknown'} (${proxyId.slice(0, 8)})`;
    return { state, reason: `At ${those.filter((entry) => entry.reason !== '').length} of ${reports.length} gateways, such as ${name}: ${reason}` };
  }
  return { state: 'pending', reason: 'No gateway of the cluster has reported yet. Check that one is connected.' };
}
