// What the checks of one request see; one limit of time for all of them.
import type { AccessBackend } from '../access/backend.ts';
import type { CheckInput } from '../access/check.ts';
import type { Subject } from '../access/subject.ts';
import type { Surroundings } from '../access/surroundings.ts';
import type { Deadlines } from './deadlines.ts';

export interface RequestInputDeps {
  readonly backend: AccessBackend;
  readonly around: Surroundings;
  readonly forward: { readonly deadlines: Deadlines };
}

export class RequestInput implements CheckInput {
  readonly subject: Subject;
  readonly backend: AccessBackend;
  readonly around: Surroundings;
  /** What would have decided, were it not only observed. */
  observed: string[] | undefined;
  readonly #deadlines: Deadlines;
  #signal: AbortSignal | undefined;

  constructor(subject: Subject, deps: RequestInputDeps) {
    this.subject = subject;
    this.backend = deps.backend;
    this.around = deps.around;
    this.#deadlines = deps.forward.deadlines;
  }

  get signal(): AbortSignal {
    return (this.#signal ??= this.#deadlines.accessLimit());
  }

  observe(what: string): void {
    this.observed ??= [];
    if (!this.observed.includes(what)) this.observed.push(what);
  }
}
