// Files that survive a crash and belong to their owner.
import { mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { readFileIfThere, writeFileAtomic } from '#lib/files.ts';

t.test('writes privately, makes its folder, leaves no temporary file', async (t) => {
  const path = join(t.testdir({}), 'a', 'b', 'key');
  await writeFileAtomic(path, 'one');
  t.equal(await readFile(path, 'utf8'), 'one');
  t.equal((await stat(path)).mode & 0o777, 0o600);
  t.equal((await stat(join(path, '..'))).mode & 0o777, 0o700);
  await writeFileAtomic(path, new Uint8Array([1, 2]), 0o644);
  t.same([...(await readFile(path))], [1, 2]);
  t.equal((await stat(path)).mode & 0o777, 0o644);
  t.same(await readdir(join(path, '..')), ['key']);
});

t.test('a reader sees one whole version, never a mixture', async (t) => {
  const path = join(t.testdir({}), 'state');
  const versions = ['a', 'b', 'c', 'd'].map((letter) => letter.repeat(200_000));
  await writeFileAtomic(path, versions[0] ?? '');
  const writers = Promise.all(versions.map((text) => writeFileAtomic(path, text)));
  for (let i = 0; i < 20; i++) {
    const text = await readFile(path, 'utf8');
    if (!versions.includes(text)) return t.fail(`${text.length} characters`);
  }
  await writers;
  return t.pass();
});

t.test('a write that fails keeps the old file and cleans up', async (t) => {
  const dir = t.testdir({ file: 'old' });
  await mkdir(join(dir, 'taken'));
  await writeFile(join(dir, 'taken', 'inside'), 'x');
  await t.rejects(writeFileAtomic(join(dir, 'taken'), 'new'));
  await t.rejects(writeFileAtomic(join(dir, 'file', 'below'), 'new'));
  t.same((await readdir(dir)).sort(), ['file', 'taken']);
  t.equal(await readFile(join(dir, 'file'), 'utf8'), 'old');
});

t.test('an absent file is no failure, everything else is', async (t) => {
  const dir = t.testdir({ file: 'text' });
  t.equal(await readFileIfThere(join(dir, 'file')), 'text');
  t.equal(await readFileIfThere(join(dir, 'none')), undefined);
  await t.rejects(readFileIfThere(dir), { code: 'EISDIR' });
});
