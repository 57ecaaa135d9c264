// The host's network changed: connections that look open and are dead are noticed and replaced, those that live are kept.
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import t from 'tap';
import { createPeerControl } from '#control/index.ts';
import { systemClock } from '#lib/clock.ts';
import { silentLogger } from '#lib/log.ts';
import { startServer } from '../server/management/fake-server.ts';
import { goodKey, Inbound, peerOptions, Queue } from './peer-helpers.ts';

/** Passes bytes on, until it is told to swallow those of the connections that are open: what a lost address does to them. */
async function startLine(port: number): Promise<{ readonly port: number; connections: number; cut(): void; close(): void }> {
  const open = new Set<Socket>();
  const server = createServer((near) => {
    line.connections++;
    const far = connect(port, '127.0.0.1');
    for (const [from, to] of [
      [near, far],
      [far, near],
    ] as const) {
      open.add(from);
      from.pipe(to);
      from.on('error', () => undefined);
      from.on('close', () => to.destroy());
    }
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const line = {
    port: (server.address() as AddressInfo).port,
    connections: 0,
    cut: () => {
      for (const socket of open) socket.unpipe().resume();
    },
    close: () => {
      server.close();
      for (const socket of open) socket.destroy();
    },
  };
  return line;
}

void t.test('dead connections are replaced within seconds, live ones are kept', async (t) => {
  const server = await startServer();
  t.teardown(() => server.close());
  const line = await startLine(server.port);
  t.teardown(() => line.close());
  const url = server.url.replace(`:${server.port}`, `:${line.port}`);
  const control = createPeerControl(peerOptions({ ...server, url }, goodKey), { log: silentLogger, clock: systemClock });
  t.teardown(() => control.close());
  const connects = new Queue<true>();
  control.onSignalConnected(() => connects.put(true));
  const outcome = await control.login(new AbortController().signal);
  if (outcome.kind !== 'signed-in') throw new TypeError(outcome.reason);
  const inbound = new Inbound();
  control.start({ ...outcome.endpoints, signal: { ...outcome.endpoints.signal, port: line.port } }, inbound);
  await Promise.all([connects.next(), inbound.maps.next()]);
  const before = line.connections;

  control.networkChanged();
  const since = control.status().map((link) => link.since);
  await new Promise((resolve) => setTimeout(resolve, 300));
  t.same(
    control.status().map((link) => link.since),
    since,
    'what answers stays',
  );
  t.equal(line.connections, before);

  line.cut();
  const begun = performance.now();
  control.networkChanged();
  await connects.next();
  t.comment(`figure: signal is back ${(performance.now() - begun).toFixed(0)} ms after a change that cut its connection`);
  await inbound.maps.next();
  t.comment(`figure: management is back after ${(performance.now() - begun).toFixed(0)} ms`);
  t.ok(control.status().every((link) => link.connected));
  t.ok(performance.now() - begun < 9000, 'not by the keepalive, which takes 30 s');
});
