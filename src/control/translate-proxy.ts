// Messages of the proxy service and of our own extension as the model's words, and back. A mapping that cannot be read whole is
// dropped: publishing half a service would open what was meant to be closed.
import type { MessageInitShape } from '@bufbuild/protobuf';
import type { AccessLogEntry } from '#model/access-log.ts';
import { parseHostPort } from '#lib/net.ts';
import { asId, type AccountId, type GroupId, type ServiceId, type SessionId, type UserId } from '#model/ids.ts';
import type { Device, Identity, Revocation, Session, TokenCheck } from '#model/identity.ts';
import {
  type AccessRestrictions,
  defaultTargetOptions,
  type MappingPath,
  type MappingTarget,
  noRestrictions,
  type ServiceMapping,
  type ServiceMode,
  serviceModes,
  type TargetOptions,
  type TargetProtocol,
} from '#model/service.ts';
import type { ServiceState } from '#model/status.ts';
import { plainAccess, proofKinds, signInProofs, type AccessPolicy } from '#model/access.ts';
import { defaultStream } from '#model/stream.ts';
import { defaultWeb } from '#model/web.ts';
import type {
  Device as DeviceMessage,
  Identity as IdentityMessage,
  Session as SessionMessage,
  VerifyPeerResponse,
  VerifyServiceTokenResponse,
  WatchRevocationsResponse,
} from '#wire/proto/gen/meshgate_pb.ts';
import {
  type AccessLogSchema,
  type AccessRestrictions as RestrictionsMessage,
  type Authentication,
  type PathMapping,
  PathRewriteMode,
  type PathTargetOptions,
  type ProxyMapping,
  ProxyStatus,
} from '#wire/proto/gen/proxy_service_pb.ts';
import { maxPathsPerMapping } from './constants.ts';
import { urlTarget } from './translate-target.ts';
import { accessFrom } from './translate-access.ts';
import { streamFrom } from './translate-stream.ts';
import { webFrom } from './translate-web.ts';

/** A session's life where the control plane does not say, as stock gateways have it. */
const defaultSessionMs = 24 * 3_600_000;

/** The service, or why it cannot be published. */
export function mappingFrom(message: ProxyMapping): ServiceMapping | { readonly unusable: string } {
  const mode = modeFrom(message.mode);
  if (mode === undefined) return { unusable: 'unknown mode' };
  const domain = message.domain.toLowerCase().replace(/\.$/, '');
  if (message.id === '' || domain === '' || domain.length > 253) return { unusable: 'no id or no domain' };
  if (message.path.length > maxPathsPerMapping) return { unusable: 'too many paths' };
  const paths = message.path.map((path) => pathFrom(path, mode));
  // A newer control plane may ask for what we do not know; without it the service would be more open than it is meant to be.
  if (saysMore(message.auth)) return { unusable: 'a proof of an unknown kind' };
  const restrictions = restrictionsFrom(message.accessRestrictions);
  if (restrictions === undefined) return { unusable: 'access restrictions of an unknown kind' };
  if (paths.some((path) => path === undefined)) return { unusable: 'a target that cannot be read' };
  const plain = { paths: paths.filter((path) => path !== undefined), web: defaultWeb, stream: defaultStream };
  const parts = mode === 'http' ? message.web && webFrom(message.web) : message.stream && streamFrom(message.stream, mode, message.listenPort);
  if (parts !== undefined && 'unusable' in parts) return parts;
  const access = message.access === undefined ? plainAccessFrom(message.auth) : accessFrom(message.access);
  if ('unusable' in access) return access;
  return {
    id: asId<ServiceId>(message.id),
    accountId: asId<AccountId>(message.accountId),
    domain,
    mode,
    listenPort: message.listenPort >= 1 && message.listenPort <= 65_535 ? message.listenPort : undefined,
    ...plain,
    ...parts,
    passHostHeader: message.passHostHeader,
    rewriteRedirects: message.rewriteRedirects,
    restrictions,
    access,
    private: message.private,
    authToken: message.authToken,
  };
}

