// What can be wrong with a value that comes from outside: the table of lib, and the list of issues that such an error carries.
import { defineErrors, MeshgateError } from './errors.ts';

/** One thing that is wrong, and where: `targets[0].port`, or an environment variable, or a flag. An empty path is the whole value. */
export interface Issue {
  readonly path: string;
  readonly message: string;
}

export const libError = defineErrors('lib', {
  LIB_INPUT_INVALID: { text: 'the input is not valid', origin: 'input', retry: false, status: 422 },
  LIB_CONFIG_INVALID: { text: 'the configuration is not valid', origin: 'input', retry: false, status: 422 },
});

/** The cause of an error about input: every issue found, readable as text. */
export class Issues {
  readonly list: readonly Issue[];

  constructor(list: readonly Issue[]) {
    this.list = Object.freeze([...list]);
  }

  toString(): string {
    return this.list.map(formatIssue).join('; ');
  }
}

/** `path message`, as one sentence. */
export function formatIssue(issue: Issue): string {
  return issue.path === '' ? `the value ${issue.message}` : `${issue.path} ${issue.message}`;
}

/** The issues behind an error of this table; empty for every other error. Issues never quote a value, so they may be shown. */
export function issuesOf(error: unknown): readonly Issue[] {
  return error instanceof MeshgateError && error.cause instanceof Issues ? error.cause.list : [];
}
