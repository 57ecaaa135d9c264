// The three processes of a started mesh: spawned with a log file each, started again when one dies, ended together.
import { spawn, type ChildProcess } from 'node:child_process';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { request } from 'node:http';
import { join, resolve } from 'node:path';
import { Backoff, sleep } from '#lib/backoff.ts';
import type { Closable } from '#lib/lifecycle.ts';
import { startError } from './errors.ts';

/** How long a process may take to end by itself before it is killed, milliseconds. */
const stopTimeoutMs = 8_000;
const pollMs = 40;
const statusTimeoutMs = 1_000;

export type ProcessName = 'server' | 'gateway' | 'agent';

export interface ChildOptions {
  readonly name: ProcessName;
  readonly configFile: string;
  /** Where its status socket is. */
  readonly stateDir: string;
  readonly logFile: string;
  /** Told when it died and is started again. */
  readonly onRestart: (name: ProcessName, how: string) => void;
}

export class Child implements Closable {
  readonly #options: ChildOptions;
  readonly #stopping = new AbortController();
  readonly #backoff = new Backoff({ firstMs: 200, factor: 2, maxMs: 10_000, jitter: 0.1, random: Math.random });
  #process: ChildProcess | undefined;
  /** Not before the whole mesh has been ready once: until then a death ends the start instead of being repaired. */
  #settled = false;
  #died: string | undefined;
  #closing: Promise<void> | undefined;

  constructor(options: ChildOptions) {
    this.#options = options;
    this.#spawn();
  }

  /** Waits until the process's status says what `ready` looks for, and returns it. */
  async waitFor<T>(ready: (status: unknown) => T | undefined, signal: AbortSignal): Promise<T> {
    for (;;) {
      if (this.#died !== undefined) throw startError('START_PROCESS_DIED', `${this.#options.name} ${this.#died}\n${this.#lastLines()}`);
      if (signal.aborted) throw startError('START_NOT_READY', `${this.#options.name}; log file ${this.#options.logFile}`);
      const found = ready(await readStatus(this.#options.stateDir));
      if (found !== undefined) return found;
      await sleep(pollMs, signal);
    }
  }

  /** From now on the process is started again when it dies. */
  settle(): void {
    this.#settled = true;
  }

  close(): Promise<void> {
    this.#closing ??= this.#stop();
    return this.#closing;
  }

  #spawn(): void {
    const log = openSync(this.#options.logFile, 'a', 0o600);
    const main = resolve(import.meta.dirname, '../main.ts');
    // The channel tells the child when this process is gone, however it went.
    const child = spawn(process.execPath, [main, this.#options.name, '--config', this.#options.configFile], {
      stdio: ['ignore', log, log, 'ipc'],
      detached: true,
    });
    closeSync(log);
    this.#process = child;
    child.on('exit', (code, signal) => void this.#exited(code === null ? `was killed by ${signal ?? 'a signal'}` : `ended with exit code ${code}`));
  }

  async #exited(how: string): Promise<void> {
    this.#process = undefined;
    if (this.#stopping.signal.aborted) return;
    if (!this.#settled) {
      this.#died = how;
      return;
    }
    this.#options.onRestart(this.#options.name, how);
    await sleep(this.#backoff.next(), this.#stopping.signal);
    if (!this.#stopping.signal.aborted) this.#spawn();
  }

  async #stop(): Promise<void> {
    this.#stopping.abort();
    const child = this.#process;
    if (child === undefined) return;
    const gone = new Promise<void>((done) => {
      child.once('exit', () => done());
    });
    child.kill('SIGTERM');
    const timer = setTimeout(() => child.kill('SIGKILL'), stopTimeoutMs);
    await gone;
    clearTimeout(timer);
  }

  #lastLines(): string {
    return readFileSync(this.#options.logFile, 'utf8').trimEnd().split('\n').slice(-8).join('\n');
  }
}

/** The status of the process whose state directory this is, or undefined while it does not answer. */
function readStatus(stateDir: string): Promise<unknown> {
  return new Promise((done) => {
    const call = request({ socketPath: join(stateDir, 'status.sock'), path: '/', timeout: statusTimeoutMs }, (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('error', () => done(undefined));
      response.on('end', () => done(JSON.parse(Buffer.concat(chunks).toString('utf8'))));
    });
    call.on('timeout', () => call.destroy());
    call.on('error', () => done(undefined));
    call.end();
  });
}
