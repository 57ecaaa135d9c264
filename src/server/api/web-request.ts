// Our own part of a service's body: what its gateway does with web requests beyond NetBird's shapes.
import { boolean, convert, duration, integer, list, object, oneOf, optional, record, type Schema, string, union } from '#lib/schema.ts';
import type { TargetOptions } from '#model/service.ts';
import { upstreamVersions } from '#model/service.ts';
import {
  balancingStrategies,
  defaultWeb,
  type HeaderEdits,
  matchesAll,
  type OwnAnswer,
  type PathRewrite,
  redirectStatuses,
  retryStatuses,
  type RetryStatus,
  type RouteMatch,
  stickyKinds,
  type WebOptions,
} from '#model/web.ts';
import { clientCertificate } from './stream-request.ts';

/** Absent, `preserve`, or one of the objects. */
const pathRewrite: Schema<PathRewrite> = union([
  oneOf(['preserve', 'strip']),
  convert(object({ replace: string({ min: 0, max: 1024 }) }), ({ replace }) => ({ kind: 'replace', prefix: replace }) as const),
  convert(
    object({ pattern: string({ max: 512 }), replacement: string({ min: 0, max: 1024 }) }),
    ({ pattern, replacement }) => ({ kind: 'regex', pattern, replacement }) as const,
  ),
]);

const methods = (): Schema<readonly string[]> =>
  list(string({ max: 32, pattern: /^[A-Za-z][A-Za-z-]*$/, hint: 'must be a method such as GET' }), { default: [], max: 32 });

const headerMatches = (): Schema<RouteMatch['headers']> =>
  list(
    convert(object({ name: string({ max: 128 }), value: optional(string({ min: 0, max: 4096 })) }), ({ name, value }) => ({ name, value })),
    { default: [], max: 16 },
  );

const matchFields = { exact: boolean({ default: false }), methods: methods(), headers: headerMatches() };

function matchOf(fields: { readonly exact: boolean; readonly methods: readonly string[]; readonly headers: RouteMatch['headers'] }): RouteMatch {
  return { exact: fields.exact, methods: fields.methods.map((method) => method.toUpperCase()), headers: fields.headers };
}

const pem = (): Schema<string | undefined> => optional(string({ min: 0, max: 65_536 }));

/** Beside NetBird's options of a target. */
export const targetWebFields = {
  path_rewrite: optional(pathRewrite),
  proxy_protocol_version: optional(integer({ min: 1, max: 2 })),
  match: optional(object(matchFields)),
  weight: integer({ max: 1000, default: 1 }),
  http_version: oneOf(upstreamVersions, { default: 'http/1.1' }),
  tls: optional(
    object({
      ca: pem(),
      server_name: optional(string({ min: 0, max: 253 })),
      client_certificate: pem(),
      client_key: optional(string({ min: 0, max: 65_536, secret: true })),
    }),
  ),
};

interface TargetWeb {
  readonly path_rewrite: PathRewrite | undefined;
  readonly proxy_protocol_version: number | undefined;
  readonly match: Parameters<typeof matchOf>[0] | undefined;
  readonly weight: number;
  readonly http_version: TargetOptions['httpVersion'];
  readonly tls: { readonly [Key in 'ca' | 'server_name' | 'client_certificate' | 'client_key']: string | undefined } | undefined;
}

export function targetWebOf(
  fields: TargetWeb,
): Pick<TargetOptions, 'pathRewrite' | 'proxyProtocolVersion' | 'match' | 'weight' | 'httpVersion' | 'tls'> {
  const { tls } = fields;
  return {
    pathRewrite: fields.path_rewrite ?? 'strip',
    proxyProtocolVersion: fields.proxy_protocol_version === 1 ? 1 : 2,
    match: fields.match === undefined ? matchesAll : matchOf(fields.match),
    weight: fields.weight,
    httpVersion: fields.http_version,
    tls: {
      ca: tls?.ca === '' ? undefined : tls?.ca,
      serverName: tls?.server_name === '' ? undefined : tls?.server_name,
      clientCertificate: tls?.client_certificate === '' ? undefined : tls?.client_certificate,
      clientKey: tls?.client_key === '' ? undefined : tls?.client_key,
    },
  };
}

const values = (): Schema<Readonly<Record<string, string>>> => record(string({ min: 0 }), { default: {}, max: 32 });

const edits = (): Schema<HeaderEdits> =>
  convert(object({ remove: list(string({ max: 128 }), { default: [], max: 32 }), set: values(), add: values() }), (fields) => fields);

