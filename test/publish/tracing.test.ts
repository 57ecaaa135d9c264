// Traces: whom they are believed from, what the upstream is told, and what the collector receives; never at the cost of a request.
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import t from 'tap';
import { openSpanExporter } from '#gateway/report/spans.ts';
import { systemClock } from '#lib/clock.ts';
import { silentLogger } from '#lib/log.ts';
import type { AccessLogEntry } from '#model/access-log.ts';
import { SpanExporter, Tracing } from '#publish/index.ts';
import { SPAN_BATCH, SPAN_BATCH_MS, SPAN_QUEUE } from '#publish/constants.ts';
import { parseTraceparent, Trace } from '#publish/tracing/trace-context.ts';
import { ManualClock } from '../support/manual-clock.ts';
import { exchange, mapping, path, startEcho, startFixture } from './harness.ts';

const trace = '4bf92f3577b34da6a3ce929d0e0e4736';
const parent = '00f067aa0ba902b7';

interface Span {
  readonly traceId: string;
  readonly spanId: string;
  readonly parentSpanId?: string;
  readonly name: string;
  readonly kind: number;
  readonly startTimeUnixNano: string;
  readonly endTimeUnixNano: string;
  readonly attributes: readonly { readonly key: string; readonly value: Readonly<Record<string, string>> }[];
}

function spansOf(body: string): readonly Span[] {
  const { resourceSpans } = JSON.parse(body) as {
    readonly resourceSpans: readonly { readonly scopeSpans: readonly { readonly spans: readonly Span[] }[] }[];
  };
  return resourceSpans.flatMap(({ scopeSpans }) => scopeSpans.flatMap(({ spans }) => spans));
}

void t.test('the field is read as the standard says, or not at all', async (t) => {
  t.same(parseTraceparent(`00-${trace}-${parent}-01`), { traceId: trace, spanId: parent, sampled: true });
  t.same(parseTraceparent(`00-${trace}-${parent}-00`), { traceId: trace, spanId: parent, sampled: false });
  t.same(parseTraceparent(`cc-${trace}-${parent}-03-what-comes`), { traceId: trace, spanId: parent, sampled: true }, 'of a later version');
  for (const bad of [
    '',
    `ff-${trace}-${parent}-01`,
    `00-${trace}-${parent}-01-more`,
    `00-${'0'.repeat(32)}-${parent}-01`,
    `00-${trace}-${'0'.repeat(16)}-01`,
    `00-${trace.toUpperCase()}-${parent}-01`,
    `00-${trace}-${parent}-1`,
    `00-${trace}-${parent}-01, 00-${trace}-${parent}-01`,
  ])
    t.equal(parseTraceparent(bad), undefined, bad);
});

void t.test('the upstream hears of our trace; strangers cannot put a request into one, trusted proxies can', async (t) => {
  const echo = await startEcho();
  t.teardown(() => echo.close());
  const head = `GET / HTTP/1.1\r\nHost: a.test\r\nTraceparent: 00-${trace}-${parent}-01\r\nTRACESTATE: vendor=1\r\nTrace_parent: x\r\nConnection: close\r\n\r\n`;
  const told = async (changes: object): Promise<{ readonly fields: string; readonly entry: AccessLogEntry | undefined }> => {
    const fixture = await startFixture([mapping('a.test', [path(echo.port)])], { tracing: new Tracing(0), ...changes });
    await exchange(fixture, head);
    await fixture.close();
    return { fields: echo.received.at(-1) ?? '', entry: fixture.entries[0] };
  };
  const stranger = await told({});
  t.equal(stranger.fields.match(/^traceparent:/gim)?.length, 1);
  t.match(stranger.fields, /^traceparent: 00-[0-9a-f]{32}-[0-9a-f]{16}-00\r$/m, 'one of our own, not sampled by our share');
  t.notMatch(stranger.fields, new RegExp(`${trace}|vendor=1`, 'i'));

  const trusted = await told({ trustedProxies: ['127.0.0.0/8'] });
  const own = trusted.entry?.trace;
  if (!(own instanceof Trace)) throw new TypeError('no trace');
  t.match(trusted.fields, `traceparent: 00-${trace}-${own.upstreamSpanId}-01\r\ntracestate: vendor=1\r\n`);
  t.match(own, { traceId: trace, parentSpanId: parent, sampled: true });
  t.match(JSON.parse(JSON.stringify(trusted.entry)), { trace });

  const off = await told({ tracing: undefined });
  t.match(off.fields, `Traceparent: 00-${trace}-${parent}-01`, 'without tracing it is a field like any other');
  t.equal(off.entry?.trace, undefined);
});

