// CrowdSec and countries at the door: requests, WebSockets and streams of who is kept out, before anything is dialled; and what is open when that changes.
import { connect } from 'node:net';
import t, { type Test } from 'tap';
import { systemClock } from '#lib/clock.ts';
import { openHostUdp } from '#lib/host-udp.ts';
import { silentLogger } from '#lib/log.ts';
import type { AccessLogEntry } from '#model/access-log.ts';
import { type AccessRestrictions, noRestrictions } from '#model/service.ts';
import { anything, plainAccess, type RateLimit } from '#model/access.ts';
import { noGeo } from '#publish/access/rules/facts.ts';
import { plainSurroundings, type Surroundings } from '#publish/access/surroundings.ts';
import { buildStreamTable, createStreamPublisher, Unlocks } from '#publish/index.ts';
import { dialTcp, exchange, listenTcp, mapping, path, startEcho, startFixture } from '../harness.ts';
import { until } from '../../support/until.ts';

/** What is said of 127.0.0.1, which may change. */
class World {
  banned: string | undefined;
  problem = '';
  country: string | undefined;
  changes = 0;
  readonly around: Surroundings = {
    ...plainSurroundings(systemClock),
    geo: { ...noGeo, country: () => this.country },
    reputation: { banned: () => this.banned, problem: () => this.problem },
    version: () => this.changes,
  };
}

const request = 'GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n';

async function web(t: Test, restrictions: Partial<AccessRestrictions>) {
  const world = new World();
  const echo = await startEcho();
  const fixture = await startFixture([mapping('a.test', [path(echo.port)], { restrictions: { ...noRestrictions, ...restrictions } })], {
    around: world.around,
  });
  t.teardown(() => Promise.all([fixture.close(), echo.close()]));
  const ask = async (): Promise<[string, string | undefined, readonly string[] | undefined]> => {
    const answer = await exchange(fixture, request);
    const { reason, observed } = fixture.entries.at(-1) ?? {};
    return [answer.slice(9, 12), reason, observed];
  };
  return { world, echo, ask };
}

void t.test('a service that enforces CrowdSec denies who is banned, and everybody while nothing is known', async (t) => {
  const { world, echo, ask } = await web(t, { crowdsecMode: 'enforce' });
  t.same(await ask(), ['200', 'public_service', undefined]);
  world.banned = 'crowdsecurity/ssh-bf';
  t.same(await ask(), ['403', 'crowdsec_denied', undefined]);
  world.banned = undefined;
  world.problem = 'CrowdSec has not told its decisions yet';
  t.same(await ask(), ['403', 'crowdsec_unavailable', undefined]);
  t.equal(echo.received.length, 1);
});

void t.test('one that observes it only tells', async (t) => {
  const { world, ask } = await web(t, { crowdsecMode: 'observe' });
  world.banned = 'crowdsecurity/ssh-bf';
  t.same(await ask(), ['200', 'public_service', ['crowdsec: crowdsecurity/ssh-bf']]);
  world.problem = 'away';
  t.same(await ask(), ['200', 'public_service', undefined]);
});

void t.test('row M-7: countries that are allowed or blocked, and those that nobody can tell', async (t) => {
  const allowed = await web(t, { allowedCountries: ['DE'] });
  t.same(await allowed.ask(), ['403', 'country_unknown', undefined]);
  allowed.world.country = 'DE';
  t.same(await allowed.ask(), ['200', 'public_service', undefined]);
  allowed.world.country = 'FR';
  t.same(await allowed.ask(), ['403', 'country_denied', undefined]);
  const blocked = await web(t, { blockedCountries: ['FR'] });
  t.same(await blocked.ask(), ['403', 'country_unknown', undefined]);
  blocked.world.country = 'FR';
  t.same(await blocked.ask(), ['403', 'country_denied', undefined]);
  blocked.world.country = 'DE';
  t.same(await blocked.ask(), ['200', 'public_service', undefined]);
});

interface Door {
  readonly world: World;
  readonly entries: AccessLogEntry[];
  connect(): Promise<'open' | 'closed'>;
  readonly open: () => number;
}

async function tcp(t: Test, restrictions: Partial<AccessRestrictions>, rateLimits: readonly RateLimit[] = []): Promise<Door> {
  const world = new World();
  const entries: AccessLogEntry[] = [];
  const target = await listenTcp((socket) => socket.write('hello'));
  const publisher = createStreamPublisher({
    around: world.around,
    dial: dialTcp,
    directDial: dialTcp,
    webDomain: () => undefined,
    certificates: { find: () => undefined },
    unlocks: new Unlocks({ clock: systemClock, log: silentLogger }),
    openUdp: openHostUdp,
    openDirectUdp: openHostUdp,
    accessLog: (entry) => void entries.push(entry),
    clock: systemClock,
    log: silentLogger,
  });
  const service = mapping('db.test', [path(target.port)], {
    mode: 'tcp',
    listenPort: 5432,
    restrictions: { ...noRestrictions, ...restrictions },
    access: {
      ...plainAccess,
      rateLimits,
      rules: [{ name: 'land', action: 'deny', observe: false, when: { ...anything, countries: ['XX'] }, proofs: [] }],
    },
  });
  publisher.apply(buildStreamTable([service], (_id, problem) => t.fail(problem)));
  const listener = await listenTcp((socket) => {
    socket.removeAllListeners('end');
    publisher.handleConnection(socket, { remote: { address: '127.0.0.1', port: 1 }, local: { address: '127.0.0.1', port: 5432 } }, 5432);
  });
  t.teardown(async () => {
    await publisher.close();
    await Promise.all([listener.close(), target.close()]);
  });
  return {
    world,
    entries,
    open: () => publisher.stats().streams,
    connect: () =>
      new Promise((resolve) => {
        const socket = connect({ host: '127.0.0.1', port: listener.port });
        socket.on('error', () => undefined);
        socket.once('data', () => resolve('open'));
        socket.once('close', () => resolve('closed'));
      }),
  };
}

void t.test('streams of who is banned are closed before anything is dialled, and open ones within a second', async (t) => {
  const door = await tcp(t, { crowdsecMode: 'enforce' });
  door.world.country = 'DE';
  t.equal(await door.connect(), 'open');
  door.world.banned = 'crowdsecurity/ssh-bf';
  t.equal(await door.connect(), 'closed');
  t.match(door.entries.at(-1), { reason: 'crowdsec_denied', authSuccess: false });
  t.equal(door.open(), 1);
  door.world.changes++;
  const ms = await until('it is cut', () => door.open() === 0);
  t.comment(`figure: an open stream was cut ${ms.toFixed(0)} ms after CrowdSec had decided`);
  t.ok(ms < 1_000);
  t.match(door.entries.at(-1), { reason: 'crowdsec_denied', bytesDown: 5 });
  door.world.banned = undefined;
  door.world.country = 'XX';
  t.equal(await door.connect(), 'closed');
  t.match(door.entries.at(-1), { reason: 'rule_denied', rule: 'land' });
});

void t.test('new connections beyond a rate are closed before anything is dialled', async (t) => {
  const door = await tcp(t, {}, [{ key: 'address', count: 1, perMs: 60_000, burst: 2 }]);
  door.world.country = 'DE';
  t.same([await door.connect(), await door.connect(), await door.connect()], ['open', 'open', 'closed']);
  t.match(door.entries.at(-1), { reason: 'rate_limited', bytesUp: 0 });
  t.equal(door.open(), 2);
});
