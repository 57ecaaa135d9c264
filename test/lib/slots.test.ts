// A set of objects that come and go at a high rate.
import t from 'tap';
import { Slots, type Slotted } from '#lib/slots.ts';
import { seeded } from '../support/seeded.ts';

interface Member extends Slotted {
  readonly name: number;
}

const member = (name: number): Member => ({ name, slot: -1 });

function namesOf(slots: Slots<Member>): number[] {
  const names: number[] = [];
  slots.forEach(({ name }) => names.push(name));
  return names.toSorted((a, b) => a - b);
}

void t.test('it holds what a Set holds', async (t) => {
  const random = seeded(1);
  const slots = new Slots<Member>();
  const model = new Set<Member>();
  const members = Array.from({ length: 40 }, (_value, name) => member(name));
  for (let step = 0; step < 5_000; step++) {
    const one = members[Math.floor(random() * members.length)] ?? member(-1);
    const other = random() < 0.5 ? 'add' : 'delete';
    slots[other](one);
    model[other](one);
    if (step === 4_000) {
      slots.clear();
      model.clear();
    }
    if (slots.size !== model.size) t.fail(`step ${step}: ${slots.size} instead of ${model.size}`);
  }
  t.same(
    namesOf(slots),
    [...model].map(({ name }) => name).toSorted((a, b) => a - b),
  );
});

void t.test('members may leave and come while it is walked through', async (t) => {
  const slots = new Slots<Member>();
  const members = Array.from({ length: 10 }, (_value, name) => member(name));
  for (const one of members) slots.add(one);
  const visited: number[] = [];
  slots.forEach((one) => {
    visited.push(one.name);
    slots.delete(one);
    // One that has not been visited leaves too, and one comes.
    if (one.name === 9) for (const name of [3, 4]) slots.delete(members[name] ?? one);
    if (one.name === 8) slots.add(member(100));
  });
  t.same(
    visited.toSorted((a, b) => a - b),
    [0, 1, 2, 5, 6, 7, 8, 9],
  );
  t.same(namesOf(slots), [100]);
});
