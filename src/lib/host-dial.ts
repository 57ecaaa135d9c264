// The Dial of the host's own network.
import { LendingSocket } from './lending-socket.ts';
import type { Dial } from './net.ts';
import { resolveHost } from './resolve.ts';

/** Dials by the host's routes; tries a name's addresses in turn and rejects with the last one's error. */
export const hostDial: Dial = async (target, { signal }) => {
  signal.throwIfAborted();
  const addresses = await resolveHost(target.host);
  let failure: unknown;
  for (const address of addresses) {
    try {
      return await connectTo(address, target.port, signal);
    } catch (error) {
      signal.throwIfAborted();
      failure = error;
    }
  }
  throw failure;
};

function connectTo(host: string, port: number, signal: AbortSignal): ReturnType<Dial> {
  return new Promise((resolve, reject) => {
    const socket = new LendingSocket();
    socket.setNoDelay(true).connect({ host, port });
    const abort = (): void => {
      socket.destroy();
      reject(signal.reason);
    };
    signal.addEventListener('abort', abort, { once: true });
    socket.once('error', (error) => {
      signal.removeEventListener('abort', abort);
      reject(error);
    });
    socket.once('connect', () => {
      signal.removeEventListener('abort', abort);
      socket.removeAllListeners('error');
      resolve(socket);
    });
  });
}
