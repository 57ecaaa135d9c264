// A public UDP socket: what comes is handed on with its sender, what goes out is sent as it is.
import { DatagramRun } from '#lib/datagram-run.ts';
import { errorCode } from '#lib/errors.ts';
import type { Closable } from '#lib/lifecycle.ts';
import type { Logger } from '#lib/log.ts';
import { formatHostPort, type DialTarget, type Endpoint } from '#lib/net.ts';
import { resolveHost } from '#lib/resolve.ts';
import type { OpenDatagramPortAt } from '#mesh/index.ts';
import { gatewayError } from '../errors.ts';

export interface UdpListener extends Closable {
  readonly port: number;
}

export interface UdpListenerDeps {
  /** How the port is opened: the best way that this machine has. */
  readonly open: OpenDatagramPortAt;
  readonly log: Logger;
}

/**
 * Listens and gives what comes to `received`, in runs of one sender's datagrams, with a way to answer it; the bytes are valid only during the call.
 * GATEWAY_PORT_IN_USE, _FORBIDDEN, _FAILED.
 */
export async function listenUdp(
  at: DialTarget,
  { open, log }: UdpListenerDeps,
  received: (run: Uint8Array, size: number, from: Endpoint, reply: (run: Uint8Array, size: number, to: Endpoint) => void) => void,
): Promise<UdpListener> {
  let from: Endpoint = { address: '', port: 0 };
  const run = new DatagramRun((bytes, size) => received(bytes, size, from, reply));
  const events = {
    receive: (bytes: Uint8Array, size: number, address: string, port: number): void => {
      // Whoever has a zone is a neighbour on a link, and not of the public network.
      if (port === 0 || address.includes('%')) return;
      if (address !== from.address || port !== from.port) {
        run.flush();
        from = { address, port };
      }
      run.add(bytes, size);
    },
    drained: (): void => run.flush(),
  };
  const socket = await listen().catch((error: unknown) => {
    const code = error instanceof Error && 'system' in error ? error.system : errorCode(error);
    const row = code === 'EADDRINUSE' ? 'GATEWAY_PORT_IN_USE' : code === 'EACCES' ? 'GATEWAY_PORT_FORBIDDEN' : 'GATEWAY_PORT_FAILED';
    throw gatewayError(row, formatHostPort(at.host, at.port), error);
  });
  // A datagram that could not be sent is lost, as datagrams are.
  const reply = (bytes: Uint8Array, size: number, to: Endpoint): void => socket.sendRun(bytes, Math.max(1, size), to);
  return { port: socket.port, close: () => socket.close() };

  async function listen() {
    const [host = at.host] = await resolveHost(at.host);
    return open(host, at.port, events, log);
  }
}
