// What is on disk after a crash (attack row D-16): a whole certificate with its key, old or new, and nothing half written.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdir, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import t from 'tap';
import { systemClock } from '#lib/clock.ts';
import { silentLogger } from '#lib/log.ts';
import { KeptFiles } from '#publish/certs/acme/kept.ts';
import { seeded } from '../../support/seeded.ts';
import { stateFolder } from './issue.ts';

void t.test('kill -9 in the middle of writing leaves a whole pair', async (t) => {
  const folder = await stateFolder(t);
  const random = seeded(16);
  let torn = 0;
  for (let round = 0; round < 12; round++) {
    const child = spawn(process.execPath, [resolve(import.meta.dirname, 'kept-process.ts'), folder], { stdio: ['ignore', 'pipe', 'inherit'] });
    await once(child.stdout, 'data');
    await new Promise((done) => {
      setTimeout(done, random() * 60);
    });
    child.kill('SIGKILL');
    await once(child, 'exit');
    torn += (await readdir(join(folder, 'certificates'))).filter((name) => name.endsWith('.tmp')).length;
    const files = new KeptFiles(folder, { clock: systemClock, log: silentLogger });
    await files.open();
    const [certificate, ...more] = await files.certificates();
    t.same(more, []);
    t.equal(certificate?.keyPem.length, 20_000);
    t.equal(certificate?.keyPem, certificate?.chainPem, 'key and chain are of one version');
    t.same(
      (await readdir(join(folder, 'certificates'))).filter((name) => name.endsWith('.tmp')),
      [],
      'what was half written is cleared away',
    );
  }
  t.comment(`figure: ${torn} of 12 kills left a half-written file beside`);
});

void t.test('a file that is damaged is told and ordered anew; one of a stranger is not read', async (t) => {
  const folder = await stateFolder(t);
  const files = new KeptFiles(folder, { clock: systemClock, log: silentLogger });
  await files.open();
  await writeFile(join(folder, 'certificates', 'a.json'), '{"names":["a.test"],"keyPem":"x"');
  await writeFile(join(folder, 'certificates', 'b.json'), '{"names":[],"keyPem":"x","chainPem":"y","directory":"z"}');
  await writeFile(join(folder, 'certificates', 'c.txt'), 'x');
  t.same(await files.certificates(), []);
});
