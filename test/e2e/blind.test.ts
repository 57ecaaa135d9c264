// TLS that ends at the agent: a browser signs in and reads through the public gateway, which neither learns what is read nor has the key. What it
// has is looked for in its memory and below its folders, and found at the agent, so that the search is known to find.
import { createHash, createPrivateKey, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdir, open, readdir, readFile, writeFile } from 'node:fs/promises';
import { createServer, type IncomingMessage } from 'node:http';
import { connect as tcpConnect, type AddressInfo, type Socket } from 'node:net';
import { join } from 'node:path';
import { connect, type TLSSocket } from 'node:tls';
import t, { type Test } from 'tap';
import { writeProxyHeader } from '#wire/proxy-protocol.ts';
import { ScriptedBrowser, signIn } from '../support/browser.ts';
import { startPebble, withoutPebble } from '../support/pebble.ts';
import {
  call,
  cluster,
  findPeer,
  joinPeer,
  type Json,
  makeGroup,
  makeSetupKey,
  type Plane,
  policyBody,
  startAgentPart,
  startGatewayPart,
  startPlane,
  until,
} from '../support/parts.ts';

const host = `safe.${cluster}`;
const agentPort = 44_443;
const email = 'ada@example.com';
const password = 'a long enough one';
const withoutRoot = process.getuid?.() === 0 ? false : 'only root may read the memory of another process';

interface App {
  readonly port: number;
  readonly marker: string;
  readonly seen: readonly IncomingMessage[];
}