/** Older control planes leave the mode of web services out. */
function modeFrom(text: string): ServiceMode | undefined {
  return text === '' ? 'http' : serviceModes.find((mode) => mode === text);
}

function pathFrom(message: PathMapping, mode: ServiceMode): MappingPath | undefined {
  const target = mode === 'http' ? urlTarget(message.target) : streamTarget(message.target, mode);
  if (target === undefined) return undefined;
  return { path: message.path.startsWith('/') ? message.path : `/${message.path}`, targets: [target], options: optionsFrom(message.options) };
}

function streamTarget(text: string, mode: ServiceMode): MappingTarget | undefined {
  const target = parseHostPort(text);
  const protocol: TargetProtocol = mode === 'udp' ? 'udp' : 'tcp';
  return target === undefined || target.port === 0 ? undefined : { protocol, ...target, basePath: '', weight: 1 };
}

function optionsFrom(options: PathTargetOptions | undefined): TargetOptions {
  return {
    ...defaultTargetOptions,
    skipTlsVerify: options?.skipTlsVerify ?? false,
    requestTimeoutMs: durationMs(options?.requestTimeout),
    pathRewrite: options?.pathRewrite === PathRewriteMode.PATH_REWRITE_PRESERVE ? 'preserve' : 'strip',
    customHeaders: { ...options?.customHeaders },
    proxyProtocol: options?.proxyProtocol ?? false,
    sessionIdleTimeoutMs: durationMs(options?.sessionIdleTimeout),
    directUpstream: options?.directUpstream ?? false,
  };
}

function durationMs(duration: { readonly seconds: bigint; readonly nanos: number } | undefined): number | undefined {
  const ms = duration === undefined ? 0 : Number(duration.seconds) * 1000 + duration.nanos / 1e6;
  return ms > 0 && ms <= Number.MAX_SAFE_INTEGER ? ms : undefined;
}

/** Whether the message has fields that our version of it lacks. */
function saysMore(message: { readonly $unknown?: readonly unknown[] | undefined } | undefined): boolean {
  return message?.$unknown !== undefined && message.$unknown.length > 0;
}

/** What NetBird's own words ask for: any one of the proofs that are switched on. */
function plainAccessFrom(auth: Authentication | undefined): AccessPolicy {
  const ageMs = Number(auth?.maxSessionAgeSeconds ?? 0n) * 1000;
  return {
    ...plainAccess,
    proofs: [
      ...(auth?.oidc === true ? signInProofs : []),
      ...(auth?.password === true ? [['password'] as const] : []),
      ...(auth?.pin === true ? [['pin'] as const] : []),
      ...(auth !== undefined && auth.headerAuths.length > 0 ? [['header'] as const] : []),
    ],
    session: { maxAgeMs: ageMs > 0 ? ageMs : defaultSessionMs, idleMs: undefined },
  };
}

function restrictionsFrom(message: RestrictionsMessage | undefined): AccessRestrictions | undefined {
  if (message === undefined) return noRestrictions;
  const crowdsecMode = (['off', 'enforce', 'observe'] as const).find((mode) => mode === (message.crowdsecMode || 'off'));
  if (crowdsecMode === undefined || saysMore(message)) return undefined;
  const { allowedCidrs, blockedCidrs, allowedCountries, blockedCountries } = message;
  return { allowedCidrs, blockedCidrs, allowedCountries, blockedCountries, crowdsecMode };
}

const statusOfState: Readonly<Record<ServiceState, ProxyStatus>> = {
  pending: ProxyStatus.PENDING,
  active: ProxyStatus.ACTIVE,
  tunnel_not_created: ProxyStatus.TUNNEL_NOT_CREATED,
  certificate_pending: ProxyStatus.CERTIFICATE_PENDING,
  certificate_failed: ProxyStatus.CERTIFICATE_FAILED,
  error: ProxyStatus.ERROR,
};

