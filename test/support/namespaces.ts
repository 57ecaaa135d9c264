// Network namespaces for suites and benchmarks, made with iproute2. Names hold the process id, so that two runs do not meet; what still
// runs in them is ended and all of them are removed at the end, also where the process exits early.
import { execFile, execFileSync, spawnSync } from 'node:child_process';
import { promisify } from 'node:util';

const runFile = promisify(execFile);

export function hasProgram(name: string): boolean {
  return spawnSync('sh', ['-c', 'command -v "$0"', name]).status === 0;
}

/** Why namespaces cannot be made here, with these programs beside `ip`; undefined where they can. */
export function whyNoNamespaces(...programs: readonly string[]): string | undefined {
  if (process.platform !== 'linux') return 'needs Linux';
  if (process.getuid?.() !== 0) return 'needs root, for network namespaces';
  for (const program of ['ip', ...programs]) if (!hasProgram(program)) return `needs ${program}`;
  const probe = `mgprobe${process.pid}`;
  if (spawnSync('ip', ['netns', 'add', probe]).status !== 0) return 'needs network namespaces';
  spawnSync('ip', ['netns', 'delete', probe]);
  return undefined;
}

/** One end of a line: a namespace, and the device's name in it. */
export interface LineEnd {
  readonly namespace: string;
  readonly device: string;
}

export class Namespaces {
  static #made = 0;
  readonly #prefix: string;
  readonly #names: string[] = [];
  readonly #atExit = (): void => this.close();

  constructor() {
    this.#prefix = `mg${process.pid}-${Namespaces.#made++}`;
    process.once('exit', this.#atExit);
  }

  /** Makes one with its loopback up; returns its name. */
  add(name: string): string {
    const full = `${this.#prefix}${name}`;
    execFileSync('ip', ['netns', 'add', full], { stdio: ['ignore', 'ignore', 'pipe'] });
    this.#names.push(full);
    execFileSync('ip', ['-n', full, 'link', 'set', 'lo', 'up'], { stdio: ['ignore', 'ignore', 'pipe'] });
    return full;
  }

  /** The words that come before a command to run it in the namespace; the process is the command's own. */
  before(namespace: string): readonly [string, ...string[]] {
    return ['ip', 'netns', 'exec', namespace];
  }

  /** Runs shell commands in a namespace, in order; throws at the first that fails, with what it said. */
  in(namespace: string, ...commands: readonly string[]): void {
    const [program, ...args] = this.before(namespace);
    execFileSync(program, [...args, 'sh', '-ec', commands.join('\n')], { stdio: ['ignore', 'ignore', 'pipe'] });
  }

  /** Runs one command that may take its time; resolves with what it printed. */
  async run(namespace: string, command: readonly string[]): Promise<string> {
    const [program, ...args] = this.before(namespace);
    return (await runFile(program, [...args, ...command])).stdout;
  }

  /** Lays a line between two namespaces. Both ends are down. */
  join(one: LineEnd, other: LineEnd): void {
    const ends = ['netns', one.namespace, 'type', 'veth', 'peer', 'name', other.device, 'netns', other.namespace];
    execFileSync('ip', ['link', 'add', one.device, ...ends], { stdio: ['ignore', 'ignore', 'pipe'] });
  }

  /** Ends what runs in them, stopped processes too, and removes them. */
  close(): void {
    process.off('exit', this.#atExit);
    for (const name of this.#names.splice(0).toReversed()) {
      const pids = spawnSync('ip', ['netns', 'pids', name], { encoding: 'utf8' }).stdout.split('\n');
      for (const pid of pids) if (pid !== '') end(Number(pid));
      spawnSync('ip', ['netns', 'delete', name]);
    }
  }
}

/** It may be gone already. */
function end(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {}
}
