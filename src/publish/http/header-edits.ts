// The header edits of a service's configuration, made ready once for each route. What is removed or set goes in every spelling before anything is added.
import { canonicalHeaderName, fieldValueProblem, requestFieldProblem, responseFieldProblem } from '#model/field-names.ts';
import type { HeaderEdits } from '#model/web.ts';
import { addField, emptyFields, type Fields } from '#wire/http1-fields.ts';
import { setsOwnCookie } from '../access/cookies.ts';
import { FieldClass, noFields } from './field-class.ts';

export interface RequestEdits {
  /** Field lines, each with CRLF. */
  readonly lines: string;
  /** What the client says under these names is removed. */
  readonly names: FieldClass;
}

export interface ResponseEdits {
  readonly names: FieldClass;
  readonly fields: Fields;
}

const nothing: RequestEdits = { lines: '', names: noFields };

/** The service's edits, and over them the headers of one target. What may not be touched is left out and told. */
export function compileRequestEdits(
  edits: HeaderEdits,
  custom: Readonly<Record<string, string>>,
  onProblem: (problem: string) => void,
): RequestEdits {
  const { names, written } = allowedEdits({ ...edits, set: withCustom(edits.set, custom) }, requestFieldProblem, onProblem);
  if (names.length === 0 && written.length === 0) return nothing;
  return { lines: written.map(([name, value]) => `${name}: ${value}\r\n`).join(''), names: new FieldClass(names) };
}

/** Undefined where there is nothing to do. */
export function compileResponseEdits(edits: HeaderEdits, onProblem: (problem: string) => void): ResponseEdits | undefined {
  const { names, written } = allowedEdits(edits, responseFieldProblem, onProblem);
  const fields = emptyFields();
  for (const [name, value] of written) {
    if (canonicalHeaderName(name) === 'set-cookie' && setsOwnCookie(value)) onProblem("a cookie of that name is the gateway's own");
    else addField(fields, name, value);
  }
  return names.length === 0 && fields.keys.length === 0 ? undefined : { names: new FieldClass(names), fields };
}

/** A target's own header stands in place of the service's of the same class. */
function withCustom(set: Readonly<Record<string, string>>, custom: Readonly<Record<string, string>>): Readonly<Record<string, string>> {
  const taken = new FieldClass(Object.keys(custom));
  return taken.empty ? set : { ...Object.fromEntries(Object.entries(set).filter(([name]) => !taken.has(name.toLowerCase()))), ...custom };
}

function allowedEdits(
  { remove, set, add }: HeaderEdits,
  nameProblem: (name: string) => string | undefined,
  onProblem: (problem: string) => void,
): { readonly names: readonly string[]; readonly written: readonly (readonly [name: string, value: string])[] } {
  const fine = (name: string, value = ''): boolean => {
    const problem = nameProblem(name) ?? fieldValueProblem(name, value);
    if (problem !== undefined) onProblem(problem);
    return problem === undefined;
  };
  const setting = Object.entries(set).filter(([name, value]) => fine(name, value));
  const adding = Object.entries(add).filter(([name, value]) => fine(name, value));
  const removing = remove.filter((name) => fine(name));
  return {
    names: [...removing, ...setting.map(([name]) => name)],
    written: [...setting, ...adding].map(([name, value]) => [name, value.trim()] as const),
  };
}
