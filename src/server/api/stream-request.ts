// Our own part of a service's body: what its gateway does with TCP, TLS and UDP beyond NetBird's shapes.
import { boolean, convert, duration, integer, list, object, oneOf, optional, type Schema, string } from '#lib/schema.ts';
import type { ClientCertificateRule } from '#model/client-certificate.ts';
import { certificateMaxMs, sshPrincipalPattern, sshPrincipals } from '../domain/constants.ts';
import { defaultStream, portsPerService, type StreamOptions, streamStickyKinds, streamStrategies } from '#model/stream.ts';

const port = (): Schema<number> => integer({ min: 1, max: 65_535 });

/** `client_certificate` of `web` and of `stream.terminate`. */
export const clientCertificate = (): Schema<ClientCertificateRule | undefined> =>
  optional(
    convert(
      object({ account: boolean({ default: false }), ca: string({ min: 0, max: 262_144, default: '' }), required: boolean({ default: true }) }),
      ({ account, ca, required }) => (account ? { account, ca, required } : { ca, required }),
    ),
  );

/** `stream` of a service's body. */
export const streamRequest: Schema<StreamOptions> = convert(
  object({
    port_ranges: list(object({ start: port(), end: port(), target: optional(port()) }), { default: [], max: portsPerService }),
    terminate: optional(
      object({
        alpn: list(string({ max: 255 }), { default: [], max: 8 }),
        client_certificate: clientCertificate(),
        tell_target: boolean({ default: false }),
      }),
    ),
    balancing: object({ strategy: oneOf(streamStrategies, { default: 'round_robin' }), sticky: oneOf(streamStickyKinds, { default: 'off' }) }),
    health_check: optional(
      object({
        interval: duration({ minMs: 1000, maxMs: 3_600_000, default: '10s' }),
        timeout: duration({ minMs: 100, maxMs: 60_000, default: '5s' }),
        healthy_after: integer({ min: 1, max: 10, default: 2 }),
        unhealthy_after: integer({ min: 1, max: 10, default: 3 }),
      }),
    ),
    ejection: object({
      failures: integer({ max: 1000, default: defaultStream.ejection.failures }),
      for: duration({ minMs: 1000, maxMs: 3_600_000, default: '30s' }),
    }),
    slow_start: optional(duration({ minMs: 1000, maxMs: 3_600_000 })),
    limits: object({
      max_connections: optional(integer({ min: 1, max: 1_000_000 })),
      max_per_address: optional(integer({ min: 1, max: 1_000_000 })),
      max_per_identity: optional(integer({ min: 1, max: 1_000_000 })),
    }),
    certificates: object({
      max_age: duration({ minMs: 60_000, maxMs: certificateMaxMs, default: '1h' }),
      ssh: boolean({ default: false }),
      ssh_principals: list(string({ max: 32, pattern: sshPrincipalPattern, hint: 'must be the name of a user such as deploy' }), {
        default: [],
        max: sshPrincipals,
      }),
    }),
  }),
  (fields) => ({
    portRanges: fields.port_ranges.map(({ start, end, target }) => ({ start, end, target })),
    termination:
      fields.terminate === undefined
        ? undefined
        : { alpn: fields.terminate.alpn, clientCertificate: fields.terminate.client_certificate, tellTarget: fields.terminate.tell_target },
    balancing: fields.balancing,
    healthCheck:
      fields.health_check === undefined
        ? undefined
        : {
            intervalMs: fields.health_check.interval,
            timeoutMs: fields.health_check.timeout,
            healthyAfter: fields.health_check.healthy_after,
            unhealthyAfter: fields.health_check.unhealthy_after,
          },
    ejection: { failures: fields.ejection.failures, ejectMs: fields.ejection.for },
    slowStartMs: fields.slow_start ?? 0,
    limits: {
      maxConnections: fields.limits.max_connections,
      maxPerAddress: fields.limits.max_per_address,
      maxPerIdentity: fields.limits.max_per_identity,
    },
    certificates: {
      maxAgeMs: fields.certificates.max_age,
      ssh: fields.certificates.ssh || fields.certificates.ssh_principals.length > 0 ? { principals: fields.certificates.ssh_principals } : undefined,
    },
  }),
);
