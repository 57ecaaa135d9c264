// The near side of `meshgate connect`: a port on 127.0.0.1, or standard input and output for one connection.
import { createServer, type Server, type Socket } from 'node:net';
import { Duplex } from 'node:stream';
import { describeError, errorCode } from '#lib/errors.ts';
import type { Closable } from '#lib/lifecycle.ts';
import { splice } from '#lib/splice.ts';
import { maxLocalConnections } from '../constants.ts';
import { cliError } from '../errors.ts';
import type { PublishedPort } from './published-port.ts';

export interface LocalPort extends Closable {
  readonly port: number;
}

/** Listens on 127.0.0.1; `failed` is told why a connection came to nothing. CLI_CONNECT where the port is taken. */
export async function listenLocally(
  published: Pick<PublishedPort, 'dial'>,
  port: number,
  failed: (reason: string) => void,
  stop: AbortSignal,
): Promise<LocalPort> {
  const open = new Set<Socket>();
  const carry = async (socket: Socket): Promise<void> => {
    open.add(socket);
    socket.on('error', () => undefined);
    try {
      const far = await published.dial(stop);
      far.on('error', () => undefined);
      const { forward, backward } = await splice(socket, far, { idleMs: Number.POSITIVE_INFINITY });
      if (forward > 0 && backward === 0)
        failed('it was closed without a word: sign in at its page first, in a browser behind the same address, or show a token');
    } catch (error) {
      socket.destroy();
      failed(describeError(error));
    } finally {
      open.delete(socket);
    }
  };
  const server: Server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
    if (open.size < maxLocalConnections) void carry(socket);
    else socket.destroy();
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error) => reject(cliError('CLI_CONNECT', `127.0.0.1 port ${port}: ${errorCode(error) ?? ''}`, error)));
    server.listen({ port, host: '127.0.0.1' }, resolve);
  });
  const address = server.address();
  return {
    port: typeof address === 'object' && address !== null ? address.port : port,
    close: () =>
      new Promise((resolve) => {
        for (const socket of open) socket.destroy();
        server.close(() => resolve());
      }),
  };
}

/** Joins standard input and output with one connection until it ends, or `stop` aborts. */
export async function joinStdio(published: Pick<PublishedPort, 'dial'>, stop: AbortSignal): Promise<void> {
  const far = await published.dial(stop);
  const near = new Stdio();
  for (const stream of [far, near]) stream.on('error', () => undefined);
  stop.addEventListener('abort', () => far.destroy(), { once: true });
  await splice(near, far, { idleMs: Number.POSITIVE_INFINITY });
}

/** Standard input and output of this process as one stream. */
class Stdio extends Duplex {
  constructor() {
    super({ allowHalfOpen: true });
    process.stdin.on('data', (chunk) => {
      if (!this.push(chunk)) process.stdin.pause();
    });
    process.stdin.on('end', () => this.push(null));
    process.stdin.on('error', (error) => this.destroy(error));
    process.stdin.pause();
  }

  override _read(): void {
    process.stdin.resume();
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    process.stdout.write(chunk, done);
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    process.stdin.destroy();
    done(error);
  }
}
