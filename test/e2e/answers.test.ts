// When something is not as it should be, the user gets a clear answer, and the log and `meshgate status` tell the reason: one mesh of four
// processes, in which one thing after the other is taken away.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import type { TLSSocket } from 'node:tls';
import t, { type Test } from 'tap';
import { Agent, request } from 'undici';
import { ScriptedBrowser, signIn } from '../support/browser.ts';
import { exchange, rawTls } from '../support/hostile.ts';
import {
  call,
  cluster,
  findPeer,
  makeSetupKey,
  startAgentPart,
  startGatewayPart,
  startPlane,
  startUpstream,
  until,
  type Json,
  type Part,
  type Plane,
} from '../support/parts.ts';

const main = resolve(import.meta.dirname, '../../src/cli/main.ts');
/** What the issue promises for the end of trust. */
const trustMs = 1_000;
const host = `app.${cluster}`;

interface Answer {
  readonly status: number;
  readonly type: string;
  readonly text: string;
}

void t.test('every refusal has its own answer and its own reason', async (t) => {
  const mesh = t; // what lives as long as the mesh, and not only as long as one of its tests
  const plane = await startPlane(t);
  const upstream = await startUpstream(t, answerStreams);
  const gateway = await startGatewayPart(t, plane);
  const agentConfig = { targets: [{ port: 80, target: `127.0.0.1:${upstream.port}` }], defaultHost: '' };
  const agent = await startAgentPart(t, plane, 'office', await makeSetupKey(plane, []), agentConfig);
  await addCertificate(plane, host);
  await addCertificate(plane, `other.${cluster}`);
  await until('the agent has joined', async () => hasPeer(plane, 'office'));
  await until('the gateway is known', async () => ((await plane.api.call('GET', '/api/reverse-proxies/clusters')) as readonly Json[]).length > 0);
  const peerId = String((await findPeer(plane, 'office'))['id']);
  const service = await call(plane, 'POST', '/api/reverse-proxies/services', serviceBody(host, peerId));
  const serviceId = String(service['id']);
  const isActive = async (): Promise<boolean> => stateOf(await gateway.status(), host) === 'active';
  await until('the service is served', isActive, 20_000);

  const dispatcher = new Agent({
    pipelining: 0,
    connect: { ca: plane.caPem, lookup: (_host, _options, done) => done(null, [{ address: '127.0.0.1', family: 4 }]) },
  });
  t.teardown(() => dispatcher.close());
  const url = `https://${host}:${gateway.publicPort}`;
  const ask = async (headers: Readonly<Record<string, string>>, at = url): Promise<Answer> => {
    const response = await request(at, { dispatcher, headers, signal: AbortSignal.timeout(20_000) });
    const text = await response.body.text();
    return { status: response.statusCode, type: String(response.headers['content-type']), text };
  };
  const site = { port: gateway.publicPort, caFile: plane.caFile, servername: host };

  const person = async (email: string): Promise<{ readonly id: string; readonly cookie: string }> => {
    const password = 'a long enough password';
    const user = await call(plane, 'POST', '/api/users', { email, name: email, role: 'user', auto_groups: [], password });
    const browser = new ScriptedBrowser(plane.caFile);
    t.equal((await signIn(browser, url, email, password)).status, 200, `${email} is signed in`);
    const cookie = browser.cookieHeader(url);
    await browser.close();
    return { id: String(user['id']), cookie };
  };
  const machine = async (): Promise<{ readonly user: string; readonly token: string; readonly id: string }> => {
    const user = String((await call(plane, 'POST', '/api/users', { name: 'machine', role: 'user', auto_groups: [], is_service_user: true }))['id']);
    const made = await call(plane, 'POST', `/api/users/${user}/tokens`, { name: 'x', expires_in: 1 });
    return { user, token: String(made['plain_token']), id: String((made['personal_access_token'] as Json)['id']) };
  };
  const owner = await person('stays@example.com');
  const html = { accept: 'text/html', cookie: owner.cookie };

  /** Opens the stream, and resolves once its first bytes have come through. */
  const open = async (kind: 'events' | 'socket', credential: string): Promise<TLSSocket> => {
    const socket = await rawTls(site);
    const upgrade =
      kind === 'socket'
        ? 'Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n'
        : '';
    socket.write(`GET /${kind} HTTP/1.1\r\nHost: ${host}\r\n${credential}\r\n${upgrade}\r\n`);
    const [head] = (await once(socket, 'data')) as [Buffer];
    t.match(head.toString('latin1'), kind === 'socket' ? /^HTTP\/1\.1 101/ : /^HTTP\/1\.1 200/, `${kind} is open`);
    return socket.on('error', () => undefined).resume();
  };
  /** Ends the trust behind the credential, and tells how long streams and requests outlive it. */
  const trustEnds = async (t: Test, what: string, credential: string, end: () => Promise<unknown>): Promise<Answer> => {
    const streams = await Promise.all([open('events', credential), open('socket', credential)]);
    const begun = performance.now();
    const closed = streams.map((stream) => new Promise<number>((done) => stream.once('close', () => done(performance.now() - begun))));
    const [name = '', value = ''] = credential.split(': ');
    await end();
    const answered = performance.now() - begun;
    const [events, socket] = (await Promise.all(closed)) as [number, number];
    const refused = await until('the next request is refused', async () => (await ask({ [name.toLowerCase()]: value })).status !== 200);
    t.comment(
      `figure: ${what}: API answered after ${answered.toFixed(0)} ms, SSE closed after ${events.toFixed(0)} ms, WebSocket after ${socket.toFixed(0)} ms, request refused ${refused.toFixed(0)} ms later`,
    );
    t.ok(Math.max(events, socket, refused) < trustMs, `${what}: everything ends within a second`);
    return ask({ [name.toLowerCase()]: value });
  };

  await t.test('a blocked user', async (t) => {
    const user = await person('blocked@example.com');
    const answer = await trustEnds(t, 'user blocked', `Cookie: ${user.cookie}`, () =>
      call(plane, 'PUT', `/api/users/${user.id}`, { role: 'user', auto_groups: [], is_blocked: true }),
    );
    t.match(answer, { status: 401, type: 'application/problem+json', text: /"reason":"(?:session_revoked|not_signed_in)"/ });
    const browser = new ScriptedBrowser(plane.caFile);
    const again = await signIn(browser, url, 'blocked@example.com', 'a long enough password');
    await browser.close();
    t.match(again.text, /blocked|match|incorrect|wrong/i, 'signing in again is refused in words');
    t.not(again.status, 200);
  });

  await t.test('a deleted service token', async (t) => {
    const { user, token, id } = await machine();
    const answer = await trustEnds(t, 'service token deleted', `Authorization: Bearer ${token}`, () =>
      call(plane, 'DELETE', `/api/users/${user}/tokens/${id}`),
    );
    t.match(answer, { status: 401, type: 'application/problem+json', text: /"reason":"token_invalid"/ });
    await logTells(gateway, 'token_invalid');
    t.ok(await refusals(gateway, 'token_invalid'), 'the status counts it');
  });

  await t.test('an unknown host', async (t) => {
    await t.rejects(rawTls({ ...site, servername: `nobody.${cluster}` }), { code: 'ERR_SSL_TLSV1_UNRECOGNIZED_NAME' }, 'without a certificate: TLS');
    await logTells(gateway, '"reason":"tls_unknown_name"', `nobody.${cluster}`);
    t.match(await ask(html, `https://other.${cluster}:${gateway.publicPort}/`), {
      status: 404,
      type: 'text/html; charset=utf-8',
      text: /nothing at this address/,
    });
    await logTells(gateway, '"reason":"unknown_host"', `other.${cluster}`);
    const misdirected = `GET / HTTP/1.1\r\nHost: other.${cluster}\r\nAccept: text/html\r\nConnection: close\r\n\r\n`;
    t.match((await exchange(await rawTls(site), [misdirected], 5_000)).text, /^HTTP\/1\.1 421 [\s\S]*another host/);
    await logTells(gateway, '"reason":"host_mismatch"');
    for (const reason of ['tls_unknown_name', 'unknown_host', 'host_mismatch']) t.ok(await refusals(gateway, reason), `the status counts ${reason}`);
  });

  await t.test('setup keys: wrong, expired, used up, revoked', async (t) => {
    const make = (type: string, expires: number): Promise<Json> =>
      call(plane, 'POST', '/api/setup-keys', { name: type, type, expires_in: expires, usage_limit: 0, auto_groups: [] });
    const [expired, used, revoked] = await Promise.all([make('reusable', 1), make('one-off', 60), make('reusable', 60)]);
    await call(plane, 'PUT', `/api/setup-keys/${String(revoked['id'])}`, { revoked: true, auto_groups: [] });
    const first = await startAgentPart(t, plane, 'first', String(used['key']), {});
    await until('the one-off key is used', async () => hasPeer(plane, 'first'));
    await first.end('SIGTERM');
    await until('the key expires', async () => (await call(plane, 'GET', `/api/setup-keys/${String(expired['id'])}`))['state'] === 'expired');
    for (const [name, key, words] of [
      ['wrong', 'A0000000-0000-0000-0000-00000000000A', 'There is no such setup key.'],
      ['expired', String(expired['key']), 'The setup key has expired.'],
      ['used-up', String(used['key']), 'The setup key has been used as often as it may.'],
      ['revoked', String(revoked['key']), 'The setup key was revoked.'],
    ] as const) {
      const part = await startAgentPart(t, plane, name, key, {});
      await until(`${name} is refused`, async () => ((await part.status())['state'] as Json)['kind'] === 'refused');
      await logTells(part, words);
      await logTells(plane.part, 'peer refused', words);
      const { code, out } = await statusCommand(part.stateDir);
      t.equal(code, 1, `${name}: the status command says that it is not well`);
      t.ok(out.includes(words), `${name}: and why`, { out });
      t.notOk(part.log().includes(key), 'the key itself is in no log');
      t.comment(`figure: an agent that is refused ends ${(await part.end('SIGTERM')).ms.toFixed(0)} ms after SIGTERM`);
    }
  });

  await t.test('a disabled service, and one that is deleted', async (t) => {
    const events = await open('events', `Cookie: ${owner.cookie}`);
    const begun = performance.now();
    const closed = new Promise<number>((done) => events.once('close', () => done(performance.now() - begun)));
    await call(plane, 'PUT', `/api/reverse-proxies/services/${serviceId}`, { ...serviceBody(host, peerId), enabled: false });
    t.comment(`figure: service disabled, SSE closed after ${(await closed).toFixed(0)} ms`);
    t.ok((await closed) < trustMs);
    t.match(await ask(html), { status: 404, text: /nothing at this address/ });
    t.match(await ask({ cookie: owner.cookie }), { status: 404, type: 'application/problem+json', text: /"reason":"unknown_host"/ });
    await logTells(gateway, 'service removed', host);
    t.equal(stateOf(await gateway.status(), host), undefined, 'the gateway does not serve it any more');
    t.equal((await call(plane, 'GET', `/api/reverse-proxies/services/${serviceId}`))['enabled'], false, 'the control plane says why');
    await call(plane, 'PUT', `/api/reverse-proxies/services/${serviceId}`, serviceBody(host, peerId));
    await until('it is back', isActive);
    await until('the session goes on', async () => (await ask(html)).status === 200);

    const other = `other.${cluster}`;
    const made = await call(plane, 'POST', '/api/reverse-proxies/services', serviceBody(other, peerId));
    const anonymous = { accept: 'application/json' };
    // Its certificate is there, so the next thing that a stranger is told is to sign in.
    const served = await until(
      'the other one is served',
      async () => (await ask(anonymous, `https://${other}:${gateway.publicPort}/`)).status === 401,
    );
    t.comment(`figure: service created by API, served ${served.toFixed(0)} ms after the API's answer`);
    t.ok(served < trustMs);
    await until('it is reached', async () => stateOf(await gateway.status(), other) === 'active');
    await call(plane, 'DELETE', `/api/reverse-proxies/services/${String(made['id'])}`);
    const gone = await until('it is gone', async () => (await ask(anonymous, `https://${other}:${gateway.publicPort}/`)).status === 404);
    t.comment(`figure: service deleted, refused ${gone.toFixed(0)} ms after the API's answer`);
    t.ok(gone < trustMs);
    await logTells(gateway, 'service removed', other);
  });

  await t.test('the agent is gone', async (t) => {
    await agent.end('SIGKILL');
    const begun = performance.now();
    const page = await ask(html);
    t.comment(`figure: agent killed, ${page.status} after ${(performance.now() - begun).toFixed(0)} ms`);
    t.ok(page.status === 502 || page.status === 504, `a page with ${page.status}`);
    t.match(page, { type: 'text/html; charset=utf-8', text: /could not be reached|did not answer/ });
    const id = /&middot; ([A-Za-z0-9_-]+)/.exec(page.text)?.[1] ?? 'no id';
    t.notMatch(page.text, /office|100\.\d+\.\d+\.\d+|127\.0\.0\.1/, 'strangers learn no names and addresses');
    await logTells(gateway, `"id":"${id}"`, 'upstream_');
    await until('the access log has it', async () => {
      const { data } = await call(plane, 'GET', `/api/events/proxy?status_code=${page.status}`);
      return (data as readonly Json[]).some((entry) => entry['id'] === id && String(entry['reason']).startsWith('upstream_'));
    });
    const problem = await ask({ cookie: owner.cookie });
    t.match(problem, { status: /50[24]/, type: 'application/problem+json' });
    t.match(JSON.parse(problem.text), { id: String, status: problem.status, reason: /^upstream_/ });
    const took = await until('the service state tells', async () => stateOf(await gateway.status(), host) === 'tunnel_not_created', 60_000);
    t.comment(`figure: state tunnel_not_created ${took.toFixed(0)} ms after the second answer`);
    const { code, out } = await statusCommand(gateway.stateDir);
    t.equal(code, 1);
    t.match(out, /tunnel_not_created: office/, 'the status names the peer and why');
    await until('the control plane knows', async () => {
      const { meta } = await call(plane, 'GET', `/api/reverse-proxies/services/${serviceId}`);
      return (meta as Json)['status'] === 'tunnel_not_created' && /office/.test(String((meta as Json)['status_reason']));
    });
    const again = await startAgentPart(mesh, plane, 'office', '', agentConfig);
    const served = await until('it is served again', async () => (await ask(html)).status === 200, 30_000);
    t.comment(`figure: agent started again, served ${served.toFixed(0)} ms after its status answers`);
    t.match(await again.status(), { state: { kind: 'running' } });
  });

  await t.test('the control plane is gone', async (t) => {
    await plane.part.end('SIGKILL');
    await until('the gateway notices', async () => !(await linkOf(gateway)).connected);
    t.equal((await ask(html)).status, 200, 'who is signed in goes on');
    const page = await ask({ accept: 'text/html' });
    t.match(page, { status: 503, type: 'text/html; charset=utf-8', text: /Sign-in is not available/ }, 'who is not gets a page that says so');
    const id = /&middot; ([A-Za-z0-9_-]+)/.exec(page.text)?.[1] ?? 'no id';
    await logTells(gateway, `"id":"${id}"`, 'auth_unavailable');
    t.match(await ask({ authorization: 'Bearer nbp_000000000000000000000000000000000000' }), { status: 503, type: 'application/problem+json' });
    const { code, out } = await statusCommand(gateway.stateDir);
    t.equal(code, 1);
    t.match(out, /! proxy is not connected: The control plane cannot be reached/);
    await plane.restart();
    const back = await until('people can sign in again', async () => /<form/.test((await askFollowing(plane, url)).text), 20_000);
    t.comment(`figure: sign-in is back ${back.toFixed(0)} ms after the control plane`);
  });

  await t.test('a revoked gateway token', async (t) => {
    await until('the link is up', async () => (await linkOf(gateway)).connected, 20_000);
    const tokens = (await plane.api.call('GET', '/api/reverse-proxies/proxy-tokens')) as readonly Json[];
    const begun = performance.now();
    await call(plane, 'DELETE', `/api/reverse-proxies/proxy-tokens/${String(tokens[0]?.['id'])}`);
    await until('the stream ends', async () => !(await linkOf(gateway)).connected);
    t.comment(`figure: gateway token revoked, its stream ended after ${(performance.now() - begun).toFixed(0)} ms`);
    await until('the reason is told', async () => /revoked/.test((await linkOf(gateway)).reason));
    await logTells(gateway, 'unknown, expired or revoked');
    const { code, out } = await statusCommand(gateway.stateDir);
    t.equal(code, 1);
    t.match(out, /! proxy is not connected: .*revoked/);
  });
});

