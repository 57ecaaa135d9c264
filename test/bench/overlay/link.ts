// Two network namespaces with a veth pair between them: the physical link under every subject.
import { execFile, spawn, spawnSync, type ChildProcess, type SpawnOptions } from 'node:child_process';
import { existsSync } from 'node:fs';
import { availableParallelism, homedir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);

/** What is built or compiled for the benchmark, outside the tree. */
export const cacheFolder = join(process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'), 'meshgate-bench');

/** All processes of all subjects share two cores, also where the machine has more. */
const pinned = availableParallelism() > 2 ? ['taskset', '-c', '0,1'] : [];

export interface Namespace {
  readonly name: string;
  /** On the veth. */
  readonly address: string;
  /** Starts a program in it, on the benchmark's two cores; the child's pid is the program's. */
  spawn(command: readonly string[], options: SpawnOptions): ChildProcess;
  /** Runs a short command in it; rejects where it fails. */
  run(command: readonly string[]): Promise<string>;
}

export interface Link {
  /** The end that downloads. */
  readonly near: Namespace;
  /** The end that serves. */
  readonly far: Namespace;
  /** Ends what still runs in the namespaces, and removes them. */
  close(): void;
}

export function hasProgram(name: string): boolean {
  return spawnSync('sh', ['-c', `command -v ${name}`]).status === 0;
}

/** What this machine lacks to run the benchmark at all. */
export function missingForLink(): readonly string[] {
  const missing: string[] = [];
  if (process.platform !== 'linux') missing.push('Linux');
  if (process.getuid?.() !== 0) missing.push('root (network namespaces)');
  for (const program of ['ip', ...pinned.slice(0, 1)]) if (!hasProgram(program)) missing.push(`the program ${program}`);
  if (!existsSync('/dev/net/tun')) missing.push('/dev/net/tun');
  return missing;
}

export async function openLink(): Promise<Link> {
  const near = namespace(`mgb${process.pid}n`, '198.18.0.1');
  const far = namespace(`mgb${process.pid}f`, '198.18.0.2');
  const remove = (): void => {
    for (const { name } of [near, far]) {
      for (const pid of spawnSync('ip', ['netns', 'pids', name], { encoding: 'utf8' }).stdout.split('\n')) if (pid !== '') endProcess(Number(pid));
      spawnSync('ip', ['netns', 'delete', name]);
    }
  };
  const interrupted = (): void => {
    remove();
    process.exit(130);
  };
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, interrupted);
  const close = (): void => {
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.off(signal, interrupted);
    remove();
  };
  try {
    for (const { name } of [near, far]) await run('ip', ['netns', 'add', name]);
    await run('ip', ['link', 'add', 'link0', 'netns', near.name, 'type', 'veth', 'peer', 'name', 'link0', 'netns', far.name]);
    for (const end of [near, far]) {
      await end.run(['ip', 'address', 'add', `${end.address}/30`, 'dev', 'link0']);
      await end.run(['ip', 'link', 'set', 'lo', 'up']);
      await end.run(['ip', 'link', 'set', 'link0', 'up']);
    }
  } catch (error) {
    close();
    throw error;
  }
  return { near, far, close };
}

/** It may be gone already. */
function endProcess(pid: number): void {
  try {
    process.kill(pid, 'SIGTERM');
  } catch {}
}

function namespace(name: string, address: string): Namespace {
  const inside = ['netns', 'exec', name];
  return {
    name,
    address,
    spawn: (command, options) => spawn('ip', [...inside, ...pinned, ...command], options),
    run: async (command) => (await run('ip', [...inside, ...command])).stdout,
  };
}
