// The outside world of a command, so that tests can be the world: output, secrets, environment, the wish to stop.
import { createInterface } from 'node:readline/promises';
import { Writable } from 'node:stream';
import { maxSecretLength } from './constants.ts';
import { errorCode } from '#lib/errors.ts';
import { cliError } from './errors.ts';

export interface Io {
  /** A line on standard output: what the command was asked for. */
  out(line: string): void;
  /** A line on standard error: everything else. */
  err(line: string): void;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Aborted by Ctrl-C, SIGTERM, or the end of the process that started us. */
  readonly stop: AbortSignal;
  /** Asks for a secret: without echo on a terminal, else the next line of standard input. CLI_SECRET where there is none. */
  secret(label: string): Promise<string>;
}

/** The real world. The second signal ends the process at once. */
export function systemIo(): Io {
  const stopping = new AbortController();
  const onSignal = (name: 'SIGINT' | 'SIGTERM'): void => {
    if (stopping.signal.aborted) process.exit(name === 'SIGINT' ? 130 : 143);
    stopping.abort();
  };
  process.on('SIGINT', onSignal).on('SIGTERM', onSignal);
  if (process.channel !== undefined) {
    process.on('disconnect', () => stopping.abort());
    process.channel?.unref(); // a lost parent is a reason to stop, a living one is no reason to stay
  }
  // Who reads our output may go first, as `| head` does: that is no failure, and a process that only prints has nothing left to do.
  for (const stream of [process.stdout, process.stderr]) {
    stream.on('error', (error) => {
      if (errorCode(error) !== 'EPIPE') throw error;
      stopping.abort();
    });
  }
  let lines: AsyncIterator<string> | undefined;
  return {
    out: (line) => void process.stdout.write(`${line}\n`),
    err: (line) => void process.stderr.write(`${line}\n`),
    env: process.env,
    stop: stopping.signal,
    async secret(label) {
      if (process.stdin.isTTY) return checkSecret(label, await askHidden(label, stopping.signal));
      lines ??= createInterface({ input: process.stdin, terminal: false })[Symbol.asyncIterator]();
      const next = await lines.next();
      return checkSecret(label, next.done === true ? '' : next.value);
    },
  };
}

function checkSecret(label: string, text: string): string {
  if (text === '') throw cliError('CLI_SECRET', `${label}: type it, pipe it into standard input, or name a file`);
  if (text.length > maxSecretLength) throw cliError('CLI_SECRET', `${label}: longer than ${maxSecretLength} characters`);
  return text;
}

/** Readline on a terminal whose echo goes nowhere. */
async function askHidden(label: string, signal: AbortSignal): Promise<string> {
  process.stderr.write(`${label}: `);
  const nowhere = new Writable({ write: (_chunk, _encoding, done) => done() });
  const terminal = createInterface({ input: process.stdin, output: nowhere, terminal: true });
  try {
    return await terminal.question('', { signal });
  } finally {
    terminal.close();
    process.stderr.write('\n');
  }
}
