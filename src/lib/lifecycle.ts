// Start is transactional, stop is idempotent: what was started is undone in reverse, once.

export interface Closable {
  /** Stops and releases everything; safe to call again, later calls share the first one's promise. */
  close(): Promise<void>;
}

/** Collects what has been started; `close` undoes it in reverse order and reports the first failure after trying all. */
export class Scope implements Closable {
  readonly #undo: (() => unknown)[] = [];
  #closing: Promise<void> | undefined;

  /** Remembers how to undo a step that has succeeded. After `close` the step is undone at once. */
  defer(undo: () => unknown): void {
    if (this.#closing !== undefined) void Promise.resolve().then(undo);
    else this.#undo.push(undo);
  }

  /** Remembers a closable and returns it. */
  use<T extends Closable>(part: T): T {
    this.defer(() => part.close());
    return part;
  }

  get closed(): boolean {
    return this.#closing !== undefined;
  }

  close(): Promise<void> {
    this.#closing ??= this.#run();
    return this.#closing;
  }

  async #run(): Promise<void> {
    let failure: unknown;
    for (let undo = this.#undo.pop(); undo !== undefined; undo = this.#undo.pop()) {
      try {
        await undo();
      } catch (error) {
        failure ??= error;
      }
    }
    if (failure !== undefined) throw failure;
  }
}

/** Runs `start` with a scope; where it throws, everything it deferred is undone before the error goes on. */
export async function startScoped<T>(start: (scope: Scope) => Promise<T>): Promise<T> {
  const scope = new Scope();
  try {
    return await start(scope);
  } catch (error) {
    await scope.close().catch(() => undefined);
    throw error;
  }
}
