// TLS towards upstreams: who they have to be, and who we are to them.
import { checkServerIdentity, connect, createSecureContext, getCACertificates, type SecureContext, type TLSSocket } from 'node:tls';
import { isIP } from 'node:net';
import type { Duplex } from 'node:stream';
import { publishError } from '../errors.ts';
import type { TlsTerms, UpstreamTarget } from './upstream-target.ts';

/** A context for the terms; it can be used for any number of connections. `moreRoots` are trusted beside the system's. PUBLISH_UPSTREAM_TLS_TERMS. */
export function upstreamContext({ ca, clientCertificate, clientKey }: TlsTerms, moreRoots: string | undefined): SecureContext {
  const roots = ca ?? (moreRoots === undefined ? undefined : [...getCACertificates('default'), moreRoots]);
  try {
    return createSecureContext({
      minVersion: 'TLSv1.2',
      ...(roots === undefined ? {} : { ca: roots }),
      ...(clientCertificate === undefined ? {} : { cert: clientCertificate }),
      ...(clientKey === undefined ? {} : { key: clientKey }),
    });
  } catch (error) {
    throw publishError('PUBLISH_UPSTREAM_TLS_TERMS', undefined, error);
  }
}

/** The handshake with an HTTP target, as `secureStream`. Rejects with PUBLISH_UPSTREAM_PROTOCOL where it does not agree on `protocol`. */
export async function secureUpstream(
  stream: Duplex,
  { key, target, tls }: UpstreamTarget,
  protocol: 'http/1.1' | 'h2',
  context: SecureContext,
  signal: AbortSignal,
): Promise<TLSSocket> {
  const secured = await secureStream(stream, { key, host: target.host, tls, protocols: [protocol] }, context, signal);
  // Servers without ALPN speak HTTP/1.1 (RFC 7301 §3.2 leaves it to them); HTTP/2 needs the word.
  if (secured.alpnProtocol === protocol || (secured.alpnProtocol === false && protocol === 'http/1.1')) return secured;
  secured.on('error', () => undefined);
  secured.destroy();
  stream.destroy();
  throw publishError('PUBLISH_UPSTREAM_PROTOCOL', key);
}

export interface TlsTarget {
  /** For errors. */
  readonly key: string;
  readonly host: string;
  readonly tls: Pick<TlsTerms, 'serverName' | 'skipVerify'> | undefined;
  /** Offered by ALPN; empty for none. */
  readonly protocols: readonly string[];
}

/**
 * Does the handshake on a dialled stream. The certificate has to name the terms' server name, or else the host that was dialled, unless nothing
 * is checked. Rejects with OpenSSL's and Node's codes, PUBLISH_UPSTREAM_TLS, or the signal's reason; the stream is destroyed then.
 */
export function secureStream(
  stream: Duplex,
  { key, host, tls, protocols }: TlsTarget,
  context: SecureContext,
  signal: AbortSignal,
): Promise<TLSSocket> {
  const name = tls?.serverName ?? host;
  return new Promise((resolve, reject) => {
    const secured = connect({
      socket: stream,
      secureContext: context,
      host: name,
      // Addresses are no server names (RFC 6066 §3).
      ...(isIP(name) === 0 ? { servername: name } : {}),
      rejectUnauthorized: tls?.skipVerify !== true,
      checkServerIdentity: (_host, certificate) => checkServerIdentity(name, certificate),
      ...(protocols.length === 0 ? {} : { ALPNProtocols: [...protocols] }),
    });
    const settle = (): void => {
      signal.removeEventListener('abort', aborted);
      secured.off('secureConnect', ready);
      secured.off('error', failed);
      secured.off('close', closed);
    };
    const failed = (error: unknown): void => {
      settle();
      secured.on('error', () => undefined);
      secured.destroy();
      stream.destroy();
      reject(error instanceof Error ? error : publishError('PUBLISH_UPSTREAM_TLS', key, error));
    };
    const aborted = (): void => failed(signal.reason);
    const closed = (): void => failed(publishError('PUBLISH_UPSTREAM_TLS', `${key}: closed during the handshake`));
    const ready = (): void => {
      settle();
      resolve(secured);
    };
    secured.once('secureConnect', ready);
    secured.once('error', failed);
    secured.once('close', closed);
    signal.addEventListener('abort', aborted, { once: true });
    if (signal.aborted) aborted();
  });
}
