// Our own part of a service as the API answers it: in the form in which it may be sent again. Keys are never told.
import { formatDuration } from '#lib/schema.ts';
import type { TargetOptions } from '#model/service.ts';
import { matchesAll, type OwnAnswer, type PathRewrite, type RouteMatch, type WebOptions } from '#model/web.ts';
import { present } from './fields.ts';

type Fields = Readonly<Record<string, unknown>>;

export function durationText(ms: number | undefined): string | undefined {
  return ms === undefined ? undefined : formatDuration(ms);
}

/** Only what is not as NetBird has it: its own consumers of this API see what they know. */
export function targetWebShape({ pathRewrite, proxyProtocol, proxyProtocolVersion, match, weight, httpVersion, tls }: TargetOptions): Fields {
  return present({
    path_rewrite: rewriteShape(pathRewrite),
    proxy_protocol_version: proxyProtocol && proxyProtocolVersion === 1 ? 1 : undefined,
    match: match === matchesAll || isAll(match) ? undefined : matchShape(match),
    weight: weight === 1 ? undefined : weight,
    http_version: httpVersion === 'http/1.1' ? undefined : httpVersion,
    tls:
      tls.ca === undefined && tls.serverName === undefined && tls.clientCertificate === undefined
        ? undefined
        : present({
            ca: tls.ca,
            server_name: tls.serverName,
            client_certificate: tls.clientCertificate,
            client_key: tls.clientKey === undefined ? undefined : '',
          }),
  });
}

function rewriteShape(rewrite: PathRewrite): unknown {
  if (typeof rewrite === 'string') return rewrite === 'preserve' ? 'preserve' : undefined;
  return rewrite.kind === 'replace' ? { replace: rewrite.prefix } : { pattern: rewrite.pattern, replacement: rewrite.replacement };
}

function isAll({ exact, methods, headers }: RouteMatch): boolean {
  return !exact && methods.length === 0 && headers.length === 0;
}

function matchShape({ exact, methods, headers }: RouteMatch): Fields {
  return { exact, methods, headers: headers.map((header) => present({ name: header.name, value: header.value })) };
}

export function webShape(web: WebOptions): Fields {
  const { healthCheck, limits } = web;
  return present({
    request_headers: web.requestHeaders,
    response_headers: web.responseHeaders,
    rewrite_cookies: web.rewriteCookies,
    compression: web.compression,
    answers: web.answers.map(answerShape),
    balancing: web.balancing,
    health_check:
      healthCheck === undefined
        ? undefined
        : {
            path: healthCheck.path,
            interval: durationText(healthCheck.intervalMs),
            timeout: durationText(healthCheck.timeoutMs),
            healthy_after: healthCheck.healthyAfter,
            unhealthy_after: healthCheck.unhealthyAfter,
            status_from: healthCheck.statuses[0],
            status_to: healthCheck.statuses[1],
          },
    ejection: { failures: web.ejection.failures, for: durationText(web.ejection.ejectMs) },
    retries: web.retries,
    retry_on: web.retryOn.length === 0 ? undefined : web.retryOn,
    slow_start: web.slowStartMs === 0 ? undefined : durationText(web.slowStartMs),
    limits: present({
      max_body_bytes: limits.maxBodyBytes,
      answer_timeout: durationText(limits.answerMs),
      idle_timeout: durationText(limits.idleMs),
      max_concurrent: limits.maxConcurrent,
    }),
    client_certificate: web.clientCertificate,
  });
}

function answerShape({ path, match, answer }: OwnAnswer): Fields {
  const route = { path, ...matchShape(match) };
  return answer.kind === 'respond'
    ? { ...route, respond: { status: answer.status, content_type: answer.contentType, body: answer.body } }
    : { ...route, redirect: { status: answer.status, location: answer.location, keep_path: answer.keepPath } };
}
