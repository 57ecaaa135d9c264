// `meshgate connect`: TCP and TLS services with sign-in, for programs that only know how to open a connection.
import type { Command, Input } from '../command.ts';
import { joinStdio, listenLocally } from '../connect/local-port.ts';
import type { PublishedPort } from '../connect/published-port.ts';
import { connectFlags, ownApi, publishedPort } from '../connect/reach.ts';
import type { Io } from '../io.ts';
import { clean } from '../output.ts';
import { closeInTime } from '../processes.ts';

const connect: Command = {
  name: 'connect',
  summary: 'listen on 127.0.0.1 for a TCP or TLS service with sign-in, and carry what connects there',
  positionals: ['NAME'],
  flags: {
    listen: { kind: 'integer', value: 'N', about: 'the port on 127.0.0.1 (default: one that is free)' },
    stdio: { kind: 'switch', about: 'one connection over standard input and output instead, as ProxyCommand of ssh wants it' },
    ...connectFlags,
  },
  async run(input, io) {
    const api = await ownApi(input, io);
    try {
      return await carry(await publishedPort(input, io, api), input, io);
    } finally {
      await api?.close();
    }
  },
};

async function carry(published: PublishedPort, input: Input, io: Io): Promise<number> {
  try {
    if (input.on('stdio')) {
      await joinStdio(published, io.stop);
      return 0;
    }
    await published.unlock(io.stop); // what is wrong with the token is said before anybody connects
    const failed = (reason: string): void => io.err(clean(reason));
    const local = await listenLocally(published, input.integer('listen') ?? 0, failed, io.stop);
    io.out(`127.0.0.1:${local.port}`);
    io.err(`leads to ${published.domain}; Ctrl-C ends it`);
    await new Promise<void>((done) => (io.stop.aborted ? done() : io.stop.addEventListener('abort', () => done(), { once: true })));
    return await closeInTime(local, io);
  } finally {
    await published.close();
  }
}

export const connectCommands: readonly Command[] = [connect];