const answer: Schema<OwnAnswer> = convert(
  object({
    path: string({ max: 1024, pattern: /^\//, hint: 'must begin with /' }),
    ...matchFields,
    respond: optional(
      object({
        status: integer({ min: 200, max: 599, default: 200 }),
        content_type: string({ max: 255, default: 'text/plain; charset=utf-8' }),
        body: string({ min: 0, max: 65_536, default: '' }),
      }),
    ),
    redirect: optional(object({ status: integer({ default: 302 }), location: string({ max: 2048 }), keep_path: boolean({ default: false }) })),
  }),
  ({ path, respond, redirect, ...match }, refuse) => {
    const route = { path, match: matchOf(match) };
    if (respond !== undefined && redirect === undefined) {
      return { ...route, answer: { kind: 'respond', status: respond.status, contentType: respond.content_type, body: respond.body } };
    }
    if (redirect === undefined || respond !== undefined) return refuse('must have either respond or redirect');
    const status = redirectStatuses.find((known) => known === redirect.status);
    if (status === undefined) return refuse(`must be one of ${redirectStatuses.join(', ')}`, '.redirect.status');
    return { ...route, answer: { kind: 'redirect', status, location: redirect.location, keepPath: redirect.keep_path } };
  },
);

const healthCheck = object({
  path: string({ max: 1024, default: '/' }),
  interval: duration({ minMs: 1000, maxMs: 3_600_000, default: '10s' }),
  timeout: duration({ minMs: 100, maxMs: 60_000, default: '5s' }),
  healthy_after: integer({ min: 1, max: 10, default: 2 }),
  unhealthy_after: integer({ min: 1, max: 10, default: 3 }),
  status_from: integer({ min: 100, max: 599, default: 200 }),
  status_to: integer({ min: 100, max: 599, default: 399 }),
});

const retryStatus: Schema<RetryStatus> = convert(
  integer(),
  (status, refuse) => retryStatuses.find((known) => known === status) ?? refuse(`must be one of ${retryStatuses.join(', ')}`),
);

/** `web` of a service's body. */
export const webRequest: Schema<WebOptions> = convert(
  object({
    request_headers: optional(edits()),
    response_headers: optional(edits()),
    rewrite_cookies: boolean({ default: false }),
    compression: boolean({ default: false }),
    answers: list(answer, { default: [], max: 100 }),
    balancing: object({ strategy: oneOf(balancingStrategies, { default: 'round_robin' }), sticky: oneOf(stickyKinds, { default: 'off' }) }),
    health_check: optional(healthCheck),
    ejection: object({
      failures: integer({ max: 1000, default: defaultWeb.ejection.failures }),
      for: duration({ minMs: 1000, maxMs: 3_600_000, default: '30s' }),
    }),
    retries: integer({ max: 5, default: defaultWeb.retries }),
    retry_on: list(retryStatus, { default: [], max: retryStatuses.length }),
    slow_start: optional(duration({ minMs: 1000, maxMs: 3_600_000 })),
    limits: object({
      max_body_bytes: optional(integer({ min: 0 })),
      answer_timeout: optional(duration({ minMs: 1, maxMs: 86_400_000 })),
      idle_timeout: optional(duration({ minMs: 1, maxMs: 86_400_000 })),
      max_concurrent: optional(integer({ min: 1, max: 1_000_000 })),
    }),
    client_certificate: clientCertificate(),
  }),
  (fields) => ({
    requestHeaders: fields.request_headers ?? defaultWeb.requestHeaders,
    responseHeaders: fields.response_headers ?? defaultWeb.responseHeaders,
    rewriteCookies: fields.rewrite_cookies,
    compression: fields.compression,
    answers: fields.answers,
    balancing: fields.balancing,
    healthCheck:
      fields.health_check === undefined
        ? undefined
        : {
            path: fields.health_check.path,
            intervalMs: fields.health_check.interval,
            timeoutMs: fields.health_check.timeout,
            healthyAfter: fields.health_check.healthy_after,
            unhealthyAfter: fields.health_check.unhealthy_after,
            statuses: [fields.health_check.status_from, fields.health_check.status_to],
          },
    ejection: { failures: fields.ejection.failures, ejectMs: fields.ejection.for },
    retries: fields.retries,
    retryOn: [...new Set(fields.retry_on)],
    slowStartMs: fields.slow_start ?? 0,
    limits: {
      maxBodyBytes: fields.limits.max_body_bytes,
      answerMs: fields.limits.answer_timeout,
      idleMs: fields.limits.idle_timeout,
      maxConcurrent: fields.limits.max_concurrent,
    },
    clientCertificate: fields.client_certificate,
  }),
);
