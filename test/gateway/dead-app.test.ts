// Two targets behind living agents, of which one's app is down: who publishes knows that nothing was sent there, so every request, of any method, goes
// to the other. The gateway's publisher, the agents' forwarders and real overlays between them, in one process.
import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import { connect as connectTcp, type AddressInfo } from 'node:net';
import { setTimeout as later } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { Forwarder } from '#agent/forward.ts';
import { hostDial } from '#lib/host-dial.ts';
import { silentLogger } from '#lib/log.ts';
import type { ServiceMapping } from '#model/service.ts';
import { defaultWeb } from '#model/web.ts';
import { open, stream } from '../publish/stream/door.ts';
import { exchange, mapping, path, readAll, startFixture, type Fixture } from '../publish/harness.ts';
import { connect, member, type Member, TestSignal } from '../overlay/pair.ts';

interface App {
  readonly port: number;
  /** How often each request ran. */
  readonly ran: Map<string, number>;
  stop(): Promise<void>;
  start(): Promise<void>;
}

/** Counts the requests by the `X-Id` that they bring. */
async function app(t: Test): Promise<App> {
  const ran = new Map<string, number>();
  const make = (): Server =>
    createServer((request, response) => {
      const id = String(request.headers['x-id']);
      ran.set(id, (ran.get(id) ?? 0) + 1);
      request.resume().on('end', () => response.end(`done ${id}`));
    });
  let server = make();
  const listen = async (port: number): Promise<void> => {
    server.listen(port, '127.0.0.1');
    await once(server, 'listening');
  };
  await listen(0);
  const { port } = server.address() as AddressInfo;
  const stop = async (): Promise<void> => {
    const closed = new Promise((resolve) => server.close(resolve));
    server.closeAllConnections();
    await closed;
  };
  t.teardown(stop);
  const start = async (): Promise<void> => {
    server = make();
    await listen(port);
  };
  return { port, ran, stop, start };
}

/** Agents that forward port 80 each to an app of its own, and a gateway that reaches them. `held`: they open the way first. */
async function mesh(t: Test, held: boolean) {
  const signal = new TestSignal();
  const gateway = await member(signal, 'gateway');
  const behind: readonly Member[] = [await member(signal, 'one'), await member(signal, 'two')];
  t.teardown(() => Promise.all([gateway, ...behind].map(({ overlay }) => overlay.close())));
  const apps = [await app(t), await app(t)];
  const agents = behind.map(({ overlay }, index) => {
    const targets = new Map([[80, { host: '127.0.0.1', port: apps[index]?.port ?? 0 }]]);
    const forwarder = new Forwarder(targets, undefined, { dial: hostDial, log: silentLogger });
    overlay.accept(
      (port) => forwarder.wants(port),
      (connection, way) => void forwarder.handle(connection, way),
      held ? forwarder.open : undefined,
    );
    t.teardown(() => forwarder.close());
    return forwarder;
  });
  connect([gateway, ...behind]);
  const targets = behind.map(({ address }) => ({ protocol: 'http' as const, host: address, port: 80, basePath: '', weight: 1 }));
  return { dial: gateway.overlay.dial, apps, agents, targets };
}

interface World {
  readonly fixture: Fixture;
  readonly apps: readonly App[];
  readonly agents: readonly Forwarder[];
  ask(id: string, method?: string): Promise<string>;
}

/** `held`: agents open the way first, as they do with a stack of their own; else as in system mode. */
async function world(t: Test, changes: Partial<ServiceMapping['web']>, held = true): Promise<World> {
  const { dial, apps, agents, targets } = await mesh(t, held);
  const routes = [mapping('a.test', [{ ...path(80), targets }], { web: { ...defaultWeb, ...changes } })];
  const fixture = await startFixture(routes, { dial });
  t.teardown(() => fixture.close());
  const ask = (id: string, method = 'POST'): Promise<string> =>
    exchange(fixture, `${method} / HTTP/1.1\r\nHost: a.test\r\nX-Id: ${id}\r\nContent-Length: 4\r\nConnection: close\r\n\r\nbody`);
  t.match(await ask('warm-1'), / 200 /);
  t.match(await ask('warm-2'), / 200 /);
  return { fixture, apps, agents, ask };
}