/** An app with `/events` (server-sent events), `/socket` (an upgrade) and a page. */
function answerStreams(socket: import('node:net').Socket): void {
  socket.on('data', (chunk: Buffer) => {
    const head = chunk.toString('latin1');
    if (head.startsWith('GET /socket')) socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n');
    else if (head.startsWith('GET /events')) socket.write('HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n');
    else if (head.includes(' HTTP/1.1\r\n')) socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok');
  });
}

function serviceBody(domain: string, peerId: string): Json {
  return {
    name: domain,
    domain,
    mode: 'http',
    enabled: true,
    pass_host_header: true,
    rewrite_redirects: false,
    auth: { bearer_auth: { enabled: true, distribution_groups: [] } },
    targets: [{ target_id: peerId, target_type: 'peer', path: '/', protocol: 'http', port: 80, enabled: true }],
  };
}

async function addCertificate(plane: Plane, name: string): Promise<void> {
  const { certPem, keyPem } = await plane.ca.issue([name]);
  const directory = join(plane.folder, 'certs');
  await mkdir(directory, { recursive: true });
  await writeFile(join(directory, `${name}.key`), keyPem, { mode: 0o600 });
  await writeFile(join(directory, `${name}.crt`), certPem);
}

async function hasPeer(plane: Plane, name: string): Promise<boolean> {
  return ((await plane.api.call('GET', `/api/peers?name=${name}`)) as readonly Json[]).length > 0;
}

