// W3C trace context: which trace a request belongs to, taken from proxies that are trusted and made anew for everybody else, and said to the upstream.
import { randomFillSync } from 'node:crypto';
import { isFieldValue } from '#wire/http1-fields.ts';

/** Longest tracestate that is handed on; more is left out (Trace Context §3.3.1.5 asks for 512 at least). */
const maxStateText = 512;

/** One request's place in a trace. */
export class Trace {
  /** 32 and 16 hexadecimal digits. */
  readonly traceId: string;
  readonly spanId: string;
  /** The span that stands for the upstream's part, which is what the upstream is told as its parent. */
  readonly upstreamSpanId: string;
  readonly parentSpanId: string | undefined;
  readonly sampled: boolean;
  /** The fields for the upstream, as lines. */
  readonly lines: string;

  constructor(traceId: string, parentSpanId: string | undefined, sampled: boolean, state: string) {
    this.traceId = traceId;
    this.parentSpanId = parentSpanId;
    this.spanId = randomHex(8);
    this.upstreamSpanId = randomHex(8);
    this.sampled = sampled;
    this.lines = `traceparent: 00-${traceId}-${this.upstreamSpanId}-${sampled ? '01' : '00'}\r\n${state === '' ? '' : `tracestate: ${state}\r\n`}`;
  }

  /** In log lines the trace is its id. */
  toJSON(): string {
    return this.traceId;
  }
}

export class Tracing {
  readonly #share: number;
  readonly #random: () => number;

  /** `share` of the traces that begin here is sampled, 0 to 1; `random` is uniform in [0, 1). */
  constructor(share: number, random: () => number = Math.random) {
    this.#share = share;
    this.#random = random;
  }

  /** `parent` and `state` are the fields of a trusted proxy, else undefined. Whether a trace is sampled is decided where it begins. */
  begin(parent: string | undefined, state: string | undefined): Trace {
    const known = parent === undefined ? undefined : parseTraceparent(parent);
    if (known === undefined) return new Trace(randomHex(16), undefined, this.#random() < this.#share, '');
    const fits = state !== undefined && state.length <= maxStateText && isFieldValue(state);
    return new Trace(known.traceId, known.spanId, known.sampled, fits ? state : '');
  }
}

/** Undefined where the field is none (Trace Context §3.2): the trace begins anew. */
export function parseTraceparent(text: string): { readonly traceId: string; readonly spanId: string; readonly sampled: boolean } | undefined {
  const match = /^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?$/.exec(text);
  const [, version = 'ff', traceId = '', spanId = '', flags = '0', more] = match ?? [];
  if (version === 'ff' || (version === '00' && more !== undefined) || /^0+$/.test(traceId) || /^0+$/.test(spanId)) return undefined;
  return { traceId, spanId, sampled: (Number.parseInt(flags, 16) & 1) === 1 };
}

function randomHex(bytes: number): string {
  const id = Buffer.alloc(bytes);
  do randomFillSync(id);
  while (id.every((byte) => byte === 0));
  return id.toString('hex');
}
