// Two real overlays of which one at least may be spoken to, and two behind one NAT.
import t from 'tap';
import { whyNoLab } from './lab.ts';
import { meet, meetAll, meetingsLimitMs, relay } from './matrix.ts';

t.setTimeout(meetingsLimitMs);

void t.test('a way between hosts and NATs that let somebody in', { skip: whyNoLab() || false, timeout: meetingsLimitMs }, (t) =>
  meetAll(
    t,
    [
      { a: 'open', b: 'open', options: relay, expect: 'direct' },
      { a: 'open', b: 'symmetric', options: relay, expect: 'direct' },
      { a: 'symmetric', b: 'open', options: relay, expect: 'direct' },
      { a: 'cone', b: 'cone', options: relay, expect: 'direct' },
      { a: 'cone', b: 'symmetric', options: relay, expect: 'direct' },
      { a: 'restricted', b: 'cone', options: relay, expect: 'direct' },
    ],
    async (world) => {
      const pair = world.lab.hairpin();
      t.equal(await meet(t, world, pair, relay, 'direct', 'hairpin'), 'direct', 'two networks behind one NAT meet at its outer side');
    },
  ),
);
