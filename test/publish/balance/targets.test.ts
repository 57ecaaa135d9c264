// Several targets of one route, on real sockets: who gets requests, what is tried again, and what a visitor notices of a target's death.
import type { Socket } from 'node:net';
import { createServer, type Server } from 'node:net';
import { connect as connectH2 } from 'node:http2';
import type { AddressInfo } from 'node:net';
import t, { type Test } from 'tap';
import { RETRY_BODY } from '../../../src/publish/constants.ts';
import { defaultTargetOptions, type MappingPath, type ServiceMapping } from '#model/service.ts';
import { defaultWeb, type WebOptions } from '#model/web.ts';
import { seeded } from '../../support/seeded.ts';
import { exchange, listenTcp, mapping, readUntil, startFixture, withLogin, type Fixture } from '../harness.ts';

/** An upstream that tells its name, can die with all its connections, and come back on the same port. */
class Target {
  readonly name: string;
  readonly heads: string[] = [];
  /** What it does with a whole request; left out, it answers with its name. */
  serve: ((socket: Socket, request: string) => void) | undefined;
  #server: Server | undefined;
  readonly #sockets = new Set<Socket>();
  port = 0;

  constructor(name: string) {
    this.name = name;
  }

  get alive(): boolean {
    return this.#server !== undefined;
  }

