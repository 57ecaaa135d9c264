// The path that an upstream is asked for, and back again: which path of the service stands for one that the upstream names.
import { compilePathPattern, pathRewriteProblem, type PathPattern } from '#model/path-rewrite.ts';
import type { PathRewrite } from '#model/web.ts';
import { TARGET_BYTES } from '#wire/http1-limits.ts';
import { pathReadings } from './path-readings.ts';
import { isBelow } from './route-match.ts';

/** How a route's paths become the upstream's. */
export interface PathMap {
  /** The route's own, without a trailing slash; empty for `/`. */
  readonly prefix: string;
  /** Stands in the upstream's paths where `prefix` stands in ours; the target's own base path comes before it. */
  readonly inner: string;
  readonly pattern: PathPattern | undefined;
  /** Set where the rewriting cannot be done: every request is refused then. */
  readonly problem: string | undefined;
}

export function compilePathMap(prefix: string, rewrite: PathRewrite): PathMap {
  const plain = { prefix, inner: '', pattern: undefined, problem: undefined };
  if (rewrite === 'strip') return plain;
  if (rewrite === 'preserve') return { ...plain, inner: prefix };
  switch (rewrite.kind) {
    case 'replace':
      return { ...plain, inner: rewrite.prefix.replace(/\/$/, ''), problem: pathRewriteProblem(rewrite) };
    case 'regex': {
      const compiled = compilePathPattern(rewrite.pattern, rewrite.replacement);
      return 'problem' in compiled ? { ...plain, problem: compiled.problem } : { ...plain, pattern: compiled };
    }
  }
}

/**
 * The path below the target's base path; all bytes that no rule names are the client's own. Undefined where rewriting gives no path, or one that
 * may be read as leaving the folder that its replacement names: that is never sent.
 */
export function innerPath(map: PathMap, path: string): string | undefined {
  if (map.problem !== undefined) return undefined;
  let rest = path.slice(map.prefix.length);
  if (map.inner === '' && !rest.startsWith('/')) rest = `/${rest}`;
  return map.pattern === undefined ? map.inner + rest : rewrite(map.pattern, rest);
}

/** What the pattern does not match stays as it is. */
function rewrite({ apply, home }: PathPattern, rest: string): string | undefined {
  const path = apply(rest);
  if (path === undefined) return rest;
  if (path.length > TARGET_BYTES || !/^\/[\x21\x22\x24-\x3e\x40-\x7e]*$/.test(path)) return undefined;
  // A group that took nothing may leave an empty segment at the front, which reads as a host (attack row P-4).
  if (path.startsWith('//') && !rest.startsWith('//')) return undefined;
  const folder = home.slice(0, -1);
  return pathReadings(path)?.every((reading) => isBelow(reading, folder)) === true ? path : undefined;
}

/** Two paths that stand for each other, outside and at a target; without a trailing slash. */
export interface PathFrame {
  readonly outer: string;
  readonly inner: string;
}

/** How a target's paths read outside. What a pattern rewrites is read as if the prefix had been stripped: a pattern has no way back. */
export function publicFrame({ prefix, inner }: PathMap, basePath: string): PathFrame {
  return prefix === inner ? { outer: '', inner: basePath } : { outer: prefix, inner: basePath + inner };
}
