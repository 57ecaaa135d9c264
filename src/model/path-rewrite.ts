// What becomes of a path on its way to the upstream: pure rules, asked by the API when a service is saved and by the gateway when it is published.
import { compilePattern, type LinearPattern } from '#lib/linear-pattern.ts';
import type { PathRewrite } from './web.ts';

/** Characters of a replacement or of a new prefix. */
const replacementLength = 512;

export interface PathPattern {
  /** The folder that every result is in: what the replacement says before its first group, up to the last slash. */
  readonly home: string;
  /** The path that stands for `rest`, or undefined where the pattern does not match all of it. `rest` begins with a slash. */
  apply(rest: string): string | undefined;
}

/** Why a gateway could not rewrite so, or undefined where it can. */
export function pathRewriteProblem(rewrite: PathRewrite): string | undefined {
  if (typeof rewrite === 'string') return undefined;
  switch (rewrite.kind) {
    case 'replace':
      return rewrite.prefix === '' ? undefined : fixedPathProblem(rewrite.prefix);
    case 'regex': {
      const compiled = compilePathPattern(rewrite.pattern, rewrite.replacement);
      return 'problem' in compiled ? compiled.problem : undefined;
    }
  }
}

/** Why a path that somebody configures is not one with a single reading, or undefined where it is. */
function fixedPathProblem(path: string): string | undefined {
  if (path.length > replacementLength) return `a path has at most ${replacementLength} characters`;
  if (!/^\/[A-Za-z0-9\-._~!$&'()*+,=:@/]*$/.test(path)) return 'a path begins with / and has letters, digits and signs that need no encoding';
  if (/\/(?:\.\.?)?\//.test(path) || /\/\.\.?$/.test(path)) return 'a path has no //, . or .. in it';
  return undefined;
}

/**
 * A pattern for the part behind a route's prefix, which it has to match whole; `$1`, `${1}` and `${name}` in the replacement stand for groups,
 * `$$` for a dollar sign. Or why the two cannot be used.
 */
export function compilePathPattern(pattern: string, replacement: string): PathPattern | { readonly problem: string } {
  const compiled = compilePattern(pattern);
  if ('problem' in compiled) return compiled;
  if (replacement.length > replacementLength) return { problem: `a replacement has at most ${replacementLength} characters` };
  const parts = readReplacement(replacement, compiled);
  if ('problem' in parts) return parts;
  const [first = ''] = parts;
  const head = typeof first === 'string' ? first : '';
  const problem = fixedPathProblem(parts.map((part) => (typeof part === 'string' ? part : 'x')).join(''));
  if (problem !== undefined || !head.startsWith('/')) return { problem: problem ?? 'a replacement begins with /' };
  return {
    home: head.slice(0, head.lastIndexOf('/') + 1),
    apply(rest) {
      const groups = compiled.match(rest);
      if (groups === undefined) return undefined;
      let text = '';
      for (const part of parts) text += typeof part === 'string' ? part : groups[part];
      return text;
    },
  };
}

/** The replacement as fixed texts and numbers of groups. */
function readReplacement(text: string, { groups, names }: LinearPattern): readonly (string | number)[] | { readonly problem: string } {
  const parts: (string | number)[] = [];
  let fixed = '';
  for (let at = 0; at < text.length;) {
    const dollar = /^\$(?:(\$)|([0-9])|\{([A-Za-z0-9_]+)\})/.exec(text.slice(at));
    if (dollar === null) {
      if (text[at] === '$') return { problem: 'a $ in a replacement names a group ($1, ${name}); write $$ for the sign itself' };
      fixed += text[at++];
      continue;
    }
    const [whole, sign, digit, braced = ''] = dollar;
    at += whole.length;
    if (sign !== undefined) {
      fixed += '$';
      continue;
    }
    const number = digit === undefined && !/^[0-9]+$/.test(braced) ? names.get(braced) : Number(digit ?? braced);
    if (number === undefined || number > groups) return { problem: `the pattern has no group ${digit ?? braced}` };
    if (fixed !== '') parts.push(fixed);
    fixed = '';
    parts.push(number);
  }
  if (fixed !== '') parts.push(fixed);
  return parts;
}
