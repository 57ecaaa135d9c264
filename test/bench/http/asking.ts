// Processes of the benchmark that are asked over the IPC channel: one question at a time, one answer each.
import { spawn, type ChildProcess } from 'node:child_process';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The subjects have one core for themselves; load and upstream have the other. */
export const LOAD_CORE = 0;
export const SUBJECT_CORE = 1;

const askMs = 300_000;

export function coreArgument(core: number): string {
  return String(core % availableParallelism());
}

export class AskedProcess {
  readonly #child: ChildProcess;
  readonly #program: string;

  /** Starts a program of this folder on a core. */
  constructor(program: string, core: number) {
    const file = fileURLToPath(new URL(program, import.meta.url));
    this.#program = program;
    this.#child = spawn(
      'taskset',
      ['-c', coreArgument(core), process.execPath, '--disable-warning=ExperimentalWarning', '--disable-warning=DEP0060', '--expose-gc', file],
      {
        stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
        serialization: 'advanced',
        env: { ...process.env, NODE_COMPILE_CACHE: join(tmpdir(), 'mg-bench-compiled') },
      },
    );
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  /** Rejects with what went wrong in the process, where it has ended, or after five minutes. */
  ask<Answer>(question: string, value?: unknown): Promise<Answer> {
    return new Promise((resolve, reject) => {
      const settle = (then: () => void): void => {
        clearTimeout(timer);
        this.#child.off('message', answered);
        this.#child.off('exit', ended);
        then();
      };
      const answered = (message: { readonly answer?: unknown; readonly failed?: string }): void =>
        settle(() => (message.failed === undefined ? resolve(message.answer as Answer) : reject(new Error(`${this.#program}: ${message.failed}`))));
      const ended = (): void => settle(() => reject(new Error(`${this.#program} has ended`)));
      const timer = setTimeout(() => settle(() => reject(new Error(`${this.#program}: no answer to ${question}`))), askMs);
      this.#child.on('message', answered);
      this.#child.on('exit', ended);
      this.#child.send({ question, value });
    });
  }

  /** Resolves when it has ended. */
  stop(): Promise<void> {
    return new Promise((resolve) => {
      if (this.#child.exitCode !== null || this.#child.signalCode !== null) return resolve();
      this.#child.once('exit', () => resolve());
      this.#child.kill('SIGKILL');
    });
  }
}

/** In the process: answers questions by name. */
export function answerQuestions(answers: Readonly<Record<string, (value: never) => unknown>>): void {
  process.on('message', ({ question, value }: { readonly question: string; readonly value: unknown }) => {
    void (async () => {
      try {
        const answer = answers[question] as ((value: unknown) => unknown) | undefined;
        if (answer === undefined) throw new Error(`no such question: ${question}`);
        process.send?.({ answer: await answer(value) });
      } catch (error) {
        process.send?.({ failed: error instanceof Error ? (error.stack ?? error.message) : String(error) });
      }
    })();
  });
  process.on('disconnect', () => process.exit(0));
}
