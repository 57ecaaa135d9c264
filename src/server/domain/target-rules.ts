// What a target of a service must look like.
import { X509Certificate } from 'node:crypto';
import { parseIp, formatIp } from '#lib/ip.ts';
import { defaultTargetOptions, targetTypes, type ServiceMode, type ServiceTarget, type TargetOptions } from '#model/service.ts';
import { canonicalHeaderName, fieldValueProblem, requestFieldProblem, responseFieldProblem } from '#model/field-names.ts';
import { pathRewriteProblem } from '#model/path-rewrite.ts';
import { type PathRewrite, plainTls, type UpstreamTls } from '#model/web.ts';
import { canonicalHost } from './checks.ts';
import { customHeadersPerTarget, pathLength, targetTimeoutMaxMs } from './constants.ts';
import { invalid, invalidBy } from './errors.ts';
import { checkMatch } from './match-rules.ts';

/** Headers beyond the gateway's own that configuration leaves alone: they belong to the message or to the visitor. */
const reserved = new Set(['content-type', 'cookie', 'forwarded', 'set-cookie', 'x-real-ip']);

/** The target in its canonical form. The host of a peer target is left empty: it follows from the peer. */
export function checkTarget(mode: ServiceMode, target: ServiceTarget): ServiceTarget {
  if (!targetTypes.includes(target.targetType)) throw invalid(`A target's type must be one of ${targetTypes.join(', ')}.`);
  if (!Number.isInteger(target.port) || target.port < 1 || target.port > 65_535) throw invalid('The port of a target must be from 1 to 65535.');
  checkProtocol(mode, target);
  for (const ms of [target.options.requestTimeoutMs, target.options.sessionIdleTimeoutMs]) {
    if (ms !== undefined && !(ms > 0 && ms <= targetTimeoutMaxMs)) throw invalid('A timeout is longer than 0 and at most a day.');
  }
  return {
    ...target,
    host: checkHost(target),
    path: mode === 'http' ? checkRoutePath(target.path) : checkNoPath(target.path),
    enabled: mode === 'http' ? target.enabled : true,
    options: mode === 'http' ? checkHttpOptions(target.options) : checkStreamOptions(mode, target),
  };
}

function checkProtocol(mode: ServiceMode, { protocol }: ServiceTarget): void {
  const allowed = mode === 'http' ? ['http', 'https'] : mode === 'udp' ? ['udp'] : ['tcp', 'tls'];
  if (!allowed.includes(protocol)) throw invalid(`The target of a ${mode} service speaks ${allowed.join(' or ')}.`);
}

function checkHost(target: ServiceTarget): string {
  switch (target.targetType) {
    case 'peer':
    case 'group':
      if (target.options.directUpstream) throw invalid('A peer is reached through the overlay: direct upstream is for targets of the type cluster.');
      return '';
    case 'cluster': {
      if (!target.options.directUpstream) throw invalid('A target of the type cluster needs direct upstream: the gateway itself dials it.');
      const ip = parseIp(target.host);
      const host = ip === undefined ? canonicalHost(target.host) : formatIp(ip);
      if (host === undefined) throw invalid('A target of the type cluster needs a host: a name or an IP address.');
      return host;
    }
    case 'host':
    case 'subnet':
    case 'domain':
      if (target.options.directUpstream)
        throw invalid('A resource is reached through the overlay: direct upstream is for targets of the type cluster.');
      return target.host.trim(); // whether it is in the resource is asked when that is read
  }
}

