// Connections that are gone without a word, and addresses that want too many.
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { once } from 'node:events';
import t from 'tap';
import { silentLogger } from '#lib/log.ts';
import { RpcChannel } from '#rpc/client.ts';
import { defineService } from '#rpc/method.ts';
import { PerAddress } from '#rpc/per-address.ts';
import { createRpcServer } from '#rpc/server.ts';
import { ManagementService } from '#wire/proto/gen/management_pb.ts';

void t.test('a stream whose other end has gone silent is ended', async (t) => {
  const opened = Promise.withResolvers<AbortSignal>();
  const service = defineService(ManagementService, {
    sync: async (_request, call, answers) => {
      await answers.send({});
      opened.resolve(call.signal);
      await once(call.signal, 'abort');
    },
  });
  const server = await createRpcServer(
    { host: '127.0.0.1', port: 0, tls: undefined, services: [service], keepaliveMs: 200, keepaliveTimeoutMs: 2_000 },
    silentLogger,
  );
  t.teardown(() => server.close());
  // A way in between that can stop carrying, as a cable that is pulled: no FIN, no RST.
  const ends: Socket[] = [];
  const between = createServer((inner) => {
    const outer = connect(server.port, '127.0.0.1');
    ends.push(inner, outer);
    for (const socket of [inner, outer]) socket.on('error', () => undefined);
    inner.on('data', (chunk) => outer.write(chunk));
    outer.on('data', (chunk) => inner.write(chunk));
  });
  between.listen(0, '127.0.0.1');
  await once(between, 'listening');
  t.teardown(() => {
    for (const socket of ends) socket.destroy();
    between.close();
  });
  const channel = new RpcChannel({ host: '127.0.0.1', port: (between.address() as AddressInfo).port, tls: false, ca: undefined });
  t.teardown(() => channel.close());
  const stream = await channel.serverStream(ManagementService.method.sync, {}, { signal: AbortSignal.timeout(10_000), deadlineMs: 5_000 });
  await stream[Symbol.asyncIterator]().next();
  const signal = await opened.promise;
  for (let answers = 0; answers < 3; answers++) await once(ends[0] ?? between, 'data'); // keepalives, all answered
  t.equal(signal.aborted, false, 'a client that answers stays');
  for (const socket of ends) socket.pause().removeAllListeners('data');
  if (!signal.aborted) await once(signal, 'abort', { signal: AbortSignal.timeout(5_000) });
  t.equal(signal.aborted, true);
});

void t.test('one address has its share of connections', (t) => {
  const shares = new PerAddress(2);
  const first = shares.take('192.0.2.1');
  t.type(first, 'function');
  t.type(shares.take('::ffff:192.0.2.1'), 'function', 'the same address, mapped');
  t.equal(shares.take('192.0.2.1'), undefined);
  t.type(shares.take('192.0.2.2'), 'function', 'another one is not concerned');
  first?.();
  t.type(shares.take('192.0.2.1'), 'function', 'what was given back can be had again');

  t.type(shares.take('2001:db8:0:1::1'), 'function');
  t.type(shares.take('2001:db8:0:1:ffff::2'), 'function');
  t.equal(shares.take('2001:db8:0:1::3'), undefined, 'a /64 counts as one');
  t.type(shares.take('2001:db8:0:2::1'), 'function');
  for (let index = 0; index < 5; index++) t.type(shares.take(index % 2 === 0 ? '127.0.0.1' : '::1'), 'function', 'loopback has no limit');
  t.equal(shares.size, 4);
  t.end();
});
