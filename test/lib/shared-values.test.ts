import t from 'tap';
import { SharedValues } from '#lib/shared-values.ts';

const copy = <T>(value: T): T => JSON.parse(JSON.stringify(value)) as T;

t.test('equal values become one, different ones stay what they are', async (t) => {
  const shared = new SharedValues();
  const first = shared.value({ limits: [1, 2], name: 'a' });
  t.equal(shared.value(copy(first)), first);
  const other = { limits: [1, 2], name: 'b' };
  t.equal(shared.value(other), other);
  t.strictSame(first, { limits: [1, 2], name: 'a' });
  t.not(shared.value([1]), shared.value('[1]'));
});

t.test('what is made of equal values is made once, for each kind of its own', async (t) => {
  const shared = new SharedValues();
  let made = 0;
  const make = (): object => ({ made: ++made });
  const one = shared.made('policy http', { rules: [] }, make);
  t.equal(shared.made('policy http', { rules: [] }, make), one);
  t.not(shared.made('policy tcp', { rules: [] }, make), one);
  t.not(shared.made('policy http', { rules: ['x'] }, make), one);
  t.equal(made, 3);
});

t.test('it remembers a bounded number, those that were used last, and nothing long', async (t) => {
  const shared = new SharedValues();
  const often = shared.value({ often: true });
  for (let i = 0; i < 2_000; i++) {
    shared.value({ i });
    t.equal(shared.value({ often: true }), often);
  }
  t.ok(shared.size <= 512, String(shared.size));
  const long = { text: 'x'.repeat(5_000) };
  t.not(shared.value(copy(long)), shared.value(copy(long)));
});
