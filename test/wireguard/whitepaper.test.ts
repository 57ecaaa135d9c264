// Holds the table of README.md: every rule names a test that is there.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';

const folder = import.meta.dirname;
const rows = readFileSync(join(folder, 'README.md'), 'utf8')
  .split('\n')
  .filter((line) => line.startsWith('|'))
  .slice(2)
  .map((line) => line.split('|').map((cell) => cell.trim()));

void t.test('every rule of the whitepaper names a test that exists', async (t) => {
  const missing: string[] = [];
  const texts = new Map<string, string>();
  for (const [, section, rule, file, title] of rows) {
    if (section === undefined || rule === undefined || file === undefined || title === undefined) {
      missing.push('a row without its four cells');
      continue;
    }
    const text = texts.get(file) ?? readFileSync(join(folder, file), 'utf8');
    texts.set(file, text);
    if (!text.includes(`t.test('${title}'`)) missing.push(`§${section} ${rule}: ${file} has no test "${title}"`);
  }
  t.same(missing, []);
  t.ok(rows.length > 60);
});