export function statusMessageOf(state: ServiceState): ProxyStatus {
  return statusOfState[state];
}

export function accessLogMessageOf(entry: AccessLogEntry, accountId: AccountId): MessageInitShape<typeof AccessLogSchema> {
  return {
    timestamp: { seconds: BigInt(Math.floor(entry.timestamp / 1000)), nanos: Math.round(entry.timestamp % 1000) * 1_000_000 },
    logId: entry.id,
    accountId,
    serviceId: entry.serviceId ?? '',
    host: entry.host,
    path: entry.path,
    durationMs: BigInt(Math.max(0, Math.round(entry.durationMs))),
    method: entry.method,
    responseCode: entry.status,
    sourceIp: entry.sourceIp,
    authMechanism: entry.authMethod,
    userId: entry.userId,
    authSuccess: entry.authSuccess,
    bytesUpload: BigInt(Math.round(entry.bytesUp)),
    bytesDownload: BigInt(Math.round(entry.bytesDown)),
    protocol: entry.protocol,
    metadata: { reason: entry.reason, ...(entry.rule === undefined ? {} : { rule: entry.rule }) },
  };
}

/** Undefined where the session makes no sense: it is then treated as none. `now` is our wall clock, in which its end is told. */
export function sessionFrom(message: SessionMessage, now: number): Session | undefined {
  const identity = message.identity === undefined ? undefined : identityFrom(message.identity);
  if (identity === undefined || message.id === '' || message.serviceId === '') return undefined;
  return {
    id: asId<SessionId>(message.id),
    serviceId: asId<ServiceId>(message.serviceId),
    identity,
    proofs: message.proofs.length === 0 ? undefined : message.proofs.flatMap((word) => proofKinds.find((known) => known === word) ?? []),
    createdAt: Number(message.createdAt),
    expiresAt: message.remainingMs === undefined ? Number(message.expiresAt) : now + Number(message.remainingMs),
    idleMs: message.idleMs > 0n ? Number(message.idleMs) : undefined,
  };
}

export function identityFrom(message: IdentityMessage): Identity | undefined {
  const method = proofKinds.find((known) => known === message.method);
  if (method === undefined || message.userId === '') return undefined;
  return {
    userId: asId<UserId>(message.userId),
    email: message.email,
    name: message.name,
    groups: message.groups.toSorted(),
    groupIds: message.groupIds.map((id) => asId<GroupId>(id)),
    claims: Object.fromEntries(message.claims.map(({ name, values }) => [name, values])),
    administrator: message.administrator,
    method,
    ...(message.device === '' ? {} : { device: message.device }),
  };
}

export function deviceFrom({ id, name, createdAt, lastUsed }: DeviceMessage): Device {
  return { id, name, createdAt: Number(createdAt), lastUsed: lastUsed === 0n ? undefined : Number(lastUsed) };
}

/** Whom an answer about somebody's credential means. */
export function checkFrom(result: VerifyServiceTokenResponse['result'] | VerifyPeerResponse['result']): TokenCheck | undefined {
  if (result.case === 'denied') return { kind: 'denied', why: result.value === 'group_not_allowed' ? 'group_not_allowed' : 'token_invalid' };
  const identity = result.case === 'identity' ? identityFrom(result.value) : undefined;
  return identity === undefined ? undefined : { kind: 'valid', identity };
}

/** What the message revokes; undefined for what is no revocation. */
export function revocationFrom(message: WatchRevocationsResponse): Revocation | undefined {
  const { event } = message;
  switch (event.case) {
    case 'sessionDigest':
      return { kind: 'session', digest: event.value };
    case 'userId':
      return { kind: 'user', userId: asId<UserId>(event.value) };
    case 'serviceId':
      return { kind: 'service', serviceId: asId<ServiceId>(event.value) };
    case 'tokenDigest':
      return { kind: 'token', digest: event.value };
    case 'peersChanged':
    case 'ready':
    case 'heartbeat':
    case undefined:
      return undefined;
  }
}
