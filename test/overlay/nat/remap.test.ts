// A NAT that forgets its mappings in the middle of a transfer: how long bytes stand still, with a relay at hand and without.
import t from 'tap';
import { whyNoFlush, whyNoLab } from './lab.ts';
import { Meeting } from './meeting.ts';
import { closeWorld, openWorld } from './world.ts';

t.setTimeout(300_000);
const reason = whyNoLab() || whyNoFlush();

void t.test(
  'the mapping changes, conntrack flushed; both NATs let in only whom was sent to',
  { skip: reason || false, timeout: 300_000 },
  async (t) => {
    const world = await openWorld();
    t.teardown(() => closeWorld(world));
    const [left, right] = [world.lab.place('restricted'), world.lab.place('restricted')];
    let port = 40_000;
    for (const [side, relay] of [
      [0, true],
      [1, true],
      [0, false],
      [1, false],
    ] as const) {
      const meeting = await Meeting.start(world.center, [left, right], { relay });
      try {
        const found = await meeting.until(
          () => meeting.way(0).way === 'direct' && meeting.way(1).way === 'direct' && meeting.echoes.length > 20,
          12_000,
        );
        t.ok(found, 'direct before');
        const before = meeting.echoes.length;
        const events = meeting.told[0].length;
        const changed = performance.now();
        port += 1000;
        world.lab.remap(side === 0 ? left : right, port);
        const stood = (): number => Math.max(0, ...meeting.echoes.slice(before).map(({ gapMs }) => gapMs));
        t.ok(await meeting.until(() => stood() > 400, 20_000), 'bytes go on');
        const bytesMs = performance.now() - changed;
        // Direct again: after a relay, or by a mapping that was followed without a switch.
        const again = await meeting.until(() => meeting.way(0).way === 'direct' && meeting.way(1).way === 'direct', 20_000);
        t.ok(again, 'direct again');
        const paths = meeting.told[0].slice(events).flatMap((told) => (told.event === 'path' ? [told.kind] : []));
        t.comment(
          `figure: new mapping at the ${side === 0 ? 'controlling' : 'controlled'} side, ${relay ? 'relay at hand' : 'no relay'}: ` +
            `bytes stood still for ${stood()} ms, flowed again ${bytesMs.toFixed(0)} ms after the change, direct ${(performance.now() - changed).toFixed(0)} ms after it; ` +
            `paths: ${paths.join(', ') || 'the same'}`,
        );
      } finally {
        await meeting.stop();
      }
    }
  },
);
