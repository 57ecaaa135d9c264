// How often somebody may be wrong about a service's secrets. Counts are in the database, so that they hold over several gateways and servers, and
// an attempt is counted before it is looked at, so that many at once count too. Waiting always helps: what came too early is not counted.
import { createHash } from 'node:crypto';
import type { Tables } from '../store/store.ts';
import type { AttemptRule } from './constants.ts';

export interface AttemptKey {
  readonly key: string;
  readonly rule: AttemptRule;
}

/** Counts an attempt on all keys and returns 0; or the milliseconds until one of them may be tried again, with nothing counted. In a write. */
export async function beginAttempt(tables: Tables, now: number, keys: readonly AttemptKey[]): Promise<number> {
  const counts = await Promise.all(keys.map(({ key }) => tables.attempts.find(key)));
  const waits = keys.map(({ rule }, i) => {
    const count = counts[i];
    if (count === undefined || count.failures < rule.free || now - count.last > rule.memoryMs) return 0;
    const delay = Math.min(rule.longestMs, rule.firstMs * 2 ** Math.min(30, count.failures - rule.free));
    return Math.max(0, count.last + delay - now);
  });
  const wait = Math.max(0, ...waits);
  if (wait > 0) return wait;
  for (const [i, { key, rule }] of keys.entries()) {
    const before = counts[i];
    const failures = before === undefined || now - before.last > rule.memoryMs ? 0 : before.failures;
    await tables.attempts.set(key, { failures: failures + 1, last: now });
  }
  return 0;
}

/**
 * Takes an attempt back that was right, or never looked at. What was right also takes back one that was wrong: a secret that many people use is
 * mistyped now and then.
 */
export async function withdrawAttempt(tables: Tables, keys: readonly AttemptKey[], right: boolean): Promise<void> {
  for (const { key } of keys) await tables.attempts.subtract(key, right ? 2 : 1);
}

/** A part of a key that stands for a secret's hash or a name. */
export function digestOf(text: string): string {
  return createHash('sha256').update(text).digest('base64url').slice(0, 16);
}
