// How fast trust ends, through the whole product: the next request, a WebSocket and a TCP flow that are open, at the word of an administrator
// and at that of the user (attack rows W-3, C-7). The gateway's own measure is held beside.
import { createHash } from 'node:crypto';
import { mkdir, writeFile } from 'node:fs/promises';
import { createServer, type IncomingMessage } from 'node:http';
import { connect, type AddressInfo, type Socket } from 'node:net';
import { join } from 'node:path';
import { connect as tlsConnect } from 'node:tls';
import t, { type Test } from 'tap';
import { ScriptedBrowser, signIn } from '../support/browser.ts';
import { freePort } from '../support/mesh.ts';
import { ask, samplesOf } from '../support/metrics.ts';
import {
  call,
  cluster,
  findPeer,
  type Json,
  makeGroup,
  makeSetupKey,
  startAgentPart,
  startGatewayPart,
  startPlane,
  startUpstream,
  until,
} from '../support/parts.ts';

const password = 'a long enough one';
const email = 'ada@example.com';

/** An upstream whose WebSockets stay open and say nothing. */
async function startWebSockets(t: Test): Promise<number> {
  const server = createServer((_request, response) => response.end('here'));
  server.on('upgrade', (upgrade: IncomingMessage, socket: Socket) => {
    const key = String(upgrade.headers['sec-websocket-key']);
    const accept = createHash('sha1').update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64');
    socket.on('error', () => undefined);
    socket.write(`HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.teardown(() => {
    server.closeAllConnections();
    server.close();
  });
  return (server.address() as AddressInfo).port;
}

void t.test('a revocation ends the next request and all that is open within a second', { timeout: 180_000 }, async (t) => {
  const plane = await startPlane(t);
  const [web, db] = [`web.${cluster}`, `db.${cluster}`];
  await mkdir(join(plane.folder, 'certs'), { recursive: true });
  for (const name of [web, db]) {
    const { certPem, keyPem } = await plane.ca.issue([name]);
    await writeFile(join(plane.folder, 'certs', `${name}.key`), keyPem, { mode: 0o600 });
    await writeFile(join(plane.folder, 'certs', `${name}.crt`), certPem);
  }
  const metricsPort = await freePort();
  const gateway = await startGatewayPart(t, plane, { metrics: { listen: String(metricsPort) } });
  await until('the gateway is known', async () => ((await plane.api.call('GET', '/api/reverse-proxies/clusters')) as readonly Json[]).length > 0);
  await startAgentPart(t, plane, 'office', await makeSetupKey(plane, [await makeGroup(plane, 'office')]), {});
  await until('the agent has joined', async () => ((await plane.api.call('GET', '/api/peers?name=office')) as readonly Json[]).length > 0);
  const peer = String((await findPeer(plane, 'office'))['id']);
  const [webSockets, upstream, port] = [await startWebSockets(t), await startUpstream(t), await freePort()];
  const auth = { bearer_auth: { enabled: true, distribution_groups: [] } };
  const targetOf = (protocol: string, at: number): Json => ({ target_id: peer, target_type: 'peer', protocol, port: at, enabled: true });
  for (const body of [
    { name: 'web', domain: web, targets: [{ ...targetOf('http', webSockets), path: '/' }], auth },
    { name: 'db', domain: db, mode: 'tcp', listen_port: port, targets: [targetOf('tcp', upstream.port)], auth },
  ]) {
    const { id } = await call(plane, 'POST', '/api/reverse-proxies/services', body);
    const path = `/api/reverse-proxies/services/${String(id)}`;
    await until('it is active', async () => ((await call(plane, 'GET', path))['meta'] as Json)['status'] === 'active', 30_000);
  }
  const user = await call(plane, 'POST', '/api/users', { email, name: 'Ada', role: 'user', auto_groups: [], is_service_user: false, password });

  const { caPem } = plane.ca;
  /** Signs in at both services and opens something at each. */
  const enter = async (): Promise<{ readonly cookie: string; readonly closed: Promise<number>; readonly done: () => void }> => {
    const browser = new ScriptedBrowser(plane.caFile);
    t.teardown(() => browser.close());
    const page = await signIn(browser, `https://${web}:${gateway.publicPort}/`, email, password);
    t.equal(page.status, 200);
    t.equal((await browser.open(`https://${db}:${gateway.publicPort}/`)).status, 200);
    const cookie = browser.cookieHeader(`https://${web}:${gateway.publicPort}/`);
    const webSocket = tlsConnect({ host: '127.0.0.1', port: gateway.publicPort, servername: web, ca: caPem });
    const head = ['GET / HTTP/1.1', `Host: ${web}:${gateway.publicPort}`, `Cookie: ${cookie}`, 'Upgrade: websocket', 'Connection: Upgrade'];
    webSocket.write([...head, 'Sec-WebSocket-Version: 13', 'Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==', '', ''].join('\r\n'));
    const flow = connect({ host: '127.0.0.1', port });
    flow.write('hello');
    for (const socket of [webSocket, flow]) socket.on('error', () => undefined);
    const first = (socket: Socket): Promise<string> =>
      new Promise((resolve) => socket.once('data', (bytes: Buffer) => resolve(bytes.toString('latin1'))));
    const [answered] = await Promise.all([first(webSocket), first(flow)]);
    t.match(answered, /^HTTP\/1\.1 101 /);
    const gone = (socket: Socket): Promise<number> => new Promise((resolve) => socket.once('close', () => resolve(performance.now())));
    const closed = Promise.all([gone(webSocket), gone(flow)]).then((times) => Math.max(...times));
    return { cookie, closed, done: () => [webSocket, flow].forEach((socket) => socket.destroy()) };
  };
  /** The status of a request with this cookie, by a client that shows no pages. */
  const statusWith = (cookie: string): Promise<number> =>
    new Promise((resolve, reject) => {
      const socket = tlsConnect({ host: '127.0.0.1', port: gateway.publicPort, servername: web, ca: caPem });
      socket.once('error', reject);
      socket.once('data', (bytes: Buffer) => {
        resolve(Number(bytes.toString('latin1').split(' ')[1]));
        socket.destroy();
      });
      socket.write(`GET / HTTP/1.1\r\nHost: ${web}:${gateway.publicPort}\r\nCookie: ${cookie}\r\nConnection: close\r\n\r\n`);
    });

  const userPath = `/api/users/${String(user['id'])}`;
  const ways: readonly (readonly [string, () => Promise<unknown>])[] = [
    ['the administrator ends all sessions', () => call(plane, 'POST', `${userPath}/logout`, {})],
    [
      'each session is ended by its name',
      async () => {
        const sessions = (await plane.api.call('GET', `/api/sessions?user=${String(user['id'])}`)) as readonly Json[];
        t.same(new Set(sessions.map((session) => session['domain'])), new Set([db, web]));
        t.match(sessions[0], { address: '127.0.0.1', methods: ['pwd'], user_email: email });
        await Promise.all(sessions.map((session) => call(plane, 'DELETE', `/api/sessions/${String(session['id'])}`)));
      },
    ],
    ['a new password', () => call(plane, 'PUT', `${userPath}/password`, { old_password: '', new_password: password })],
    ['second factors are reset', () => call(plane, 'DELETE', `${userPath}/factors`)],
    ['the user is blocked', () => call(plane, 'PUT', userPath, { role: 'user', auto_groups: [], is_blocked: true })],
  ];
  for (const [what, end] of ways) {
    const { cookie, closed, done } = await enter();
    t.equal(await statusWith(cookie), 200, what);
    const begun = performance.now();
    await end();
    const took = (await Promise.race([closed, new Promise<number>((resolve) => setTimeout(resolve, 10_000, Infinity))])) - begun;
    t.ok(took < 1_000, `${what}: WebSocket and TCP flow are closed after ${took.toFixed(0)} ms`);
    t.comment(`figure: ${what}: open streams closed ${took.toFixed(0)} ms after the request to end them was sent`);
    t.equal(await statusWith(cookie), 401, 'the next request');
    done();
  }
  const samples = samplesOf((await ask(metricsPort, '/metrics')).text);
  const count = samples.get('meshgate_revocation_seconds_count') ?? 0;
  t.ok(count >= ways.length, 'the gateway has measured them');
  t.equal(samples.get('meshgate_revocation_seconds_bucket{le="1"}'), count, 'all within a second');
});
