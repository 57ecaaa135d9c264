// gRPC from a client's HTTP/2 to a server's, with the real client and server on both ends: calls of all four kinds, trailers, deadlines, cancels.
import * as grpc from '@grpc/grpc-js';
import type { Socket } from 'node:net';
import t, { type Test } from 'tap';
import { plainTls } from '#model/web.ts';
import { dialPlainStream, dialTcp, issue, mapping, path, startFixture, type Fixture } from './harness.ts';

const raw = {
  requestSerialize: (b: Buffer) => b,
  requestDeserialize: (b: Buffer) => b,
  responseSerialize: (b: Buffer) => b,
  responseDeserialize: (b: Buffer) => b,
};
const service = {
  unary: { path: '/t.T/Unary', requestStream: false, responseStream: false, ...raw },
  up: { path: '/t.T/Up', requestStream: true, responseStream: false, ...raw },
  down: { path: '/t.T/Down', requestStream: false, responseStream: true, ...raw },
  both: { path: '/t.T/Both', requestStream: true, responseStream: true, ...raw },
};

interface Calls {
  unary: (
    body: Buffer,
    metadata: grpc.Metadata,
    options: grpc.CallOptions,
    done: (error: grpc.ServiceError | null, body?: Buffer) => void,
  ) => grpc.ClientUnaryCall;
  up: (done: (error: grpc.ServiceError | null, body?: Buffer) => void) => grpc.ClientWritableStream<Buffer>;
  down: (body: Buffer) => grpc.ClientReadableStream<Buffer>;
  both: () => grpc.ClientDuplexStream<Buffer, Buffer>;
}

async function serve(t: Test, credentials: grpc.ServerCredentials): Promise<{ port: number; cancelled: Promise<void>; metadata: grpc.Metadata[] }> {
  const server = new grpc.Server();
  const metadata: grpc.Metadata[] = [];
  let cancel = (): void => undefined;
  const cancelled = new Promise<void>((resolve) => (cancel = resolve));
  server.addService(service, {
    unary: (call: grpc.ServerUnaryCall<Buffer, Buffer>, done: grpc.sendUnaryData<Buffer>) => {
      metadata.push(call.metadata);
      const trailer = new grpc.Metadata();
      trailer.set('x-sum', String(call.request.length));
      if (call.request.toString() === 'fail') return done({ code: grpc.status.ALREADY_EXISTS, details: 'it is there', metadata: trailer });
      if (call.request.toString() === 'never') return call.on('cancelled', cancel);
      return done(null, call.request, trailer);
    },
    up: (call: grpc.ServerReadableStream<Buffer, Buffer>, done: grpc.sendUnaryData<Buffer>) => {
      let bytes = 0;
      call.on('data', (chunk: Buffer) => (bytes += chunk.length));
      call.on('end', () => done(null, Buffer.from(String(bytes))));
    },
    down: (call: grpc.ServerWritableStream<Buffer, Buffer>) => {
      for (let i = 0; i < Number(call.request.toString()); i++) call.write(Buffer.alloc(10_000, i));
      call.end();
    },
    both: (call: grpc.ServerDuplexStream<Buffer, Buffer>) => {
      call.on('data', (chunk: Buffer) => call.write(chunk));
      call.on('end', () => call.end());
    },
  });
  const port = await new Promise<number>((resolve, reject) =>
    server.bindAsync('127.0.0.1:0', credentials, (error, bound) => (error === null ? resolve(bound) : reject(error))),
  );
  t.teardown(() => server.forceShutdown());
  return { port, cancelled, metadata };
}

function client(t: Test, fixture: Fixture): Calls {
  const Client = grpc.makeGenericClientConstructor(service, 't.T');
  const made = new Client(`127.0.0.1:${fixture.port}`, grpc.credentials.createSsl(Buffer.from(fixture.ca)), {
    'grpc.ssl_target_name_override': 'a.test',
    'grpc.default_authority': 'a.test',
    'grpc.enable_retries': 0,
  });
  t.teardown(() => made.close());
  return made as unknown as Calls;
}

