// Holds README.md against the tests of this folder: each row of the groups is covered by a test that names it, or the table says why not.
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';

/** The rows of each group. Numbers that are missing were never given out. */
const groups: Readonly<Record<string, readonly number[]>> = {
  H: [1, 2, 3, 5, 6, 7, 8, 10, 11, 12, 14, 15, 16, 17, 19, 20],
  P: [1, 2, 3, 4, 6, 7, 9, 10, 11, 13, 14, 15, 17, 19],
  T: [1, 2, 3, 5, 6, 8, 9, 10, 12, 13, 14, 15, 16, 17, 18],
  S: [1, 2, 3, 5, 6, 7, 9, 10, 11, 12, 14, 15, 17, 18],
  W: [1, 2, 3, 4, 5, 7, 8],
  R: [1, 2, 4, 5, 7],
  D: [1, 2, 3, 5, 6, 7, 8, 10, 11, 12, 14, 15, 16, 17],
  X: [1, 5],
  A: [1, 2, 3, 4, 6, 7, 9, 10, 11, 12, 13, 15, 16, 17, 18],
  C: [1, 3, 4, 5, 7, 8, 10, 11],
  M: [7, 9],
  L: [1, 2, 9],
};

const here = import.meta.dirname;
const rows = new Map(
  [...readFileSync(join(here, 'README.md'), 'utf8').matchAll(/^\| ([A-Z]-\d+) \| (.+?) \| (.+?) \|$/gm)].map(([, id = '', what = '', where = '']) => [
    id,
    { what, where },
  ]),
);

void t.test('every row has its place', async (t) => {
  const wanted = Object.entries(groups).flatMap(([group, numbers]) => numbers.map((number) => `${group}-${number}`));
  t.same([...rows.keys()].toSorted(), wanted.toSorted());
});

/** Whether a test's name begins with the row's id, as text or as a member of a table that names tests. */
function named(text: string, id: string): boolean {
  return new RegExp(`(?:test\\(\\s*['\`]${id}: |id: '${id}'|\\['${id}', )`).test(text);
}

void t.test('what the table names exists, and names the row', async (t) => {
  for (const [id, { where }] of rows) {
    if (where.startsWith('not applicable')) {
      t.match(where, /^not applicable(?: here)?: .{20,}/, id);
      continue;
    }
    const file = where.includes('/') ? join(here, '..', where) : join(here, where);
    t.ok(existsSync(file), `${id}: ${where}`);
    const text = readFileSync(file, 'utf8');
    t.ok(where.includes('/') ? new RegExp(`\\brows? (?:[A-Z]-\\d+, )*${id}\\b`).test(text) : named(text, id), `${where} names ${id}`);
  }
});

void t.test('no test names a row that the table does not have there', async (t) => {
  for (const file of readdirSync(here).filter((name) => name.endsWith('.test.ts') && name !== 'rows.test.ts')) {
    for (const [, id = ''] of readFileSync(join(here, file), 'utf8').matchAll(/(?:test\(\s*['`]|id: '|\[')([A-Z]-\d+)(?:: |', |',)/g))
      t.equal(rows.get(id)?.where, file, `${file}: ${id}`);
  }
});
