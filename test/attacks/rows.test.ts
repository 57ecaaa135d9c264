// Holds README.md against the tests of this folder: each row of the groups is covered by a test that names it, or the table says why not.
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { rowIds } from '#cli/attack/rows.ts';

const here = import.meta.dirname;
const rows = new Map(
  [...readFileSync(join(here, 'README.md'), 'utf8').matchAll(/^\| ([A-Z]-\d+) \| (.+?) \| (.+?) \|$/gm)].map(([, id = '', what = '', where = '']) => [
    id,
    { what, where },
  ]),
);

void t.test('every row has its place', async (t) => {
  t.same([...rows.keys()].toSorted(), rowIds.toSorted());
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
