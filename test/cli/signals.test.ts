// A real process of the product: it tells its state, ends by a signal with exit code 0, and with its parent.
import { spawn, type ChildProcess } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { run } from './fake-io.ts';

const main = join(import.meta.dirname, '../../src/cli/main.ts');

interface Started {
  readonly child: ChildProcess;
  readonly stateDir: string;
  /** Exit code, or the signal that killed it. */
  readonly ended: Promise<number | NodeJS.Signals | null>;
}

/** `meshgate server` on free ports, once it has said where it listens. */
async function startServer(t: Test): Promise<Started> {
  const stateDir = await mkdtemp(join(tmpdir(), 'mg-'));
  const env = {
    PATH: process.env['PATH'],
    MESHGATE_SERVER_STATE_DIR: join(stateDir, 'server'),
    MESHGATE_SERVER_LOG_LEVEL: 'warn',
    MESHGATE_SERVER_LISTEN: '127.0.0.1:0',
    MESHGATE_SERVER_PUBLIC_URL: 'https://mesh.localhost:1',
    MESHGATE_SERVER_TLS_INSECURE: 'true',
    MESHGATE_SERVER_STUN_LISTEN: '127.0.0.1:0',
  };
  const child = spawn(process.execPath, [main, 'server'], { env, stdio: ['ignore', 'pipe', 'pipe', 'ipc'] });
  const ended = new Promise<number | NodeJS.Signals | null>((resolve) => void child.once('exit', (code, signal) => resolve(code ?? signal)));
  let errors = '';
  child.stderr?.on('data', (chunk: Buffer) => (errors += chunk.toString()));
  t.teardown(async () => {
    child.kill('SIGKILL');
    await ended;
    await rm(stateDir, { recursive: true, force: true });
  });
  await new Promise<void>((resolve, reject) => {
    child.stdout?.once('data', () => resolve());
    void ended.then((how) => reject(new Error(`ended with ${how}: ${errors}`)));
  });
  return { child, stateDir, ended };
}

t.test('tells its state, and a signal ends it', async (t) => {
  const { child, stateDir, ended } = await startServer(t);
  t.match(await run(['status', '--state-dir', stateDir]), { code: 0, out: /^server: well/ });
  child.kill('SIGTERM');
  t.equal(await ended, 0);
  t.equal((await run(['status', '--state-dir', stateDir])).code, 1);
});

t.test('the end of its parent ends it', async (t) => {
  const { child, ended } = await startServer(t);
  child.disconnect();
  t.equal(await ended, 0);
});
