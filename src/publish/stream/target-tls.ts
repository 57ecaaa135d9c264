// TLS on both sides of a stream: towards a target that speaks it, and what a target is told of the client's.
import type { Duplex } from 'node:stream';
import type { Logger } from '#lib/log.ts';
import { describeError } from '#lib/errors.ts';
import { tlsVectors } from '#wire/proxy-tls.ts';
import { publishError } from '../errors.ts';
import { secureStream } from '../http/upstream-tls.ts';
import type { Terminated } from '../tls/terminate.ts';
import type { StreamService } from './services.ts';

/** The handshake with a target, who is offered what the client has agreed on. PUBLISH_UPSTREAM_TLS, or the signal's reason; the stream is destroyed then. */
export async function secureTarget(
  stream: Duplex,
  { targetTls, domain }: StreamService,
  host: string,
  client: Terminated | undefined,
  signal: AbortSignal,
  log: Logger,
): Promise<Duplex> {
  if (targetTls === undefined) return stream;
  const agreed = client?.socket.alpnProtocol;
  stream.on('error', () => undefined);
  try {
    const target = { key: domain, host, tls: targetTls.terms, protocols: typeof agreed === 'string' ? [agreed] : [] };
    return await secureStream(stream, target, targetTls.context(), signal);
  } catch (error) {
    stream.destroy();
    log.debug('TLS with a target failed', { service: domain, error: describeError(error) });
    throw signal.aborted ? error : publishError('PUBLISH_UPSTREAM_TLS', domain, error);
  }
}

/** What the PROXY header says of a client's TLS beside the addresses. */
export function vectorsOf({ socket, serverName, shown }: Terminated): Buffer {
  return tlsVectors({
    version: socket.getProtocol() ?? '',
    cipher: socket.getCipher().standardName,
    serverName,
    alpn: typeof socket.alpnProtocol === 'string' ? socket.alpnProtocol : undefined,
    commonName: shown?.certificate?.commonName,
  });
}
