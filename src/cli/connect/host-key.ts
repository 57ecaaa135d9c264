// The key that an SSH server shows, as a line of a known_hosts file.
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { describeError } from '#lib/errors.ts';
import { hostKeyMs } from '../constants.ts';
import { cliError } from '../errors.ts';
import { readText } from '../files.ts';

const run = promisify(execFile);
const keyLine = /^((?:ssh-ed25519|ecdsa-sha2-nistp(?:256|384|521)|ssh-rsa) [A-Za-z0-9+/=]+)(?: |$)/;

/** The key of a file such as /etc/ssh/ssh_host_ed25519_key.pub, copied from the server: the only way that needs to trust nobody. */
export async function hostKeyOf(path: string): Promise<string> {
  const key = keyLine.exec((await readText(path)).text.trim())?.[1];
  if (key === undefined) throw cliError('CLI_CONNECT', `${path} holds no public key of an SSH server`);
  return key;
}

/** The keys that the server behind a local port shows now, by OpenSSH's ssh-keyscan. */
export async function scanHostKeys(port: number): Promise<readonly string[]> {
  const seconds = String(Math.ceil(hostKeyMs / 1_000));
  const { stdout } = await run('ssh-keyscan', ['-T', seconds, '-p', String(port), '127.0.0.1'], { timeout: 2 * hostKeyMs }).catch(
    (error: unknown) => {
      throw cliError('CLI_CONNECT', `ssh-keyscan: ${describeError(error)}`, error);
    },
  );
  const keys = stdout.split('\n').flatMap((line) => keyLine.exec(line.replace(/^\S+ /, ''))?.[1] ?? []);
  if (keys.length === 0) throw cliError('CLI_CONNECT', 'the other side shows no SSH host key; is it an SSH server, and is its port unlocked?');
  return keys;
}
