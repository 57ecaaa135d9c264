// What a target of a service must look like.
import { parseIp, formatIp } from '#lib/ip.ts';
import { defaultTargetOptions, targetTypes, type ServiceMode, type ServiceTarget, type TargetOptions } from '#model/service.ts';
import { canonicalHost } from './checks.ts';
import { customHeadersPerTarget, headerNameLength, headerValueLength, pathLength, targetTimeoutMaxMs } from './constants.ts';
import { invalid } from './errors.ts';

/** A field name (RFC 9110 §5.1). */
export const headerName = /^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}$/;

/** Headers that belong to the connection, to the proxy, or to whoever is signed in. */
const reserved = new Set([
  'connection',
  'content-length',
  'content-type',
  'cookie',
  'forwarded',
  'host',
  'keep-alive',
  'proxy-authenticate',
  'proxy-authorization',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
  'x-real-ip',
]);

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
    path: mode === 'http' ? checkPath(target.path) : checkNoPath(target.path),
    enabled: mode === 'http' ? target.enabled : true,
    options: mode === 'http' ? checkHttpOptions(target.options) : checkStreamOptions(mode, target.options),
  };
}

function checkProtocol(mode: ServiceMode, { protocol }: ServiceTarget): void {
  const allowed = mode === 'http' ? ['http', 'https'] : mode === 'udp' ? ['udp'] : ['tcp'];
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

function checkNoPath(path: string): string {
  if (path !== '' && path !== '/') throw invalid('Only targets of http services have a path.');
  return '/';
}

function checkHttpOptions(options: TargetOptions): TargetOptions {
  if (options.proxyProtocol) throw invalid('PROXY protocol is for tcp and tls services; http targets get forwarding headers.');
  const headers = Object.entries(options.customHeaders);
  if (headers.length > customHeadersPerTarget) throw invalid(`A target has at most ${customHeadersPerTarget} custom headers.`);
  for (const [name, value] of headers) {
    if (!headerName.test(name) || name.length > headerNameLength) throw invalid(`"${name}" is not the name of a header.`);
    const lower = name.toLowerCase();
    if (reserved.has(lower) || lower.startsWith('x-forwarded-')) throw invalid(`The header ${name} is set by the gateway.`);
    if (value.length > headerValueLength || /[\r\n\0]/.test(value)) throw invalid(`The value of the header ${name} is too long or has a line break.`);
  }
  if (new Set(headers.map(([name]) => name.toLowerCase())).size !== headers.length) throw invalid('A custom header is there twice.');
  return options;
}

function checkStreamOptions(mode: ServiceMode, options: TargetOptions): TargetOptions {
  if (options.skipTlsVerify || options.pathRewrite === 'preserve' || Object.keys(options.customHeaders).length > 0) {
    throw invalid(`TLS verification, path rewriting and custom headers are not for ${mode} services.`);
  }
  if (mode === 'udp' && options.proxyProtocol) throw invalid('PROXY protocol is not for udp services.');
  const { requestTimeoutMs, proxyProtocol, proxyProtocolVersion, sessionIdleTimeoutMs, directUpstream, weight } = options;
  return { ...defaultTargetOptions, requestTimeoutMs, proxyProtocol, proxyProtocolVersion, sessionIdleTimeoutMs, directUpstream, weight };
}
