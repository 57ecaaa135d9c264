// PostgreSQL behind a sign-in: a login in Chromium opens the port for psql and pgbench, and whoever is blocked is cut in the middle of the work.
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { chromium } from 'playwright-core';
import t from 'tap';
import { postgresMissing, startPostgres } from '../server/store/postgres-cluster.ts';
import { chromiumArgs, chromiumPath } from '../support/chromium.ts';
import { freePort } from '../support/mesh.ts';
import { call, cluster, until } from '../support/parts.ts';
import { body, publish, startSite } from './stream-site.ts';

const run = promisify(execFile);
const pgbench = '/usr/lib/postgresql/15/bin/pgbench';
const password = 'a long enough one';
const name = `db.${cluster}`;

const why = existsSync(chromiumPath) ? postgresMissing() : 'needs the Debian package chromium';

void t.test(
  'a login in Chromium unlocks psql and pgbench; blocking the person cuts them within a second',
  { timeout: 240_000, ...(why === undefined ? {} : { skip: why }) },
  async (t) => {
    const postgres = await startPostgres({ tcpPort: await freePort() });
    t.teardown(() => postgres.stop());
    const site = await startSite(t, async ({ ca, folder }) => {
      const { certPem, keyPem } = await ca.issue([name]);
      await mkdir(join(folder, 'certs'), { recursive: true });
      await writeFile(join(folder, 'certs', `${name}.key`), keyPem, { mode: 0o600 });
      await writeFile(join(folder, 'certs', `${name}.crt`), certPem);
    });
    const port = await freePort();
    await publish(site, body(site, 'db', 'tcp', postgres.port, port, { auth: { bearer_auth: { enabled: true, distribution_groups: [] } } }));
    const user = await call(site.plane, 'POST', '/api/users', {
      email: 'bob@example.com',
      name: 'Bob',
      role: 'user',
      auto_groups: [],
      is_service_user: false,
      password,
    });
    const at = ['-h', '127.0.0.1', '-p', String(port), '-U', 'meshgate'];
    const psql = async (sql: string): Promise<string> =>
      (await run('psql', [...at, '-d', 'postgres', '-At', '-c', sql], { timeout: 20_000 })).stdout.trim();
    await t.rejects(psql('SELECT 1'), 'nobody has signed in');

    const browser = await chromium.launch({ executablePath: chromiumPath, args: [...chromiumArgs] });
    t.teardown(() => browser.close());
    const page = await (await browser.newContext({ ignoreHTTPSErrors: true })).newPage();
    await page.goto(`https://${name}:${site.gateway.publicPort}/`);
    await page.fill('input[name=email]', 'bob@example.com');
    await page.fill('input[name=password]', password);
    await page.click('button[type=submit]');
    await page.waitForURL(`https://${name}:${site.gateway.publicPort}/**`);
    t.match((await page.textContent('body')) ?? '', new RegExp(`TCP.* ${port} of ${name} is open`), 'the page says what is open now');

    t.equal(await psql('SELECT 6 * 7'), '42');
    await run(pgbench, [...at, '-i', '-q', '-s', '1', 'postgres'], { timeout: 60_000 });
    const short = await run(pgbench, [...at, '-S', '-c', '8', '-j', '2', '-T', '3', 'postgres'], { timeout: 60_000 });
    const rate = /tps = ([\d.]+)/.exec(short.stdout)?.[1] ?? '0';
    t.ok(Number(rate) > 0, short.stdout);
    t.comment(`figure: pgbench -S with 8 clients through gateway, overlay and agent: ${Number(rate).toFixed(0)} transactions/s`);

    const busy = spawn(pgbench, [...at, '-c', '8', '-T', '120', '-P', '1', 'postgres'], { stdio: ['ignore', 'ignore', 'pipe'] });
    t.teardown(() => void busy.kill('SIGKILL'));
    let said = '';
    busy.stderr.on('data', (chunk: Buffer) => (said += chunk.toString()));
    await until('pgbench is at work', () => Promise.resolve(/progress: 1\.\d s, [1-9]/.test(said)), 20_000);
    const ended = once(busy, 'close');
    const begun = performance.now();
    await call(site.plane, 'PUT', `/api/users/${String(user['id'])}`, { role: 'user', auto_groups: [], is_blocked: true });
    const [code] = (await ended) as [number | null];
    const cutMs = performance.now() - begun;
    t.comment(`figure: pgbench with 8 clients was cut ${cutMs.toFixed(0)} ms after its user had been blocked`);
    t.not(code, 0);
    t.equal([...said.matchAll(/client \d aborted/g)].length, 8, 'every client of it');
    t.ok(cutMs < 1_000, `${cutMs} ms`);
    await t.rejects(psql('SELECT 1'), 'and the port is closed');
  },
);
