// Bodies through the gateway in all four pairs of versions: whole by their hash, held back by whoever is slow, and ended at once on both sides.
import { createHash, randomBytes } from 'node:crypto';
import { createServer as createH1Server, type IncomingMessage, type ServerResponse } from 'node:http';
import { createServer as createH2Server, type Http2ServerRequest, type Http2ServerResponse, type ServerHttp2Session } from 'node:http2';
import { request as h1Request } from 'node:https';
import type { AddressInfo } from 'node:net';
import type { Readable, Writable } from 'node:stream';
import t, { type Test } from 'tap';
import { dialPlainStream, h2Client, mapping, path, startFixture, type Fixture } from './harness.ts';

type Version = 'http/1.1' | 'h2';
/** What the two kinds of requests and answers have in common. */
type Request = Readable & (IncomingMessage | Http2ServerRequest);
type Response = Writable &
  Pick<ServerResponse, 'addTrailers' | 'writeEarlyHints'> & { writeHead(status: number, headers?: Readonly<Record<string, string>>): unknown };

const pairs: readonly (readonly [Version, Version])[] = [
  ['http/1.1', 'http/1.1'],
  ['http/1.1', 'h2'],
  ['h2', 'http/1.1'],
  ['h2', 'h2'],
];

async function serve(t: Test, version: Version, handler: (request: Request, response: Response) => void): Promise<number> {
  const sessions = new Set<ServerHttp2Session>();
  const guarded = (request: IncomingMessage | Http2ServerRequest, response: ServerResponse | Http2ServerResponse): void => {
    request.on('error', () => undefined);
    response.on('error', () => undefined);
    handler(request, response as unknown as Response);
  };
  const server = version === 'h2' ? createH2Server(guarded) : createH1Server(guarded);
  if (version === 'h2') server.on('session', (session: ServerHttp2Session) => sessions.add(session.on('error', () => undefined)));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.teardown(() => {
    for (const session of sessions) session.destroy();
    if ('closeAllConnections' in server) server.closeAllConnections();
    return new Promise((resolve) => server.close(resolve));
  });
  return (server.address() as AddressInfo).port;
}

interface Call {
  readonly body: Writable;
  readonly answer: Promise<{ readonly status: number; readonly stream: Readable }>;
  readonly hints: string[];
  trailers(): Readonly<Record<string, unknown>>;
  /** Whether the answer came whole, once its stream has closed. */
  readonly whole: Promise<boolean>;
  destroy(): void;
}

async function call(t: Test, fixture: Fixture, version: Version, headers: Readonly<Record<string, string>> = {}): Promise<Call> {
  const hints: string[] = [];
  if (version === 'h2') {
    const session = await h2Client(t, fixture);
    const stream = session.request(
      { ':method': 'POST', ':path': '/', ':authority': 'a.test', ...forH2(headers) },
      { endStream: false, waitForTrailers: headers['te'] !== undefined },
    );
    let trailers: Readonly<Record<string, unknown>> = {};
    let ended = false;
    stream.on('error', () => undefined);
    stream.on('headers', (got) => hints.push(`${String(got[':status'])} ${String(got['link'] ?? '')}`));
    stream.on('trailers', (got) => (trailers = got));
    stream.on('end', () => (ended = true));
    return {
      body: stream,
      answer: new Promise((resolve) => stream.once('response', (got) => resolve({ status: Number(got[':status']), stream }))),
      hints,
      trailers: () => trailers,
      whole: new Promise((resolve) => stream.once('close', () => resolve(ended && stream.rstCode === 0))),
      destroy: () => session.destroy(),
    };
  }
  const options = { host: '127.0.0.1', port: fixture.port, servername: 'a.test', ca: fixture.ca, agent: false, method: 'POST' } as const;
  const request = h1Request({ ...options, headers: { host: 'a.test', ...headers } });
  request.flushHeaders();
  let response: IncomingMessage | undefined;
  request.on('error', () => undefined);
  request.on('information', (got) => hints.push(`${got.statusCode} ${String(got.headers['link'] ?? '')}`));
  return {
    body: request,
    answer: new Promise((resolve) =>
      request.once('response', (got) => {
        response = got;
        got.on('error', () => undefined);
        resolve({ status: got.statusCode ?? 0, stream: got });
      }),
    ),
    hints,
    trailers: () => response?.trailers ?? {},
    whole: new Promise((resolve) => request.once('close', () => resolve(response?.complete === true))),
    destroy: () => request.destroy(),
  };
}