  async start(): Promise<this> {
    const server = createServer({ noDelay: true }, (socket) => {
      this.#sockets.add(socket);
      socket.on('close', () => this.#sockets.delete(socket));
      socket.on('error', () => undefined);
      let pending = '';
      socket.on('data', (chunk: Buffer) => {
        pending += chunk.toString('latin1');
        for (let end = pending.indexOf('\r\n\r\n'); end >= 0; end = pending.indexOf('\r\n\r\n')) {
          const length = Number(/content-length: (\d+)/i.exec(pending.slice(0, end))?.[1] ?? 0);
          if (pending.length < end + 4 + length) return;
          const request = pending.slice(0, end + 4 + length);
          pending = pending.slice(end + 4 + length);
          this.heads.push(request);
          if (this.serve !== undefined) this.serve(socket, request);
          else socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${this.name.length}\r\n\r\n${this.name}`);
        }
      });
    });
    await new Promise<void>((resolve) => server.listen(this.port, '127.0.0.1', resolve));
    this.port = (server.address() as AddressInfo).port;
    this.#server = server;
    return this;
  }

  async kill(): Promise<void> {
    const server = this.#server;
    this.#server = undefined;
    for (const socket of this.#sockets) socket.resetAndDestroy();
    await new Promise<void>((resolve) => (server === undefined ? resolve() : server.close(() => resolve())));
  }
}

function shared(
  targets: readonly Target[],
  web: Partial<WebOptions> = {},
  weights: readonly number[] = [],
  changes: Partial<ServiceMapping> = {},
): ServiceMapping {
  const path: MappingPath = {
    path: '/',
    targets: targets.map(({ port }, i) => ({ protocol: 'http', host: '127.0.0.1', port, basePath: '', weight: weights[i] ?? 1 })),
    options: { ...defaultTargetOptions, pathRewrite: 'preserve' },
  };
  return mapping('a.test', [path], { web: { ...defaultWeb, ...web }, ...changes });
}

async function begin(
  t: Test,
  count: number,
  web: Partial<WebOptions> = {},
  weights: readonly number[] = [],
): Promise<{ targets: Target[]; fixture: Fixture }> {
  const targets = await Promise.all(Array.from({ length: count }, (_, i) => new Target(`t${i}`).start()));
  const fixture = await startFixture([shared(targets, web, weights)]);
  t.teardown(() => Promise.all([fixture.close(), ...targets.map((target) => target.kill())]));
  return { targets, fixture };
}

const get = (extra = '', path = '/'): string => `GET ${path} HTTP/1.1\r\nHost: a.test\r\n${extra}Connection: close\r\n\r\n`;
const bodyOf = (answer: string): string => answer.slice(answer.indexOf('\r\n\r\n') + 4);
const wait = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

async function names(fixture: Fixture, count: number, extra = ''): Promise<string> {
  let all = '';
  for (let i = 0; i < count; i++) all += bodyOf(await exchange(fixture, get(extra))).slice(-1);
  return all;
}

async function until(what: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await what())) await wait(20);
}

void t.test('the load is shared by weight', async (t) => {
  const { fixture } = await begin(t, 3, {}, [2, 1, 0]);
  t.equal(await names(fixture, 6), '010010');
});

void t.test('targets killed at random under load: no visitor sees it', { timeout: 120_000 }, async (t) => {
  const { fixture, targets } = await begin(t, 4, { retries: 3, ejection: { failures: 3, ejectMs: 300 } });
  const random = seeded(20_261_128);
  let kills = 0;
  let turn: Promise<unknown> = Promise.resolve();
  // One of them dies every 80 requests, with all that it has in work; one of the dead comes back every 40 or so. Two are always alive.
  const strike = async (at: number): Promise<void> => {
    const victim = targets[Math.floor(random() * targets.length)];
    if (at % 80 === 0 && victim?.alive === true && targets.filter(({ alive }) => alive).length > 2) {
      await victim.kill();
      kills++;
    }
    const dead = targets.find(({ alive }) => !alive);
    if (at % 80 === 40 && dead !== undefined) await dead.start();
  };
  let asked = 0;
  const statuses = new Map<string, number>();
  const lane = async (count: number): Promise<void> => {
    let socket = await fixture.connect('a.test');
    for (let i = 0; i < count; i++) {
      const answer = readUntil(socket, (text) => /\r\n\r\nt[0-9]$/.test(text) || /\r\n\r\n.*\}$/.test(text));
      socket.write('GET / HTTP/1.1\r\nHost: a.test\r\n\r\n');
      const at = asked++;
      if (at % 40 === 0) turn = turn.then(() => strike(at));
      const status = (await answer).slice(0, 12);
      statuses.set(status, (statuses.get(status) ?? 0) + 1);
      if (socket.destroyed) socket = await fixture.connect('a.test');
    }
    socket.destroy();
  };
  await Promise.all(Array.from({ length: 16 }, () => lane(250)));
  await turn;
  t.same([...statuses], [['HTTP/1.1 200', 4_000]]);
  t.ok(kills > 10, `${kills} kills`);
  t.comment(`figure: 4000 GETs over ${kills} kills of 4 targets, ${4_000 - (statuses.get('HTTP/1.1 200') ?? 0)} errors`);
});

void t.test('what is not safe to repeat is sent once; what was never sent may go elsewhere', async (t) => {
  const { fixture, targets } = await begin(t, 2, { retries: 1, ejection: { failures: 0, ejectMs: 1_000 } });
  for (const target of targets) target.serve = (socket) => socket.resetAndDestroy();
  const post = 'POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc';
  t.match(await exchange(fixture, post), /^HTTP\/1\.1 502/);
  t.equal(targets.flatMap(({ heads }) => heads).length, 1, 'sent once');
  t.match(await exchange(fixture, get()), /^HTTP\/1\.1 502/);
  t.equal(targets.flatMap(({ heads }) => heads).length, 3, 'a GET twice, as `retries` says');
  const [first, second] = targets;
  await first?.kill();
  if (second !== undefined) second.serve = undefined;
  for (let i = 0; i < 4; i++) t.match(bodyOf(await exchange(fixture, post)), 't1', 'a connection that did not come about has sent nothing');
  const put = (size: number): string => `PUT / HTTP/1.1\r\nHost: a.test\r\nContent-Length: ${size}\r\nConnection: close\r\n\r\n${'x'.repeat(size)}`;
  await first?.start();
  if (first !== undefined) first.serve = (socket) => socket.resetAndDestroy();
  for (let i = 0; i < 4; i++) t.match(bodyOf(await exchange(fixture, put(1_000))), 't1', 'a small body is held and sent again');
  t.ok(first !== undefined && first.heads.length > 1);
  t.ok(second?.heads.at(-1)?.endsWith(`\r\n\r\n${'x'.repeat(1_000)}`), 'whole');
  const answers = [await exchange(fixture, put(RETRY_BODY + 1)), await exchange(fixture, put(RETRY_BODY + 1))].map((text) => text.slice(0, 12));
  t.same(answers.toSorted(), ['HTTP/1.1 200', 'HTTP/1.1 502'], 'a large one is not');
});

void t.test('a status that is named is asked of another target, where nothing is done twice; all else is passed on', async (t) => {
  const never = { failures: 0, ejectMs: 1_000 };
  const { fixture, targets } = await begin(t, 2, { retries: 1, retryOn: [503], ejection: never });
  const [bad, good] = targets;
  if (bad === undefined || good === undefined) return;
  const status = (text: string) => (socket: Socket) => socket.write(`HTTP/1.1 ${text}\r\nContent-Length: 3\r\n\r\nbad`);
  const heads = (): number => targets.reduce((sum, target) => sum + target.heads.length, 0);
  const post = 'POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc';
  const put = post.replace('POST', 'PUT');
  bad.serve = status('503 Busy');
  for (let i = 0; i < 4; i++) t.equal(bodyOf(await exchange(fixture, get())), 't1');
  for (let i = 0; i < 4; i++) t.equal(bodyOf(await exchange(fixture, put)), 't1');
  t.ok(good.heads.at(-1)?.endsWith('abc'), 'with its body');
  t.equal(heads(), 12, 'half of them twice');
  const posts = [await exchange(fixture, post), await exchange(fixture, post)].map((text) => text.slice(9, 12));
  t.same(posts.toSorted(), ['200', '503'], 'a POST once');
  t.equal(heads(), 14);
  bad.serve = status('502 Bad');
  const others = [await exchange(fixture, get()), await exchange(fixture, get())].map((text) => text.slice(9, 12));
  t.same(others.toSorted(), ['200', '502'], 'a status that is not named');
  for (const target of targets) target.serve = status('503 Busy');
  t.match(await exchange(fixture, get()), /^HTTP\/1\.1 503 Busy[^]*bad$/, 'the last answer is the answer');
  t.equal(heads(), 18, 'both were asked');
  await good.kill();
  fixture.setRoutes([shared([bad], { retries: 3, retryOn: [503], ejection: never })]);
  t.match(await exchange(fixture, get()), /^HTTP\/1\.1 503 Busy/, 'one alone is not asked twice');
  t.equal(heads(), 19);
});

void t.test('a target that answers with a named status again and again is left out', async (t) => {
  const { fixture, targets } = await begin(t, 2, { retries: 1, retryOn: [503, 504], ejection: { failures: 2, ejectMs: 60_000 } });
  const [bad] = targets;
  if (bad === undefined) return;
  bad.serve = (socket) => socket.write('HTTP/1.1 504 Late\r\nContent-Length: 0\r\n\r\n');
  t.equal(await names(fixture, 12), '1'.repeat(12), 'no visitor sees it');
  t.equal(bad.heads.length, 2);
});

void t.test('with retries at 0 a failure is an answer', async (t) => {
  const { fixture, targets } = await begin(t, 2, { retries: 0, ejection: { failures: 0, ejectMs: 1_000 } });
  await targets[0]?.kill();
  const answers = [await exchange(fixture, get()), await exchange(fixture, get())].map((text) => text.slice(9, 12));
  t.same(answers.toSorted(), ['200', '502']);
});

void t.test('one target alone is tried again by a new connection', async (t) => {
  const { fixture, targets } = await begin(t, 1, { retries: 1 });
  let first = true;
  const [only] = targets;
  if (only === undefined) return;
  only.serve = (socket) => {
    if (first) socket.resetAndDestroy();
    else socket.write('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n');
    first = false;
  };
  t.match(await exchange(fixture, get()), /^HTTP\/1\.1 200/);
  t.equal(only.heads.length, 2);
  t.equal(only.heads[0], only.heads[1], 'the same request');
});

void t.test('an answer that has begun is never begun again', async (t) => {
  const { fixture, targets } = await begin(t, 2, { retries: 3 });
  for (const target of targets) {
    target.serve = (socket) => {
      socket.write('HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npart');
      setTimeout(() => socket.resetAndDestroy(), 50);
    };
  }
  t.match(await exchange(fixture, get()), /^HTTP\/1\.1 200 OK[^]*part$/);
  t.equal(targets.flatMap(({ heads }) => heads).length, 1);
});

void t.test('a visitor with a cookie stays, moves when the target goes, and then stays there', async (t) => {
  const { fixture, targets } = await begin(t, 3, {
    balancing: { strategy: 'round_robin', sticky: 'cookie' },
    ejection: { failures: 1, ejectMs: 100 },
  });
  const first = await exchange(fixture, get());
  const cookie = /Set-Cookie: (__Host-meshgate-visitor=[0-9a-f]{16}); Path=\/; Secure; HttpOnly; SameSite=Lax\r\n/.exec(first)?.[1] ?? '';
  t.not(cookie, '');
  const home = bodyOf(first);
  const field = `Cookie: theme=dark; ${cookie}\r\n`;
  for (let i = 0; i < 8; i++) {
    const answer = await exchange(fixture, get(field));
    t.equal(bodyOf(answer), home);
    t.notMatch(answer, /set-cookie/i, 'once is enough');
  }
  const all = targets.flatMap(({ heads }) => heads).join('');
  t.match(all, /Cookie: theme=dark\r\n/);
  t.notMatch(all, /visitor/, 'the target never sees it');
  t.equal(new Set(await names(fixture, 6)).size, 3, 'new visitors are spread by the strategy');

  const gone = targets.find(({ name }) => name === home);
  await gone?.kill();
  const moved = await exchange(fixture, get(field));
  t.match(moved, /^HTTP\/1\.1 200/);
  t.not(bodyOf(moved), home);
  const next = /Set-Cookie: (__Host-meshgate-visitor=[0-9a-f]{16})/.exec(moved)?.[1] ?? '';
  await gone?.start();
  await wait(150);
  t.equal(bodyOf(await exchange(fixture, get(`Cookie: ${next}\r\n`))), bodyOf(moved), 'where the session now is');

  // A target that leaves the list: the others' visitors stay.
  fixture.setRoutes([
    shared(
      targets.filter((target) => target !== gone),
      { balancing: { strategy: 'round_robin', sticky: 'cookie' } },
    ),
  ]);
  t.equal(bodyOf(await exchange(fixture, get(`Cookie: ${next}\r\n`))), bodyOf(moved));
  t.match(
    await exchange(fixture, get('Cookie: __Host-meshgate-visitor=10.0.0.1\r\n')),
    /Set-Cookie: __Host-meshgate-visitor=/,
    'what is none of ours is replaced',
  );
});

void t.test('visitors of one address stay at one target', async (t) => {
  const { fixture } = await begin(t, 3, { balancing: { strategy: 'round_robin', sticky: 'address' } });
  const seen = await names(fixture, 6);
  t.equal(new Set(seen).size, 1);
});

void t.test('row X-2: checks take a target out and bring it back; redirects are not followed; the reason is told', { timeout: 30_000 }, async (t) => {
  const web = {
    retries: 0,
    healthCheck: { path: '/health?x=1', intervalMs: 60, timeoutMs: 500, healthyAfter: 2, unhealthyAfter: 2, statuses: [200, 299] },
  } as const;
  const { fixture, targets } = await begin(t, 3, web);
  const [a, b, c] = targets;
  const elsewhere = await new Target('elsewhere').start();
  t.teardown(() => elsewhere.kill());
  const answerChecks = (target: Target | undefined, answer: string | undefined): void => {
    if (target === undefined) return;
    target.serve = (socket, request) => {
      if (!request.startsWith('GET /health')) socket.write(`HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n${target.name}`);
      else if (answer !== undefined) socket.write(answer);
    };
  };
  const id = shared(targets).id;
  const problems = (): readonly string[] =>
    fixture.publisher.targetProblems(id).map(({ port, problem }) => `${targets.find((target) => target.port === port)?.name} ${problem}`);
  answerChecks(a, 'HTTP/1.1 204 No Content\r\n\r\n');
  answerChecks(b, 'HTTP/1.1 204 No Content\r\n\r\n');
  answerChecks(c, `HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:${elsewhere.port}/\r\nContent-Length: 0\r\n\r\n`);
  await until(() => problems().length === 1);
  t.same(problems(), ['t2 the check got status 302']);
  t.same(new Set(await names(fixture, 8)), new Set(['0', '1']));
  t.match(
    a?.heads.find((head) => head.startsWith('GET /health')),
    /^GET \/health\?x=1 HTTP\/1\.1\r\nHost: a\.test\r\n/,
  );
  answerChecks(b, undefined);
  await until(() => problems().length === 2);
  t.match(problems()[0], /^t1 the check got no answer within 500 ms$/);
  t.equal(await names(fixture, 4), '0000');
  // The table is made anew: what is known stays known.
  fixture.setRoutes([shared(targets, web, [1, 2, 3])]);
  await wait(20);
  t.equal(await names(fixture, 4), '0000');
  await a?.kill();
  await until(() => problems().length === 3);
  t.match(problems()[0], /^t0 the check failed: refused$/);
  t.match(await names(fixture, 1), /[12]/, 'when nobody is well, all are tried');
  answerChecks(c, 'HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n');
  await until(() => problems().length === 2);
  t.equal(await names(fixture, 4), '2222');
  t.equal(elsewhere.heads.length, 0);
  fixture.setRoutes([shared(targets, { retries: 0 })]);
  await until(() => problems().length === 0);
  const asked = c?.heads.length;
  await wait(200);
  t.equal(c?.heads.length, asked, 'without checks nobody is asked');
});

void t.test('a target that leaves the list finishes its requests and gets no new ones', async (t) => {
  const { fixture, targets } = await begin(t, 2);
  const [a, b] = targets;
  if (a === undefined || b === undefined) return;
  const held: (() => void)[] = [];
  a.serve = (socket) => {
    socket.write('HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf-');
    held.push(() => socket.write('whole'));
  };
  const slow = exchange(fixture, get());
  await until(() => held.length === 1);
  fixture.setRoutes([shared([b])]);
  t.equal(await names(fixture, 4), '1111');
  await wait(700);
  held[0]?.();
  t.equal(bodyOf(await slow), 'half-whole');
  t.equal(a.heads.length, 1);
});

void t.test('aborted visitors leave no load behind', async (t) => {
  const { fixture, targets } = await begin(t, 2, { balancing: { strategy: 'least_requests', sticky: 'off' } });
  const [a] = targets;
  if (a === undefined) return;
  a.serve = () => undefined;
  for (let i = 0; i < 40; i++) {
    const socket = await fixture.connect('a.test');
    const entry = fixture.nextEntry();
    const before = targets.map(({ heads }) => heads.length);
    socket.write('GET / HTTP/1.1\r\nHost: a.test\r\n\r\n');
    await until(() => targets.some(({ heads }, at) => heads.length > (before[at] ?? 0)));
    socket.destroy();
    await entry;
  }
  t.ok(a.heads.length > 10 && a.heads.length < 30, `${a.heads.length} of 40: those that were given up do not count as load`);
});

void t.test('a retry has the route as it is now', async (t) => {
  const gate = await listenTcp((socket) => {
    socket.on('data', () => {
      fixture.setRoutes([shared([fresh], { retries: 1 })]);
      socket.resetAndDestroy();
    });
  });
  const fresh = await new Target('fresh').start();
  const old = new Target('old');
  old.port = gate.port;
  const fixture = await startFixture([shared([old], { retries: 1 })]);
  t.teardown(() => Promise.all([fixture.close(), gate.close(), fresh.kill()]));
  t.equal(bodyOf(await exchange(fixture, get())), 'fresh');
});

void t.test('nothing is sent again once its route is gone or lets others in', async (t) => {
  const never = await new Target('never').start();
  for (const next of [[], [shared([never], { retries: 1 }, [], withLogin)]]) {
    let connections = 0;
    const gate = await listenTcp((socket) => {
      connections++;
      socket.on('data', () => {
        fixture.setRoutes(next);
        socket.resetAndDestroy();
      });
    });
    const old = new Target('old');
    old.port = gate.port;
    const fixture = await startFixture([shared([old], { retries: 1 })]);
    t.match(await exchange(fixture, get()), /^(?:HTTP\/1\.1 502 |$)/);
    t.equal(connections, 1);
    await Promise.all([fixture.close(), gate.close()]);
  }
  t.same(never.heads, []);
  await never.kill();
});

void t.test('a body that is still coming goes on to the next target, over both versions of HTTP', async (t) => {
  const fresh = await new Target('fresh').start();
  const dying = await listenTcp((socket) => socket.once('data', () => socket.resetAndDestroy()));
  const old = new Target('old');
  old.port = dying.port;
  // The first one is always chosen first: the other has no weight.
  const fixture = await startFixture([shared([old, fresh], { retries: 1, ejection: { failures: 0, ejectMs: 1 } }, [1, 0])]);
  t.teardown(() => Promise.all([fixture.close(), dying.close(), fresh.kill()]));
  const socket = await fixture.connect('a.test');
  const answer = readUntil(socket, (text) => text.endsWith('fresh'));
  socket.write('PUT / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 10\r\n\r\nfirst');
  await wait(150);
  socket.write('-last');
  t.match(await answer, /^HTTP\/1\.1 200/);
  t.match(fresh.heads.at(-1), /\r\n\r\nfirst-last$/);
  socket.destroy();

  const secured = await fixture.connect('a.test', ['h2']);
  const client = connectH2('https://a.test', { createConnection: () => secured });
  t.teardown(() => client.destroy());
  const stream = client.request({ ':method': 'PUT', ':path': '/', 'content-length': '10' });
  const status = new Promise((resolve) => stream.once('response', (headers) => resolve(headers[':status'])));
  stream.write('first');
  await wait(150);
  stream.end('-last');
  t.equal(await status, 200);
  t.match(fresh.heads.at(-1), /\r\n\r\nfirst-last$/);
});
