// The generated pages of config/ are what the schemas and error tables say today, and the examples start a process.
import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import t from 'tap';
import { errorTables } from '#lib/errors.ts';
import { loadConfig, settingsOf } from '#lib/schema-config.ts';
import { docsCommand, generatedFiles, prefixOf, schemas } from './support/config-docs.ts';

const root = resolve(import.meta.dirname, '..');

function textOf(file: string): string {
  try {
    return readFileSync(join(root, file), 'utf8');
  } catch {
    return '';
  }
}

t.test('what is generated is up to date', async (t) => {
  for (const [file, text] of await generatedFiles()) t.ok(textOf(file) === text, `${file} is stale; run: ${docsCommand}`);
});

t.test('the examples are configurations', async (t) => {
  for (const [name, schema] of Object.entries(schemas)) {
    const file = `config/${name}.example.json`;
    t.doesNotThrow(() => loadConfig(schema, prefixOf(name), { env: {}, file: { name: file, value: JSON.parse(textOf(file)) } }), file);
  }
});

t.test('every setting says what it does', async (t) => {
  for (const [name, schema] of Object.entries(schemas)) {
    for (const setting of settingsOf(schema, prefixOf(name))) t.match(setting.schema.info.about, /\S.*\.$/, setting.env);
  }
});

t.test('every error is documented once', async (t) => {
  const page = textOf('config/ERRORS.md');
  const codes = [...errorTables().values()].flatMap((table) => Object.keys(table)).filter((code) => !/^E[A-Z]+$/.test(code));
  t.ok(codes.length > 50, `${codes.length} codes`);
  t.same(
    codes.filter((code) => page.split(`| \`${code}\` |`).length !== 2),
    [],
  );
});
