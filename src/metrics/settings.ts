// What every process is told of its metrics, in the same words.
import { type DialTarget, parseHostPort } from '#lib/net.ts';
import { convert, object, optional, type Schema, string } from '#lib/schema.ts';

export interface MetricsSettings {
  /** Undefined for no endpoint. */
  readonly listen: DialTarget | undefined;
}

/** The settings `metrics.*`. */
export const metricsSettings: Schema<MetricsSettings> = object({
  listen: optional(
    convert(
      string({
        about:
          'TCP address for /metrics (Prometheus), /healthz/live and /healthz/ready, plain HTTP without sign-in: a port on 127.0.0.1, or host:port. Left out, there is none.',
      }),
      (text, refuse): DialTarget | undefined =>
        parseHostPort(/^[0-9]{1,5}$/.test(text) ? `127.0.0.1:${text}` : text) ?? refuse('must be a port, or host:port such as 10.0.0.5:9090'),
      'port or host:port',
    ),
  ),
});
