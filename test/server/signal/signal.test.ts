import t, { type Test } from 'tap';
import { silentLogger } from '#lib/log.ts';
import { RpcChannel, type RpcStream } from '#rpc/client.ts';
import { createRpcServer } from '#rpc/server.ts';
import { createSignalService, type SignalLimits, type SignalService } from '#server/signal/index.ts';
import { SendRate } from '#rpc/send-rate.ts';
import { type EncryptedMessage, SignalExchange } from '#wire/proto/gen/signalexchange_pb.ts';

const never = new AbortController().signal;
const keyOf = (n: number): string => Buffer.alloc(32, n).toString('base64');
const { send, connectStream } = SignalExchange.method;

async function start(t: Test, limits: Partial<SignalLimits> = {}): Promise<{ signal: SignalService; channel: RpcChannel }> {
  const signal = createSignalService({ log: silentLogger }, limits);
  const server = await createRpcServer({ host: '127.0.0.1', port: 0, tls: undefined, services: [signal.service] }, silentLogger);
  t.teardown(() => server.close());
  const channel = new RpcChannel({ host: '127.0.0.1', port: server.port, tls: false, ca: undefined });
  t.teardown(() => channel.close());
  return { signal, channel };
}

async function listen(
  channel: RpcChannel,
  key: string,
): Promise<{ stream: RpcStream<unknown, EncryptedMessage>; next(): Promise<EncryptedMessage | undefined> }> {
  const stream = await channel.duplex(connectStream, { signal: never, headers: { 'x-wiretrustee-peer-id': key } });
  const header = await stream.headers;
  if (header('x-wiretrustee-peer-registered') !== '1') throw new TypeError('not registered');
  const iterator = stream[Symbol.asyncIterator]();
  return { stream, next: async () => (await iterator.next()).value as EncryptedMessage | undefined };
}

function message(from: number, to: number, body: Uint8Array = Uint8Array.of(1, 2, 3)): { key: string; remoteKey: string; body: Uint8Array } {
  return { key: keyOf(from), remoteKey: keyOf(to), body };
}

void t.test('a stream is confirmed at once, before any message', async (t) => {
  const { signal, channel } = await start(t);
  const startedAt = performance.now();
  await listen(channel, keyOf(1));
  t.ok(performance.now() - startedAt < 1000);
  t.equal(signal.connected(), 1);
});

void t.test('messages reach their receiver unchanged and in order, the sender itself too', async (t) => {
  const { channel } = await start(t);
  const [one, two] = [await listen(channel, keyOf(1)), await listen(channel, keyOf(2))];
  for (let i = 0; i < 5; i++) t.match(await channel.unary(send, message(1, 2, Uint8Array.of(i)), { signal: never }), { key: '', remoteKey: '' });
  for (let i = 0; i < 5; i++) t.match(await two.next(), { key: keyOf(1), remoteKey: keyOf(2), body: Uint8Array.of(i) });
  await channel.unary(send, message(1, 1), { signal: never });
  t.match(await one.next(), { key: keyOf(1), remoteKey: keyOf(1) });
});

void t.test('what nobody listens for is dropped without a word', async (t) => {
  const { channel } = await start(t);
  t.match(await channel.unary(send, message(1, 9), { signal: never }), { key: '' });
});

void t.test('a newer stream of the same key takes over', async (t) => {
  const { signal, channel } = await start(t);
  const older = await listen(channel, keyOf(1));
  const newer = await listen(channel, keyOf(1));
  t.match(await older.next().catch((error: unknown) => error), { detail: /took over/ });
  t.equal(signal.connected(), 1);
  await channel.unary(send, message(2, 1), { signal: never });
  t.match(await newer.next(), { key: keyOf(2) });
});

void t.test('a stream that ends is forgotten', async (t) => {
  const { signal, channel } = await start(t);
  const { stream } = await listen(channel, keyOf(1));
  stream.cancel();
  while (signal.connected() > 0) await new Promise((resolve) => setImmediate(resolve));
  t.equal(signal.connected(), 0);
});

void t.test('names that are no keys, and missing ones, are refused', async (t) => {
  const { channel } = await start(t);
  const open = async (headers: Record<string, string>): Promise<unknown> => (await channel.duplex(connectStream, { signal: never, headers })).headers;
  await t.rejects(open({}), { code: 'RPC_FAILED_PRECONDITION' });
  for (const key of ['x', 'A'.repeat(5000), `${keyOf(1)}=`])
    await t.rejects(open({ 'x-wiretrustee-peer-id': key }), { code: 'RPC_INVALID_ARGUMENT' });
  await t.rejects(channel.unary(send, { key: 'x', remoteKey: keyOf(1) }, { signal: never }), { code: 'RPC_INVALID_ARGUMENT' });
});

void t.test('bodies, streams and senders have limits', async (t) => {
  const { channel } = await start(t, { maxBodyBytes: 10, maxStreams: 1, sendBurst: 3, sendPerSecond: 0 });
  await listen(channel, keyOf(1));
  await t.rejects(listen(channel, keyOf(2)), { code: 'RPC_RESOURCE_EXHAUSTED' });
  await t.rejects(channel.unary(send, message(2, 1, new Uint8Array(11)), { signal: never }), { code: 'RPC_INVALID_ARGUMENT' });
  for (let i = 0; i < 3; i++) await channel.unary(send, message(2, 1), { signal: never });
  await t.rejects(channel.unary(send, message(2, 1), { signal: never }), { code: 'RPC_RESOURCE_EXHAUSTED' });
});

void t.test('the rate of a sender comes back with time, and its table is bounded', async (t) => {
  let now = 0;
  const rate = new SendRate(2, 1, 2, () => now);
  t.same([rate.take('a'), rate.take('a'), rate.take('a')], [true, true, false]);
  now = 1000;
  t.same([rate.take('a'), rate.take('a')], [true, false]);
  rate.take('b');
  rate.take('c');
  t.equal(rate.take('a'), true, 'the oldest gave way');
});

void t.test('only keys of the network may listen where the server knows it', async (t) => {
  const signal = createSignalService({ log: silentLogger, isPeer: async (key) => key === keyOf(1) });
  const server = await createRpcServer({ host: '127.0.0.1', port: 0, tls: undefined, services: [signal.service] }, silentLogger);
  t.teardown(() => server.close());
  const channel = new RpcChannel({ host: '127.0.0.1', port: server.port, tls: false, ca: undefined });
  t.teardown(() => channel.close());
  await listen(channel, keyOf(1));
  await t.rejects(listen(channel, keyOf(2)), { code: 'RPC_PERMISSION_DENIED' });
  t.equal(signal.connected(), 1);
});
