// The error tables of the whole product: unique codes, plain texts, statuses that exist. And what an error says to whom.
import { readdirSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import t from 'tap';
import { defineErrors, describeError, errorCode, errorTables, MeshgateError } from '#lib/errors.ts';

const source = resolve(import.meta.dirname, '../../src');

t.test('every table of the product holds together', async (t) => {
  const files = readdirSync(source, { recursive: true, encoding: 'utf8' }).filter(
    (file) => /(?:^|\/)[\w-]*errors\.ts$/.test(file) && file !== 'lib/errors.ts',
  );
  for (const file of files) await import(pathToFileURL(join(source, file)).href);
  const tables = errorTables();
  t.ok(tables.size >= 5, `${tables.size} tables`);
  const owner = new Map<string, string>();
  const wrong: string[] = [];
  for (const [folder, table] of tables) {
    for (const [code, row] of Object.entries(table)) {
      if (/^E[A-Z]+$/.test(code)) continue; // Node's own codes, which the dial contract asks for; more than one folder dials
      const other = owner.get(code);
      if (other !== undefined) wrong.push(`${code} is in ${folder} and ${other}`);
      owner.set(code, folder);
      if (!/^[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+$/.test(code)) wrong.push(`${code} is not FOLDER_REASON`);
      if (row.text.trim() === '' || row.text.length > 300) wrong.push(`${code} has no usable text`);
      if (row.status < 400 || row.status > 599) wrong.push(`${code} has status ${row.status}`);
    }
  }
  t.same(wrong, []);
});

t.test('an error says one thing to everybody and another to the log', async (t) => {
  const make = defineErrors('test-errors', { TEST_FAILED: { text: 'it failed', origin: 'internal', retry: true, status: 500 } });
  t.throws(() => defineErrors('test-errors', {}), TypeError, 'a folder has one table');
  const cause = Object.assign(new Error('connect failed'), { code: 'ECONNREFUSED' });
  const error = make('TEST_FAILED', 'to 192.0.2.1', cause);
  t.ok(error instanceof MeshgateError);
  t.same([error.message, error.detail, error.code, error.row.retry, error.cause], ['it failed', 'to 192.0.2.1', 'TEST_FAILED', true, cause]);
  t.equal(describeError(error), 'TEST_FAILED: it failed (to 192.0.2.1) <- connect failed');
  t.equal(describeError(make('TEST_FAILED')), 'TEST_FAILED: it failed');
  t.equal(describeError('text'), 'text');
  t.same(
    [errorCode(cause), errorCode(error), errorCode(null), errorCode({ code: 5 }), errorCode('x')],
    ['ECONNREFUSED', 'TEST_FAILED', undefined, undefined, undefined],
  );
});
