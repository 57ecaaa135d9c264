// What a gateway exposes: the figures that its parts keep, as families of metrics.
import type { Clock } from '#lib/clock.ts';
import type { Durations } from '#lib/durations.ts';
import type { MeshNode } from '#mesh/index.ts';
import { type CertificateFigures, certificateFamilies, counter, type Family, gauge, histogram, meshFamilies, single } from '#metrics/index.ts';
import type { LinkStatus, ServiceStatus } from '#model/status.ts';
import type { AccessLogSink, HttpPublisher, SpanExporter, StreamPublisher, Traffic } from '#publish/index.ts';
import type { CrowdsecBouncer } from './crowdsec/bouncer.ts';
import type { GatewaySurroundings } from './surroundings.ts';

export interface GatewayFigures {
  readonly traffic: Traffic;
  readonly publisher: Pick<HttpPublisher, 'stats'>;
  readonly streams: Pick<StreamPublisher, 'stats'>;
  readonly revocationTime: Durations;
  readonly certificates: () => Iterable<CertificateFigures>;
  readonly accessLog: Pick<AccessLogSink, 'dropped' | 'waiting'>;
  /** Undefined where there are no traces. */
  readonly spans: Pick<SpanExporter, 'exported' | 'dropped'> | undefined;
  readonly around: Pick<GatewaySurroundings, 'crowdsec' | 'limits'>;
  readonly services: () => readonly ServiceStatus[];
  readonly node: Pick<MeshNode, 'state' | 'status'>;
  /** The proxy stream. */
  readonly link: () => LinkStatus;
  readonly clock: Clock;
}

export function gatewayFamilies(figures: GatewayFigures): readonly Family[] {
  const { node, clock, link } = figures;
  return [
    ...trafficFamilies(figures.traffic),
    ...connectionFamilies(figures.publisher, figures.streams),
    ...certificateFamilies(figures.certificates, clock),
    histogram(
      'meshgate_revocation_seconds',
      'Time from the end of trust at the control plane until everything that was open under it is closed here. Compares two clocks.',
      single(() => figures.revocationTime),
    ),
    gauge('meshgate_services', 'Services by state.', () => countBy(figures.services(), ({ state }) => state, 'state')),
    gauge(
      'meshgate_access_log_waiting_records',
      'Access log records that wait to be written or taken.',
      single(() => figures.accessLog.waiting),
    ),
    counter(
      'meshgate_access_log_dropped_records_total',
      'Access log records that were lost.',
      single(() => figures.accessLog.dropped),
    ),
    gauge(
      'meshgate_rate_limit_buckets',
      'Callers whose use of rate-limited services is counted now.',
      single(() => figures.around.limits.size),
    ),
    ...(figures.around.crowdsec === undefined ? [] : [decisionFamily(figures.around.crowdsec)]),
    ...(figures.spans === undefined ? [] : [spanFamily(figures.spans)]),
    ...meshFamilies(() => ({ mesh: node.status(), joined: node.state().kind === 'running', links: [link()], wallMs: clock.wall() })),
  ];
}

function decisionFamily(crowdsec: Pick<CrowdsecBouncer, 'size'>): Family {
  return gauge(
    'meshgate_crowdsec_decisions',
    'Decisions of CrowdSec that are held.',
    single(() => crowdsec.size),
  );
}

function spanFamily(spans: NonNullable<GatewayFigures['spans']>): Family {
  return counter('meshgate_traced_requests_total', 'Sampled requests whose spans the collector took, and those that were lost.', () => [
    { labels: { outcome: 'taken' }, value: spans.exported },
    { labels: { outcome: 'lost' }, value: spans.dropped },
  ]);
}

function trafficFamilies(traffic: Traffic): readonly Family[] {
  const stages = ['accessTime', 'dialTime', 'firstByteTime', 'totalTime'] as const;
  const names = { accessTime: 'access', dialTime: 'dial', firstByteTime: 'first_byte', totalTime: 'total' } as const;
  return [
    counter('meshgate_http_requests_total', 'Requests by service, method and status class.', () =>
      traffic
        .all()
        .flatMap((of) => [...of.requests()].map(({ method, status, count }) => ({ labels: { service: of.service, method, status }, value: count }))),
    ),
    counter('meshgate_refusals_total', 'Requests and streams that ended before their time, by the stage and the reason.', () =>
      traffic
        .all()
        .flatMap((of) => [...of.refusals()].map(({ stage, reason, count }) => ({ labels: { service: of.service, stage, reason }, value: count }))),
    ),
    histogram(
      'meshgate_http_duration_seconds',
      'Time of requests: until admitted (access), to open a connection to the upstream (dial), until the head of its answer (first_byte), and in all (total; upgraded streams are not in it).',
      () =>
        traffic
          .all()
          .flatMap((of) =>
            stages.flatMap((stage) => (of[stage].count === 0 ? [] : [{ labels: { service: of.service, stage: names[stage] }, value: of[stage] }])),
          ),
    ),
    counter('meshgate_streams_total', 'Connections of TCP and TLS services, when they ended.', () =>
      traffic.all().flatMap((of) => [...of.streams()].map(({ protocol, count }) => ({ labels: { service: of.service, protocol }, value: count }))),
    ),
    counter('meshgate_http_upgrades_total', 'Streams that were upgraded, when they ended.', () =>
      traffic.all().map(({ service, upgrades }) => ({ labels: { service }, value: upgrades })),
    ),
    counter('meshgate_bytes_total', 'Bytes of bodies and streams, counted when they ended: up is from the client.', () =>
      traffic.all().flatMap(({ service, bytesUp, bytesDown }) => [
        { labels: { service, direction: 'up' }, value: bytesUp },
        { labels: { service, direction: 'down' }, value: bytesDown },
      ]),
    ),
  ];
}

const handshakePrefix = 'tls_';

function connectionFamilies(publisher: GatewayFigures['publisher'], open: GatewayFigures['streams']): readonly Family[] {
  return [
    gauge(
      'meshgate_connections',
      'Open connections of clients.',
      single(() => publisher.stats().connections),
    ),
    counter(
      'meshgate_refused_connections_total',
      'Connections that were closed at once because a limit was reached.',
      single(() => publisher.stats().refusedConnections),
    ),
    gauge('meshgate_open_streams', 'Requests that are forwarded now, upgraded streams, and connections of TCP and TLS services.', () => {
      const { streams, upgrades } = publisher.stats();
      return [
        { labels: { kind: 'request' }, value: streams - upgrades },
        { labels: { kind: 'upgrade' }, value: upgrades },
        { labels: { kind: 'stream' }, value: open.stats().streams },
      ];
    }),
    counter(
      'meshgate_tls_handshakes_total',
      'TLS handshakes that were completed.',
      single(() => publisher.stats().handshakes),
    ),
    counter('meshgate_tls_handshake_failures_total', 'Connections that came to no request, by reason.', () =>
      Object.entries(publisher.stats().refused).flatMap(([reason, value]) =>
        reason.startsWith(handshakePrefix) ? [{ labels: { reason: reason.slice(handshakePrefix.length) }, value }] : [],
      ),
    ),
  ];
}

function countBy<T>(all: readonly T[], key: (one: T) => string, label: string): { labels: Record<string, string>; value: number }[] {
  const counts = new Map<string, number>();
  for (const one of all) counts.set(key(one), (counts.get(key(one)) ?? 0) + 1);
  return [...counts].map(([name, value]) => ({ labels: { [label]: name }, value }));
}
