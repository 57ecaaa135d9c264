// The Dial of the host's own network.
import { parseIp } from './ip.ts';
import { LendingSocket } from './lending-socket.ts';
import type { Dial } from './net.ts';
import { resolveHost } from './resolve.ts';

/** Dials by the host's routes; tries a name's addresses in turn and rejects with the last one's error. */
export const hostDial: Dial = ({ host, port }, { signal }) =>
  parseIp(host) === undefined ? dialName(host, port, signal) : connectTo(host, port, signal);

async function dialName(host: string, port: number, signal: AbortSignal): ReturnType<Dial> {
  signal.throwIfAborted();
  const addresses = await resolveHost(host);
  let failure: unknown;
  for (const address of addresses) {
    try {
      return await connectTo(address, port, signal);
    } catch (error) {
      signal.throwIfAborted();
      failure = error;
    }
  }
  throw failure;
}

function connectTo(host: string, port: number, signal: AbortSignal): ReturnType<Dial> {
  return new Promise((resolve, reject) => {
    signal.throwIfAborted();
    const socket = new LendingSocket();
    socket.setNoDelay(true).connect({ host, port });
    const settle = (then: () => void): void => {
      signal.removeEventListener('abort', abort);
      socket.off('error', failed);
      socket.off('connect', connected);
      then();
    };
    const abort = (): void =>
      settle(() => {
        // What the socket still says is nobody's business.
        socket.on('error', () => undefined);
        socket.destroy();
        reject(signal.reason);
      });
    const failed = (error: Error): void => settle(() => reject(error));
    const connected = (): void => settle(() => resolve(socket));
    signal.addEventListener('abort', abort, { once: true });
    socket.on('error', failed);
    socket.on('connect', connected);
  });
}
