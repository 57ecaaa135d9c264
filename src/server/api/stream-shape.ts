// Our own part of a TCP, TLS or UDP service as the API answers it: in the form in which it may be sent again.
import type { StreamOptions } from '#model/stream.ts';
import { present } from './fields.ts';
import { durationText } from './web-shape.ts';

export function streamShape({
  portRanges,
  termination,
  balancing,
  healthCheck,
  ejection,
  slowStartMs,
  limits,
  certificates,
}: StreamOptions): Readonly<Record<string, unknown>> {
  return present({
    port_ranges: portRanges.map(({ start, end, target }) => present({ start, end, target })),
    terminate:
      termination === undefined
        ? undefined
        : present({ alpn: termination.alpn, client_certificate: termination.clientCertificate, tell_target: termination.tellTarget }),
    balancing,
    health_check:
      healthCheck === undefined
        ? undefined
        : {
            interval: durationText(healthCheck.intervalMs),
            timeout: durationText(healthCheck.timeoutMs),
            healthy_after: healthCheck.healthyAfter,
            unhealthy_after: healthCheck.unhealthyAfter,
          },
    ejection: { failures: ejection.failures, for: durationText(ejection.ejectMs) },
    slow_start: slowStartMs === 0 ? undefined : durationText(slowStartMs),
    limits: present({ max_connections: limits.maxConnections, max_per_address: limits.maxPerAddress, max_per_identity: limits.maxPerIdentity }),
    certificates: {
      max_age: durationText(certificates.maxAgeMs),
      ssh: certificates.ssh !== undefined,
      ssh_principals: certificates.ssh?.principals ?? [],
    },
  });
}
