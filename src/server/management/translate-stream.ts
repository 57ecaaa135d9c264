// What a TCP, TLS or UDP service asks of our own gateways beyond NetBird's mapping, as a message.
import { isDeepStrictEqual } from 'node:util';
import type { MessageInitShape } from '@bufbuild/protobuf';
import type { ClientCertificateRule } from '#model/client-certificate.ts';
import type { ServiceMapping } from '#model/service.ts';
import { defaultStream, type StreamOptions, streamVersion } from '#model/stream.ts';
import type { ClientCertificatesSchema, StreamExtensionSchema } from '#wire/proto/gen/meshgate_stream_pb.ts';

type StreamExtension = MessageInitShape<typeof StreamExtensionSchema>;

/**
 * Whether a gateway that knows only NetBird's mapping would serve the service otherwise than it is meant. How load is shared and targets are
 * watched is not among it: such a gateway takes the first target.
 */
export function needsStreamExtension({ mode, domain, paths, stream }: ServiceMapping): boolean {
  if (mode === 'http') return false;
  const { portRanges, termination, limits } = stream;
  const plain = { portRanges: [], termination: undefined, limits: defaultStream.limits };
  const more = !isDeepStrictEqual({ portRanges, termination, limits }, plain) || domain.startsWith('*');
  return more || paths.some(({ targets, options }) => targets[0]?.protocol === 'tls' || (mode === 'udp' && options.proxyProtocol));
}

/** The whole service: its targets too, in place of the mapping's own paths. */
export function streamExtensionOf({ paths, stream }: ServiceMapping): StreamExtension {
  const [path] = paths;
  const { balancing, ejection, limits } = stream;
  const options = path?.options;
  return {
    version: streamVersion,
    targets: path?.targets.map(({ host, port, weight }) => ({ host, port, weight })) ?? [],
    portRanges: stream.portRanges.map(({ start, end, target }) => (target === undefined ? { start, end } : { start, end, target })),
    ...terminationOf(stream),
    balancing: balancing.strategy,
    sticky: balancing.sticky,
    ...checkOf(stream),
    ejectionFailures: ejection.failures,
    ejectionMs: BigInt(ejection.ejectMs),
    ...(limits.maxConnections === undefined ? {} : { maxConnections: limits.maxConnections }),
    ...(limits.maxPerAddress === undefined ? {} : { maxPerAddress: limits.maxPerAddress }),
    ...(limits.maxPerIdentity === undefined ? {} : { maxPerIdentity: limits.maxPerIdentity }),
    ...(stream.slowStartMs === 0 ? {} : { slowStartMs: BigInt(stream.slowStartMs) }),
    ...(options?.requestTimeoutMs === undefined ? {} : { dialMs: BigInt(Math.ceil(options.requestTimeoutMs)) }),
    ...(options?.sessionIdleTimeoutMs === undefined ? {} : { idleMs: BigInt(Math.ceil(options.sessionIdleTimeoutMs)) }),
    directUpstream: options?.directUpstream ?? false,
    proxyProtocol: options?.proxyProtocol === true ? options.proxyProtocolVersion : 0,
    targetTls: path?.targets[0]?.protocol === 'tls',
    skipTlsVerify: options?.skipTlsVerify ?? false,
    ...(options?.tls.ca === undefined ? {} : { targetCa: options.tls.ca }),
    ...(options?.tls.serverName === undefined ? {} : { targetName: options.tls.serverName }),
    ...(options?.tls.clientCertificate === undefined ? {} : { targetCertificate: options.tls.clientCertificate }),
    ...(options?.tls.clientKey === undefined ? {} : { targetKey: options.tls.clientKey }),
  };
}

function terminationOf({ termination }: StreamOptions): Pick<StreamExtension, 'termination'> {
  if (termination === undefined) return {};
  const { alpn, tellTarget, clientCertificate } = termination;
  return { termination: { alpn: [...alpn], tellTarget, ...clientCertificatesOf(clientCertificate) } };
}

function checkOf({ healthCheck }: StreamOptions): Pick<StreamExtension, 'healthCheck'> {
  if (healthCheck === undefined) return {};
  const { intervalMs, timeoutMs, healthyAfter, unhealthyAfter } = healthCheck;
  return { healthCheck: { intervalMs: BigInt(intervalMs), timeoutMs: BigInt(timeoutMs), healthyAfter, unhealthyAfter } };
}

export function clientCertificatesOf(rule: ClientCertificateRule | undefined): {
  readonly clientCertificates?: MessageInitShape<typeof ClientCertificatesSchema>;
} {
  return rule === undefined ? {} : { clientCertificates: { ca: rule.ca, required: rule.required, account: rule.account === true } };
}
