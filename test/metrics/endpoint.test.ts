// The endpoint of metrics: what it answers, to whom, and that nobody can make it hold or cost much.
import { connect, type Socket } from 'node:net';
import t, { type Test } from 'tap';
import { systemClock } from '#lib/clock.ts';
import { Durations, durationBoundsMs } from '#lib/durations.ts';
import { silentLogger } from '#lib/log.ts';
import { parse } from '#lib/schema.ts';
import { counter, type Family, gauge, histogram, metricsSettings, serveMetrics, single } from '#metrics/index.ts';
import { maxConnections, maxLabelText } from '#metrics/constants.ts';
import { ask, samplesOf } from '../support/metrics.ts';

async function serve(t: Test, families: readonly Family[], ready: () => string | Promise<string> = () => '', host = '127.0.0.1'): Promise<number> {
  const endpoint = await serveMetrics({ host, port: 0 }, { families, ready }, { log: silentLogger, clock: systemClock });
  t.teardown(() => endpoint.close());
  return endpoint.port;
}

void t.test('families are read as they are when somebody asks, beside what Node tells of the process', async (t) => {
  const time = new Durations();
  for (const ms of [0.5, 1, 1.1, 99_999]) time.observe(ms);
  let count = 0;
  const port = await serve(t, [
    counter('test_total', 'Counts.', () => [{ labels: { who: 'a"b\\c\nd', n: 'x'.repeat(1_000) }, value: ++count }]),
    gauge(
      'test_now',
      'Now.',
      single(() => -1.5),
    ),
    histogram('test_seconds', 'Time.', () => [{ labels: { stage: 'dial' }, value: time }]),
  ]);
  const { status, headers, text } = await ask(port, '/metrics');
  t.equal(status, 200);
  t.match(headers, { 'content-type': /^text\/plain; version=0\.0\.4/, 'cache-control': 'no-store', 'x-content-type-options': 'nosniff' });
  const samples = samplesOf(text);
  t.equal(samples.get('test_now'), -1.5);
  t.equal(samples.get(`test_total{who="a\\"b\\\\cd",n="${'x'.repeat(maxLabelText)}"}`), 1, 'short, escaped and without control characters');
  t.equal(samples.get('test_seconds_bucket{stage="dial",le="0.001"}'), 2);
  t.equal(samples.get('test_seconds_bucket{stage="dial",le="0.0025"}'), 3);
  t.equal(samples.get('test_seconds_bucket{stage="dial",le="10"}'), 3);
  t.equal(samples.get('test_seconds_bucket{stage="dial",le="+Inf"}'), 4);
  t.equal(samples.get('test_seconds_count{stage="dial"}'), 4);
  t.ok(Math.abs((samples.get('test_seconds_sum{stage="dial"}') ?? 0) - 100.0016) < 1e-6);
  t.equal([...samples.keys()].filter((name) => name.startsWith('test_seconds_bucket')).length, durationBoundsMs.length + 1);
  t.ok((samples.get('process_resident_memory_bytes') ?? 0) > 1e6);
  t.ok(samples.has('nodejs_eventloop_lag_p99_seconds'));
  const more = await Promise.all(Array.from({ length: 10 }, () => ask(port, '/metrics')));
  t.equal(count, 1, 'many askers cost as one');
  t.ok(more.every((answer) => answer.text === text));
});

void t.test('alive is who answers; ready is who says so, in time', async (t) => {
  let waiting: () => string | Promise<string> = () => 'no configuration yet';
  const port = await serve(t, [], () => waiting());
  t.match(await ask(port, '/healthz/live'), { status: 200, text: 'ok\n' });
  t.match(await ask(port, '/healthz/ready'), { status: 503, text: 'no configuration yet\n' });
  waiting = () => '';
  t.match(await ask(port, '/healthz/ready'), { status: 200, text: 'ok\n' });
  waiting = () => Promise.reject(new TypeError('password is hunter2'));
  t.match(await ask(port, '/healthz/ready'), { status: 503, text: 'it does not work\n' }, 'the reason is for the log');
  waiting = () => new Promise(() => undefined);
  t.match(await ask(port, '/healthz/ready'), { status: 503, text: 'it does not answer in time\n' });
});

void t.test('nothing but GET and HEAD of three paths, and on loopback only under its own name', async (t) => {
  const port = await serve(t, []);
  t.equal((await ask(port, '/metrics', { method: 'POST' })).status, 405);
  t.match(await ask(port, '/healthz/live', { method: 'HEAD' }), { status: 200, text: '' });
  t.equal((await ask(port, '/')).status, 404);
  t.equal((await ask(port, '/metrics?x')).status, 404);
  t.equal((await ask(port, '/metrics', { host: 'evil.example' })).status, 403);
  t.equal((await ask(port, '/metrics', { host: `localhost:${port}` })).status, 200);
  const open = await serve(t, [], () => '', '0.0.0.0');
  t.equal((await ask(open, '/metrics', { host: 'gateway.internal:9090' })).status, 200, 'elsewhere scrapers use names');
});

void t.test('a figure that cannot be read is an error, not a hole', async (t) => {
  const port = await serve(t, [
    counter('broken_total', 'Broken.', () => {
      throw new TypeError('secret detail');
    }),
  ]);
  const { status, text } = await ask(port, '/metrics');
  t.equal(status, 500);
  t.notMatch(text, 'secret');
});

void t.test('more connections than its bound are closed at once', async (t) => {
  const port = await serve(t, []);
  const sockets: Socket[] = [];
  t.teardown(() => {
    for (const socket of sockets) socket.destroy();
  });
  const closed: Promise<void>[] = [];
  for (let i = 0; i < maxConnections + 5; i++) {
    const socket = connect(port, '127.0.0.1');
    socket.on('error', () => undefined);
    sockets.push(socket);
    closed.push(new Promise((resolve) => socket.once('close', () => resolve())));
    await new Promise((resolve) => socket.once('connect', resolve));
  }
  await Promise.race(closed);
  await Promise.all(closed.slice(maxConnections));
  t.equal(sockets.filter(({ destroyed }) => destroyed).length, 5);
});

void t.test('a port that is taken is told with what to do', async (t) => {
  const port = await serve(t, []);
  const again = serveMetrics({ host: '127.0.0.1', port }, { families: [], ready: () => '' }, { log: silentLogger, clock: systemClock });
  await t.rejects(again, { code: 'METRICS_PORT_FAILED' });
});

void t.test('a bare port means loopback, and nothing means no endpoint', async (t) => {
  t.same(parse(metricsSettings, {}), { ok: true, value: { listen: undefined } });
  t.same(parse(metricsSettings, { listen: '9090' }), { ok: true, value: { listen: { host: '127.0.0.1', port: 9090 } } });
  t.same(parse(metricsSettings, { listen: '[::]:9090' }), { ok: true, value: { listen: { host: '::', port: 9090 } } });
  t.notOk(parse(metricsSettings, { listen: '99999' }).ok);
  t.notOk(parse(metricsSettings, { listen: 'here' }).ok);
});
