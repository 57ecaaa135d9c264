// What a TCP, TLS or UDP service may ask of its gateway beyond NetBird's shapes. Stock gateways cannot be told of it.
import type { ClientCertificateRule } from './client-certificate.ts';
import type { Ejection } from './web.ts';

/** The version of our own description of stream services on the wire. A gateway is not sent a version that it does not know. */
export const streamVersion = 1;

/** Public ports of one service in all, at most: each is a listener, and a rule for the overlay. */
export const portsPerService = 1_024;

/** Ports that a service listens on, first and last. They lead to the ports from `target` on, in the same order. */
export interface PortRange {
  readonly start: number;
  readonly end: number;
  /** Undefined: as far from the target's own port as `start` is from the listen port where that is in the range, else to the same ports. */
  readonly target: number | undefined;
}

/** TLS ends at the gateway, and what was inside goes to the target. */
export interface TlsTermination {
  /** Protocols (RFC 7301) that are agreed to, the first one wins; empty agrees to none, and whoever asks for some gets in without. */
  readonly alpn: readonly string[];
  readonly clientCertificate: ClientCertificateRule | undefined;
  /** Tells the target of TLS version, protocol, name and the certificate's subject, in the PROXY header of version 2. */
  readonly tellTarget: boolean;
}

export const streamStrategies = ['round_robin', 'least_connections', 'random'] as const;
export const streamStickyKinds = ['off', 'address'] as const;

export interface StreamBalancing {
  readonly strategy: (typeof streamStrategies)[number];
  /** What ties a client to one target. */
  readonly sticky: (typeof streamStickyKinds)[number];
}

/** Opening a connection to each target from time to time. One that is closed at once counts as none: agents accept before they dial. */
export interface ConnectCheck {
  readonly intervalMs: number;
  readonly timeoutMs: number;
  readonly healthyAfter: number;
  readonly unhealthyAfter: number;
}

/** Connections, or flows of UDP, that are open at once at one gateway. Undefined sets no limit of the service's own. */
export interface StreamLimits {
  /** In all. */
  readonly maxConnections: number | undefined;
  /** Of one IPv4 address or IPv6 /64. */
  readonly maxPerAddress: number | undefined;
  /** Of one signed-in user. */
  readonly maxPerIdentity: number | undefined;
}

/** Certificates that users get for the service. */
export interface MintedCertificates {
  /** How long each is good for, an hour at most. */
  readonly maxAgeMs: number;
  /** Undefined where the service is no SSH server that trusts the account's authority. Without principals each user has the local part of his address. */
  readonly ssh: { readonly principals: readonly string[] } | undefined;
}

export interface StreamOptions {
  /** Beside the listen port, which may be in one of them. */
  readonly portRanges: readonly PortRange[];
  /** Only of tls services; undefined passes TLS on as it is. */
  readonly termination: TlsTermination | undefined;
  readonly balancing: StreamBalancing;
  readonly healthCheck: ConnectCheck | undefined;
  readonly ejection: Ejection;
  /** A target that is new or well again gets its full share after so long; 0 at once. */
  readonly slowStartMs: number;
  readonly limits: StreamLimits;
  /** Not told to gateways. */
  readonly certificates: MintedCertificates;
}

export const defaultStream: StreamOptions = {
  portRanges: [],
  termination: undefined,
  balancing: { strategy: 'round_robin', sticky: 'off' },
  healthCheck: undefined,
  ejection: { failures: 5, ejectMs: 30_000 },
  slowStartMs: 0,
  limits: { maxConnections: undefined, maxPerAddress: undefined, maxPerIdentity: undefined },
  certificates: { maxAgeMs: 3_600_000, ssh: undefined },
};

/** Every public port of a service, in order. */
export function listenPorts(listenPort: number | undefined, ranges: readonly PortRange[]): readonly number[] {
  const ports = new Set<number>(listenPort === undefined ? [] : [listenPort]);
  for (const { start, end } of ranges) for (let port = start; port <= end; port++) ports.add(port);
  return [...ports].toSorted((a, b) => a - b);
}

/** Where a public port leads at a target that has `targetPort` for the listen port. */
export function targetPortOf(port: number, listenPort: number, targetPort: number, ranges: readonly PortRange[]): number {
  const range = ranges.find(({ start, end }) => start <= port && port <= end);
  if (range?.target !== undefined) return range.target + port - range.start;
  const own = range === undefined ? port === listenPort : range.start <= listenPort && listenPort <= range.end;
  return own ? targetPort + port - listenPort : port;
}

/** The ports at such a target that the public ports lead to, as ranges. */
export function targetRanges(
  listenPort: number | undefined,
  targetPort: number,
  ranges: readonly PortRange[],
): readonly { readonly start: number; readonly end: number }[] {
  if (listenPort === undefined) return [{ start: targetPort, end: targetPort }];
  const spans = ranges.map(({ start, end }) => ({ start, end }));
  if (!spans.some(({ start, end }) => start <= listenPort && listenPort <= end)) spans.push({ start: listenPort, end: listenPort });
  return spans.map(({ start, end }) => {
    const first = targetPortOf(start, listenPort, targetPort, ranges);
    return { start: first, end: first + end - start };
  });
}
