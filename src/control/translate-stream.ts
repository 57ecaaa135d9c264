// Our own control plane's words for a TCP, TLS or UDP service beyond NetBird's mapping, as the model's. What cannot be read whole makes the
// service unusable: one whose conditions were lost would be more open than it is meant to be.
import type { ClientCertificateRule } from '#model/client-certificate.ts';
import { defaultTargetOptions, type MappingPath, type ServiceMode, type TargetProtocol } from '#model/service.ts';
import {
  type ConnectCheck,
  defaultStream,
  listenPorts,
  portsPerService,
  type PortRange,
  type StreamOptions,
  streamStickyKinds,
  streamStrategies,
  streamVersion,
  type TlsTermination,
} from '#model/stream.ts';
import type {
  ClientCertificates,
  ConnectCheck as CheckMessage,
  PortRange as RangeMessage,
  StreamExtension,
  TlsTermination as TerminationMessage,
} from '#wire/proto/gen/meshgate_stream_pb.ts';
import { maxPathsPerMapping } from './constants.ts';

export interface StreamParts {
  readonly paths: readonly MappingPath[];
  readonly stream: StreamOptions;
}

/** The service's targets and options, or why they cannot be used. */
export function streamFrom(message: StreamExtension, mode: ServiceMode, listenPort: number): StreamParts | { readonly unusable: string } {
  if (message.version !== streamVersion) return { unusable: `version ${message.version} of its description is not known` };
  if (saysMore(message) || saysMore(message.termination) || saysMore(message.termination?.clientCertificates)) {
    return { unusable: 'its description says more than is known here' };
  }
  if (message.targets.length > maxPathsPerMapping) return { unusable: 'too many targets' };
  if (message.targets.some(({ host, port }) => host === '' || !isPort(port))) return { unusable: 'a target that cannot be read' };
  const portRanges = rangesFrom(message.portRanges, listenPort);
  if (portRanges === undefined) return { unusable: 'its ports cannot be read' };
  const strategy = streamStrategies.find((name) => name === message.balancing);
  const sticky = streamStickyKinds.find((name) => name === message.sticky);
  if (strategy === undefined || sticky === undefined) return { unusable: 'its way of sharing the load is not known' };
  if (message.proxyProtocol > 2) return { unusable: 'a version of the PROXY protocol that is not known' };
  return {
    paths: message.targets.length === 0 ? [] : [pathFrom(message, mode)],
    stream: {
      portRanges,
      termination: message.termination === undefined ? undefined : terminationFrom(message.termination),
      balancing: { strategy, sticky },
      healthCheck: message.healthCheck === undefined ? undefined : checkFrom(message.healthCheck),
      ejection: { failures: message.ejectionFailures, ejectMs: Number(message.ejectionMs) },
      slowStartMs: Number(message.slowStartMs),
      limits: { maxConnections: message.maxConnections, maxPerAddress: message.maxPerAddress, maxPerIdentity: message.maxPerIdentity },
      certificates: defaultStream.certificates,
    },
  };
}

function pathFrom(message: StreamExtension, mode: ServiceMode): MappingPath {
  const protocol: TargetProtocol = mode === 'udp' ? 'udp' : message.targetTls ? 'tls' : 'tcp';
  return {
    path: '/',
    targets: message.targets.map(({ host, port, weight }) => ({ protocol, host, port, basePath: '', weight })),
    options: {
      ...defaultTargetOptions,
      requestTimeoutMs: numberFrom(message.dialMs),
      sessionIdleTimeoutMs: numberFrom(message.idleMs),
      directUpstream: message.directUpstream,
      proxyProtocol: message.proxyProtocol !== 0,
      proxyProtocolVersion: message.proxyProtocol === 1 ? 1 : 2,
      skipTlsVerify: message.skipTlsVerify,
      tls: {
        ca: message.targetCa,
        serverName: message.targetName,
        clientCertificate: message.targetCertificate,
        clientKey: message.targetKey,
      },
    },
  };
}

function rangesFrom(messages: readonly RangeMessage[], listenPort: number): readonly PortRange[] | undefined {
  if (messages.length > portsPerService) return undefined;
  for (const { start, end, target } of messages) {
    if (!isPort(start) || !isPort(end) || start > end || end - start >= portsPerService) return undefined;
    if (target !== undefined && (!isPort(target) || !isPort(target + end - start))) return undefined;
  }
  const ranges = messages.map(({ start, end, target }) => ({ start, end, target }));
  return listenPorts(listenPort, ranges).length > portsPerService ? undefined : ranges;
}

function terminationFrom({ alpn, tellTarget, clientCertificates }: TerminationMessage): TlsTermination {
  return { alpn, tellTarget, clientCertificate: clientCertificateFrom(clientCertificates) };
}

/** Empty authorities are kept as they are: whoever publishes the service refuses everybody then. */
export function clientCertificateFrom(message: ClientCertificates | undefined): ClientCertificateRule | undefined {
  return message === undefined ? undefined : { ca: message.ca, required: message.required, ...(message.account ? { account: true } : {}) };
}

function checkFrom({ intervalMs, timeoutMs, healthyAfter, unhealthyAfter }: CheckMessage): ConnectCheck {
  return { intervalMs: Number(intervalMs), timeoutMs: Number(timeoutMs), healthyAfter, unhealthyAfter };
}

/** Whether the message has fields that our version of it lacks. */
function saysMore(message: { readonly $unknown?: readonly unknown[] | undefined } | undefined): boolean {
  return message?.$unknown !== undefined && message.$unknown.length > 0;
}

function isPort(port: number): boolean {
  return Number.isInteger(port) && port >= 1 && port <= 65_535;
}

function numberFrom(value: bigint | undefined): number | undefined {
  return value === undefined ? undefined : Number(value);
}