/** A prefix with one reading only: nothing that one side could decode and the other not. */
function checkPath(path: string): string {
  const text = path === '' ? '/' : path;
  if (text.length > pathLength) throw invalid(`A path has at most ${pathLength} characters.`);
  if (!/^\/[A-Za-z0-9\-._~!$&'()*+,=:@/]*$/.test(text)) {
    throw invalid('A path begins with / and has letters, digits and signs that need no encoding.');
  }
  const segments = text.split('/').slice(1);
  if (segments.some((segment) => segment === '.' || segment === '..')) throw invalid('A path has no . or .. in it.');
  if (segments.slice(0, -1).includes('')) throw invalid('A path has no // in it.');
  return text.length > 1 && text.endsWith('/') ? text.slice(0, -1) : text;
}

/** The path of a route. What the gateway answers itself cannot be published (attack row R-7). */
export function checkRoutePath(path: string): string {
  const checked = checkPath(path);
  if (checked === '/.meshgate' || checked.startsWith('/.meshgate/')) throw invalid('Paths below /.meshgate are the gateway’s own.');
  return checked;
}

function checkNoPath(path: string): string {
  if (path !== '' && path !== '/') throw invalid('Only targets of http services have a path.');
  return '/';
}

function checkHttpOptions(options: TargetOptions): TargetOptions {
  const headers = Object.entries(options.customHeaders);
  if (headers.length > customHeadersPerTarget) throw invalid(`A target has at most ${customHeadersPerTarget} custom headers.`);
  for (const [name, value] of headers) checkHeader(name, value, 'request');
  if (new Set(headers.map(([name]) => canonicalHeaderName(name))).size !== headers.length) throw invalid('A custom header is there twice.');
  if (options.httpVersion === 'h2' && options.proxyProtocol)
    throw invalid('PROXY protocol names one visitor a connection, and HTTP/2 carries many: choose one.');
  return { ...options, match: checkMatch(options.match), pathRewrite: checkRewrite(options.pathRewrite), tls: checkTls(options.tls) };
}

/** A header that a service may set or take off. The gateway's own, the connection's and those of identity are not among them. */
export function checkHeader(name: string, value: string, side: 'request' | 'response'): void {
  const problem = (side === 'request' ? requestFieldProblem(name) : responseFieldProblem(name)) ?? fieldValueProblem(name, value);
  if (problem !== undefined) throw invalidBy(problem);
  const folded = canonicalHeaderName(name);
  const taken = reserved.has(folded) || folded.startsWith('x-forwarded-');
  if (taken && !(side === 'response' && folded === 'content-type')) throw invalid(`The header ${name} is set by the gateway.`);
}

function checkRewrite(rewrite: PathRewrite): PathRewrite {
  const problem = pathRewriteProblem(rewrite);
  if (problem !== undefined) throw invalidBy(problem);
  if (typeof rewrite === 'string') return rewrite;
  if (rewrite.kind === 'replace') return { kind: 'replace', prefix: rewrite.prefix === '' ? '' : checkPath(rewrite.prefix) };
  return rewrite;
}

function checkTls(tls: UpstreamTls): UpstreamTls {
  try {
    if (tls.ca !== undefined) void new X509Certificate(tls.ca);
  } catch {
    throw invalid('The authority of a target is not a certificate in PEM form.');
  }
  if (tls.serverName === undefined) return tls;
  const serverName = canonicalHost(tls.serverName);
  if (serverName === undefined) throw invalid('The server name of a target is not a host name.');
  return { ...tls, serverName };
}

function checkStreamOptions(mode: ServiceMode, { protocol, options }: ServiceTarget): TargetOptions {
  if (options.pathRewrite === 'preserve' || Object.keys(options.customHeaders).length > 0) {
    throw invalid(`Path rewriting and custom headers are not for ${mode} services.`);
  }
  if (protocol !== 'tls' && (options.skipTlsVerify || JSON.stringify(options.tls) !== JSON.stringify(plainTls))) {
    throw invalid(`TLS verification is for targets that speak tls; this one speaks ${protocol}.`);
  }
  if (mode === 'udp' && options.proxyProtocol && options.proxyProtocolVersion === 1) {
    throw invalid('Version 1 of the PROXY protocol cannot speak of UDP: choose version 2.');
  }
  const { requestTimeoutMs, proxyProtocol, proxyProtocolVersion, sessionIdleTimeoutMs, directUpstream, weight, skipTlsVerify } = options;
  return {
    ...defaultTargetOptions,
    requestTimeoutMs,
    proxyProtocol,
    proxyProtocolVersion,
    sessionIdleTimeoutMs,
    directUpstream,
    weight,
    skipTlsVerify,
    tls: checkTls(options.tls),
  };
}
