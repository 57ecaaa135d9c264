// Regular expressions that people at the API write, matched in time linear in the text (attack row D-8): RE2's syntax, without look-around and back-references.
import { RE2JS } from 're2js';

/** Characters of a pattern. */
const patternLength = 512;
/** Instructions of a compiled pattern: time for a text is at most its length times this. */
const patternSize = 512;

export interface LinearPattern {
  /** How many groups it has, and the numbers of those with names. */
  readonly groups: number;
  readonly names: ReadonlyMap<string, number>;
  /** The groups' texts where the pattern matches all of the text, the whole at 0; a group that took no part is empty. Else undefined. */
  match(text: string): readonly string[] | undefined;
}

/** Compiles a pattern, or says why it is none. */
export function compilePattern(pattern: string): LinearPattern | { readonly problem: string } {
  if (pattern.length > patternLength) return { problem: `a pattern has at most ${patternLength} characters` };
  let compiled: RE2JS;
  try {
    compiled = RE2JS.compile(pattern);
  } catch (error) {
    return { problem: error instanceof Error ? error.message : 'the pattern cannot be read' };
  }
  if (compiled.programSize() > patternSize) return { problem: 'the pattern is too large: use smaller repetitions' };
  const groups = compiled.groupCount();
  return {
    groups,
    names: new Map(Object.entries(compiled.namedGroups())),
    match(text) {
      const matcher = compiled.matcher(text);
      if (!matcher.matches()) return undefined;
      const found: string[] = [];
      for (let i = 0; i <= groups; i++) found.push(matcher.group(i) ?? '');
      return found;
    },
  };
}
