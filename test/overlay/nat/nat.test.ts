// Two real overlays behind NATs of every kind: which way packets go, and after how long.
import t from 'tap';
import { whyNoCoturn } from './coturn.ts';
import { type NatKind, type Place, whyNoLab } from './lab.ts';
import { Meeting, type MeetingOptions, type Way } from './meeting.ts';
import { closeWorld, openWorld, turn, type World } from './world.ts';

t.setTimeout(115_000);
const reason = whyNoLab();

interface Case {
  readonly a: NatKind;
  readonly b: NatKind;
  readonly options: MeetingOptions;
  readonly expect: Way;
}

const relay: MeetingOptions = { relay: true };
const cases: readonly Case[] = [
  { a: 'open', b: 'open', options: relay, expect: 'direct' },
  { a: 'open', b: 'symmetric', options: relay, expect: 'direct' },
  { a: 'symmetric', b: 'open', options: relay, expect: 'direct' },
  { a: 'cone', b: 'cone', options: relay, expect: 'direct' },
  { a: 'cone', b: 'symmetric', options: relay, expect: 'direct' },
  { a: 'restricted', b: 'cone', options: relay, expect: 'direct' },
  { a: 'restricted', b: 'restricted', options: relay, expect: 'direct' },
  { a: 'restricted', b: 'symmetric', options: relay, expect: 'relay' },
  { a: 'symmetric', b: 'symmetric', options: relay, expect: 'relay' },
  { a: 'symmetric', b: 'symmetric', options: { turn }, expect: 'turn' },
  { a: 'symmetric', b: 'restricted', options: { turn }, expect: 'turn' },
  { a: 'restricted', b: 'restricted', options: { turn, ...relay }, expect: 'direct' },
  { a: 'double', b: 'restricted', options: relay, expect: 'direct' },
  { a: 'double', b: 'double', options: relay, expect: 'direct' },
  { a: 'blocked', b: 'open', options: relay, expect: 'relay' },
  { a: 'six', b: 'six', options: { six: true }, expect: 'direct' },
];

void t.test('the way that comes up between NATs of each kind', { skip: reason === '' ? false : reason, timeout: 115_000 }, async (t) => {
  const world = await openWorld('a');
  t.teardown(() => closeWorld(world));
  const places = new Map<string, Place>();
  const place = async (kind: NatKind, side: 'a' | 'b'): Promise<Place> => {
    const key = `${kind} ${side}`;
    const known = places.get(key) ?? (await world.lab.place(kind));
    places.set(key, known);
    return known;
  };
  for (const { a, b, options, expect } of cases) {
    const title = `${a} – ${b}${options.turn === undefined ? '' : ', TURN'}${options.relay === true ? ', relay' : ''}`;
    if (options.turn !== undefined && world.coturn === undefined) {
      t.comment(`skipped: ${title}: ${whyNoCoturn()}`);
      continue;
    }
    t.equal(await meet(world, [await place(a, 'a'), await place(b, 'b')], options, expect, title), expect, title);
  }
  const pair = await world.lab.hairpin();
  t.equal(await meet(world, pair, relay, 'direct', 'hairpin'), 'direct', 'two networks behind one NAT meet at its outer side');

  async function meet({ center }: World, pair: readonly [Place, Place], options: MeetingOptions, expect: Way, title: string): Promise<Way> {
    const meeting = await Meeting.start(center, pair, options);
    try {
      // Both sides there, and bytes through it.
      await meeting.until(() => meeting.way(0).way === expect && meeting.way(1).way === expect && meeting.echoes.length > 0, 12_000);
      const first = meeting.firstAt(0, ['direct', 'turn', 'relay']);
      const { way, atMs } = meeting.way(0);
      const echo = meeting.echoes[0]?.atMs;
      t.comment(`figure: ${title}: ${way} after ${atMs} ms, first path after ${first ?? '–'} ms, first bytes there and back after ${echo ?? '–'} ms`);
      return meeting.way(1).way === way && echo !== undefined ? way : 'none';
    } finally {
      await meeting.stop();
    }
  }
});
