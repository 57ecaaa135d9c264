// What can be told before anything is started: a directory that cannot be written, ports that are held by somebody else.
import { createSocket } from 'node:dgram';
import { mkdir, open, readFile, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { errorCode } from '#lib/errors.ts';
import { startError } from './errors.ts';

/** Makes the state directory (0700) and takes its lock: one mesh a directory. The lock of a process that is gone is taken over. */
export async function takeStateDirectory(stateDir: string): Promise<{ release(): Promise<void> }> {
  const lock = join(stateDir, 'start.pid');
  try {
    await mkdir(stateDir, { recursive: true, mode: 0o700 });
    for (;;) {
      try {
        const file = await open(lock, 'wx', 0o600);
        await file.writeFile(`${process.pid}\n`);
        await file.close();
        return { release: () => rm(lock, { force: true }) };
      } catch (error) {
        if (errorCode(error) !== 'EEXIST') throw error;
        const holder = Number(await readFile(lock, 'utf8'));
        if (isAlive(holder)) throw startError('START_ALREADY_RUNNING', `${stateDir}, process ${holder}`);
        await rm(lock, { force: true });
      }
    }
  } catch (error) {
    if (errorCode(error) === 'START_ALREADY_RUNNING') throw error;
    throw startError('START_DIRECTORY_UNUSABLE', `${stateDir}: ${errorCode(error) ?? String(error)}`, error);
  }
}

function isAlive(pid: number): boolean {
  if (!Number.isInteger(pid) || pid <= 0 || pid === process.pid) return false;
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return errorCode(error) === 'EPERM';
  }
}

/** Opens and closes a TCP port, to tell at once when it cannot be had. */
export function checkTcpPort(port: number, flag: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', (error) => reject(portError(error, `TCP port ${port}`, flag)));
    server.listen({ port, exclusive: true }, () => server.close(() => resolve()));
  });
}

/** The same for UDP. */
export function checkUdpPort(port: number, flag: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = createSocket('udp4');
    socket.once('error', (error) => reject(portError(error, `UDP port ${port}`, flag)));
    socket.bind(port, () => socket.close(() => resolve()));
  });
}

function portError(error: Error, port: string, flag: string): Error {
  const code = errorCode(error);
  if (code === 'EACCES') return startError('START_PORT_FORBIDDEN', `${port}; ${flag} chooses another`, error);
  return startError('START_PORT_IN_USE', `${port}${code === 'EADDRINUSE' ? '' : `: ${code ?? error.message}`}; ${flag} chooses another`, error);
}