async function all(t: Test, calls: Calls, metadata: grpc.Metadata[]): Promise<void> {
  const sent = new grpc.Metadata();
  sent.set('x-token', 'secret');
  const unary = (
    text: string,
    options: grpc.CallOptions = {},
  ): Promise<{ error: grpc.ServiceError | null; body?: Buffer | undefined; trailers?: grpc.Metadata }> =>
    new Promise((resolve) => {
      let trailers: grpc.Metadata | undefined;
      const call = calls.unary(Buffer.from(text), sent, options, (error, body) =>
        setImmediate(() => resolve({ error, body, ...(trailers === undefined ? {} : { trailers }) })),
      );
      call.on('status', (status) => (trailers = status.metadata));
    });
  const good = await unary('hello');
  t.equal(good.body?.toString(), 'hello');
  t.same(good.trailers?.get('x-sum'), ['5']);
  t.same(metadata.at(-1)?.get('x-token'), ['secret']);
  t.match((await unary('fail')).error, { code: grpc.status.ALREADY_EXISTS, details: 'it is there' });
  t.match((await unary('never', { deadline: Date.now() + 200 })).error, { code: grpc.status.DEADLINE_EXCEEDED });

  const counted = await new Promise((resolve, reject) => {
    const call = calls.up((error, body) => (error === null ? resolve(body?.toString()) : reject(error)));
    for (let i = 0; i < 100; i++) call.write(Buffer.alloc(10_000));
    call.end();
  });
  t.equal(counted, '1000000');

  let downBytes = 0;
  await new Promise((resolve, reject) => {
    const call = calls.down(Buffer.from('200'));
    call.on('data', (chunk: Buffer) => (downBytes += chunk.length));
    call.on('end', resolve);
    call.on('error', reject);
  });
  t.equal(downBytes, 2_000_000);

  const both = calls.both();
  for (const text of ['a', 'b', 'c']) {
    const echoed = new Promise((resolve) => both.once('data', resolve));
    both.write(Buffer.from(text));
    t.equal(String(await echoed), text, 'each message comes back before the next is sent');
  }
  const ended = new Promise((resolve) => both.once('end', resolve));
  both.end();
  await ended;
}

void t.test('over h2c', async (t) => {
  const { port, cancelled, metadata } = await serve(t, grpc.ServerCredentials.createInsecure());
  const dialled: Socket[] = [];
  const fixture = await startFixture([mapping('a.test', [path(port, { httpVersion: 'h2' })])], {
    dial: async (target, options) => {
      const socket = (await dialTcp(target, options)) as Socket;
      dialled.push(socket);
      return socket;
    },
  });
  t.teardown(() => fixture.close());
  await all(t, client(t, fixture), metadata);
  await cancelled;
  t.equal(dialled.length, 1, 'all on one connection');
});

void t.test('over h2 with TLS', async (t) => {
  const certificate = await issue(['up.test']);
  const { port, metadata } = await serve(
    t,
    grpc.ServerCredentials.createSsl(null, [{ private_key: Buffer.from(certificate.keyPem), cert_chain: Buffer.from(certificate.certPem) }]),
  );
  const fixture = await startFixture([
    mapping('a.test', [path(port, { httpVersion: 'h2', protocol: 'https', host: '127.0.0.1', tls: { ...plainTls, serverName: 'up.test' } })]),
  ]);
  t.teardown(() => fixture.close());
  await all(t, client(t, fixture), metadata);
});

void t.test('over a stream that is no socket, with and without TLS', async (t) => {
  const certificate = await issue(['up.test']);
  const keys = [{ private_key: Buffer.from(certificate.keyPem), cert_chain: Buffer.from(certificate.certPem) }];
  for (const protocol of ['http', 'https'] as const) {
    const { port, metadata } = await serve(
      t,
      protocol === 'http' ? grpc.ServerCredentials.createInsecure() : grpc.ServerCredentials.createSsl(null, keys),
    );
    const options = { httpVersion: 'h2', protocol, tls: { ...plainTls, serverName: 'up.test' } } as const;
    const fixture = await startFixture([mapping('a.test', [path(port, options)])], { dial: dialPlainStream });
    t.teardown(() => fixture.close());
    await all(t, client(t, fixture), metadata);
  }
});
