// Two real overlays behind NATs and firewalls that let in only whom was sent to.
import t from 'tap';
import { whyNoLab } from './lab.ts';
import { meetAll, meetingsLimitMs, relay } from './matrix.ts';

t.setTimeout(meetingsLimitMs);

void t.test('a way between those that let in only whom was sent to', { skip: whyNoLab() || false, timeout: meetingsLimitMs }, (t) =>
  meetAll(t, [
    { a: 'restricted', b: 'restricted', options: relay, expect: 'direct' },
    { a: 'double', b: 'restricted', options: relay, expect: 'direct' },
    { a: 'double', b: 'double', options: relay, expect: 'direct' },
    { a: 'six', b: 'six', options: { six: true }, expect: 'direct' },
  ]),
);
