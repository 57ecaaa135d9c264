// Streams in operation: peers that vanish without a word (attack row W-7), receivers that stop (row W-8), an orderly end, and changes.
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import t, { type Test } from 'tap';
import type { ServiceMapping } from '#model/service.ts';
import { listenTcp, mapping, path } from '../publish/harness.ts';
import { freePort } from '../support/mesh.ts';
import { Namespaces, whyNoNamespaces } from '../support/namespaces.ts';
import { until } from '../support/until.ts';
import { startGate } from './stream-gate.ts';

function tcpService(name: string, port: number, target: number): ServiceMapping {
  return mapping(name, [path(target, { directUpstream: true })], { mode: 'tcp', listenPort: port });
}

/** A connection through the port that has been answered. */
async function talk(port: number): Promise<Socket> {
  for (;;) {
    const socket = connect({ host: '127.0.0.1', port, allowHalfOpen: true });
    socket.on('error', () => undefined);
    socket.write('x');
    const answered = await new Promise<boolean>((resolve) => {
      socket.once('data', () => resolve(true));
      socket.once('close', () => resolve(false));
    });
    if (answered) return socket;
    await new Promise((resolve) => setImmediate(resolve));
  }
}

/** Resolves when it is closed, however. */
function closed(socket: Socket): Promise<void> {
  return new Promise((resolve) => void socket.resume().once('close', () => resolve()));
}

async function echo(t: Test): Promise<number> {
  const target = await listenTcp((socket) => void socket.pipe(socket));
  t.teardown(() => target.close());
  return target.port;
}

const why = whyNoNamespaces('nft');

void t.test(
  'row W-7: a client or a target that vanishes is found out within 30 s, whether something is on its way to it or not',
  { timeout: 120_000, ...(why === undefined ? {} : { skip: why }) },
  async (t) => {
    const namespaces = new Namespaces();
    t.teardown(() => namespaces.close());
    const out = await namespaces.run(namespaces.add('cut'), [
      process.execPath,
      '--disable-warning=ExperimentalWarning',
      `${import.meta.dirname}/vanish-process.ts`,
    ]);
    const { took, open } = JSON.parse(out) as { readonly took: Readonly<Record<string, number>>; readonly open: number };
    t.equal(Object.keys(took).length, 4);
    for (const [what, ms] of Object.entries(took)) {
      t.comment(`figure: ${what}: found out after ${(ms / 1_000).toFixed(1)} s`);
      t.ok(ms > 10_000 && ms <= 30_500, `${what}: ${ms} ms`);
    }
    t.equal(open, 0, 'and their places are free');
  },
);

void t.test('row W-8: a receiver that stops holds its sender back, and costs little', { timeout: 60_000 }, async (t) => {
  const piece = Buffer.alloc(1_000_000);
  const sent: number[] = [];
  const endless = await listenTcp((socket) => {
    const index = sent.push(0) - 1;
    const more = (): void => {
      while (!socket.destroyed && socket.write(piece)) sent[index] = socket.bytesWritten - socket.writableLength;
      sent[index] = socket.bytesWritten - socket.writableLength;
    };
    socket.on('drain', more);
    socket.once('data', more);
  });
  t.teardown(() => endless.close());
  const port = await freePort();
  const gate = await startGate(t, [tcpService('endless.test', port, endless.port)], 'auto');
  const count = 50;
  const before = process.memoryUsage();
  const readers = await Promise.all(Array.from({ length: count }, () => talk(port)));
  for (const reader of readers) reader.pause();
  const steady = async (): Promise<void> => {
    for (let before = -1, now = 0; before !== now;) {
      before = now;
      await new Promise((resolve) => setTimeout(resolve, 300));
      now = sent.reduce((sum, bytes) => sum + bytes, 0);
    }
  };
  await steady();
  const after = process.memoryUsage();
  const each = (after.external + after.heapUsed - before.external - before.heapUsed) / count / 1_024;
  t.comment(`figure: a stalled reader of an endless stream costs ${each.toFixed(0)} KB of this process, its own two ends and the sender's included`);
  t.ok(each < 2_500, `${each} KB`);
  t.equal(gate.stats().streams, count, 'nobody was cut off');
  const [reader] = readers;
  const had = reader?.bytesRead ?? 0;
  reader?.on('data', () => undefined).resume();
  await until('it goes on', () => Promise.resolve((reader?.bytesRead ?? 0) > had + 20_000_000));
  for (const one of readers) one.destroy();
});

void t.test('an orderly end lets streams finish, and waits for none longer than it may', async (t) => {
  const port = await freePort();
  const gate = await startGate(t, [tcpService('db.test', port, await echo(t))], 'auto');
  const [quick, endless] = [await talk(port), await talk(port)];
  const cut = closed(endless);
  const begun = performance.now();
  const drained = gate.drain(1_000);
  const late = connect({ host: '127.0.0.1', port });
  late.on('error', () => undefined);
  await closed(late);
  quick.write('still');
  t.same(await once(quick, 'data'), [Buffer.from('still')]);
  quick.end();
  await once(quick.resume(), 'end');
  t.ok(performance.now() - begun < 900);
  await drained;
  await cut;
  t.ok(performance.now() - begun >= 900, 'the other had its time');
  await until('all are recorded', () => Promise.resolve(gate.entries.length === 3));
  t.match(gate.entries.map(({ reason }) => reason).toSorted(), ['done', 'draining', 'draining']);
});

void t.test('changes of other services, ports and names leave a stream alone', async (t) => {
  const [port, other] = [await freePort(), await freePort()];
  const target = await echo(t);
  const service = tcpService('db.test', port, target);
  const gate = await startGate(t, [service], 'auto');
  const socket = await talk(port);
  for (const next of [
    [service, tcpService('other.test', other, target)],
    [service, tcpService('other.test', other, 1)],
    [{ ...service, authToken: 'another' }],
    [service],
  ]) {
    gate.apply(next);
    socket.write('y');
    t.same(await once(socket, 'data'), [Buffer.from('y')]);
  }
  gate.apply([tcpService('other.test', other, target)]);
  await closed(socket);
  t.match(gate.entries, [{ reason: 'service_changed' }]);
});