t.test('200 of 200 POSTs succeed while one app is down, and none runs twice', async (t) => {
  const { apps, agents, ask } = await world(t, { ejection: { failures: 0, ejectMs: 1_000 } });
  await apps[0]?.stop();
  const failed: string[] = [];
  for (let i = 0; i < 200; i += 10) {
    const answers = await Promise.all(Array.from({ length: 10 }, (_none, index) => ask(`${i + index}`)));
    for (const answer of answers) if (!/^HTTP\/1\.1 200 .*done \d+\r?\n?/is.test(answer)) failed.push(answer.slice(0, 200));
  }
  t.same(failed, []);
  const ran = new Map(apps.flatMap((one) => [...one.ran]).filter(([id]) => !id.startsWith('warm')));
  t.equal(ran.size, 200);
  t.same(
    [...ran].filter(([, times]) => times !== 1),
    [],
  );
  t.ok((agents[0]?.figures.failed ?? 0) >= 50, 'the dead one was tried again and again');
  t.match(agents[0]?.status()[0]?.reason, /ECONNREFUSED/, 'and its agent says why');
});

t.test('apps that come and go, one at a time: no POST fails that had not begun', async (t) => {
  const { apps, ask } = await world(t, {});
  const failed: string[] = [];
  for (let round = 0; round < 8; round++) {
    const down = apps[round % 2];
    await down?.stop();
    await later(50); // kept connections hear of it
    const answers = await Promise.all(Array.from({ length: 20 }, (_none, index) => ask(`${round}-${index}`)));
    for (const answer of answers) if (!answer.startsWith('HTTP/1.1 200 ')) failed.push(answer.slice(0, 200));
    await down?.start();
  }
  t.same(failed, []);
});

t.test('with no living app the record says refused, at the dial, and that comes at once', async (t) => {
  const { apps, ask, fixture } = await world(t, { ejection: { failures: 0, ejectMs: 1_000 } });
  for (const one of apps) await one.stop();
  await later(50);
  const next = fixture.nextEntry();
  const begun = performance.now();
  t.match(await ask('x'), /^HTTP\/1\.1 502 /);
  t.ok(performance.now() - begun < 900, 'at once');
  t.match(await next, { status: 502, reason: 'upstream_refused' });
});

t.test('an agent that cannot hold a SYN, as in system mode, closes what it has taken: a POST is not sent twice', async (t) => {
  const { apps, ask } = await world(t, { ejection: { failures: 0, ejectMs: 1_000 } }, false);
  await apps[0]?.stop();
  await later(50);
  const answers = await Promise.all(Array.from({ length: 20 }, (_none, index) => ask(`${index}`)));
  const ok = answers.filter((answer) => answer.startsWith('HTTP/1.1 200 ')).length;
  t.ok(ok >= 10 && ok < 20, `${ok} of 20`);
  t.ok([...(apps[1]?.ran ?? [])].every(([, times]) => times === 1));
});

t.test('a TCP service whose app is down is closed at once; where another target lives, that one has it', async (t) => {
  const { dial, apps, targets } = await mesh(t, true);
  const service = stream('db.test', [80]);
  const [first] = service.paths;
  if (first === undefined) throw new TypeError('no path');
  const door = await open(
    t,
    [{ ...service, paths: [{ ...first, targets: targets.map((target) => ({ ...target, protocol: 'tcp' })) }] }],
    false,
    undefined,
    dial,
  );
  const ask = (): Promise<string> => {
    const socket = connectTcp(door.port, '127.0.0.1').on('error', () => undefined);
    socket.write('GET / HTTP/1.1\r\nHost: x\r\nX-Id: 1\r\nConnection: close\r\n\r\n');
    return readAll(socket);
  };
  t.match(await ask(), / 200 /);
  await apps[0]?.stop();
  for (let i = 0; i < 4; i++) t.match(await ask(), / 200 /, 'the other one');
  await apps[1]?.stop();
  const begun = performance.now();
  t.equal(await ask(), '');
  t.ok(performance.now() - begun < 900, 'at once');
  t.match(door.entries.at(-1), { reason: 'upstream_refused' });
});
