// `meshgate attack HOST`: nothing is found at our own gateway, and nobody else is attacked. What it finds is in test/cli/attack.test.ts.
import { spawn } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { createSecureServer } from 'node:http2';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import t from 'tap';
import type { RowReport } from '#cli/attack/attack.ts';
import { rowIds } from '#cli/attack/rows.ts';
import { startMesh, type Mesh } from '../support/mesh.ts';
import { createTestCa } from '../support/test-ca.ts';
import { until } from '../support/until.ts';

interface Report {
  readonly code: number | null;
  readonly rows: readonly RowReport[];
  readonly out: string;
}

/** In a process of its own: the application that is behind the gateway lives in this one. */
async function attack(mesh: Mesh, command: string, host: string, ...more: readonly string[]): Promise<Report> {
  const env = { ...process.env, MESHGATE_STATE_DIR: mesh.stateDir, XDG_CONFIG_HOME: mesh.stateDir };
  const child = spawn(process.execPath, [join(import.meta.dirname, '../../src/cli/main.ts'), command, host, ...more], { env });
  let out = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk: Buffer) => (out += chunk.toString('utf8')));
  const code = await new Promise<number | null>((done) => child.once('close', done));
  return { code, rows: out.startsWith('[') ? (JSON.parse(out) as readonly RowReport[]) : [], out };
}

/** Tells the target and every field as they came. */
function echo(request: IncomingMessage, response: ServerResponse): void {
  const lines = Array.from({ length: request.rawHeaders.length / 2 }, (_, i) => `${request.rawHeaders[2 * i]}: ${request.rawHeaders[2 * i + 1]}`);
  request.resume();
  response.end(`${request.url}\n${lines.join('\n')}\n`);
}

const ofKind = (rows: readonly RowReport[], kind: RowReport['kind']): readonly string[] =>
  rows.filter((row) => row.kind === kind).map(({ id }) => id);

void t.test(
  'rows from outside, row L-2: our own gateway passes all of them, and a host of somebody else is refused',
  { timeout: 240_000 },
  async (t) => {
    const seen: string[] = [];
    const app = createServer((request, response) => {
      seen.push(`${request.method} ${request.url}`);
      echo(request, response);
    });
    await new Promise<void>((done) => app.listen(0, '127.0.0.1', done));
    t.teardown(() => app.close());
    const mesh = await startMesh({ upstream: `http://127.0.0.1:${(app.address() as AddressInfo).port}` });
    t.teardown(() => mesh.stop());
    const { hostname, port } = new URL(mesh.url);
    await until('the service is well', async () => (await attack(mesh, 'doctor', hostname, '--port', port)).code === 0, 60_000);
    const token = join(mesh.stateDir, 'attack-token');
    await writeFile(token, mesh.tokenHeader.replace(/^.* /, ''), { mode: 0o600 });
    seen.length = 0;

    const { code, rows, out } = await attack(mesh, 'attack', hostname, '--port', port, '--echo', '/echo', '--token-file', token, '--json');
    t.same(
      rows.filter(({ kind }) => kind === 'failed'),
      [],
    );
    t.equal(code, 0, out.slice(0, 500));
    t.same(
      rows.map(({ id }) => id),
      rowIds,
      'every row is in the report',
    );
    for (const id of ['S-1', 'S-3', 'S-7', 'S-11', 'P-10', 'P-17', 'T-2', 'T-16', 'H-1', 'H-14', 'H-20', 'R-1', 'C-4', 'C-11', 'W-1'])
      t.ok(ofKind(rows, 'passed').includes(id), `${id} is judged`);
    for (const row of rows) if (row.kind === 'not judged') t.ok(row.reason.length > 10, `${row.id}: ${row.reason}`);
    t.match(
      rows.find(({ id }) => id === 'D-1'),
      { kind: 'not judged', reason: /not run/ },
    );
    t.same(
      seen.filter((line) => !/^(?:GET|POST) \/echo(?:\?|$)/.test(line)),
      ['GET /'],
      'the application saw the echo, and the look of the diagnosis',
    );
    t.comment(`figure: ${ofKind(rows, 'passed').length} rows passed, ${ofKind(rows, 'not judged').length} not judged`);

    // All of that passed through processes that log everything.
    const logged = mesh.output.join('\n');
    for (const secret of [mesh.tokenHeader.replace(/^.* /, ''), mesh.password, 'bWVzaGdhdGU6YXR0YWNr'])
      t.notOk(
        logged
          .replaceAll(`Password ${mesh.password}`, '')
          .split('\n')
          .some((line) => line.startsWith('{') && line.includes(secret)),
        'no secret is in a log',
      );

    const blind = await attack(mesh, 'attack', hostname, '--port', port, '--echo', '/events', '--json');
    t.match(blind, { code: 1, out: /--echo \/events does not tell/ });
    // A name that no service has; and one of ours that leads to somebody else's port.
    t.match(await attack(mesh, 'attack', 'other.localhost', '--port', port), { code: 1, out: /no service of yours has the host other\.localhost/ });
    const stranger = await startStranger(hostname);
    t.teardown(stranger.close);
    const refused = await attack(mesh, 'attack', hostname, '--port', String(stranger.port));
    t.match(refused, { code: 1, out: /this host is not proven to be yours/ });
    t.equal(stranger.requests(), 0, 'who cannot show our certificate is asked nothing, not even with the token');
  },
);

async function startStranger(hostname: string) {
  const { certPem: cert, keyPem: key } = await (await createTestCa()).issue([hostname]);
  let requests = 0;
  const server = createSecureServer({ cert, key, allowHTTP1: true }, (_request, response) => {
    requests++;
    response.end('{}');
  });
  server.on('sessionError', () => undefined).on('tlsClientError', () => undefined);
  await new Promise<void>((done) => server.listen(0, done));
  return { port: (server.address() as AddressInfo).port, requests: () => requests, close: () => void server.close() };
}
