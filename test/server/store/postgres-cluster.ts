// A PostgreSQL of the test's own: a cluster in a temporary folder, reached by a unix socket, run by a user without rights.
import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { chown, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);
const programs = '/usr/lib/postgresql/15/bin';
/** `nobody` of Debian: PostgreSQL refuses to run as root. */
const nobody = 65_534;

export interface PostgresCluster {
  /** Makes an empty database and returns its URL. */
  createDatabase(): Promise<string>;
  /** Where it listens on 127.0.0.1, where that was asked for. */
  readonly port: number;
  stop(): Promise<void>;
}

/** Why there can be none here, or undefined. */
export function postgresMissing(): string | undefined {
  return existsSync(join(programs, 'initdb')) ? undefined : `needs Debian's postgresql-15 (${programs}/initdb)`;
}

export async function startPostgres(options: { readonly tcpPort?: number } = {}): Promise<PostgresCluster> {
  const folder = await mkdtemp(join(tmpdir(), 'meshgate-pg-'));
  const data = join(folder, 'data');
  const root = process.getuid?.() === 0;
  if (root) await chown(folder, nobody, nobody);
  const program = async (name: string, ...args: string[]): Promise<void> => {
    const prefix = root ? ['setpriv', `--reuid=${nobody}`, `--regid=${nobody}`, '--clear-groups'] : [];
    const [file = '', ...rest] = [...prefix, join(programs, name), ...args];
    await run(file, rest, { cwd: folder, timeout: 60_000 });
  };
  try {
    await program('initdb', '-D', data, '-U', 'meshgate', '-A', 'trust', '-E', 'UTF8', '--locale=C.UTF-8', '--no-sync');
    const tcp = options.tcpPort === undefined ? `-c listen_addresses=''` : `-c listen_addresses=127.0.0.1 -c port=${options.tcpPort}`;
    const settings = `${tcp} -c unix_socket_directories=${folder} -c fsync=off -c max_connections=60`;
    await program('pg_ctl', '-D', data, '-l', join(folder, 'log'), '-w', '-t', '50', '-o', settings, 'start');
  } catch (error) {
    await rm(folder, { recursive: true, force: true });
    throw error;
  }
  return {
    port: options.tcpPort ?? 0,
    async createDatabase() {
      const name = `m${randomBytes(6).toString('hex')}`;
      await program('createdb', '-h', folder, ...(options.tcpPort === undefined ? [] : ['-p', String(options.tcpPort)]), '-U', 'meshgate', name);
      return `postgres://meshgate@localhost/${name}?host=${encodeURIComponent(folder)}`;
    },
    async stop() {
      await program('pg_ctl', '-D', data, '-m', 'immediate', '-w', 'stop');
      await rm(folder, { recursive: true, force: true });
    },
  };
}
