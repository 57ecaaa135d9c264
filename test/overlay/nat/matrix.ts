// A row of meetings between NATs: each tells which way came up at both sides, and after how long.
import type { Test } from 'tap';
import { whyNoCoturn } from './coturn.ts';
import type { NatKind, Place } from './lab.ts';
import { Meeting, type MeetingOptions, type Way } from './meeting.ts';
import { closeWorld, openWorld, type World } from './world.ts';

/** For all meetings of a file: 5 to 15 s on a quiet machine. */
export const meetingsLimitMs = 300_000;

export interface Case {
  readonly a: NatKind;
  readonly b: NatKind;
  readonly options: MeetingOptions;
  readonly expect: Way;
}

export const relay: MeetingOptions = { relay: true };

/** Opens a world of its own; `more` may go on in it. */
export async function meetAll(t: Test, cases: readonly Case[], more: (world: World) => Promise<void> = () => Promise.resolve()): Promise<void> {
  const world = await openWorld();
  t.teardown(() => closeWorld(world));
  const places = new Map<string, Place>();
  const place = (kind: NatKind, side: 'a' | 'b'): Place => {
    const key = `${kind} ${side}`;
    const known = places.get(key) ?? world.lab.place(kind);
    places.set(key, known);
    return known;
  };
  for (const { a, b, options, expect } of cases) {
    const title = `${a} – ${b}${options.turn === undefined ? '' : ', TURN'}${options.relay === true ? ', relay' : ''}`;
    if (options.turn !== undefined && world.coturn === undefined) {
      t.comment(`skipped: ${title}: ${whyNoCoturn()}`);
      continue;
    }
    t.equal(await meet(t, world, [place(a, 'a'), place(b, 'b')], options, expect, title), expect, title);
  }
  await more(world);
}

/** Both sides there, and bytes through it; anything else is `none`. */
export async function meet(
  t: Test,
  { center }: World,
  pair: readonly [Place, Place],
  options: MeetingOptions,
  expect: Way,
  title: string,
): Promise<Way> {
  const meeting = await Meeting.start(center, pair, options);
  try {
    // Both sides there, and bytes through it.
    await meeting.until(() => meeting.way(0).way === expect && meeting.way(1).way === expect && meeting.echoes.length > 0, 12_000);
    const first = meeting.firstAt(0, ['direct', 'turn', 'relay']);
    const { way, atMs } = meeting.way(0);
    const echo = meeting.echoes[0]?.atMs;
    if (way !== expect || echo === undefined) t.comment(`${title}: told by the two sides: ${JSON.stringify(meeting.told)}`);
    t.comment(`figure: ${title}: ${way} after ${atMs} ms, first path after ${first ?? '–'} ms, first bytes there and back after ${echo ?? '–'} ms`);
    return meeting.way(1).way === way && echo !== undefined ? way : 'none';
  } finally {
    await meeting.stop();
  }
}
