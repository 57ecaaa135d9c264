// A coturn of our own on loopback, or in a namespace.
import { type ChildProcess, spawn } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const program = '/usr/bin/turnserver';

/** Why this machine cannot run coturn; empty where it can. */
export function whyNoCoturn(): string {
  return existsSync(program) ? '' : `needs ${program} (Debian: coturn)`;
}

export interface CoturnOptions {
  readonly host: string;
  /** 0 picks one that is free on loopback. */
  readonly port: number;
  /** A fixed account; without one, `secret` makes accounts. */
  readonly user?: string;
  readonly secret?: string;
  /** The command that comes before coturn's own, such as `ip netns exec NAME`. */
  readonly before?: readonly string[];
  readonly extra?: readonly string[];
}

export interface Coturn {
  readonly port: number;
  stop(): Promise<void>;
}

export async function startCoturn(options: CoturnOptions): Promise<Coturn> {
  const port = options.port === 0 ? await freePort() : options.port;
  const folder = mkdtempSync(join(tmpdir(), 'meshgate-turn-'));
  const args = [
    '-n',
    '--no-cli',
    '--no-tls',
    '--no-dtls',
    '--no-tcp',
    `--listening-ip=${options.host}`,
    `--relay-ip=${options.host}`,
    `--listening-port=${port}`,
    '--realm=mesh.test',
    '--fingerprint',
    '--log-file=stdout',
    '--simple-log',
    `--pidfile=${join(folder, 'pid')}`,
    `--userdb=${join(folder, 'db')}`,
    '--allow-loopback-peers',
    ...(options.user === undefined ? [] : ['--lt-cred-mech', `--user=${options.user}`]),
    ...(options.secret === undefined ? [] : ['--use-auth-secret', `--static-auth-secret=${options.secret}`]),
    ...(options.extra ?? []),
  ];
  const [first = program, ...rest] = [...(options.before ?? []), program, ...args];
  const child = spawn(first, rest, { stdio: ['ignore', 'pipe', 'pipe'], cwd: folder });
  const ended = once(child, 'exit');
  await listening(child);
  return {
    port,
    stop: async () => {
      child.kill('SIGKILL');
      await ended;
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

/** Its threads for credentials start last. */
function listening(child: ChildProcess): Promise<void> {
  return new Promise((resolve, reject) => {
    let text = '';
    const read = (chunk: Buffer): void => {
      text = (text + chunk.toString()).slice(-4096);
      if (text.includes('IO method (auth thread)')) resolve();
    };
    child.stdout?.on('data', read);
    child.stderr?.on('data', read);
    child.on('exit', (code) => reject(new TypeError(`turnserver ended with ${String(code)}: ${text.slice(-500)}`)));
    child.on('error', reject);
  });
}

async function freePort(): Promise<number> {
  const socket = createSocket('udp4');
  socket.bind(0, '127.0.0.1');
  await once(socket, 'listening');
  const { port } = socket.address();
  socket.close();
  return port;
}