void t.test('a collector receives the request and its upstream’s part, without queries and tokens', async (t) => {
  const bodies: string[] = [];
  const seen: (string | undefined)[] = [];
  const collector = createServer((request, response) => {
    seen.push(request.headers['content-type'], request.headers.authorization, request.url);
    let body = '';
    request.on('data', (chunk: Buffer) => (body += chunk.toString()));
    request.on('end', () => {
      bodies.push(body);
      response.end('{}');
    });
  });
  await new Promise<void>((resolve) => void collector.listen(0, '127.0.0.1', resolve));
  t.teardown(() => void collector.close());
  const { port } = collector.address() as AddressInfo;
  const echo = await startEcho();
  t.teardown(() => echo.close());
  const settings = { collector: new URL(`http://127.0.0.1:${port}/v1/traces`), authorization: 'Basic abc' };
  const exporter = openSpanExporter(settings, { version: '1', clock: systemClock, log: silentLogger });
  const fixture = await startFixture([mapping('a.test', [path(echo.port)])], { tracing: new Tracing(1), accessLog: (entry) => exporter.push(entry) });
  t.teardown(() => fixture.close());
  await exchange(
    fixture,
    'GET /x/nbp_0123456789abcdefghijklmnop?secret=1 HTTP/1.1\r\nHost: a.test\r\nUser-Agent: probe\r\nConnection: close\r\n\r\n',
  );
  await exchange(fixture, 'GET / HTTP/1.1\r\nHost: b.test\r\nConnection: close\r\n\r\n');
  await exporter.close();
  t.equal(exporter.exported, 2);
  t.same(seen, ['application/json', 'Basic abc', '/v1/traces']);
  const spans = spansOf(bodies[0] ?? '');
  t.same(
    spans.map(({ name, kind }) => [name, kind]),
    [
      ['GET', 2],
      ['upstream', 3],
      ['GET', 2],
    ],
    'what is refused has no upstream',
  );
  const [request, upstream] = spans;
  t.equal(upstream?.parentSpanId, request?.spanId);
  t.match(echo.received[0], `traceparent: 00-${request?.traceId}-${upstream?.spanId}-01`, 'the upstream’s parent is that span');
  for (const { startTimeUnixNano, endTimeUnixNano } of spans) t.ok(BigInt(endTimeUnixNano) >= BigInt(startTimeUnixNano));
  t.match(request?.attributes, [
    { key: 'http.request.method', value: { stringValue: 'GET' } },
    { key: 'http.response.status_code', value: { intValue: '200' } },
  ]);
  t.match(bodies[0], /"\/x\/\[redacted\]"/);
  t.notMatch(bodies[0], /secret|nbp_/);
});

void t.test('a collector that is away costs a bounded queue, is told once, and stops nothing', async (t) => {
  const clock = new ManualClock();
  const warnings: string[] = [];
  const log = { ...silentLogger, warn: (event: string) => void warnings.push(event) };
  let away = true;
  const sizes: number[] = [];
  const send = async (body: string): Promise<void> => {
    if (away) throw new TypeError('away');
    sizes.push(spansOf(body).length);
  };
  const exporter = new SpanExporter({ send, version: '1', clock, log });
  const fixture = await startFixture([]);
  await exchange(fixture, 'GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n');
  await fixture.close();
  const [record] = fixture.entries;
  if (record === undefined) throw new TypeError('no record');
  const sampled = { ...record, trace: new Tracing(1).begin(undefined, undefined) };
  exporter.push(record);
  exporter.push({ ...record, trace: new Tracing(0).begin(undefined, undefined) });
  for (let i = 0; i < SPAN_QUEUE + 7; i++) exporter.push(sampled);
  t.equal(exporter.dropped, 7, 'what is not sampled is not counted');
  const pass = async (): Promise<void> => {
    clock.advance(SPAN_BATCH_MS);
    for (let i = 0; i < 10; i++) await Promise.resolve();
  };
  await pass();
  await pass();
  t.equal(exporter.dropped, 7 + 2 * SPAN_BATCH);
  t.same(warnings, ['spans not taken by the collector']);
  away = false;
  for (let i = 0; i < 20; i++) await pass();
  t.equal(exporter.exported, SPAN_QUEUE - 2 * SPAN_BATCH);
  t.ok(Math.max(...sizes) <= SPAN_BATCH);
  await exporter.close();
});
