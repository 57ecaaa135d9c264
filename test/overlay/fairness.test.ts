// A transfer that takes all it can get leaves the others their turn: small exchanges beside it, in both kinds of UDP port.
import t from 'tap';
import { openDatagramPort, openPlainPort } from '#overlay/udp/open.ts';
import { connect, member, pathKind, TestSignal, until } from './pair.ts';

const exchanges = 50;
/** Generous: the machine may have other things to do. Starved, an exchange would wait for the whole transfer. */
const limitMs = 2000;

for (const [name, openPort] of [
  ['the best port', openDatagramPort],
  ['the plain port', openPlainPort],
] as const) {
  t.test(`${name}: fifty exchanges beside a transfer that never pauses`, async (t) => {
    const signal = new TestSignal();
    const [a, b] = [await member(signal, 'a', { openPort }), await member(signal, 'b', { openPort })];
    t.teardown(() => Promise.all([a.overlay.close(), b.overlay.close()]));
    connect([a, b]);
    await until(() => pathKind(a, b) === 'direct', 20_000);
    const chunk = Buffer.alloc(64 * 1024);
    b.overlay.accept(
      () => true,
      ({ stream, local }) => {
        stream.on('error', () => undefined);
        if (local.port === 7) return void stream.pipe(stream);
        const pump = (): void => {
          while (!stream.destroyed && stream.write(chunk));
        };
        stream.on('drain', pump);
        pump();
      },
    );
    const dial = (port: number) => a.overlay.dial({ host: b.address, port }, { signal: AbortSignal.timeout(20_000) });
    const bulk = await dial(9);
    let bytes = 0;
    bulk.on('data', (part: Buffer) => (bytes += part.length));
    bulk.on('error', () => undefined);
    await until(() => bytes > 4_000_000, 30_000);
    const echo = await dial(7);
    const times: number[] = [];
    for (let i = 0; i < exchanges; i++) {
      const begun = performance.now();
      const answered = new Promise((resolve) => void echo.once('data', resolve));
      echo.write('ping');
      await answered;
      times.push(performance.now() - begun);
    }
    const before = bytes;
    await until(() => bytes > before + 1_000_000, 20_000);
    bulk.destroy();
    echo.destroy();
    const sorted = times.toSorted((one, other) => one - other);
    const [middle = Infinity, longest = Infinity] = [sorted[exchanges / 2], sorted.at(-1)];
    t.comment(`figure: ${name}: an exchange beside bulk ${middle.toFixed(1)} ms, at most ${longest.toFixed(1)} ms`);
    t.ok(middle < limitMs, `${middle.toFixed(1)} ms`);
  });
}
