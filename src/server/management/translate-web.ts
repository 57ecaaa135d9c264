// What a web service asks of our own gateways beyond NetBird's mapping, as a message.
import { isDeepStrictEqual } from 'node:util';
import type { MessageInitShape } from '@bufbuild/protobuf';
import { formatHostPort } from '#lib/net.ts';
import type { MappingPath, ServiceMapping, TargetOptions } from '#model/service.ts';
import {
  defaultWeb,
  type HeaderEdits,
  matchesAll,
  noEdits,
  type OwnAnswer,
  type PathRewrite,
  plainTls,
  type RouteMatch,
  webVersion,
} from '#model/web.ts';
import { clientCertificatesOf } from './translate-stream.ts';
import type { ForwardingSchema, HeaderEditsSchema, WebExtensionSchema, WebRouteSchema } from '#wire/proto/gen/meshgate_service_pb.ts';

type Forwarding = MessageInitShape<typeof ForwardingSchema>;
type WebRoute = MessageInitShape<typeof WebRouteSchema>;

/**
 * Whether a gateway that knows only NetBird's mapping would serve the service otherwise than it is meant: to more requests, unchanged, or not at
 * all. How load is shared and targets are watched is not among it: such a gateway takes the first target.
 */
export function needsWebExtension({ mode, paths, web }: ServiceMapping): boolean {
  if (mode !== 'http') return false;
  const { requestHeaders, responseHeaders, rewriteCookies, answers, limits, clientCertificate } = web;
  const plain = {
    requestHeaders: noEdits,
    responseHeaders: noEdits,
    rewriteCookies: false,
    answers: [],
    limits: defaultWeb.limits,
    clientCertificate: undefined,
  };
  const asked = { requestHeaders, responseHeaders, rewriteCookies, answers, limits, clientCertificate };
  return !isDeepStrictEqual(asked, plain) || paths.some(({ options }) => asksMoreOfTarget(options));
}

function asksMoreOfTarget({ match, pathRewrite, httpVersion, tls, proxyProtocol }: TargetOptions): boolean {
  const known = typeof pathRewrite === 'string' && httpVersion === 'http/1.1' && !proxyProtocol;
  return !known || !isDeepStrictEqual(match, matchesAll) || !isDeepStrictEqual(tls, plainTls);
}

/** The whole service: its paths too, in place of the mapping's own. */
export function webExtensionOf({ paths, web }: ServiceMapping): MessageInitShape<typeof WebExtensionSchema> {
  const { healthCheck, ejection, balancing, limits } = web;
  return {
    version: webVersion,
    routes: [...paths.map(forwardRouteOf), ...web.answers.map(answerRouteOf)],
    requestHeaders: editsOf(web.requestHeaders),
    responseHeaders: editsOf(web.responseHeaders),
    rewriteCookies: web.rewriteCookies,
    compression: web.compression,
    balancing: balancing.strategy,
    sticky: balancing.sticky,
    ejectionFailures: ejection.failures,
    ejectionMs: BigInt(ejection.ejectMs),
    retries: web.retries,
    retryOn: [...web.retryOn],
    slowStartMs: BigInt(web.slowStartMs),
    ...(healthCheck === undefined
      ? {}
      : {
          healthCheck: {
            path: healthCheck.path,
            intervalMs: BigInt(healthCheck.intervalMs),
            timeoutMs: BigInt(healthCheck.timeoutMs),
            healthyAfter: healthCheck.healthyAfter,
            unhealthyAfter: healthCheck.unhealthyAfter,
            statusFrom: healthCheck.statuses[0],
            statusTo: healthCheck.statuses[1],
          },
        }),
    ...(limits.maxBodyBytes === undefined ? {} : { maxBodyBytes: BigInt(limits.maxBodyBytes) }),
    ...(limits.answerMs === undefined ? {} : { answerMs: BigInt(limits.answerMs) }),
    ...(limits.idleMs === undefined ? {} : { idleMs: BigInt(limits.idleMs) }),
    ...(limits.maxConcurrent === undefined ? {} : { maxConcurrent: limits.maxConcurrent }),
    ...clientCertificatesOf(web.clientCertificate),
  };
}

function forwardRouteOf({ path, targets, options }: MappingPath): WebRoute {
  const { tls, requestTimeoutMs } = options;
  const forward: Forwarding = {
    targets: targets.map(({ protocol, host, port, basePath, weight }) => ({ url: `${protocol}://${formatHostPort(host, port)}${basePath}`, weight })),
    rewrite: rewriteOf(options.pathRewrite),
    customHeaders: { ...options.customHeaders },
    directUpstream: options.directUpstream,
    skipTlsVerify: options.skipTlsVerify,
    tls: {
      ...(tls.ca === undefined ? {} : { ca: tls.ca }),
      ...(tls.serverName === undefined ? {} : { serverName: tls.serverName }),
      ...(tls.clientCertificate === undefined ? {} : { clientCertificate: tls.clientCertificate }),
      ...(tls.clientKey === undefined ? {} : { clientKey: tls.clientKey }),
    },
    httpVersion: options.httpVersion,
    proxyProtocol: options.proxyProtocol ? options.proxyProtocolVersion : 0,
    ...(requestTimeoutMs === undefined ? {} : { requestTimeoutMs: BigInt(Math.ceil(requestTimeoutMs)) }),
  };
  return { path, ...matchOf(options.match), action: { case: 'forward', value: forward } };
}

function answerRouteOf({ path, match, answer }: OwnAnswer): WebRoute {
  const route = { path, ...matchOf(match) };
  switch (answer.kind) {
    case 'respond': {
      const { status, contentType, body } = answer;
      return { ...route, action: { case: 'respond', value: { status, contentType, body } } };
    }
    case 'redirect': {
      const { status, location, keepPath } = answer;
      return { ...route, action: { case: 'redirect', value: { status, location, keepPath } } };
    }
  }
}

function matchOf({ exact, methods, headers }: RouteMatch): Pick<WebRoute, 'exact' | 'methods' | 'headers'> {
  return { exact, methods: [...methods], headers: headers.map(({ name, value }) => (value === undefined ? { name } : { name, value })) };
}

function rewriteOf(rewrite: PathRewrite): NonNullable<Forwarding['rewrite']> {
  if (rewrite === 'strip') return { case: undefined };
  if (rewrite === 'preserve') return { case: 'preserve', value: true };
  switch (rewrite.kind) {
    case 'replace':
      return { case: 'replacePrefix', value: rewrite.prefix };
    case 'regex':
      return { case: 'regex', value: { pattern: rewrite.pattern, replacement: rewrite.replacement } };
  }
}

function editsOf({ remove, set, add }: HeaderEdits): MessageInitShape<typeof HeaderEditsSchema> {
  return { remove: [...remove], set: { ...set }, add: { ...add } };
}
