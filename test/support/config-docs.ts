// Writes the generated pages of config/ from the schemas and the error tables: `node test/support/config-docs.ts`.
// test/config.test.ts compares them, so that they are true.
import { readdirSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { errorTables } from '#lib/errors.ts';
import { exampleJson, settingsTable } from '#lib/schema-docs.ts';
import type { Schema } from '#lib/schema.ts';
import { agentSchema } from '#agent/index.ts';
import { gatewaySchema } from '#gateway/index.ts';
import { serverSchema } from '#server/index.ts';

const root = resolve(import.meta.dirname, '../..');
export const docsCommand = 'node test/support/config-docs.ts';
export const schemas: Readonly<Record<string, Schema<unknown>>> = { server: serverSchema, gateway: gatewaySchema, agent: agentSchema };

const referenceHead = `# Settings

Written from the schemas by \`${docsCommand}\`; do not edit.

Each process takes its settings from four places; later ones win: the defaults, a JSON file (\`--config FILE\`), environment variables, flags. A setting's flag is its
name in lower case with dashes: \`control.caFile\` is \`--control-ca-file\`. Secrets have no flag, as others can read the command line. Lists are given with commas or as JSON.
Relative paths start at the working directory of the process. Durations are such as \`300ms\`, \`30s\` or \`1h30m\`. Nothing unknown is accepted: a wrong name is answered with
the nearest right one, exit code 2.

\`meshgate config docs\` prints the tables, \`meshgate config example PROCESS\` the examples beside this page.
`;

const errorsHead = `# Errors

Written from the error tables by \`${docsCommand}\`; do not edit.

Every error of the product has a code, a text that anybody may read, an origin and an HTTP status for where it is answered over HTTP. Details go to the log only (the
command line tool prints its own). Origin **input**: whoever configured or called us has to change something; **peer**: the other side failed or broke the rules; **internal**:
ours. Retry **yes**: the same may succeed later without anybody changing anything.
`;

/** Every generated page by its path below the root. */
export async function generatedFiles(): Promise<ReadonlyMap<string, string>> {
  const files = new Map<string, string>();
  const tables = Object.entries(schemas).map(([name, schema]) => `## meshgate ${name}\n\n${settingsTable(schema, prefixOf(name))}\n`);
  files.set('config/REFERENCE.md', [referenceHead, ...tables].join('\n'));
  for (const [name, schema] of Object.entries(schemas)) files.set(`config/${name}.example.json`, `${exampleJson(schema)}\n`);
  files.set('config/ERRORS.md', [errorsHead, ...(await errorPages())].join('\n'));
  return files;
}

export function prefixOf(name: string): string {
  return `MESHGATE_${name.toUpperCase()}`;
}

/** Loads every table of the tree. Node's own codes, which the dial contract asks for, are not ours to document. */
async function errorPages(): Promise<readonly string[]> {
  const source = join(root, 'src');
  const files = readdirSync(source, { recursive: true, encoding: 'utf8' }).filter((file) => /(?:^|\/)[\w-]*errors\.ts$/.test(file));
  for (const file of files) await import(pathToFileURL(join(source, file)).href);
  return [...errorTables()]
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
    .map(([folder, table]) => {
      const rows = Object.entries(table)
        .filter(([code]) => !/^E[A-Z]+$/.test(code))
        .map(([code, row]) => `| \`${code}\` | ${row.text.replaceAll('|', '\\|')} | ${row.origin} | ${row.retry ? 'yes' : 'no'} | ${row.status} |`);
      return [`## ${folder}`, '', '| Code | Text | Origin | Retry | HTTP status |', '| --- | --- | --- | --- | --- |', ...rows, ''].join('\n');
    });
}

if (import.meta.main) {
  for (const [file, text] of await generatedFiles()) writeFileSync(join(root, file), text);
}
