// Certificates minted at login: `meshgate login`, then `meshgate connect` carries psql with a certificate of the person; whoever may not is refused,
// and what is open ends when trust does.
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { connect as connectTls } from 'node:tls';
import { promisify } from 'node:util';
import t from 'tap';
import { postgresMissing, startPostgres } from '../server/store/postgres-cluster.ts';
import { type Cli, runCommand } from '../support/expose.ts';
import { signMachineIn } from '../support/login.ts';
import { freePort } from '../support/mesh.ts';
import { call, cluster, type Json, makeGroup, until } from '../support/parts.ts';
import { body, publish, startSite } from './stream-site.ts';

const run = promisify(execFile);
const client = 'psql';
const password = 'a long enough one';
const name = `db.${cluster}`;
const why = postgresMissing();

async function localPort(cli: Cli): Promise<string> {
  return (await cli.line(/^127/)).split(':')[1] ?? '';
}

void t.test(
  'a person signs in, and psql goes through connect; others are refused; block, revocation and lost groups cut it within a second',
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
    const { plane } = site;
    const port = await freePort();
    const group = await makeGroup(plane, 'data');
    await publish(
      site,
      body(site, 'db', 'tls', postgres.port, port, {
        auth: { bearer_auth: { enabled: true, distribution_groups: [group] } },
        stream: { terminate: { client_certificate: { account: true } } },
      }),
    );
    const people = new Map<string, string>();
    for (const who of ['bob', 'eve']) {
      const made = await call(plane, 'POST', '/api/users', {
        email: `${who}@example.com`,
        name: who,
        role: 'user',
        auto_groups: who === 'bob' ? [group] : [],
        is_service_user: false,
        password,
      });
      people.set(who, String(made['id']));
    }
    const bobPath = `/api/users/${people.get('bob') ?? ''}`;
    const homeOf = (): Promise<string> => mkdtemp(join(plane.folder, 'home-'));
    const [bob, eve] = await Promise.all(
      ['bob', 'eve'].map(async (who) => await signMachineIn(t, plane, await homeOf(), `${who}@example.com`, password)),
    );
    const flags = ['--ca', plane.caFile, '--page-port', String(site.gateway.publicPort)];

    const refused = runCommand(t, ['connect', name, ...flags], eve);
    t.equal(await refused.exited, 1);
    t.match(refused.err.join('\n'), /403/, 'who is in none of its groups gets no certificate');

    const cli = runCommand(t, ['connect', name, ...flags], bob);
    const local = await localPort(cli);
    const psql = async (at: string, sql: string): Promise<string> =>
      (await run(client, ['-h', '127.0.0.1', '-p', at, '-U', 'meshgate', '-d', 'postgres', '-At', '-c', sql], { timeout: 20_000 })).stdout.trim();
    t.equal(await psql(local, 'SELECT 6 * 7'), '42');

    const listed = (await plane.api.call('GET', '/api/certificates')) as readonly Json[];
    t.match(listed, [{ kind: 'tls', user_email: 'bob@example.com', domain: name }]);
    const events = (await plane.api.call('GET', '/api/events/audit')) as readonly Json[];
    t.ok(events.some((event) => event['activity_code'] === 'certificate.mint'));
    await until('the flow is logged with its user', async () => {
      const log = (await plane.api.call('GET', '/api/events/proxy?page_size=50')) as { readonly data?: readonly Json[] };
      return (log.data ?? []).some((entry) => entry['user_id'] === people.get('bob') && entry['auth_method_used'] === 'certificate');
    });

    await t.test('without a certificate, or with one of somebody else’s authority, nothing reaches the inside', async (t) => {
      const other = await plane.ca.issue(['bob@example.com'], {});
      for (const pair of [{}, { cert: other.certPem, key: other.keyPem }]) {
        const socket = connectTls({ host: '127.0.0.1', port, servername: name, ca: plane.caPem, ...pair });
        socket.on('error', () => undefined);
        socket.write(Buffer.from('0000000804d2162f', 'hex'));
        let answered = false;
        socket.on('data', () => (answered = true));
        await new Promise<void>((done) => void socket.once('close', () => done()));
        t.notOk(answered);
      }
    });

    /** psql in the middle of work; resolves with the milliseconds until `act` has cut it. */
    const cutBy = async (at: string, act: () => Promise<unknown>): Promise<number> => {
      const busy = spawn(client, ['-h', '127.0.0.1', '-p', at, '-U', 'meshgate', '-d', 'postgres', '-At'], { stdio: ['pipe', 'pipe', 'pipe'] });
      t.teardown(() => void busy.kill('SIGKILL'));
      busy.stdin.on('error', () => undefined);
      busy.stdin.write("SELECT 'ready';\n");
      await once(busy.stdout, 'data');
      busy.stdin.write('SELECT pg_sleep(60);\n');
      const ended = once(busy.stderr, 'data');
      const begun = performance.now();
      await act();
      await ended;
      return performance.now() - begun;
    };
    const again = async (): Promise<string> => await localPort(runCommand(t, ['connect', name, ...flags], bob));

    const [newest] = (await plane.api.call('GET', '/api/certificates')) as readonly Json[];
    const revoked = await cutBy(local, () => plane.api.call('DELETE', `/api/certificates/${String(newest?.['id'])}`));
    t.comment(`figure: psql was cut ${revoked.toFixed(0)} ms after its certificate had been revoked`);
    t.ok(revoked < 1_000);
    await t.rejects(psql(local, 'SELECT 1'), 'and it opens nothing more');

    const regrouped = await again();
    const lost = await cutBy(regrouped, () => call(plane, 'PUT', bobPath, { role: 'user', auto_groups: [], is_blocked: false }));
    t.comment(`figure: psql was cut ${lost.toFixed(0)} ms after its user had lost the group`);
    t.ok(lost < 1_000);
    await t.rejects(psql(regrouped, 'SELECT 1'));

    await call(plane, 'PUT', bobPath, { role: 'user', auto_groups: [group], is_blocked: false });
    // Losing a group ended the sign-in, as everywhere.
    const bobAgain = await signMachineIn(t, plane, await homeOf(), 'bob@example.com', password);
    const last = await localPort(runCommand(t, ['connect', name, ...flags], bobAgain));
    t.equal(await psql(last, 'SELECT 6 * 7'), '42');
    const blocked = await cutBy(last, () => call(plane, 'PUT', bobPath, { role: 'user', auto_groups: [group], is_blocked: true }));
    t.comment(`figure: psql was cut ${blocked.toFixed(0)} ms after its user had been blocked`);
    t.ok(blocked < 1_000);
    await t.rejects(psql(last, 'SELECT 1'));
    t.equal(await runCommand(t, ['connect', name, ...flags], bobAgain).exited, 1, 'and he gets no other certificate');
  },
);
