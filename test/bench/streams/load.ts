// The load generator: built from load.c once a run, started for each measurement on the load's core.
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { coreArgument, LOAD_CORE } from '../http/asking.ts';

export class StreamLoad {
  readonly #program: string;

  /** Needs a C compiler. */
  constructor(directory: string) {
    this.#program = join(directory, 'load');
    const built = spawnSync('cc', ['-O2', '-o', this.#program, join(import.meta.dirname, 'load.c')], { encoding: 'utf8' });
    if (built.status !== 0) throw new Error(`load.c: ${built.stderr}`);
  }

  /** What one measurement says. */
  async run(...args: readonly (string | number)[]): Promise<number> {
    const child = this.#start(args);
    let out = '';
    child.stdout.on('data', (chunk: Buffer) => (out += chunk.toString()));
    const [code] = (await once(child, 'close')) as [number | null];
    const figure = Number(out);
    if (code !== 0 || !(figure > 0)) throw new Error(`load ${args.join(' ')}: ended with ${code}, said ${JSON.stringify(out)}`);
    return figure;
  }

  /** Starts what stays until it is ended, and waits for its word that it is ready. */
  async open(...args: readonly (string | number)[]): Promise<{ end(): Promise<void> }> {
    const child = this.#start(args);
    const closed = once(child, 'close');
    const ready = once(createInterface({ input: child.stdout }), 'line');
    await Promise.race([ready, closed.then(() => Promise.reject(new Error(`load ${args.join(' ')} has ended`)))]);
    return {
      end: async () => {
        child.kill('SIGTERM');
        await closed;
      },
    };
  }

  #start(args: readonly (string | number)[]) {
    return spawn('taskset', ['-c', coreArgument(LOAD_CORE), this.#program, ...args.map(String)], { stdio: ['pipe', 'pipe', 'inherit'] });
  }
}
