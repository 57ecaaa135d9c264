// The model's words as messages of the proxy service and of our own extension to it, and back (netbird-wire §6.3).
import type { MessageInitShape } from '@bufbuild/protobuf';
import type { AccessLogEntry } from '#model/access-log.ts';
import { formatHostPort } from '#lib/net.ts';
import { asId, type ServiceId } from '#model/ids.ts';
import type { Identity, Revocation, Session } from '#model/identity.ts';
import type { AccessPolicy, ProofKind } from '#model/access.ts';
import type { MappingPath, ServiceMapping, TargetOptions } from '#model/service.ts';
import type { ServiceState } from '#model/status.ts';
import type { IdentitySchema, SessionSchema, WatchRevocationsResponseSchema } from '#wire/proto/gen/meshgate_pb.ts';
import {
  type AccessLog,
  type AuthenticationSchema,
  PathRewriteMode,
  type PathTargetOptionsSchema,
  type ProxyMappingSchema,
  ProxyMappingUpdateType,
  ProxyStatus,
} from '#wire/proto/gen/proxy_service_pb.ts';
import { maxLogText } from './constants.ts';
import { accessExtensionOf } from './translate-access.ts';
import { streamExtensionOf } from './translate-stream.ts';
import { webExtensionOf } from './translate-web.ts';

/** Which of our own descriptions a gateway knows: of web services, of access, and of TCP, TLS and UDP services. */
export interface KnownExtensions {
  readonly web: boolean;
  readonly access: boolean;
  readonly stream: boolean;
}

/** A service, whole: a gateway replaces what it had. */
export function mappingOf(mapping: ServiceMapping, isNew: boolean, known: KnownExtensions): MessageInitShape<typeof ProxyMappingSchema> {
  const web = known.web && mapping.mode === 'http';
  const stream = known.stream && mapping.mode !== 'http';
  return {
    type: isNew ? ProxyMappingUpdateType.UPDATE_TYPE_CREATED : ProxyMappingUpdateType.UPDATE_TYPE_MODIFIED,
    id: mapping.id,
    accountId: mapping.accountId,
    domain: mapping.domain,
    path: (web || stream ? [] : mapping.paths).map((path) => ({
      path: path.path,
      target: targetOf(path, mapping.mode),
      options: optionsOf(path.options),
    })),
    authToken: mapping.authToken,
    auth: authOf(mapping.access),
    passHostHeader: mapping.passHostHeader,
    rewriteRedirects: mapping.rewriteRedirects,
    mode: mapping.mode,
    listenPort: mapping.listenPort ?? 0,
    accessRestrictions: {
      allowedCidrs: [...mapping.restrictions.allowedCidrs],
      blockedCidrs: [...mapping.restrictions.blockedCidrs],
      allowedCountries: [...mapping.restrictions.allowedCountries],
      blockedCountries: [...mapping.restrictions.blockedCountries],
      crowdsecMode: mapping.restrictions.crowdsecMode,
    },
    private: mapping.private,
    ...(web ? { web: webExtensionOf(mapping) } : {}),
    ...(known.access ? { access: accessExtensionOf(mapping) } : {}),
    ...(stream ? { stream: streamExtensionOf(mapping) } : {}),
  };
}

export function removalOf(id: ServiceId, accountId: string): MessageInitShape<typeof ProxyMappingSchema> {
  return { type: ProxyMappingUpdateType.UPDATE_TYPE_REMOVED, id, accountId };
}

/** Stock gateways know one target a path: the first. */
function targetOf(path: MappingPath, mode: ServiceMapping['mode']): string {
  const [target] = path.targets;
  if (target === undefined) throw new TypeError('a path without a target');
  const { protocol, host, port, basePath } = target;
  return mode === 'http' ? `${protocol}://${formatHostPort(host, port)}${basePath}` : formatHostPort(host, port);
}

function optionsOf(options: TargetOptions): MessageInitShape<typeof PathTargetOptionsSchema> {
  return {
    skipTlsVerify: options.skipTlsVerify,
    pathRewrite: options.pathRewrite === 'preserve' ? PathRewriteMode.PATH_REWRITE_PRESERVE : PathRewriteMode.PATH_REWRITE_DEFAULT,
    customHeaders: { ...options.customHeaders },
    proxyProtocol: options.proxyProtocol,
    directUpstream: options.directUpstream,
    ...(options.requestTimeoutMs === undefined ? {} : { requestTimeout: durationOf(options.requestTimeoutMs) }),
    ...(options.sessionIdleTimeoutMs === undefined ? {} : { sessionIdleTimeout: durationOf(options.sessionIdleTimeoutMs) }),
  };
}

