// What a web service can ask of its gateway, asked for at the REST API and looked at on both ends of the whole product: what the client got
// from the gateway process, and what the upstream behind the agent process received.
import * as grpc from '@grpc/grpc-js';
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, writeFile } from 'node:fs/promises';
import { createServer, type IncomingHttpHeaders, type RequestListener, type Server, type ServerResponse } from 'node:http';
import { connect as h2Connect, type ClientHttp2Stream } from 'node:http2';
import { createServer as createHttpsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { join, resolve } from 'node:path';
import type { TLSSocket } from 'node:tls';
import { promisify } from 'node:util';
import { brotliDecompressSync, gunzipSync } from 'node:zlib';
import t, { type Test } from 'tap';
import { WebSocket, WebSocketServer } from 'ws';
import { ask, versions, type Question, type Told, type Version } from '../publish/ask.ts';
import { ScriptedBrowser, signIn } from '../support/browser.ts';
import { rawTls } from '../support/hostile.ts';
import {
  call,
  cluster,
  findPeer,
  makeGroup,
  makeSetupKey,
  startAgentPart,
  startGatewayPart,
  startPlane,
  startUpstream,
  until,
  type Json,
  type Plane,
} from '../support/parts.ts';

const services = '/api/reverse-proxies/services';
const main = resolve(import.meta.dirname, '../../src/cli/main.ts');
const root = t; // what all tests of this file share lives as long as all of them

const plane = await startPlane(root);
await addCertificate(plane, [`*.${cluster}`, `*.wild.${cluster}`]);
const gateway = await startGatewayPart(root, plane);
await until('the gateway is known', async () => ((await plane.api.call('GET', '/api/reverse-proxies/clusters')) as readonly Json[]).length > 0);
await startAgentPart(root, plane, 'office', await makeSetupKey(plane, [await makeGroup(plane, 'office')]), {});
await until('the agent has joined', async () => ((await plane.api.call('GET', '/api/peers?name=office')) as readonly Json[]).length > 0);
const peer = String((await findPeer(plane, 'office'))['id']);

async function addCertificate({ ca, folder }: Plane, names: readonly string[]): Promise<void> {
  const { certPem, keyPem } = await ca.issue(names);
  const directory = join(folder, 'certs');
  await mkdir(directory, { recursive: true });
  await writeFile(join(directory, 'all.key'), keyPem, { mode: 0o600 });
  await writeFile(join(directory, 'all.crt'), certPem);
}

/** A connection to the gateway, as a client of that name makes it. */
function door(host: string, protocols?: readonly string[]): Promise<TLSSocket> {
  return rawTls({ port: gateway.publicPort, caFile: plane.caFile, servername: host }, protocols);
}

const site = { connect: door };
const hostOf = (name: string): string => `${name}.${cluster}`;
const get = (version: Version, name: string, question: Question = {}): Promise<Told> => ask(site, version, { host: hostOf(name), ...question });

interface Seen {
  readonly method: string;
  readonly url: string;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

interface App {
  readonly port: number;
  readonly seen: Seen[];
  kill(): void;
}

type Answer = (asked: Seen, answer: ServerResponse) => void;

/** An internal app that says its name, or answers as it is told. */
async function startApp(t: Test, name: string, answer?: Answer): Promise<App> {
  return listen(t, (listener) => createServer(listener), name, answer);
}

async function listen(t: Test, make: (listener: RequestListener) => Server, name: string, how?: Answer): Promise<App> {
  const seen: Seen[] = [];
  const server = make((request, answer) => {
    let body = '';
    request.on('data', (chunk: Buffer) => (body += chunk.toString('latin1')));
    request.on('end', () => {
      const asked = { method: request.method ?? '', url: request.url ?? '', headers: request.headers, body };
      seen.push(asked);
      if (how === undefined) answer.end(`${name} ${asked.method} ${asked.url}`);
      else how(asked, answer);
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const kill = (): void => {
    server.closeAllConnections();
    server.close();
  };
  t.teardown(kill);
  return { port: (server.address() as AddressInfo).port, seen, kill };
}

function target(port: number, options: Json = {}, change: Json = {}): Json {
  return { target_id: peer, target_type: 'peer', path: '/', protocol: 'http', port, enabled: true, options, ...change };
}

async function publish(name: string, targets: readonly Json[], change: Json = {}): Promise<string> {
  const body = {
    name,
    domain: hostOf(name),
    mode: 'http',
    enabled: true,
    pass_host_header: false,
    rewrite_redirects: false,
    auth: { bearer_auth: { enabled: false, distribution_groups: [] } },
    targets,
    ...change,
  };
  const id = String((await call(plane, 'POST', services, body))['id']);
  await until(`${name} is active`, async () => (await stateOf(id)).status === 'active', 20_000);
  return id;
}

async function stateOf(id: string): Promise<{ readonly status: string; readonly reason: string }> {
  const meta = (await call(plane, 'GET', `${services}/${id}`))['meta'] as { readonly status: string; readonly status_reason?: string };
  return { status: meta.status, reason: meta.status_reason ?? '' };
}

void t.test('requests are routed by path, method and header, and answered by the gateway itself', { timeout: 60_000 }, async (t) => {
  const [all, posts, beta, exact] = [await startApp(t, 'all'), await startApp(t, 'posts'), await startApp(t, 'beta'), await startApp(t, 'exact')];
  await publish(
    'routes',
    [
      target(all.port),
      target(posts.port, { match: { methods: ['POST'] } }),
      target(beta.port, { match: { headers: [{ name: 'X-Channel', value: 'beta' }] } }),
      target(exact.port, { match: { exact: true }, path_rewrite: 'preserve' }, { path: '/exact' }),
    ],
    {
      web: {
        answers: [
          { path: '/about', respond: { status: 418, body: 'a teapot' } },
          { path: '/old', redirect: { status: 308, location: 'https://new.example/base', keep_path: true } },
        ],
      },
    },
  );
  for (const version of versions) {
    const text = async (question: Question): Promise<string> => (await get(version, 'routes', question)).body.toString();
    t.equal(await text({ path: '/x?y=1' }), 'all GET /x?y=1');
    t.equal(await text({ path: '/x', method: 'POST', body: 'hello' }), 'posts POST /x');
    t.equal(posts.seen.at(-1)?.body, 'hello');
    t.equal(await text({ path: '/x', headers: [['x-channel', 'beta']] }), 'beta GET /x');
    t.equal(await text({ path: '/x', headers: [['x-channel', 'other']] }), 'all GET /x');
    t.equal(await text({ path: '/exact' }), 'exact GET /exact');
    t.equal(await text({ path: '/exact/below' }), 'all GET /exact/below');
    const own = await get(version, 'routes', { path: '/about' });
    t.same([own.status, own.header('content-type'), own.body.toString()], [418, 'text/plain; charset=utf-8', 'a teapot']);
    const moved = await get(version, 'routes', { path: '/old/a/b?c=d' });
    t.same([moved.status, moved.header('location')], [308, 'https://new.example/base/a/b?c=d']);
    t.match(all.seen.at(-1)?.headers, { 'x-forwarded-host': hostOf('routes'), 'x-forwarded-proto': 'https' });
  }
});

void t.test('paths, header fields, cookies and redirects are rewritten, and texts compressed', { timeout: 60_000 }, async (t) => {
  const app = await startApp(t, 'app', (asked, answer) => {
    const inside = `http://${asked.headers.host ?? ''}`;
    answer.setHeader('X-Powered-By', 'something old');
    answer.setHeader('Content-Type', 'text/plain');
    if (asked.url.startsWith('/base/login')) {
      answer.writeHead(302, { location: `${inside}/base/home?a=b`, 'set-cookie': [`sid=1; Path=/base; HttpOnly`] });
      return answer.end();
    }
    return answer.end(asked.url.endsWith('/long') ? 'text '.repeat(2_000) : asked.url);
  });
  await publish(
    'rewriting',
    [
      target(app.port, { path_rewrite: { replace: '/base' } }, { path: '/docs' }),
      target(app.port, { path_rewrite: { pattern: '/v([0-9]+)/(.*)', replacement: '/$2/version-$1' } }, { path: '/api' }),
    ],
    {
      rewrite_redirects: true,
      web: {
        request_headers: { remove: ['X-Debug'], set: { 'X-Env': 'prod' }, add: { 'X-Tag': 'gateway' } },
        response_headers: { remove: ['X-Powered-By'], set: { 'X-Frame-Options': 'DENY' }, add: { 'X-Served-By': 'gateway' } },
        rewrite_cookies: true,
        compression: true,
      },
    },
  );
  for (const version of versions) {
    const replaced = await get(version, 'rewriting', {
      path: '/docs/a?b=c',
      headers: [
        ['x-debug', '1'],
        ['X_Debug', '1'],
        ['x-env', 'spoofed'],
        ['x-tag', 'client'],
      ],
    });
    t.equal(replaced.body.toString(), '/base/a?b=c');
    t.same([replaced.header('x-powered-by'), replaced.header('x-frame-options'), replaced.header('x-served-by')], ['', 'DENY', 'gateway']);
    const { headers } = app.seen.at(-1) ?? { headers: {} };
    t.match(headers, { 'x-env': 'prod', 'x-tag': 'client, gateway' });
    t.notOk('x-debug' in headers || 'x_debug' in headers, 'the field is away in every spelling');
    t.equal((await get(version, 'rewriting', { path: '/api/v7/users' })).body.toString(), '/users/version-7');
    const login = await get(version, 'rewriting', { path: '/docs/login' });
    t.equal(login.status, 302);
    t.equal(login.header('location'), `https://${hostOf('rewriting')}/docs/home?a=b`);
    t.match(login.header('set-cookie'), /^sid=1; Path=\/docs; HttpOnly/);
    for (const [coding, decode] of [
      ['gzip', gunzipSync],
      ['br', brotliDecompressSync],
    ] as const) {
      const long = await get(version, 'rewriting', { path: '/docs/long', headers: [['accept-encoding', coding]] });
      t.same([long.header('content-encoding'), long.header('vary').toLowerCase()], [coding, 'accept-encoding']);
      t.ok(long.body.length < 1_000 && decode(long.body).length === 10_000, `${coding}: ${long.body.length} bytes for 10000`);
    }
  }
});

void t.test('two targets share the load by weight; the command line makes visitors stay', { timeout: 60_000 }, async (t) => {
  const [heavy, light] = [await startApp(t, 'heavy'), await startApp(t, 'light')];
  const id = await publish('shared', [target(heavy.port, { weight: 3 }), target(light.port, { weight: 1 })]);
  const name = async (version: Version, cookie?: string): Promise<string> => {
    const told = await get(version, 'shared', cookie === undefined ? {} : { headers: [['cookie', cookie]] });
    return told.body.toString().split(' ')[0] ?? '';
  };
  const names: string[] = [];
  for (let i = 0; i < 16; i++) names.push(await name(versions[i % 2] ?? 'h1'));
  t.same([names.filter((word) => word === 'heavy').length, names.filter((word) => word === 'light').length], [12, 4]);

  const file = join(plane.folder, 'sticky.json');
  await writeFile(file, JSON.stringify({ web: { balancing: { strategy: 'least_requests', sticky: 'cookie' } } }));
  t.match(await meshgate('service', 'update', 'shared', '--file', file), /shared is changed/);
  t.match(await call(plane, 'GET', `${services}/${id}`), { web: { balancing: { strategy: 'least_requests', sticky: 'cookie' } } });
  await writeFile(file, await meshgate('service', 'show', 'shared'));
  await meshgate('service', 'update', 'shared', '--file', file);
  const again = await call(plane, 'GET', `${services}/${id}`);
  t.match(again, { web: { balancing: { sticky: 'cookie' } }, targets: [{ options: { weight: 3 } }, {}] }, 'what is shown can be given back');
  let cookie = '';
  await until('a cookie is given', async () => (cookie = (await get('h1', 'shared')).header('set-cookie').split(';')[0] ?? '') !== '');
  t.match((await get('h2', 'shared')).header('set-cookie'), /; Path=\/; Secure; HttpOnly/i);
  const first = await name('h1', cookie);
  for (let i = 0; i < 10; i++) t.equal(await name(versions[i % 2] ?? 'h1', cookie), first, 'the same target for the same visitor');
  const of = first === 'heavy' ? heavy : light;
  t.notMatch(of.seen.at(-1)?.headers['cookie'] ?? '', cookie.split('=')[0] ?? '?', 'the upstream does not see whose it is');
});

async function meshgate(...args: readonly string[]): Promise<string> {
  const env = { ...process.env, MESHGATE_API: plane.url, MESHGATE_TOKEN: plane.token, MESHGATE_CA: plane.caFile, NODE_NO_WARNINGS: '1' };
  const { stdout, stderr } = await promisify(execFile)(process.execPath, [main, ...args], { env, timeout: 20_000 });
  return stdout + stderr;
}

void t.test('a target that fails its check is out, and the state says so; one that is killed is not noticed', { timeout: 60_000 }, async (t) => {
  let healthy = true;
  const checked: Answer = (asked, answer) => {
    answer.statusCode = asked.url === '/health' && !healthy ? 503 : 200;
    answer.end('sick');
  };
  const [well, sick] = [await startApp(t, 'well'), await startApp(t, 'sick', checked)];
  const id = await publish('checked', [target(well.port), target(sick.port)], {
    web: { health_check: { path: '/health', interval: '1s', timeout: '500ms', healthy_after: 1, unhealthy_after: 1 }, retries: 2 },
  });
  const answers = async (count: number): Promise<Set<string>> => {
    const all = new Set<string>();
    for (let i = 0; i < count; i++) {
      const told = await get(versions[i % 2] ?? 'h1', 'checked');
      all.add(told.status === 200 ? `200 ${told.body.toString().split(' ')[0] ?? ''}` : `${told.status} ${told.body.toString()}`);
    }
    return all;
  };
  t.same([...(await answers(8))].toSorted(), ['200 sick', '200 well']);
  healthy = false;
  await until('the state says so', async () => /^1 of 2 targets healthy: .*503/.test((await stateOf(id)).reason));
  t.comment(`state: ${JSON.stringify(await stateOf(id))}`);
  t.equal((await stateOf(id)).status, 'active');
  t.same([...(await answers(8))], ['200 well']);
  healthy = true;
  await until('it is back', async () => (await stateOf(id)).reason === '');
  sick.kill();
  t.same([...(await answers(12))], ['200 well'], 'nobody meets the dead one');
});

void t.test('what meets a dead target is tried again at the other one, where the service has retries', { timeout: 60_000 }, async (t) => {
  const [lives, dies] = [await startApp(t, 'lives'), await startApp(t, 'dies')];
  const targets = [target(lives.port), target(dies.port)];
  const ejection = { failures: 0 };
  await publish('retried', targets, { web: { retries: 1, ejection } });
  await publish('once', targets, { web: { retries: 0, ejection } });
  const ejecting = await publish('ejecting', targets, { web: { retries: 0, ejection: { failures: 1, for: '1h' } } });
  t.equal((await get('h1', 'retried')).status + (await get('h1', 'retried')).status, 400);
  t.equal(dies.seen.length, 1);
  dies.kill();
  for (const version of versions) {
    const [told, other] = [await get(version, 'retried'), await get(version, 'retried')];
    t.same([told.status, other.status], [200, 200], `${version}: nobody notices`);
    const statuses = [(await get(version, 'once')).status, (await get(version, 'once')).status];
    t.same(new Set(statuses), new Set([200, 502]), 'without retries every other one fails');
  }
  const all: number[] = [];
  for (let i = 0; i < 8; i++) all.push((await get(versions[i % 2] ?? 'h1', 'ejecting')).status);
  t.equal(all.filter((status) => status === 502).length, 1, 'one failure takes it out');
  await until('the state says so', async () => /^1 of 2 targets healthy: .*left out for 3600 s/.test((await stateOf(ejecting)).reason));
});

void t.test('an https target with an authority of its own that asks for a certificate', { timeout: 60_000 }, async (t) => {
  const [server, client] = [await plane.ca.issue(['app.internal']), await plane.ca.issue(['gateway'])];
  const options = { ca: plane.caPem, cert: server.certPem, key: server.keyPem, requestCert: true, rejectUnauthorized: true };
  const app = await listen(t, (listener) => createHttpsServer(options, listener), 'mtls');
  const tls = { ca: plane.caPem, server_name: 'app.internal', client_certificate: client.certPem, client_key: client.keyPem };
  const id = await publish('mtls', [target(app.port, { tls }, { protocol: 'https' })]);
  for (const version of versions) t.equal((await get(version, 'mtls', { path: '/in' })).body.toString(), 'mtls GET /in');
  const told = await call(plane, 'GET', `${services}/${id}`);
  t.notMatch(JSON.stringify(told), 'PRIVATE KEY', 'the key is not told');
  await call(plane, 'PUT', `${services}/${id}`, told);
  t.equal((await get('h2', 'mtls')).status, 200, 'put back as it was told, it has its key still');
  await publish('no-key', [target(app.port, { tls: { ca: plane.caPem, server_name: 'app.internal' } }, { protocol: 'https' })]);
  await publish('other-name', [target(app.port, { tls: { ...tls, server_name: 'other.internal' } }, { protocol: 'https' })]);
  for (const version of versions) for (const name of ['no-key', 'other-name']) t.equal((await get(version, name)).status, 502, name);
  t.equal(app.seen.length, 3);
});

const raw = {
  requestSerialize: (b: Buffer) => b,
  requestDeserialize: (b: Buffer) => b,
  responseSerialize: (b: Buffer) => b,
  responseDeserialize: (b: Buffer) => b,
};
const echo = { both: { path: '/t.T/Both', requestStream: true, responseStream: true, ...raw } };

void t.test('a gRPC call over h2c, message by message', { timeout: 60_000 }, async (t) => {
  const server = new grpc.Server();
  server.addService(echo, {
    both: (stream: grpc.ServerDuplexStream<Buffer, Buffer>) => {
      stream.on('data', (chunk: Buffer) => stream.write(chunk));
      stream.on('end', () => stream.emit('error', { code: grpc.status.ALREADY_EXISTS, details: 'it is there' }));
    },
  });
  t.teardown(() => server.forceShutdown());
  const port = await new Promise<number>((done, fail) =>
    server.bindAsync('127.0.0.1:0', grpc.ServerCredentials.createInsecure(), (error, bound) => (error === null ? done(bound) : fail(error))),
  );
  await publish('grpc', [target(port, { http_version: 'h2' })]);
  const Client = grpc.makeGenericClientConstructor(echo, 't.T');
  const client = new Client(`127.0.0.1:${gateway.publicPort}`, grpc.credentials.createSsl(Buffer.from(plane.caPem)), {
    'grpc.ssl_target_name_override': hostOf('grpc'),
    'grpc.default_authority': hostOf('grpc'),
  });
  t.teardown(() => client.close());
  const stream = (client as unknown as { both(): grpc.ClientDuplexStream<Buffer, Buffer> }).both();
  const failed = once(stream, 'error') as Promise<[grpc.ServiceError]>;
  for (const text of ['one', 'two']) {
    stream.write(Buffer.from(text));
    const [back] = (await once(stream, 'data')) as [Buffer];
    t.equal(back.toString(), text);
  }
  stream.end();
  t.match((await failed)[0], { code: grpc.status.ALREADY_EXISTS, details: 'it is there' });
});

/** A WebSocket over HTTP/1.1 that echoes. */
async function openSocket(t: Test, name: string): Promise<(text: string) => Promise<string>> {
  const socket = new WebSocket(`wss://${hostOf(name)}:${gateway.publicPort}/live`, {
    ca: plane.caPem,
    lookup: (_host, options, done) => (options.all === true ? done(null, [{ address: '127.0.0.1', family: 4 }]) : done(null, '127.0.0.1', 4)),
  });
  t.teardown(() => socket.terminate());
  await once(socket, 'open');
  return async (text) => {
    socket.send(text);
    const [back] = (await once(socket, 'message', { signal: AbortSignal.timeout(5_000) })) as [Buffer];
    return back.toString();
  };
}

/** The same over HTTP/2 (RFC 8441), with frames made by hand: text, masked with zeros. */
async function openTunnel(t: Test, name: string): Promise<(text: string) => Promise<string>> {
  const socket = await door(hostOf(name), ['h2']);
  const connection = h2Connect(`https://${hostOf(name)}`, { createConnection: () => socket });
  t.teardown(() => connection.destroy());
  connection.on('error', () => undefined);
  await once(connection, 'remoteSettings');
  const stream: ClientHttp2Stream = connection.request(
    {
      ':method': 'CONNECT',
      ':protocol': 'websocket',
      ':scheme': 'https',
      ':path': '/live',
      ':authority': hostOf(name),
      'sec-websocket-version': '13',
    },
    { endStream: false },
  );
  const [head] = (await once(stream, 'response')) as [Readonly<Record<string, unknown>>];
  t.equal(head[':status'], 200);
  return async (text) => {
    stream.write(Buffer.concat([Buffer.from([0x81, 0x80 | text.length, 0, 0, 0, 0]), Buffer.from(text)]));
    const [back] = (await once(stream, 'data', { signal: AbortSignal.timeout(5_000) })) as [Buffer];
    return back.toString('latin1', 2);
  };
}

void t.test(
  'WebSockets over both versions live on through a service that is put as it was, and through others’ edits',
  { timeout: 60_000 },
  async (t) => {
    const server = new WebSocketServer({ port: 0, host: '127.0.0.1' });
    await once(server, 'listening');
    server.on('connection', (socket) => socket.on('message', (text: Buffer) => socket.send(text.toString())));
    t.teardown(() => {
      for (const socket of server.clients) socket.terminate();
      server.close();
    });
    const id = await publish('live', [target((server.address() as AddressInfo).port)]);
    const sockets = [await openSocket(t, 'live'), await openTunnel(t, 'live')];
    for (const say of sockets) t.equal(await say('before'), 'before');
    const told = await call(plane, 'GET', `${services}/${id}`);
    await call(plane, 'PUT', `${services}/${id}`, told);
    t.same({ ...(await call(plane, 'GET', `${services}/${id}`)), meta: 0 }, { ...told, meta: 0 }, 'what is told can be put');
    const web = { ...(told['web'] as Json), answers: [{ path: '/about', respond: { body: 'new' } }] };
    await call(plane, 'PUT', `${services}/${id}`, { ...told, web });
    await until('the edit is in force', async () => (await get('h2', 'live', { path: '/about' })).body.toString() === 'new');
    for (const say of sockets) t.equal(await say('after'), 'after');
    t.equal(server.clients.size, 2, 'the same two connections');
  },
);

void t.test('a target that asks for the PROXY protocol is told who the client is', { timeout: 60_000 }, async (t) => {
  const heads: string[] = [];
  const upstream = await startUpstream(t, (socket) =>
    socket.once('data', (chunk: Buffer) => {
      heads.push(chunk.toString('latin1'));
      socket.end('HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok');
    }),
  );
  await publish('proxied', [target(upstream.port, { proxy_protocol: true, proxy_protocol_version: 1 })]);
  for (const version of versions) {
    const told = await get(version, 'proxied', { path: '/p' });
    t.same([told.status, told.body.toString()], [200, 'ok']);
    t.match(heads.at(-1), /^PROXY TCP4 127\.0\.0\.1 [\d.]+ \d+ \d+\r\n/);
  }
});

void t.test('limits of a service: bodies and requests at once', { timeout: 60_000 }, async (t) => {
  const held: ServerResponse[] = [];
  const app = await startApp(t, 'limited', (asked, answer) => (asked.url === '/hold' ? void held.push(answer) : void answer.end('done')));
  await publish('limited', [target(app.port)], { web: { limits: { max_body_bytes: 1_000, max_concurrent: 1, answer_timeout: '500ms' } } });
  await publish('single', [target(app.port)], { web: { limits: { max_concurrent: 1 } } });
  for (const version of versions) {
    t.equal((await get(version, 'limited', { method: 'POST', body: 'x'.repeat(1_000) })).status, 200);
    t.equal((await get(version, 'limited', { method: 'POST', body: 'x'.repeat(1_001) })).status, 413);
    t.equal((await get(version, 'limited', { path: '/hold' })).status, 504);
    const count = held.length;
    const first = get(version, 'single', { path: '/hold' });
    await until('it is at the upstream', () => held.length > count);
    t.equal((await get(version, 'single')).status, 503);
    held.at(-1)?.end('at last');
    t.equal((await first).body.toString(), 'at last');
    t.equal((await get(version, 'single')).status, 200);
  }
});

void t.test('a wildcard host with sign-in: each host has its own session, strangers get nothing', { timeout: 60_000 }, async (t) => {
  const app = await startApp(t, 'wild');
  const password = 'a long enough password';
  await call(plane, 'POST', '/api/users', { email: 'wild@example.com', name: 'Wild', role: 'user', auto_groups: [], password });
  await publish('wild', [target(app.port)], {
    domain: `*.wild.${cluster}`,
    pass_host_header: true,
    auth: { bearer_auth: { enabled: true, distribution_groups: [] } },
  });
  for (const version of versions) t.equal((await get(version, 'a.wild', { path: '/x' })).status, 401);
  t.equal(app.seen.length, 0);
  const browser = new ScriptedBrowser(plane.caFile);
  t.teardown(() => browser.close());
  const at = (host: string): string => `https://${hostOf(host)}:${gateway.publicPort}/page`;
  t.equal((await signIn(browser, at('a.wild'), 'wild@example.com', password)).text, 'wild GET /page');
  t.match(app.seen.at(-1)?.headers, { host: `${hostOf('a.wild')}:${gateway.publicPort}`, 'x-meshgate-email': 'wild@example.com' });
  t.equal((await browser.open(at('b.wild'))).text, 'wild GET /page', 'who is signed in at the provider only passes by');
  t.match(app.seen.at(-1)?.headers, { host: `${hostOf('b.wild')}:${gateway.publicPort}`, 'x-meshgate-email': 'wild@example.com' });
  for (const version of versions) {
    const told = await get(version, 'a.wild', { headers: [['cookie', browser.cookieHeader(at('a.wild'))]] });
    t.same([told.status, told.body.toString()], [200, 'wild GET /']);
  }
});
