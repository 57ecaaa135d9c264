// A transfer that loses its direct path goes on by the relay, and comes back.
import { createHash, randomBytes } from 'node:crypto';
import t from 'tap';
import { connect, member, pathKind, TestRelay, TestSignal, until } from './pair.ts';

t.test('the direct path is blocked in the middle of a transfer: it continues by relay, then directly again', async (t) => {
  const relay = await new TestRelay().start();
  const signal = new TestSignal();
  const [a, b] = [await member(signal, 'a'), await member(signal, 'b')];
  t.teardown(async () => {
    await Promise.all([a.overlay.close(), b.overlay.close()]);
    await relay.stop();
  });
  for (const { overlay } of [a, b]) overlay.setEndpoints(relay.endpoints());
  const hash = createHash('sha256');
  let got = 0;
  b.overlay.accept(
    () => true,
    ({ stream }) => {
      stream.on('error', () => undefined);
      stream.on('data', (chunk: Buffer) => {
        got += chunk.length;
        hash.update(chunk);
      });
    },
  );
  connect([a, b]);
  const stream = await a.overlay.dial({ host: b.address, port: 9 }, { signal: AbortSignal.timeout(10_000) });
  t.comment(`direct path ${(await until(() => pathKind(a, b) === 'direct' && pathKind(b, a) === 'direct', 5000)).toFixed(0)} ms after the dial`);
  await until(() => a.overlay.status().relay.connected && b.overlay.status().relay.connected, 5000);
  const bulk = randomBytes(1024 * 1024);
  const wanted = createHash('sha256');
  let sent = 0;
  const send = async (limitMs: number): Promise<number> => {
    stream.write(bulk);
    wanted.update(bulk);
    sent += bulk.length;
    return until(() => got === sent, limitMs);
  };
  await send(10_000);
  // The relay is subscribed to, so that there is something to fall back to.
  await until(() => relay.server.stats().connections === 2, 2000);

  a.port.blocked = true;
  const during = send(20_000);
  t.comment(
    `blocked: noticed and switched to the relay after ${(await until(() => pathKind(a, b) === 'relay' && pathKind(b, a) === 'relay', 10_000)).toFixed(0)} ms`,
  );
  t.comment(`the transfer went on: done ${(await during).toFixed(0)} ms after the block began`);
  t.match(a.overlay.status().peers[0]?.reason, /direct path was lost/);

  a.port.blocked = false;
  t.comment(`unblocked: direct again after ${(await until(() => pathKind(a, b) === 'direct' && pathKind(b, a) === 'direct', 20_000)).toFixed(0)} ms`);
  await send(10_000);
  t.equal(hash.digest('hex'), wanted.digest('hex'), 'every byte once and in order');
  stream.destroy();
});
