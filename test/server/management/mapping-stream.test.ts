import t from 'tap';
import { asId, type ProxyId, type ServiceId, type TokenId } from '#model/ids.ts';
import { noRestrictions, type ServiceMapping } from '#model/service.ts';
import { defaultStream } from '#model/stream.ts';
import { defaultWeb } from '#model/web.ts';
import { systemClock, type Clock } from '#lib/clock.ts';
import { MappingStream, type MappingMessage } from '#server/management/mapping-stream.ts';
import { Outbox } from '#server/management/outbox.ts';
import { Gate } from '#server/management/gate.ts';
import { ProxyMappingUpdateType } from '#wire/proto/gen/proxy_service_pb.ts';
import { FakeDomain } from './fake-domain.ts';
import { Queue } from '../../control/peer-helpers.ts';
import { plainAccess } from '#model/access.ts';

const never = new AbortController().signal;

function service(name: string, change: Partial<ServiceMapping> = {}): ServiceMapping {
  return {
    id: asId<ServiceId>(name),
    accountId: asId<ServiceMapping['accountId']>('account-1'),
    domain: `${name}.test`,
    mode: 'http',
    listenPort: undefined,
    paths: [],
    access: plainAccess,
    passHostHeader: false,
    rewriteRedirects: false,
    restrictions: noRestrictions,
    private: false,
    web: defaultWeb,
    stream: defaultStream,
    authToken: '',
    ...change,
  };
}

interface Sent {
  readonly mappings: readonly MappingMessage[];
  readonly complete: boolean;
}

function open(domain: FakeDomain, clock: Clock = systemClock): { stream: MappingStream; sent: Queue<Sent> } {
  const sent = new Queue<Sent>();
  const stream = new MappingStream({
    connection: { proxyId: asId<ProxyId>('p'), tokenId: asId<TokenId>('t'), cluster: 'c', version: '' },
    domain,
    clock,
    serves: (mapping) => !mapping.private,
    acknowledged: true,
    known: { web: false, access: false, stream: false },
    send: async (mappings, complete) => sent.put({ mappings, complete }),
  });
  return { stream, sent };
}

void t.test('a gateway that does not acknowledge loses its stream', async (t) => {
  const late: { fire: () => void } = { fire: () => undefined };
  const { stream, sent } = open(new FakeDomain(), {
    ...systemClock,
    after: (_delayMs, fire) => {
      late.fire = fire;
      return { cancel: () => undefined };
    },
  });
  const running = stream.run(never);
  t.equal((await sent.next()).complete, true);
  late.fire();
  await t.rejects(running, { code: 'MANAGEMENT_PROXY_SLOW' });
});

void t.test('live messages in flight are limited, and what waits is the newest state of each service', async (t) => {
  const domain = new FakeDomain();
  const { stream, sent } = open(domain);
  const stop = new AbortController();
  const running = stream.run(stop.signal);
  await sent.next();
  stream.acknowledge();
  for (let i = 0; i < 64; i++) {
    domain.mappingTable.set(asId<ServiceId>('a'), service('a', { domain: `v${i}.test` }));
    stream.changed(asId<ServiceId>('a'));
    t.match((await sent.next()).mappings, [
      { domain: `v${i}.test`, type: i === 0 ? ProxyMappingUpdateType.UPDATE_TYPE_CREATED : ProxyMappingUpdateType.UPDATE_TYPE_MODIFIED },
    ]);
  }
  for (let i = 100; i < 110; i++) {
    domain.mappingTable.set(asId<ServiceId>('a'), service('a', { domain: `v${i}.test` }));
    stream.changed(asId<ServiceId>('a'));
  }
  await new Promise((resolve) => setImmediate(resolve));
  t.equal(sent.length, 0, 'nothing more until something is acknowledged');
  stream.acknowledge();
  t.match((await sent.next()).mappings, [{ domain: 'v109.test' }]);
  t.equal(sent.length, 0);
  stop.abort();
  await running;
});

void t.test('a service that this gateway cannot serve any more is removed there, one it never had is not mentioned', async (t) => {
  const domain = new FakeDomain();
  domain.mappingTable.set(asId<ServiceId>('a'), service('a'));
  const { stream, sent } = open(domain);
  const stop = new AbortController();
  const running = stream.run(stop.signal);
  t.match(await sent.next(), { complete: true, mappings: [{ id: 'a' }] });
  stream.acknowledge();
  domain.mappingTable.set(asId<ServiceId>('b'), service('b', { private: true }));
  domain.mappingTable.set(asId<ServiceId>('a'), service('a', { private: true }));
  stream.changed(asId<ServiceId>('b'));
  stream.changed(asId<ServiceId>('a'));
  t.match((await sent.next()).mappings, [{ id: 'a', type: ProxyMappingUpdateType.UPDATE_TYPE_REMOVED }]);
  stop.abort();
  await running;
});

void t.test('an outbox that overflows says so for good', async (t) => {
  const box = new Outbox<number>(2);
  const waiting = box.take(never);
  box.put(1);
  t.same(await waiting, { item: 1 });
  for (const n of [2, 3, 4]) box.put(n);
  t.equal(await box.take(never), 'overflow');
  t.equal(await new Outbox<number>(1).take(AbortSignal.abort()), 'ended');
});

void t.test('a gate lets so many through at once, in order', async (t) => {
  const gate = new Gate(2);
  const events: string[] = [];
  const release: (() => void)[] = [];
  const work = (name: string): Promise<void> =>
    gate.run(() => {
      events.push(name);
      return new Promise((resolve) => release.push(resolve));
    });
  const all = ['a', 'b', 'c'].map((name) => work(name));
  await new Promise((resolve) => setImmediate(resolve));
  t.same(events, ['a', 'b']);
  release[0]?.();
  await all[0];
  await new Promise((resolve) => setImmediate(resolve));
  t.same(events, ['a', 'b', 'c']);
  for (const finish of release) finish();
  await Promise.all(all);
});
