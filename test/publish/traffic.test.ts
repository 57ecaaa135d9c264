// What is counted of requests: by service with a bound, by stage and reason with a bound, and never less than before.
import t from 'tap';
import type { AccessLogEntry } from '#model/access-log.ts';
import { asId, type ServiceId } from '#model/ids.ts';
import { Traffic } from '#publish/index.ts';
import { FIGURE_REASONS, FIGURE_SERVICES } from '#publish/constants.ts';
import { exchange, listenTcp, mapping, path, startFixture } from './harness.ts';

function entry(service: string | undefined, changes: Partial<AccessLogEntry> = {}): AccessLogEntry {
  return {
    id: 'r',
    serviceId: service === undefined ? undefined : asId<ServiceId>(service),
    timestamp: 0,
    protocol: 'http',
    method: 'GET',
    host: `${service}.test`,
    path: '/',
    durationMs: 3,
    status: 200,
    sourceIp: '127.0.0.1',
    userId: '',
    authMethod: '',
    authSuccess: true,
    bytesUp: 1,
    bytesDown: 2,
    reason: 'public_service',
    ...changes,
  };
}

function requestsOf(traffic: Traffic): Readonly<Record<string, number>> {
  return Object.fromEntries(
    traffic.all().flatMap((of) => [...of.requests()].map(({ method, status, count }) => [`${of.service} ${method} ${status}`, count])),
  );
}

void t.test('requests are counted by service, method and status class', async (t) => {
  const traffic = new Traffic(() => true);
  traffic.record(entry('a'));
  traffic.record(entry('a', { method: 'PROPFIND', status: 404 }));
  traffic.record(entry('a', { status: 499, reason: 'client_closed' }));
  traffic.record(entry('b', { status: 101 }));
  traffic.record(entry(undefined, { method: '\x1b[31m', status: 400, reason: 'bad_request' }));
  t.same(requestsOf(traffic), { 'a.test GET 2xx': 1, 'a.test GET 4xx': 1, 'a.test other 4xx': 1, 'b.test GET 1xx': 1, 'none other 4xx': 1 });
  const [a, b, none] = traffic.all();
  t.same([...(a?.refusals() ?? [])], [{ stage: 'client', reason: 'client_closed', count: 1 }]);
  t.same([...(none?.refusals() ?? [])], [{ stage: 'request', reason: 'bad_request', count: 1 }]);
  t.equal(b?.upgrades, 1);
  t.equal(b?.totalTime.count, 0, 'how long a stream was open is no time of a request');
  t.equal(a?.totalTime.count, 3);
});

void t.test('streams of TCP and TLS services are no requests', async (t) => {
  const traffic = new Traffic(() => true);
  traffic.record(entry('a', { protocol: 'tcp', method: '', status: 0, reason: 'done' }));
  traffic.record(entry('a', { protocol: 'tls', method: '', status: 0, reason: 'too_many_streams' }));
  const [a] = traffic.all();
  t.same(
    [...(a?.streams() ?? [])],
    [
      { protocol: 'tcp', count: 1 },
      { protocol: 'tls', count: 1 },
    ],
  );
  t.same([...(a?.refusals() ?? [])], [{ stage: 'access', reason: 'too_many_streams', count: 1 }]);
  t.same([...(a?.requests() ?? [])], []);
  t.equal(a?.bytesDown, 4);
});

void t.test('services beyond the bound are counted together; one that is gone gives its place away, and its counts to the sum', async (t) => {
  const gone = new Set<string>();
  const traffic = new Traffic((id) => !gone.has(id));
  for (let i = 0; i < FIGURE_SERVICES + 3; i++) traffic.record(entry(`s${i}`));
  t.equal(traffic.all().length, FIGURE_SERVICES + 2);
  t.equal(requestsOf(traffic)['other GET 2xx'], 3);
  gone.add('s0');
  for (let i = 0; i < 1_000; i++) traffic.record(entry('new'));
  const counts = requestsOf(traffic);
  t.ok((counts['new.test GET 2xx'] ?? 0) > 0, 'it is looked for places now and then');
  t.equal(counts['s0.test GET 2xx'], undefined);
  t.equal((counts['other GET 2xx'] ?? 0) + (counts['new.test GET 2xx'] ?? 0), 3 + 1 + 1_000, 'nothing is lost');
  t.equal(traffic.all().length, FIGURE_SERVICES + 2);
});

void t.test('reasons beyond the bound are counted together', async (t) => {
  const traffic = new Traffic(() => true);
  for (let i = 0; i < FIGURE_REASONS + 7; i++) traffic.record(entry('a', { reason: `word_${i}`, status: 400 }));
  const refusals = [...(traffic.all()[0]?.refusals() ?? [])];
  t.equal(refusals.length, FIGURE_REASONS + 1);
  t.equal(refusals.find(({ reason }) => reason === 'other')?.count, 7);
});

void t.test('a request’s record says where it went and how long each stage took', async (t) => {
  const upstream = await listenTcp((socket) => socket.on('data', () => socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok')));
  t.teardown(() => upstream.close());
  const fixture = await startFixture([mapping('a.test', [path(upstream.port)])]);
  t.teardown(() => fixture.close());
  const head = 'GET / HTTP/1.1\r\nHost: a.test\r\nUser-Agent: probe/1\r\nReferer: https://elsewhere.test/x?secret=1\r\nConnection: close\r\n\r\n';
  await exchange(fixture, head);
  const [first] = fixture.entries;
  t.match(first, { upstream: `127.0.0.1:${upstream.port}`, userAgent: 'probe/1', status: 200 });
  const { accessMs = -1, dialMs = -1, firstByteMs = -1, durationMs = -1 } = first ?? {};
  t.ok(accessMs >= 0 && dialMs > 0 && firstByteMs >= dialMs && durationMs >= accessMs + firstByteMs, `${accessMs} ${dialMs} ${firstByteMs}`);
  await exchange(fixture, head);
  t.equal(fixture.entries[1]?.dialMs, undefined, 'a kept connection is not dialled');
  await exchange(fixture, head.replace('Host: a.test', 'Host: b.test'));
  t.equal(fixture.entries[2]?.upstream, undefined, 'what is refused went nowhere');
});