/** Says its marker, and opens WebSockets that stay. */
async function startApp(t: Test): Promise<App> {
  const marker = `marker-${randomBytes(16).toString('hex')}`;
  const seen: IncomingMessage[] = [];
  const server = createServer((asked, answer) => {
    seen.push(asked);
    answer.end(`<p>${marker}</p>`);
  });
  server.on('upgrade', (asked: IncomingMessage, socket: Socket) => {
    seen.push(asked);
    const accept = createHash('sha1')
      .update(`${String(asked.headers['sec-websocket-key'])}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`)
      .digest('base64');
    socket.on('error', () => undefined);
    socket.write(`HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => {
    server.closeAllConnections();
    server.close();
  });
  return { port: (server.address() as AddressInfo).port, marker, seen };
}

/** Publishes the app with TLS at the agent; resolves with its path at the API when it is active. */
async function publish(plane: Plane, app: App): Promise<string> {
  const peer = await findPeer(plane, 'office');
  const { id } = await call(plane, 'POST', '/api/reverse-proxies/services', {
    name: 'safe',
    domain: host,
    tls_at: 'agent',
    auth: { bearer_auth: { enabled: true, distribution_groups: [] } },
    targets: [{ target_id: peer['id'], target_type: 'peer', path: '/', protocol: 'http', port: app.port, enabled: true }],
  });
  const path = `/api/reverse-proxies/services/${String(id)}`;
  let meta: Json = {};
  await until(
    'it is active',
    async () => {
      meta = (await call(plane, 'GET', path))['meta'] as Json;
      return meta['status'] === 'active';
    },
    60_000,
  ).catch((error: unknown) => {
    throw new Error(JSON.stringify(meta), { cause: error });
  });
  return path;
}

async function bothKnown(plane: Plane): Promise<void> {
  const some = async (path: string): Promise<boolean> => ((await plane.api.call('GET', path)) as readonly Json[]).length > 0;
  await until('both are known', async () => (await some('/api/peers?name=office')) && (await some('/api/reverse-proxies/clusters')), 30_000);
}

/** How often each of the needles is in the memory of a process that can be read. */
async function countInMemory(pid: number, needles: readonly Buffer[]): Promise<readonly number[]> {
  const counts = needles.map(() => 0);
  const memory = await open(`/proc/${pid}/mem`, 'r');
  try {
    for (const line of (await readFile(`/proc/${pid}/maps`, 'latin1')).split('\n')) {
      const [, from, to] = /^([0-9a-f]+)-([0-9a-f]+) r/.exec(line) ?? [];
      if (from === undefined || to === undefined || /\[v(?:var|syscall)/.test(line)) continue;
      const [start, end] = [parseInt(from, 16), parseInt(to, 16)];
      const step = 16 * 1_048_576;
      for (let at = start; at < end; at += step - 4_096) {
        const bytes = Buffer.alloc(Math.min(step, end - at));
        // Pages that are not there cannot be read, and hold nothing.
        const { bytesRead } = await memory.read(bytes, 0, bytes.length, at).catch(() => ({ bytesRead: 0 }));
        needles.forEach((needle, index) => {
          if (bytes.subarray(0, bytesRead).includes(needle)) counts[index] = (counts[index] ?? 0) + 1;
        });
        if (end - at <= step) break;
      }
    }
  } finally {
    await memory.close();
  }
  return counts;
}

/** Files below the folders that have one of the needles. */
async function filesWith(folders: readonly string[], needles: readonly Buffer[]): Promise<readonly string[]> {
  const found: string[] = [];
  for (const folder of folders) {
    for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
      const file = join(entry.parentPath, entry.name);
      if (!entry.isFile()) continue;
      const bytes = await readFile(file);
      if (needles.some((needle) => bytes.includes(needle))) found.push(file);
    }
  }
  return found;
}

/** The private number of an EC key, and its PEM as the file has it. */
function keyNeedles(pem: string): readonly Buffer[] {
  const { d = '' } = createPrivateKey(pem).export({ format: 'jwk' });
  const line = pem.split('\n').find((text) => text !== '' && !text.startsWith('-----')) ?? '';
  return [Buffer.from(d, 'base64url'), Buffer.from(line, 'latin1')];
}

void t.test('a service whose TLS ends at the agent', { timeout: 240_000 }, async (t) => {
  const [plane, app] = [await startPlane(t), await startApp(t)];
  const agentCerts = join(plane.folder, 'agent-certs');
  await mkdir(agentCerts);
  const { certPem, keyPem } = await plane.ca.issue([host]);
  await writeFile(join(agentCerts, `${host}.key`), keyPem, { mode: 0o600 });
  await writeFile(join(agentCerts, `${host}.crt`), certPem);
  const gateway = await startGatewayPart(t, plane);
  const office = await makeGroup(plane, 'office');
  const key = await makeSetupKey(plane, [office]);
  const startAgent = (): ReturnType<typeof startAgentPart> =>
    startAgentPart(t, plane, 'office', key, { tlsHere: { enabled: true, certDir: agentCerts } });
  const agent = await startAgent();
  await bothKnown(plane);
  await publish(plane, app);
  await call(plane, 'POST', '/api/users', { email, name: 'Ada', role: 'user', auto_groups: [], is_service_user: false, password });
  const origin = `https://${host}:${gateway.publicPort}`;
  const browser = new ScriptedBrowser(plane.caFile);
  t.teardown(() => browser.close());

  await t.test('a browser signs in through the public gateway and reads the app', async (t) => {
    t.equal((await browser.open(`${origin}/read?a=1`)).status, 200, 'the sign-in page');
    t.equal(app.seen.length, 0);
    const page = await signIn(browser, `${origin}/read?a=1`, email, password);
    t.equal(page.status, 200);
    t.equal(page.url, `${origin}/read?a=1`);
    t.match(page.text, app.marker);
    t.match(app.seen.at(-1)?.headers, { 'x-meshgate-email': email });
  });

  const cookie = browser.cookieHeader(`${origin}/`);
  const openSocket = async (headers: readonly string[]): Promise<TLSSocket> => {
    const plain = tcpConnect({ host: '127.0.0.1', port: gateway.publicPort, localAddress: '127.0.0.2' });
    const socket = connect({ socket: plain, servername: host, ca: plane.caPem });
    socket.on('error', () => undefined);
    socket.write([`GET /ws HTTP/1.1`, `Host: ${host}:${gateway.publicPort}`, `Cookie: ${cookie}`, ...headers, '', ''].join('\r\n'));
    return socket;
  };

  await t.test('the gateway has neither the plaintext nor the key', { skip: withoutRoot }, async (t) => {
    // Both in one byte a character, and in two, as JavaScript may keep them.
    const needles = [Buffer.from(app.marker), Buffer.from(app.marker, 'utf16le'), Buffer.from(cookie), ...keyNeedles(keyPem)];
    const [, , , scalar, pem] = await countInMemory(agent.pid, needles);
    t.ok((scalar ?? 0) + (pem ?? 0) > 0, 'the search finds the key where it is');
    t.same(
      await countInMemory(gateway.pid, needles),
      needles.map(() => 0),
      'not in its memory',
    );
    const [known] = await countInMemory(gateway.pid, [Buffer.from(host)]);
    t.ok((known ?? 0) > 0, 'what it does know is found there');
    t.same(await filesWith([gateway.stateDir, join(plane.folder, 'certs')], needles), [], 'not below its folders');
    t.same(await filesWith([agentCerts], needles), [join(agentCerts, `${host}.key`)], 'the search finds files');
  });

  await t.test('the certificate of the agent stands in the list', async (t) => {
    await until('it is told', async () => {
      const list = (await plane.api.call('GET', '/api/reverse-proxies/certificates')) as readonly Json[];
      return list.some(({ names, state }) => String(names) === host && state === 'valid');
    });
    const clusters = (await plane.api.call('GET', '/api/reverse-proxies/clusters')) as readonly Json[];
    t.same(
      clusters.map(({ address }) => address),
      [cluster],
      'and its own cluster in none',
    );
  });

  await t.test('a peer that is no gateway brings nobody, whatever the policies grant it', async (t) => {
    const strangers = await makeGroup(plane, 'strangers');
    await call(plane, 'POST', '/api/policies', policyBody(strangers, office));
    const stranger = await joinPeer(t, plane, 'stranger', await makeSetupKey(plane, [strangers]));
    const address = String((await findPeer(plane, 'office'))['ip']);
    const dial = (port: number): ReturnType<typeof stranger.overlay.dial> =>
      stranger.overlay.dial({ host: address, port }, { signal: AbortSignal.timeout(10_000) });
    await until(
      'it may reach the app itself',
      () =>
        dial(app.port).then(
          (stream) => Boolean(stream.destroy()),
          () => false,
        ),
      30_000,
    );
    const stream = await dial(agentPort);
    stream.on('error', () => undefined);
    stream.write(writeProxyHeader(2, { address: '203.0.113.9', port: 1 }, { address: '203.0.113.1', port: 443 }));
    const socket = connect({ socket: stream, servername: host, ca: plane.caPem });
    let spoke = false;
    socket.on('error', () => undefined);
    socket.on('secureConnect', () => (spoke = true));
    await new Promise<void>((done) => stream.once('close', () => done()));
    t.notOk(spoke);
  });

  await t.test('a revocation closes what is open within a second, and the client’s address arrives', async (t) => {
    const socket = await openSocket([
      'Upgrade: websocket',
      'Connection: Upgrade',
      'Sec-WebSocket-Version: 13',
      'Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==',
    ]);
    const [answer] = (await once(socket, 'data')) as [Buffer];
    t.match(answer.toString('latin1'), /^HTTP\/1\.1 101 /);
    t.equal(app.seen.at(-1)?.headers['x-forwarded-for'], '127.0.0.2');
    const closed = new Promise<number>((done) => socket.once('close', () => done(performance.now())));
    const sessions = ((await plane.api.call('GET', '/api/sessions')) as readonly Json[]).filter(({ domain }) => domain === host);
    t.equal(sessions.length, 1);
    const begun = performance.now();
    await call(plane, 'DELETE', `/api/sessions/${String(sessions[0]?.['id'])}`);
    const took = (await closed) - begun;
    t.comment(`figure: a WebSocket through the agent's TLS was closed ${took.toFixed(0)} ms after its session was revoked`);
    t.ok(took < 1_000, `${took.toFixed(0)} ms`);
    const next = await openSocket(['Connection: close']);
    const [refused] = (await once(next, 'data')) as [Buffer];
    t.match(refused.toString('latin1'), /^HTTP\/1\.1 401 /);
    next.destroy();
  });

  await t.test('the access log has the request with who made it, from the agent', async () => {
    await until('it is told', async () => {
      const { data } = (await plane.api.call('GET', '/api/events/proxy?page_size=50')) as { readonly data: readonly Json[] };
      return data.some((entry) => entry['path'] === '/read' && entry['host'] === host && String(entry['user_id']) !== '');
    });
  });

  await t.test('a restart of the agent gets another token, and sessions go on', async (t) => {
    const again = new ScriptedBrowser(plane.caFile);
    t.teardown(() => again.close());
    t.equal((await signIn(again, `${origin}/before`, email, password)).status, 200);
    await agent.end('SIGTERM');
    await startAgent();
    // One that came while the way was being made waits for it longer than the way takes.
    const request = `GET /after HTTP/1.1\r\nHost: ${host}:${gateway.publicPort}\r\nCookie: ${again.cookieHeader(`${origin}/`)}\r\nConnection: close\r\n\r\n`;
    const open = (): Promise<number> =>
      new Promise((resolve) => {
        const socket = connect({ host: '127.0.0.1', port: gateway.publicPort, servername: host, ca: plane.caPem });
        socket.setTimeout(2_000, () => socket.destroy());
        socket.on('error', () => undefined);
        socket.on('data', (bytes: Buffer) => resolve(Number(bytes.toString('latin1').split(' ')[1])));
        socket.on('close', () => resolve(0));
        socket.write(request);
      });
    const took = await until('it is served again', async () => (await open()) === 200, 40_000);
    t.comment(`figure: served again ${took.toFixed(0)} ms after the agent had started again`);
    t.equal(app.seen.at(-1)?.url, '/after');
  });
});

void t.test('the agent proves its name by TLS-ALPN-01 through the gateway', { skip: withoutPebble, timeout: 180_000 }, async (t) => {
  const [plane, pebble, app] = await Promise.all([startPlane(t), startPebble(t), startApp(t)]);
  const authorityCa = join(plane.folder, 'pebble-ca.pem');
  await writeFile(authorityCa, pebble.ca);
  const acme = { authorities: [{ directory: pebble.directory, caFile: authorityCa }], termsAgreed: true };
  // The gateway orders certificates too, and has no challenge of this name.
  const gateway = await startGatewayPart(t, plane, { listen: `127.0.0.1:${pebble.tlsPort}`, acme });
  const key = await makeSetupKey(plane, [await makeGroup(plane, 'office')]);
  await mkdir(join(plane.folder, 'agent-certs'));
  const agent = await startAgentPart(t, plane, 'office', key, { tlsHere: { enabled: true, certDir: join(plane.folder, 'agent-certs'), acme } });
  await bothKnown(plane);
  const begun = performance.now();
  await publish(plane, app);
  t.comment(`figure: service by API to active with a certificate at the agent in ${(performance.now() - begun).toFixed(0)} ms`);
  t.same((await gateway.status())['certificates'], [], 'the gateway has none');
  t.match((await agent.status())['tlsHere'], { door: { certificates: [{ names: [host], source: 'acme', state: 'valid' }] } });
  const socket = connect({ host: '127.0.0.1', port: pebble.tlsPort, servername: host, ca: await pebble.root() });
  socket.write(`GET / HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`);
  const [answer] = (await once(socket, 'data')) as [Buffer];
  t.match(answer.toString('latin1'), /^HTTP\/1\.1 401 /, 'who is nobody is told so by the agent');
  socket.destroy();
});