/** HTTP/2 has no Connection (RFC 9113 §8.2.2). */
function forH2({ connection: _connection, ...headers }: Readonly<Record<string, string>>): Readonly<Record<string, string>> {
  return headers;
}

async function matrix(
  t: Test,
  handler: (request: Request, response: Response) => void,
  each: (t: Test, client: Version, fixture: Fixture, upstream: Version) => Promise<void>,
): Promise<void> {
  for (const [client, upstream] of pairs) {
    await t.test(`${client} to ${upstream}`, async (t) => {
      const port = await serve(t, upstream, handler);
      const fixture = await startFixture([mapping('a.test', [path(port, { httpVersion: upstream })])]);
      t.teardown(() => fixture.close());
      await each(t, client, fixture, upstream);
    });
  }
}

/** Writes as fast as it is taken, until the stream breaks or `bytes` are over; counts what was handed over. */
async function pour(to: Writable, bytes: number, count: (bytes: number) => void = () => undefined): Promise<string> {
  const hash = createHash('sha256');
  for (let left = bytes; left > 0 && !to.destroyed; left -= 65_536) {
    const chunk = randomBytes(Math.min(left, 65_536));
    hash.update(chunk);
    count(chunk.length);
    if (!to.write(chunk)) await room(to);
  }
  return hash.digest('hex');
}

function room(to: Writable): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      to.off('drain', done);
      to.off('close', done);
      resolve();
    };
    to.on('drain', done);
    to.on('close', done);
  });
}

async function digest(from: Readable): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of from) hash.update(chunk as Buffer);
  return hash.digest('hex');
}

/** The value once it has not changed for a while of turns. */
async function settled(value: () => number): Promise<number> {
  let last = -1;
  for (let same = 0; same < 100;) {
    await new Promise((resolve) => setTimeout(resolve, 2));
    if (value() === last) same++;
    else same = 0;
    last = value();
  }
  return last;
}

const size = 12 * 1024 * 1024;
/** What all buffers on the way together may hold: those of the kernel for three connections most of all. */
const bound = 24 * 1024 * 1024;

void t.test('large bodies pass both ways at once, byte for byte', async (t) => {
  await matrix(
    t,
    (request, response) => request.pipe(response),
    async (t, client, fixture) => {
      const { body, answer, whole } = await call(t, fixture, client);
      const sent = pour(body, size).then((hash) => {
        body.end();
        return hash;
      });
      const { status, stream } = await answer;
      t.equal(status, 200);
      t.equal(await digest(stream), await sent);
      t.equal(await whole, true);
    },
  );
});

void t.test('a client that does not read holds the upstream back', async (t) => {
  let written = 0;
  await matrix(
    t,
    (request, response) => {
      written = 0;
      request.resume();
      void pour(response, Infinity, (bytes) => (written += bytes));
    },
    async (t, client, fixture) => {
      const { answer, body, destroy, whole } = await call(t, fixture, client);
      body.end();
      const { stream } = await answer;
      stream.pause();
      const bytes = await settled(() => written);
      t.comment(`figure: ${(bytes / 1024 / 1024).toFixed(1)} MiB written to a client that does not read`);
      t.ok(bytes < bound, String(bytes));
      destroy();
      t.equal(await whole, false);
    },
  );
});

void t.test('an upstream that does not read holds the client back', async (t) => {
  await matrix(
    t,
    (request) => request.pause(),
    async (t, client, fixture) => {
      const { body, destroy } = await call(t, fixture, client);
      let written = 0;
      void pour(body, Infinity, (bytes) => (written += bytes));
      const bytes = await settled(() => written);
      t.comment(`figure: ${(bytes / 1024 / 1024).toFixed(1)} MiB taken for an upstream that does not read`);
      t.ok(bytes < bound, String(bytes));
      destroy();
    },
  );
});

