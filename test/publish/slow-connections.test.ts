// Attack row D-1 with real connections and real time: as many as descriptors allow, from another process, that drip in what they have to say.
import { fork } from 'node:child_process';
import type { TLSSocket } from 'node:tls';
import t from 'tap';
import { mapping, path, startEcho, startFixture } from './harness.ts';
import type { DripOrder, DripReport } from './drip-process.ts';
import { rounds } from '../attacks/harness.ts';

const hellos = rounds(6_500);
const heads = rounds(1_500);
/** What the row asks for. */
const closedWithinMs = 15_000;
/** Below this, twice the baseline is only the noise of a busy machine. */
const floorMs = 150;
/** What a connection may cost that has said nothing yet, with TLS and its buffers. */
const bytesEach = 40 * 1_024;

/** Milliseconds that one request on a connection took, every few milliseconds until told to stop. */
function ask(socket: TLSSocket): { readonly times: number[]; stop(): Promise<void> } {
  const times: number[] = [];
  let stopped = false;
  const run = async (): Promise<void> => {
    while (!stopped) {
      const began = performance.now();
      await new Promise<void>((resolve, reject) => {
        let text = '';
        const read = (chunk: Buffer): void => {
          text += chunk.toString('latin1');
          const end = text.indexOf('\r\n\r\n');
          const length = /content-length: (\d+)/i.exec(text)?.[1];
          if (end < 0 || length === undefined || text.length < end + 4 + Number(length)) return;
          socket.off('data', read).off('close', closed);
          if (text.startsWith('HTTP/1.1 200 ')) resolve();
          else reject(new Error(text.slice(0, 40)));
        };
        const closed = (): void => reject(new Error('the honest connection was closed'));
        socket.on('data', read).once('close', closed);
        socket.write('GET / HTTP/1.1\r\nHost: a.test\r\n\r\n');
      });
      times.push(performance.now() - began);
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  };
  const running = run();
  running.catch(() => undefined);
  return {
    times,
    stop: () => {
      stopped = true;
      return running;
    },
  };
}

function p99(times: readonly number[]): number {
  return times.toSorted((a, b) => a - b)[Math.floor(times.length * 0.99)] ?? Infinity;
}

void t.test('D-1: thousands of real connections that drip are closed in time, and honest requests go on', { timeout: 60_000 }, async (t) => {
  const echo = await startEcho();
  const fixture = await startFixture([mapping('a.test', [path(echo.port)])]);
  const child = fork(new URL('drip-process.ts', import.meta.url), { execArgv: [] });
  t.teardown(() => {
    child.kill();
    return Promise.all([fixture.close(), echo.close()]);
  });
  const report = (kind: DripReport['kind']): Promise<DripReport> =>
    new Promise((resolve, reject) => {
      child.on('message', (message: DripReport) => void (message.kind === kind && resolve(message)));
      child.once('exit', () => reject(new Error('the attacker has ended')));
    });
  const honest = await fixture.connect('a.test');
  const before = ask(honest);
  await new Promise((resolve) => setTimeout(resolve, 2_000));
  await before.stop();
  const memory = process.memoryUsage.rss();

  const [open, closed] = [report('open'), report('closed')];
  closed.catch(() => undefined);
  const began = performance.now();
  const rush = ask(honest);
  child.send({ port: fixture.port, ca: fixture.ca, hellos, heads } satisfies DripOrder);
  const opened = await open;
  await rush.stop();
  const rushMs = performance.now() - began;
  const held = fixture.publisher.stats().connections;
  const during = ask(honest);
  const newcomer = await fixture.connect('a.test');
  const theirs = ask(newcomer);
  const end = await closed;
  await Promise.all([during.stop(), theirs.stop()]);
  const grown = process.memoryUsage.rss() - memory;
  const total = hellos + heads;
  const [baseline, worst] = [p99(before.times), p99(during.times)];
  t.comment(
    `figure: ${total} connections (${heads} of them with TLS) in ${Math.round(rushMs)} ms, ${held} open at once, the last closed after ${'longestMs' in end ? Math.round(end.longestMs) : ''} ms; honest p99 ${baseline.toFixed(1)} ms before, ${p99(rush.times).toFixed(1)} ms while they came, ${worst.toFixed(1)} ms while they dripped (${during.times.length} requests); memory grew by ${Math.round(grown / 1_048_576)} MB`,
  );
  t.match(end, { kind: 'closed', count: total, failed: 0 }, 'each was let in, and closed by the gateway');
  t.ok('longestMs' in end && end.longestMs <= closedWithinMs, 'each within its time');
  t.ok('count' in opened && held >= total * 0.7, `${held} were open at once`);
  t.ok(during.times.length > 50 && theirs.times.length > 50, 'somebody who came later is served, too');
  t.ok(worst < Math.max(2 * baseline, floorMs), 'honest requests do not wait for them');
  t.ok(grown < total * bytesEach + 64 * 1_048_576, `memory grew by ${Math.round(grown / 1_048_576)} MB`);
  t.equal(fixture.publisher.stats().connections, 2, 'the honest ones are left');
  honest.destroy();
  newcomer.destroy();
});
