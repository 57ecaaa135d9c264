// `meshgate doctor HOST`: it says of a service that works that it does, and of one that does not, at which stage and what to do.
import { spawn } from 'node:child_process';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import t from 'tap';
import { startMesh, type Mesh } from '../support/mesh.ts';
import { until } from '../support/until.ts';
import { ScriptedBrowser, signIn } from '../support/browser.ts';

interface Finding {
  readonly stage: string;
  readonly ok: boolean;
  readonly text: string;
  readonly fix?: string;
}

interface Report {
  readonly code: number | null;
  readonly findings: readonly Finding[];
  readonly out: string;
}

/** Not with spawnSync: the app that is looked at lives in this process. */
async function doctor(mesh: Mesh, host: string, ...more: readonly string[]): Promise<Report> {
  const env = { ...process.env, MESHGATE_STATE_DIR: mesh.stateDir, XDG_CONFIG_HOME: mesh.stateDir };
  const main = join(import.meta.dirname, '../../src/cli/main.ts');
  const child = spawn(process.execPath, [main, 'doctor', host, ...more], { env });
  let out = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk: Buffer) => (out += chunk.toString('utf8')));
  const code = await new Promise<number | null>((done) => child.once('close', done));
  const findings = more.includes('--json') && out.startsWith('[') ? (JSON.parse(out) as readonly Finding[]) : [];
  return { code, findings, out };
}

function listen(server: Server, port = 0): Promise<number> {
  return new Promise((resolve) => server.listen(port, '127.0.0.1', () => resolve((server.address() as AddressInfo).port)));
}

void t.test('the doctor finds nothing, then a dead app, with the stage and the fix', { timeout: 120_000 }, async (t) => {
  const app = createServer((_request, response) => response.end('here'));
  const port = await listen(app);
  t.teardown(() => app.close());
  const mesh = await startMesh({ upstream: `http://127.0.0.1:${port}` });
  t.teardown(() => mesh.stop());
  const { hostname, port: publicPort } = new URL(mesh.url);
  const look = (...more: readonly string[]): Promise<Report> => doctor(mesh, hostname, '--port', publicPort, '--json', ...more);
  // The first request makes the path; a service that has just begun may say pending.
  await until('the service is well', async () => (await look()).code === 0, 60_000);
  const well = await look();
  t.equal(well.code, 0);
  t.ok(well.findings.every(({ ok }) => ok));
  for (const stage of ['service', 'gateway', 'state', 'peer', 'dns', 'tcp', 'tls', 'route', 'access', 'upstream']) {
    t.ok(
      well.findings.some((finding) => finding.stage === stage),
      stage,
    );
  }
  t.match(well.findings.find(({ stage }) => stage === 'access')?.text, 'a visitor has to sign in');
  t.match(well.findings.find(({ stage }) => stage === 'upstream')?.text, /answers, status 200, after/);

  app.closeAllConnections();
  await new Promise((closed) => app.close(closed));
  const dead = await look();
  t.equal(dead.code, 1);
  const failed = dead.findings.filter(({ ok }) => !ok);
  // One for each address of the name.
  t.ok(failed.length >= 1 && failed.length <= 2, JSON.stringify(failed));
  t.match(failed[0], { stage: /dial|upstream/, text: /upstream_(?:refused|closed|bad_answer)/, fix: /target/i });
  const text = (await doctor(mesh, hostname, '--port', publicPort)).out;
  t.match(text, /^FAIL {2}(?:dial|upstream) /m);
  t.match(text, /does the program run/);

  // Who is signed in as the owner reads the same on the page; the person at the next desk does not.
  const browser = new ScriptedBrowser(mesh.caFile);
  const page = await signIn(browser, mesh.url, mesh.email, mesh.password);
  t.equal(page.status, 502);
  t.match(page.text, /Only administrators see this part/);
  t.match(page.text, /does the program run/);
  await browser.close();
});

void t.test('a host that is nobody, and one that cannot be one', async (t) => {
  const mesh = await startMesh();
  t.teardown(() => mesh.stop());
  const unknown = await doctor(mesh, 'nobody.localhost', '--json');
  t.equal(unknown.code, 1);
  t.match(unknown.findings, [{ stage: 'service', ok: false, text: /no service has the host/ }]);
  const wrong = await doctor(mesh, 'a b/c');
  t.equal(wrong.code, 2);
  t.match(wrong.out, /HOST is a host name/);
});
