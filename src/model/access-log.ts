// One record per request or flow, written by gateways and kept by the control plane.
import type { ServiceId } from './ids.ts';

export interface AccessLogEntry {
  /** Also on the visitor's error page and in the log, so that the three can be joined. */
  readonly id: string;
  readonly serviceId: ServiceId | undefined;
  /** Wall-clock milliseconds at the request's first byte. */
  readonly timestamp: number;
  readonly protocol: 'http' | 'tcp' | 'udp' | 'tls';
  readonly method: string;
  readonly host: string;
  /** Without the query. */
  readonly path: string;
  readonly durationMs: number;
  readonly status: number;
  readonly sourceIp: string;
  readonly userId: string;
  readonly authMethod: string;
  readonly authSuccess: boolean;
  readonly bytesUp: number;
  readonly bytesDown: number;
  /** Machine-readable: an allow or deny reason, or the stage that failed. */
  readonly reason: string;

  /** The subject of the certificate that a TLS client has shown and that was verified; left out for none. */
  readonly clientCertificate?: string | undefined;

  // What only the gateway's own log and figures say; the control plane keeps none of it.

  /** The access rule that decided; undefined where none did. */
  readonly rule?: string | undefined;
  /** What would have decided, were it not only observed. */
  readonly observed?: readonly string[] | undefined;
  /** The trace that it belongs to, as publish/ has it; its id in lines. */
  readonly trace?: { toJSON(): string } | undefined;
  /** `1.0`, `1.1` or `2`. */
  readonly httpVersion?: string | undefined;
  /** As sent, cut. */
  readonly userAgent?: string | undefined;
  /** As sent until the access log reduces it to its host. */
  readonly referer?: string | undefined;
  /** `host:port` that the request was sent to. */
  readonly upstream?: string | undefined;
  /** From the first byte to the decision to forward it, milliseconds. */
  readonly accessMs?: number | undefined;
  /** To open a connection to the upstream; undefined also where one was kept. */
  readonly dialMs?: number | undefined;
  /** From the decision to the head of the upstream's answer, dialling included. */
  readonly firstByteMs?: number | undefined;
}