/** The gateway's own word on a service; undefined where it knows none. */
function stateOf(status: Json, domain: string): string | undefined {
  const found = (status['services'] as readonly Json[]).find((service) => service['domain'] === domain);
  return found === undefined ? undefined : String(found['state']);
}

async function linkOf(gateway: Part): Promise<{ readonly connected: boolean; readonly reason: string }> {
  const { links } = (await gateway.status()) as {
    readonly links: readonly { readonly name: string; readonly connected: boolean; readonly reason: string }[];
  };
  return links.find(({ name }) => name === 'proxy') ?? { connected: false, reason: '' };
}

async function refusals(gateway: Part, reason: string): Promise<boolean> {
  const { http } = (await gateway.status()) as { readonly http: { readonly refused: Readonly<Record<string, number>> } };
  return (http.refused[reason] ?? 0) > 0;
}

/** Waits for a line of the log that has all the words. */
async function logTells(part: Part, ...words: readonly string[]): Promise<void> {
  await until(`the log tells ${words.join(', ')}`, () =>
    part
      .log()
      .split('\n')
      .some((line) => words.every((word) => line.includes(word))),
  );
}

async function statusCommand(stateDir: string): Promise<{ readonly code: number | null; readonly out: string }> {
  const child = spawn(process.execPath, [main, 'status', '--state-dir', stateDir], { stdio: ['ignore', 'pipe', 'ignore'] });
  let out = '';
  child.stdout.on('data', (chunk: Buffer) => (out += chunk.toString('utf8')));
  const [code] = (await once(child, 'close')) as [number | null];
  return { code, out };
}

/** Opens the URL as a new browser would. */
async function askFollowing(plane: Plane, url: string): Promise<{ readonly text: string }> {
  const browser = new ScriptedBrowser(plane.caFile);
  try {
    return await browser.open(url);
  } finally {
    await browser.close();
  }
}
