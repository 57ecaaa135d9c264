// Our own control plane's words for a web service beyond NetBird's mapping, as the model's. What cannot be read whole makes the service
// unusable: a route whose conditions were lost would be wider than it is meant to be.
import { defaultTargetOptions, type MappingPath, type MappingTarget, type TargetOptions, upstreamVersions } from '#model/service.ts';
import {
  balancingStrategies,
  type HealthCheck,
  type HeaderEdits,
  type OwnAnswer,
  type PathRewrite,
  redirectStatuses,
  retryStatuses,
  type RouteMatch,
  stickyKinds,
  type WebLimits,
  type WebOptions,
  webVersion,
} from '#model/web.ts';
import type {
  Forwarding,
  HeaderEdits as EditsMessage,
  HealthCheck as HealthMessage,
  WebExtension,
  WebRoute,
} from '#wire/proto/gen/meshgate_service_pb.ts';
import { maxPathsPerMapping } from './constants.ts';
import { clientCertificateFrom } from './translate-stream.ts';
import { urlTarget } from './translate-target.ts';

export interface WebParts {
  readonly paths: readonly MappingPath[];
  readonly web: WebOptions;
}

/** The service's routes and options, or why they cannot be used. */
export function webFrom(message: WebExtension): WebParts | { readonly unusable: string } {
  if (message.version !== webVersion) return { unusable: `version ${message.version} of its description is not known` };
  if (message.routes.length > maxPathsPerMapping) return { unusable: 'too many routes' };
  const paths: MappingPath[] = [];
  const answers: OwnAnswer[] = [];
  for (const route of message.routes) {
    const forward = route.action.case === 'forward' ? pathFrom(route, route.action.value) : undefined;
    const answer = forward === undefined ? answerFrom(route) : undefined;
    if (forward !== undefined) paths.push(forward);
    else if (answer !== undefined) answers.push(answer);
    else return { unusable: `its route ${route.path} cannot be read` };
  }
  const strategy = balancingStrategies.find((name) => name === message.balancing);
  const sticky = stickyKinds.find((name) => name === message.sticky);
  if (strategy === undefined || sticky === undefined) return { unusable: 'its way of sharing the load is not known' };
  return {
    paths,
    web: {
      requestHeaders: editsFrom(message.requestHeaders),
      responseHeaders: editsFrom(message.responseHeaders),
      rewriteCookies: message.rewriteCookies,
      compression: message.compression,
      answers,
      balancing: { strategy, sticky },
      healthCheck: message.healthCheck === undefined ? undefined : healthFrom(message.healthCheck),
      ejection: { failures: message.ejectionFailures, ejectMs: Number(message.ejectionMs) },
      retries: message.retries,
      // One that is not known is not repeated: nothing else depends on it.
      retryOn: retryStatuses.filter((status) => message.retryOn.includes(status)),
      slowStartMs: Number(message.slowStartMs),
      limits: limitsFrom(message),
      clientCertificate: clientCertificateFrom(message.clientCertificates),
    },
  };
}

function pathFrom(route: WebRoute, message: Forwarding): MappingPath | undefined {
  const targets: MappingTarget[] = [];
  for (const { url, weight } of message.targets) {
    const target = urlTarget(url);
    if (target === undefined) return undefined;
    targets.push({ ...target, weight });
  }
  const httpVersion = upstreamVersions.find((version) => version === message.httpVersion);
  if (targets.length === 0 || httpVersion === undefined || message.proxyProtocol > 2 || !route.path.startsWith('/')) return undefined;
  const options: TargetOptions = {
    ...defaultTargetOptions,
    skipTlsVerify: message.skipTlsVerify,
    requestTimeoutMs: numberFrom(message.requestTimeoutMs),
    pathRewrite: rewriteFrom(message),
    customHeaders: { ...message.customHeaders },
    proxyProtocol: message.proxyProtocol !== 0,
    proxyProtocolVersion: message.proxyProtocol === 1 ? 1 : 2,
    directUpstream: message.directUpstream,
    match: matchFrom(route),
    httpVersion,
    tls: {
      ca: message.tls?.ca,
      serverName: message.tls?.serverName,
      clientCertificate: message.tls?.clientCertificate,
      clientKey: message.tls?.clientKey,
    },
  };
  return { path: route.path, targets, options };
}

function answerFrom(route: WebRoute): OwnAnswer | undefined {
  if (!route.path.startsWith('/')) return undefined;
  switch (route.action.case) {
    case 'respond': {
      const { status, contentType, body } = route.action.value;
      return { path: route.path, match: matchFrom(route), answer: { kind: 'respond', status, contentType, body } };
    }
    case 'redirect': {
      const { location, keepPath, status: number } = route.action.value;
      const status = redirectStatuses.find((known) => known === number);
      return status === undefined
        ? undefined
        : { path: route.path, match: matchFrom(route), answer: { kind: 'redirect', status, location, keepPath } };
    }
    case 'forward':
    case undefined:
      return undefined;
  }
}

function matchFrom({ exact, methods, headers }: WebRoute): RouteMatch {
  return { exact, methods, headers: headers.map(({ name, value }) => ({ name, value })) };
}

function rewriteFrom({ rewrite }: Forwarding): PathRewrite {
  switch (rewrite.case) {
    case 'preserve':
      return rewrite.value ? 'preserve' : 'strip';
    case 'replacePrefix':
      return { kind: 'replace', prefix: rewrite.value };
    case 'regex':
      return { kind: 'regex', pattern: rewrite.value.pattern, replacement: rewrite.value.replacement };
    case undefined:
      return 'strip';
  }
}

function editsFrom(message: EditsMessage | undefined): HeaderEdits {
  return { remove: message?.remove ?? [], set: { ...message?.set }, add: { ...message?.add } };
}

function healthFrom(message: HealthMessage): HealthCheck {
  return {
    path: message.path,
    intervalMs: Number(message.intervalMs),
    timeoutMs: Number(message.timeoutMs),
    healthyAfter: message.healthyAfter,
    unhealthyAfter: message.unhealthyAfter,
    statuses: [message.statusFrom, message.statusTo],
  };
}

function limitsFrom(message: WebExtension): WebLimits {
  return {
    maxBodyBytes: numberFrom(message.maxBodyBytes),
    answerMs: numberFrom(message.answerMs),
    idleMs: numberFrom(message.idleMs),
    maxConcurrent: message.maxConcurrent,
  };
}

function numberFrom(value: bigint | undefined): number | undefined {
  return value === undefined ? undefined : Number(value);
}
