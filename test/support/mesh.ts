// The whole product as a user starts it: `meshgate start` in a process of its own, with its own state directory and free ports.
import { spawn, type ChildProcess } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { request } from 'node:http';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';

const main = resolve(import.meta.dirname, '../../src/cli/main.ts');

export interface Mesh {
  readonly stateDir: string;
  readonly url: string;
  readonly port: number;
  readonly controlUrl: string;
  readonly email: string;
  readonly password: string;
  readonly caFile: string;
  /** `Authorization: Bearer nbp_…` of the sample machine. */
  readonly tokenHeader: string;
  readonly readyMs: number;
  readonly output: readonly string[];
  status(name: 'server' | 'gateway' | 'agent'): Promise<Record<string, unknown>>;
  pidOf(name: 'server' | 'gateway' | 'agent'): Promise<number>;
  /** SIGINT, as Ctrl-C does; resolves with the exit code. */
  stop(): Promise<number | null>;
}

export interface MeshOptions {
  readonly upstream?: string;
  /** A directory to start again from; the caller removes it. */
  readonly stateDir?: string;
  readonly ports?: { readonly port: number; readonly controlPort: number };
  readonly args?: readonly string[];
}

/** A TCP port that was free a moment ago. */
export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((done) => server.listen(0, done));
  const { port } = server.address() as AddressInfo;
  await new Promise((done) => server.close(done));
  return port;
}

export function spawnStart(args: readonly string[]): ChildProcess {
  return spawn(process.execPath, [main, 'start', ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
}

/** Starts and resolves when the greeting is printed; rejects with everything that was printed where it ends first. */
export async function startMesh(options: MeshOptions = {}): Promise<Mesh> {
  const stateDir = options.stateDir ?? (await mkdtemp(join(tmpdir(), 'mg-')));
  const port = options.ports?.port ?? (await freePort());
  const controlPort = options.ports?.controlPort ?? (await freePort());
  const begun = performance.now();
  const upstream = options.upstream === undefined ? [] : ['--upstream', options.upstream];
  const child = spawnStart([
    '--state-dir',
    stateDir,
    '--port',
    String(port),
    '--control-port',
    String(controlPort),
    '--log-level',
    'debug',
    ...upstream,
    ...(options.args ?? []),
  ]);
  const output: string[] = [];
  const exited = new Promise<number | null>((done) => child.once('exit', (code) => done(code)));
  await new Promise<void>((done, fail) => {
    for (const stream of [child.stdout, child.stderr]) {
      if (stream === null) continue;
      createInterface({ input: stream }).on('line', (line) => {
        output.push(line);
        if (line.includes('Ctrl-C stops everything')) done();
      });
    }
    void exited.then((code) => fail(new Error(`start ended with ${code}:\n${output.join('\n')}`)));
  });
  const readyMs = performance.now() - begun;
  const word = (label: string): string =>
    output
      .find((line) => line.trim().startsWith(label))
      ?.trim()
      .slice(label.length)
      .trim() ?? '';
  const status = (name: string): Promise<Record<string, unknown>> => readStatus(join(stateDir, name, 'status.sock'));
  return {
    stateDir,
    port,
    url: word('Open'),
    controlUrl: `https://mesh.localhost:${controlPort}`,
    email: word('E-mail'),
    password: word('Password'),
    caFile: join(stateDir, 'ca', 'ca.pem'),
    tokenHeader: (await readFile(join(stateDir, 'curl-header'), 'utf8')).trim(),
    readyMs,
    output,
    status,
    pidOf: async (name) => Number((await status(name))['pid']),
    stop: async () => {
      child.kill('SIGINT');
      const code = await exited;
      if (options.stateDir === undefined) await rm(stateDir, { recursive: true, force: true });
      return code;
    },
  };
}

export function readStatus(socketPath: string): Promise<Record<string, unknown>> {
  return new Promise((done, fail) => {
    const call = request({ socketPath, path: '/', timeout: 2_000 }, (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('end', () => done(JSON.parse(Buffer.concat(chunks).toString('utf8'))));
    });
    call.on('error', fail);
    call.on('timeout', () => call.destroy(new Error(`${socketPath} does not answer`)));
    call.end();
  });
}
