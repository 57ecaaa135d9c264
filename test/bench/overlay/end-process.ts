// Starts an end in a namespace and asks it; what its overlay signals goes to whom the parent says.
import type { ChildProcess } from 'node:child_process';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { PublicKey } from '#model/ids.ts';
import type { SignalMessage } from '#model/signal.ts';
import { cacheFolder, type Namespace } from './link.ts';
import type { FromEnd, Task, TaskName, Tasks, ToEnd } from './protocol.ts';

const program = fileURLToPath(new URL('end.ts', import.meta.url));
const taskMs = 60_000;

interface Waiting {
  readonly resolve: (answer: unknown) => void;
  readonly reject: (error: Error) => void;
}

export class EndProcess {
  readonly #child: ChildProcess;
  readonly #waiting = new Map<number, Waiting>();
  readonly #ended: Promise<void>;
  #nextId = 1;
  #signalled: (to: PublicKey, message: SignalMessage) => void = () => undefined;

  constructor(namespace: Namespace, env: Readonly<Record<string, string>> = {}) {
    this.#child = namespace.spawn([process.execPath, '--disable-warning=ExperimentalWarning', program], {
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
      serialization: 'advanced',
      env: { ...process.env, NODE_COMPILE_CACHE: join(cacheFolder, 'compiled'), ...env },
    });
    this.#child.on('message', (message: FromEnd) => this.#receive(message));
    this.#ended = new Promise((resolve) => {
      this.#child.once('exit', (code, signal) => {
        this.#failAll(`the end process ended (${signal ?? code})`);
        resolve();
      });
    });
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  onSignal(handler: (to: PublicKey, message: SignalMessage) => void): void {
    this.#signalled = handler;
  }

  signal(from: PublicKey, message: SignalMessage): void {
    this.#tell({ kind: 'signal', from, message });
  }

  /** Rejects with what went wrong in the end, or after a minute. */
  async ask<Name extends TaskName>(name: Name, request: Tasks[Name]['request']): Promise<Tasks[Name]['answer']> {
    const id = this.#nextId++;
    const answer = new Promise<unknown>((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`no answer within ${taskMs} ms to ${name}`)), taskMs);
      const settle = (then: () => void): void => {
        clearTimeout(timer);
        this.#waiting.delete(id);
        then();
      };
      this.#waiting.set(id, {
        resolve: (value) => settle(() => resolve(value)),
        reject: (error) => settle(() => reject(error)),
      });
    });
    this.#tell({ kind: 'task', id, task: { name, request } as Task });
    return (await answer) as Tasks[Name]['answer'];
  }

  async close(): Promise<void> {
    if (this.#child.exitCode === null && this.#child.signalCode === null) this.#child.kill('SIGKILL');
    await this.#ended;
  }

  #tell(message: ToEnd): void {
    if (this.#child.connected) this.#child.send(message);
    else this.#failAll('the end process is gone');
  }

  #receive(message: FromEnd): void {
    switch (message.kind) {
      case 'answer':
        this.#waiting.get(message.id)?.resolve(message.answer);
        return;
      case 'failed':
        this.#waiting.get(message.id)?.reject(new Error(message.reason));
        return;
      case 'signal':
        this.#signalled(message.to, message.message);
    }
  }

  #failAll(reason: string): void {
    for (const { reject } of this.#waiting.values()) reject(new Error(reason));
  }
}
