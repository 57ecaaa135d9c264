// What a start has to remember for the next one: who signs in, and the token that the set-up uses. One file, mode 0600.
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { readFileIfThere, writeFileAtomic } from '#lib/files.ts';
import { object, optional, parseOrThrow, string } from '#lib/schema.ts';

const keptSchema = object({
  email: string(),
  password: string(),
  /** Personal access token of the owner; absent until the set-up call has succeeded. */
  token: optional(string()),
});

export interface Kept {
  readonly email: string;
  readonly password: string;
  readonly token: string | undefined;
}

/** What the last start kept, or a new e-mail and password that are on disk before anything uses them. */
export async function loadKept(stateDir: string): Promise<Kept> {
  const text = await readFileIfThere(join(stateDir, 'start.json'));
  if (text !== undefined) return parseOrThrow(keptSchema, JSON.parse(text));
  const kept: Kept = { email: 'admin@app.localhost', password: randomBytes(12).toString('base64url'), token: undefined };
  await saveKept(stateDir, kept);
  return kept;
}

export function saveKept(stateDir: string, kept: Kept): Promise<void> {
  return writeFileAtomic(join(stateDir, 'start.json'), `${JSON.stringify(kept, undefined, 2)}\n`);
}
