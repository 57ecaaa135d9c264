// Files that commands read: configuration, requests, secrets. Messages name the file and the place, never what stands in it.
import { open } from 'node:fs/promises';
import { errorCode } from '#lib/errors.ts';
import { maxFileBytes, maxSecretLength } from './constants.ts';
import { cliError } from './errors.ts';
import type { Io } from './io.ts';

/** The text of a file of bounded size, and whether others than its owner may read it. CLI_FILE says why not. */
export async function readText(path: string): Promise<{ readonly text: string; readonly shared: boolean }> {
  try {
    const file = await open(path, 'r');
    try {
      const { size, mode } = await file.stat();
      if (size > maxFileBytes) throw cliError('CLI_FILE', `${path} is larger than ${maxFileBytes} bytes`);
      return { text: await file.readFile('utf8'), shared: (mode & 0o077) !== 0 };
    } finally {
      await file.close();
    }
  } catch (error) {
    const reasons: Readonly<Record<string, string>> = { ENOENT: 'there is no such file', EACCES: 'no permission', EISDIR: 'it is a directory' };
    const code = errorCode(error) ?? '';
    if (code === 'CLI_FILE') throw error;
    throw cliError('CLI_FILE', `${path}: ${reasons[code] ?? code}`, error);
  }
}

export async function readJsonFile(path: string): Promise<unknown> {
  const { text } = await readText(path);
  try {
    return JSON.parse(text);
  } catch (error) {
    // The parser quotes the text around the place, and that may be a secret.
    const place = /line \d+ column \d+|position \d+/.exec(error instanceof Error ? error.message : '')?.[0];
    throw cliError('CLI_FILE', `${path} is not JSON${place === undefined ? '' : ` (${place})`}`);
  }
}

/** A secret from the first line of a file, or asked for. It never comes from the command line: others can read that. */
export async function readSecret(io: Io, label: string, path: string | undefined): Promise<string> {
  if (path === undefined) return io.secret(label);
  const [line = ''] = (await readText(path)).text.split(/\r?\n/);
  if (line === '' || line.length > maxSecretLength) throw cliError('CLI_SECRET', `${path} must hold the ${label.toLowerCase()} in its first line`);
  return line;
}
