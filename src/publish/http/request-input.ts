// What the checks of one request see; one limit of time for all of them.
import type { AccessBackend } from '../access/backend.ts';
import type { CheckInput } from '../access/check.ts';
import type { Subject } from '../access/subject.ts';
import type { Deadlines } from './deadlines.ts';

export class RequestInput implements CheckInput {
  readonly subject: Subject;
  readonly backend: AccessBackend;
  readonly #deadlines: Deadlines;
  #signal: AbortSignal | undefined;

  constructor(subject: Subject, deps: { readonly backend: AccessBackend; readonly forward: { readonly deadlines: Deadlines } }) {
    this.subject = subject;
    this.backend = deps.backend;
    this.#deadlines = deps.forward.deadlines;
  }

  get signal(): AbortSignal {
    return (this.#signal ??= this.#deadlines.accessLimit());
  }
}
