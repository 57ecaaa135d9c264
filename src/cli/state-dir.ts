// What a process needs of its state directory before it starts: that it is there, can be written, and is nobody else's.
import { mkdir, open, rm } from 'node:fs/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import { errorCode } from '#lib/errors.ts';
import { cliError } from './errors.ts';
import type { Io } from './io.ts';

const reasons: Readonly<Record<string, string>> = {
  ENOTDIR: 'a part of its path is a file',
  EEXIST: 'it is a file',
  EACCES: 'no permission to write there',
  EPERM: 'no permission to write there',
  EROFS: 'the file system is read-only',
  ENOSPC: 'no space is left on the device',
};

/** Where this machine's processes keep their state, unless somebody says otherwise. */
export function stateDirectory(env: Io['env']): string {
  return env['MESHGATE_STATE_DIR'] || '.meshgate';
}

/**
 * Makes the directory where it is missing. CLI_STATE_DIR where it cannot be written; CLI_STATE_DIR_IN_USE where a process answers on its
 * status socket: two with one key and one database would take each other's place for ever.
 */
export async function checkStateDir(stateDir: string): Promise<void> {
  try {
    await mkdir(stateDir, { recursive: true, mode: 0o700 });
    const probe = join(stateDir, `.probe-${process.pid}`);
    await (await open(probe, 'wx', 0o600)).close();
    await rm(probe);
  } catch (error) {
    const code = errorCode(error) ?? '';
    throw cliError('CLI_STATE_DIR', `${stateDir}: ${reasons[code] ?? code}`, error);
  }
  if (await answers(join(stateDir, 'status.sock'))) throw cliError('CLI_STATE_DIR_IN_USE', stateDir);
}

/** Whether somebody listens there. The socket of a killed process refuses, and one that was never made is missing. */
function answers(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path);
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}
