// What a control plane exposes: the figures that its parts keep, as families of metrics.
import { X509Certificate } from 'node:crypto';
import type { Clock } from '#lib/clock.ts';
import { Durations } from '#lib/durations.ts';
import { type CertificateFigures, certificateFamilies, counter, type Family, gauge, histogram, single } from '#metrics/index.ts';
import type { Api } from './api/index.ts';
import type { ControlDomain } from './domain/contract.ts';
import type { ManagementServices } from './management/index.ts';
import type { RelayServer } from './relay/index.ts';
import type { SignalService } from './signal/index.ts';
import type { StoreTimes } from './store/timed-database.ts';

export interface ServerFigures {
  readonly management: Pick<ManagementServices, 'connectedPeers' | 'connectedGateways'>;
  readonly signal: Pick<SignalService, 'connected'>;
  readonly relay: Pick<RelayServer, 'stats'>;
  readonly api: Pick<Api, 'figures'>;
  readonly mapTime: Durations;
  readonly store: StoreTimes;
  readonly certificates: readonly CertificateFigures[];
  readonly clock: Clock;
}

export function serverFamilies({ management, signal, relay, api, mapTime, store, certificates, clock }: ServerFigures): readonly Family[] {
  return [
    gauge('meshgate_connected', 'Streams that are open to this server, by who is at the other end.', () => [
      { labels: { kind: 'peer' }, value: management.connectedPeers() },
      { labels: { kind: 'gateway' }, value: management.connectedGateways() },
      { labels: { kind: 'signal' }, value: signal.connected() },
      { labels: { kind: 'relay' }, value: relay.stats().connections },
    ]),
    histogram(
      'meshgate_map_build_seconds',
      'Time to build one peer’s network map.',
      single(() => mapTime),
    ),
    counter('meshgate_api_requests_total', 'Requests of the API by route and status class.', () =>
      [...api.figures.counts()].map(({ count, ...labels }) => ({ labels, value: count })),
    ),
    histogram(
      'meshgate_api_duration_seconds',
      'Time of requests of the API.',
      single(() => api.figures.time),
    ),
    histogram('meshgate_store_seconds', 'Time of work with the database, waiting for it included.', () => [
      { labels: { kind: 'statement' }, value: store.statement },
      { labels: { kind: 'write' }, value: store.write },
      { labels: { kind: 'read' }, value: store.read },
    ]),
    counter(
      'meshgate_store_failures_total',
      'Work with the database that failed; refusals within a transaction are among them.',
      single(() => store.failures),
    ),
    counter(
      'meshgate_relay_forwarded_packets_total',
      'Packets that the relay carried.',
      single(() => relay.stats().forwardedPackets),
    ),
    counter(
      'meshgate_relay_forwarded_bytes_total',
      'Bytes that the relay carried.',
      single(() => relay.stats().forwardedBytes),
    ),
    counter(
      'meshgate_relay_dropped_packets_total',
      'Packets that were lost because their receiver was slow.',
      single(() => relay.stats().droppedPackets),
    ),
    ...certificateFamilies(() => certificates, clock),
  ];
}

/** The same with the time of each map taken. */
export function timedMaps(maps: ControlDomain['maps'], clock: Clock): { readonly maps: ControlDomain['maps']; readonly time: Durations } {
  const time = new Durations();
  return {
    time,
    maps: {
      async build(publicKey) {
        const begun = clock.now();
        const map = await maps.build(publicKey);
        time.observe(clock.now() - begun);
        return map;
      },
    },
  };
}

/** The certificate of the server's port. */
export function certificateOf(certPem: string | undefined): readonly CertificateFigures[] {
  if (certPem === undefined) return [];
  const leaf = new X509Certificate(certPem);
  return [{ names: [(leaf.subjectAltName ?? '').replace(/^DNS:([^,]*).*$/, '$1')], notAfter: Date.parse(leaf.validTo) }];
}
