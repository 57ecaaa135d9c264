// Spans of sampled requests to an OpenTelemetry collector: OTLP over HTTP as JSON, in batches, from a bounded queue. Requests never wait for it.
import type { Clock, Timer } from '#lib/clock.ts';
import { describeError } from '#lib/errors.ts';
import type { Closable } from '#lib/lifecycle.ts';
import type { Logger } from '#lib/log.ts';
import type { AccessLogEntry } from '#model/access-log.ts';
import { safeEntry } from '../accesslog/access-log.ts';
import { SPAN_BATCH, SPAN_BATCH_MS, SPAN_QUEUE, SPAN_SEND_MS } from '../constants.ts';
import { Trace } from './trace-context.ts';

export interface SpanExporterDeps {
  /** Posts one body to the collector; rejects where it does not take it. */
  readonly send: (body: string, signal: AbortSignal) => Promise<void>;
  readonly version: string;
  readonly clock: Clock;
  readonly log: Logger;
}

export class SpanExporter implements Closable {
  /** Requests whose spans were taken by the collector, and those that went lost. */
  exported = 0;
  dropped = 0;
  readonly #deps: SpanExporterDeps;
  #queue: AccessLogEntry[] = [];
  #timer: Timer | undefined;
  #sending: Promise<void> | undefined;
  #failing = false;
  #closing: Promise<void> | undefined;

  constructor(deps: SpanExporterDeps) {
    this.#deps = deps;
  }

  /** Takes the record of a request; those that are not sampled are left alone. */
  push(entry: AccessLogEntry): void {
    if (!(entry.trace instanceof Trace) || !entry.trace.sampled) return;
    if (this.#queue.length >= SPAN_QUEUE || this.#closing !== undefined) {
      this.dropped++;
      return;
    }
    this.#queue.push(entry);
    this.#timer ??= this.#deps.clock.after(SPAN_BATCH_MS, () => this.#fire());
  }

  /** Sends what is left, once. */
  close(): Promise<void> {
    this.#closing ??= this.#finish();
    return this.#closing;
  }

  async #finish(): Promise<void> {
    this.#timer?.cancel();
    await this.#sending;
    while (this.#queue.length > 0 && !this.#failing) await this.#send();
    this.dropped += this.#queue.length;
    this.#queue = [];
  }

  #fire(): void {
    this.#timer = undefined;
    this.#sending = this.#send();
    void this.#sending.then(() => {
      this.#sending = undefined;
      if (this.#queue.length === 0 || this.#closing !== undefined) return;
      this.#timer ??= this.#deps.clock.after(this.#queue.length >= SPAN_BATCH && !this.#failing ? 0 : SPAN_BATCH_MS, () => this.#fire());
    });
  }

  /** Never rejects. A batch that is not taken is lost: spans are worth less than the memory to keep them. */
  async #send(): Promise<void> {
    const batch = this.#queue.splice(0, SPAN_BATCH);
    try {
      await this.#deps.send(bodyOf(batch, this.#deps.version), AbortSignal.timeout(SPAN_SEND_MS));
      this.exported += batch.length;
      this.#failing = false;
    } catch (error) {
      if (!this.#failing) this.#deps.log.warn('spans not taken by the collector', { error: describeError(error) });
      this.#failing = true;
      this.dropped += batch.length;
    }
  }
}

type Value = { readonly stringValue: string } | { readonly intValue: string };

interface Attribute {
  readonly key: string;
  readonly value: Value;
}

/** opentelemetry.proto.collector.trace.v1.ExportTraceServiceRequest in its JSON form. */
function bodyOf(entries: readonly AccessLogEntry[], version: string): string {
  const resource = { attributes: attributesOf({ 'service.name': 'meshgate-gateway', 'service.version': version }) };
  const spans = entries.flatMap((entry) => (entry.trace instanceof Trace ? spansOf(safeEntry(entry), entry.trace) : []));
  return JSON.stringify({ resourceSpans: [{ resource, scopeSpans: [{ scope: { name: 'meshgate', version }, spans }] }] });
}

const serverKind = 2;
const clientKind = 3;
const statusError = 2;

/** The request, and its upstream's part where it was sent on. */
function spansOf(entry: AccessLogEntry, trace: Trace): readonly unknown[] {
  const { timestamp, durationMs, accessMs = 0, dialMs, firstByteMs, upstream, status } = entry;
  const failed = status >= 500 ? { status: { code: statusError, message: entry.reason } } : {};
  const request = {
    traceId: trace.traceId,
    spanId: trace.spanId,
    ...(trace.parentSpanId === undefined ? {} : { parentSpanId: trace.parentSpanId }),
    name: entry.method === '' ? 'request' : entry.method,
    kind: serverKind,
    startTimeUnixNano: nanos(timestamp),
    endTimeUnixNano: nanos(timestamp + durationMs),
    attributes: attributesOf({
      'http.request.method': entry.method,
      'http.response.status_code': status,
      'url.scheme': 'https',
      'url.path': entry.path,
      'server.address': entry.host,
      'client.address': entry.sourceIp,
      'user_agent.original': entry.userAgent,
      'network.protocol.version': entry.httpVersion,
      'enduser.id': entry.userId,
      'meshgate.request_id': entry.id,
      'meshgate.service_id': entry.serviceId,
      'meshgate.reason': entry.reason,
      'meshgate.rule': entry.rule,
    }),
    ...failed,
  };
  if (upstream === undefined) return [request];
  const answered = firstByteMs === undefined ? durationMs : accessMs + firstByteMs;
  return [
    request,
    {
      traceId: trace.traceId,
      spanId: trace.upstreamSpanId,
      parentSpanId: trace.spanId,
      name: 'upstream',
      kind: clientKind,
      startTimeUnixNano: nanos(timestamp + accessMs),
      endTimeUnixNano: nanos(timestamp + answered),
      attributes: attributesOf({
        'server.address': upstream,
        'meshgate.dial_us': dialMs === undefined ? undefined : Math.round(dialMs * 1_000),
      }),
      ...failed,
    },
  ];
}

function nanos(wallMs: number): string {
  return String(BigInt(Math.round(wallMs * 1_000)) * 1_000n);
}

function attributesOf(values: Readonly<Record<string, string | number | undefined>>): readonly Attribute[] {
  return Object.entries(values).flatMap(([key, value]) => {
    if (value === undefined || value === '') return [];
    return [{ key, value: typeof value === 'number' ? { intValue: String(value) } : { stringValue: value } }];
  });
}