/** Which proofs are asked for, as far as NetBird has words; hashes and keys stay here. A gateway that cannot check one denies. */
function authOf({ proofs, session }: AccessPolicy): MessageInitShape<typeof AuthenticationSchema> {
  const alone = (kind: ProofKind): boolean => proofs.some((all) => all.length === 1 && all[0] === kind);
  return {
    ...(session.maxAgeMs === undefined ? {} : { maxSessionAgeSeconds: BigInt(Math.ceil(session.maxAgeMs / 1000)) }),
    oidc: alone('oidc'),
    password: alone('password'),
    pin: alone('pin'),
    headerAuths: alone('header') ? [{}] : [],
  };
}

function durationOf(ms: number): { readonly seconds: bigint; readonly nanos: number } {
  return { seconds: BigInt(Math.floor(ms / 1000)), nanos: Math.round((ms % 1000) * 1e6) };
}

/** A status from a newer gateway that we do not know counts as an error. */
export function stateOf(status: ProxyStatus): ServiceState {
  switch (status) {
    case ProxyStatus.PENDING:
      return 'pending';
    case ProxyStatus.ACTIVE:
      return 'active';
    case ProxyStatus.TUNNEL_NOT_CREATED:
      return 'tunnel_not_created';
    case ProxyStatus.CERTIFICATE_PENDING:
      return 'certificate_pending';
    case ProxyStatus.CERTIFICATE_FAILED:
      return 'certificate_failed';
    case ProxyStatus.ERROR:
      return 'error';
    default:
      return 'error';
  }
}

/** One record of a gateway, with text cut to sane lengths. `now` is for records without a time. */
export function accessLogEntryOf(log: AccessLog, now: number): AccessLogEntry {
  const protocol = (['http', 'tcp', 'udp', 'tls'] as const).find((name) => name === log.protocol.toLowerCase()) ?? 'http';
  return {
    id: cut(log.logId, 64),
    serviceId: log.serviceId === '' ? undefined : asId<ServiceId>(cut(log.serviceId, 64)),
    timestamp: log.timestamp === undefined ? now : Number(log.timestamp.seconds) * 1000 + Math.floor(log.timestamp.nanos / 1e6),
    protocol,
    method: cut(log.method, 32),
    host: cut(log.host, 255),
    path: cut(log.path.split('?', 1)[0] ?? '', maxLogText),
    durationMs: Number(log.durationMs),
    status: log.responseCode,
    sourceIp: cut(log.sourceIp, 64),
    userId: cut(log.userId, 128),
    authMethod: cut(log.authMechanism, 64),
    authSuccess: log.authSuccess,
    bytesUp: Number(log.bytesUpload),
    bytesDown: Number(log.bytesDownload),
    reason: cut(log.metadata['reason'] ?? '', 128),
  };
}

export function cut(text: string, length: number): string {
  return text.slice(0, length).replaceAll(/\p{C}/gu, '');
}

/** `now` is the wall clock by which the session was looked up. */
export function sessionOf(session: Session, now: number): MessageInitShape<typeof SessionSchema> {
  return {
    id: session.id,
    serviceId: session.serviceId,
    identity: identityOf(session.identity),
    proofs: [...(session.proofs ?? [session.identity.method])],
    createdAt: BigInt(Math.trunc(session.createdAt)),
    expiresAt: BigInt(Math.trunc(session.expiresAt)),
    idleMs: BigInt(session.idleMs ?? 0),
    remainingMs: BigInt(Math.max(0, Math.trunc(session.expiresAt - now))),
  };
}

export function identityOf(identity: Identity): MessageInitShape<typeof IdentitySchema> {
  const { userId, email, name, groups, groupIds = [], claims = {}, administrator = false, method, device = '' } = identity;
  const said = Object.entries(claims).map(([claim, values]) => ({ name: claim, values: [...values] }));
  return { userId, email, name, groups: [...groups], groupIds: [...groupIds], claims: said, administrator, method, device };
}

export function revocationOf(revocation: Revocation): Pick<MessageInitShape<typeof WatchRevocationsResponseSchema>, 'event'> {
  switch (revocation.kind) {
    case 'session':
      return { event: { case: 'sessionDigest', value: revocation.digest } };
    case 'user':
      return { event: { case: 'userId', value: revocation.userId } };
    case 'service':
      return { event: { case: 'serviceId', value: revocation.serviceId } };
    case 'token':
      return { event: { case: 'tokenDigest', value: revocation.digest } };
  }
}
