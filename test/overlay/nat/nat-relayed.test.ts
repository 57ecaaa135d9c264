// Two real overlays that cannot meet: the relay carries them, or TURN.
import t from 'tap';
import { whyNoLab } from './lab.ts';
import { meetAll, meetingsLimitMs, relay } from './matrix.ts';
import { turn } from './world.ts';

t.setTimeout(meetingsLimitMs);

void t.test('a way where there is no direct one', { skip: whyNoLab() || false, timeout: meetingsLimitMs }, (t) =>
  meetAll(t, [
    { a: 'restricted', b: 'symmetric', options: relay, expect: 'relay' },
    { a: 'symmetric', b: 'symmetric', options: relay, expect: 'relay' },
    { a: 'symmetric', b: 'symmetric', options: { turn }, expect: 'turn' },
    { a: 'symmetric', b: 'restricted', options: { turn }, expect: 'turn' },
    { a: 'restricted', b: 'restricted', options: { turn, ...relay }, expect: 'direct' },
    { a: 'blocked', b: 'open', options: relay, expect: 'relay' },
  ]),
);
