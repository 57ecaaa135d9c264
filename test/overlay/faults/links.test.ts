// Transfers over bad lines between two whole overlays on real sockets: no byte is lost or changed, and the figures are printed.
import t from 'tap';
import { connect, member, pathKind, TestSignal, until } from '../pair.ts';
import { BadPort, fair, type Weather } from './bad-port.ts';
import { echo, Flow } from './flow.ts';

t.setTimeout(300_000);

interface Case {
  readonly name: string;
  readonly weather: Partial<Weather>;
  readonly bytes: number;
}

const cases: readonly Case[] = [
  { name: 'a fair line', weather: {}, bytes: 8e6 },
  { name: '20 % loss each way', weather: { loss: 0.2, delayMs: 5 }, bytes: 1e6 },
  { name: '300 ms delay each way', weather: { delayMs: 300 }, bytes: 4e6 },
  { name: '10 % twice, 10 % reordered by 20 ms', weather: { duplicate: 0.1, reorder: 0.1, heldMs: 20, delayMs: 5 }, bytes: 4e6 },
  {
    name: 'all at once: 5 % loss, 50 ms, twice and reordered',
    weather: { loss: 0.05, delayMs: 50, duplicate: 0.05, reorder: 0.05, heldMs: 30 },
    bytes: 1e6,
  },
];

for (const [seed, { name, weather, bytes }] of cases.entries()) {
  await t.test(name, async (t) => {
    const signal = new TestSignal();
    const ports = [new BadPort(100 + seed), new BadPort(200 + seed)] as const;
    const a = await member(signal, 'a', { openPort: ports[0].open });
    const b = await member(signal, 'b', { openPort: ports[1].open });
    t.teardown(() => Promise.all([a.overlay.close(), b.overlay.close()]));
    for (const port of ports) port.weather = { ...fair, ...weather };
    echo(b);
    const begun = performance.now();
    connect([a, b]);
    const flow = await Flow.open(a, b, 60_000);
    const openMs = performance.now() - begun;
    flow.send(bytes);
    const tookMs = await flow.complete(150_000);
    const [out, back] = ports;
    t.comment(
      `figure: ${name}: connection from nothing ${openMs.toFixed(0)} ms; ${(bytes / 1e6).toFixed(0)} MB there and back in ${(tookMs / 1000).toFixed(1)} s, ` +
        `${((bytes * 8) / tookMs / 1000).toFixed(1)} Mb/s; ${out.lost + back.lost} lost, ${out.repeated + back.repeated} twice, ${out.held + back.held} late`,
    );
    await until(() => pathKind(a, b) === 'direct', 20_000);
    await flow.finish(t);
  });
}
