// Where a request goes and how it is said there: worked out once for each target of a route.
import { createHash } from 'node:crypto';
import { formatHostPort, type DialTarget } from '#lib/net.ts';
import type { AccountId } from '#model/ids.ts';
import type { MappingTarget, TargetOptions } from '#model/service.ts';
import type { UpstreamTls } from '#model/web.ts';
import { writeProxyHeader } from '#wire/proxy-protocol.ts';
import type { Client } from './exchange.ts';

/** How TLS is spoken to a target. */
export interface TlsTerms extends UpstreamTls {
  /** Takes any certificate. The operator's own choice, which the service's state shows. */
  readonly skipVerify: boolean;
}

/** Equal keys share connections; all that a connection is made with is therefore in the key. */
export interface UpstreamTarget {
  readonly key: string;
  /** `host:port`, for the log. */
  readonly address: string;
  readonly target: DialTarget;
  /** Undefined for plain TCP. */
  readonly tls: TlsTerms | undefined;
  readonly version: TargetOptions['httpVersion'];
  /** Dial from the gateway's own network instead of the overlay. */
  readonly direct: boolean;
  /** Connections begin with a PROXY header of this version, and so belong to one client: see `ownUpstream`. */
  readonly proxyVersion: 1 | 2 | undefined;
  /** Sent before all else. */
  readonly preface: Buffer | undefined;
}

export function describeUpstream(accountId: AccountId, { protocol, host, port }: MappingTarget, options: TargetOptions): UpstreamTarget {
  const tls = protocol === 'https' ? { ...options.tls, skipVerify: options.skipTlsVerify } : undefined;
  const network = options.directUpstream ? 'direct' : 'mesh';
  return {
    key: `${network} ${protocol} ${options.httpVersion} ${accountId} ${formatHostPort(host, port)}${tls === undefined ? '' : termsKey(tls)}${options.proxyProtocol ? ` proxy${options.proxyProtocolVersion}` : ''}`,
    address: formatHostPort(host, port),
    target: { host, port },
    tls,
    version: options.httpVersion,
    direct: options.directUpstream,
    proxyVersion: options.proxyProtocol ? options.proxyProtocolVersion : undefined,
    preface: undefined,
  };
}

/**
 * The target as one client's connection may use it. Where connections begin by saying who the client is, they are shared with no other; `source`
 * is the client's address as far as proxies before us are believed.
 */
export function ownUpstream(upstream: UpstreamTarget, client: Client, source: string): UpstreamTarget {
  if (upstream.proxyVersion === undefined) return upstream;
  const port = source === client.remote.address ? client.remote.port : 0;
  const preface = writeProxyHeader(upstream.proxyVersion, { address: source, port }, client.local);
  return { ...upstream, key: `${upstream.key} for ${client.id} ${source}`, preface };
}

/** Empty for the usual terms. A digest, because keys are told in errors and one of the terms is a secret. */
function termsKey({ skipVerify, ca, serverName, clientCertificate, clientKey }: TlsTerms): string {
  if (!skipVerify && (ca ?? serverName ?? clientCertificate ?? clientKey) === undefined) return '';
  const terms = JSON.stringify([skipVerify, ca ?? '', serverName ?? '', clientCertificate ?? '', clientKey ?? '']);
  return ` ${createHash('sha256').update(terms).digest('base64url').slice(0, 22)}`;
}

/** The upstream as the gateway itself asks it, on nobody's behalf: a PROXY header there is says so. */
export function unownedUpstream(upstream: UpstreamTarget): UpstreamTarget {
  if (upstream.proxyVersion === undefined) return upstream;
  const nobody = { address: '', port: 0 };
  return { ...upstream, key: `${upstream.key} for nobody`, preface: writeProxyHeader(upstream.proxyVersion, nobody, nobody) };
}
