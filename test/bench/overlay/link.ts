// Two network namespaces with a veth pair between them: the physical link under every subject.
import { spawn, type ChildProcess, type SpawnOptions } from 'node:child_process';
import { existsSync } from 'node:fs';
import { availableParallelism, homedir } from 'node:os';
import { join } from 'node:path';
import { hasProgram, Namespaces, whyNoNamespaces } from '../../support/namespaces.ts';

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

/** What this machine lacks to run the benchmark at all. */
export function missingForLink(): readonly string[] {
  const missing: string[] = [];
  const why = whyNoNamespaces();
  if (why !== undefined) missing.push(why.replace(/^needs /, ''));
  for (const program of pinned.slice(0, 1)) if (!hasProgram(program)) missing.push(`the program ${program}`);
  if (!existsSync('/dev/net/tun')) missing.push('/dev/net/tun');
  return missing;
}

export function openLink(): Link {
  const namespaces = new Namespaces();
  const interrupted = (): void => {
    namespaces.close();
    process.exit(130);
  };
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, interrupted);
  const close = (): void => {
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.off(signal, interrupted);
    namespaces.close();
  };
  try {
    const [near, far] = [end(namespaces, 'n', '198.18.0.1'), end(namespaces, 'f', '198.18.0.2')];
    namespaces.join({ namespace: near.name, device: 'link0' }, { namespace: far.name, device: 'link0' });
    for (const { name, address } of [near, far]) namespaces.in(name, `ip address add ${address}/30 dev link0`, 'ip link set link0 up');
    return { near, far, close };
  } catch (error) {
    close();
    throw error;
  }
}

function end(namespaces: Namespaces, short: string, address: string): Namespace {
  const name = namespaces.add(short);
  const [program, ...before] = namespaces.before(name);
  return {
    name,
    address,
    spawn: (command, options) => spawn(program, [...before, ...pinned, ...command], options),
    run: (command) => namespaces.run(name, command),
  };
}