void t.test('a client that leaves in the middle is gone at the upstream at once, and its body never looks whole', async (t) => {
  let ended: (how: string) => void = () => undefined;
  let begun: () => void = () => undefined;
  await matrix(
    t,
    (request, response) => {
      let whole = false;
      request.on('data', () => begun());
      request.on('end', () => (whole = 'complete' in request && request.complete && !('stream' in request && request.stream.aborted)));
      response.on('close', () => ended(whole ? 'whole' : 'broken'));
      response.writeHead(200);
      response.write('first');
    },
    async (t, client, fixture) => {
      for (const upload of [true, false]) {
        const how = new Promise((resolve) => (ended = resolve));
        const under = new Promise<void>((resolve) => (begun = resolve));
        const { body, answer, destroy } = await call(t, fixture, client);
        const { stream } = await answer;
        stream.resume();
        body.write('some');
        await under;
        if (!upload) body.end();
        destroy();
        if (upload) t.equal(await how, 'broken');
        else await how;
      }
      while (fixture.publisher.stats().streams > 0) await new Promise((resolve) => setImmediate(resolve));
      t.pass('nothing is left');
    },
  );
});

void t.test('an upstream that breaks off ends the client’s request at once, and its answer never looks whole', async (t) => {
  await matrix(
    t,
    (request, response) => {
      request.once('data', () => {
        response.writeHead(200);
        response.write('first');
        setTimeout(() => ('stream' in request ? request.stream.destroy(new Error('cut')) : request.socket.resetAndDestroy()), 20);
      });
    },
    async (t, client, fixture) => {
      const { body, answer, whole } = await call(t, fixture, client);
      const poured = pour(body, Infinity);
      const { status, stream } = await answer;
      stream.resume();
      t.equal(status, 200);
      t.equal(await whole, false);
      await poured;
    },
  );
});

void t.test('an upstream that breaks off before its answer is told as such', async (t) => {
  await matrix(
    t,
    (request) => {
      request.once('data', () => ('stream' in request ? request.stream.destroy(new Error('cut')) : request.socket.resetAndDestroy()));
    },
    async (t, client, fixture) => {
      const { body, answer } = await call(t, fixture, client);
      body.write('some');
      const { status, stream } = await answer;
      stream.resume();
      t.equal(status, 502);
    },
  );
});

void t.test('early hints and trailers pass both ways', async (t) => {
  let trailers: Readonly<Record<string, unknown>> = {};
  await matrix(
    t,
    (request, response) => {
      response.writeEarlyHints({ link: '</a.css>; rel=preload' });
      request.resume();
      request.on('end', () => {
        trailers = request.trailers;
        response.writeHead(200, { trailer: 'x-sum' });
        response.write('body');
        response.addTrailers({ 'x-sum': 'down' });
        response.end();
      });
    },
    async (t, client, fixture) => {
      const { body, answer, hints, whole, trailers: got } = await call(t, fixture, client, { te: 'trailers', connection: 'te' });
      if ('addTrailers' in body && typeof body.addTrailers === 'function')
        (body as unknown as { addTrailers(all: object): void }).addTrailers({ 'x-up': 'up' });
      else body.once('wantTrailers', () => (body as unknown as { sendTrailers(all: object): void }).sendTrailers({ 'x-up': 'up' }));
      body.end('some');
      const { stream } = await answer;
      stream.resume();
      t.equal(await whole, true);
      t.same(hints, ['103 </a.css>; rel=preload']);
      t.match(got(), { 'x-sum': 'down' });
      t.match(trailers, { 'x-up': 'up' });
    },
  );
});

void t.test('large bodies pass over streams that are no sockets', async (t) => {
  for (const version of ['http/1.1', 'h2'] as const) {
    const port = await serve(t, version, (request, response) => request.pipe(response));
    const fixture = await startFixture([mapping('a.test', [path(port, { httpVersion: version })])], { dial: dialPlainStream });
    t.teardown(() => fixture.close());
    const { body, answer, whole } = await call(t, fixture, 'h2');
    const sent = pour(body, size).then((hash) => {
      body.end();
      return hash;
    });
    const { stream } = await answer;
    t.equal(await digest(stream), await sent, version);
    t.equal(await whole, true);
  }
});
