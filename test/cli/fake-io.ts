// The world of a command in a test: what it printed, what it may read, when it has to stop.
import { commands } from '#cli/commands/index.ts';
import { runCli } from '#cli/cli.ts';
import type { AnyCommand } from '#cli/command.ts';
import { cliError } from '#cli/errors.ts';

export interface Outcome {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

export interface World {
  readonly env?: Readonly<Record<string, string>>;
  /** Answers to questions for secrets, in order. */
  readonly secrets?: readonly string[];
  readonly stop?: AbortSignal;
  readonly commands?: readonly AnyCommand[];
  readonly onOut?: (line: string) => void;
}

/** Runs one command line with nothing of the real environment. */
export async function run(args: readonly string[], world: World = {}): Promise<Outcome> {
  const out: string[] = [];
  const err: string[] = [];
  const secrets = [...(world.secrets ?? [])];
  const code = await runCli(args, world.commands ?? commands, {
    out: (line) => {
      out.push(line);
      world.onOut?.(line);
    },
    err: (line) => void err.push(line),
    env: world.env ?? {},
    stop: world.stop ?? new AbortController().signal,
    async secret(label) {
      const next = secrets.shift();
      if (next === undefined) throw cliError('CLI_SECRET', label);
      return next;
    },
  });
  return { code, out: out.join('\n'), err: err.join('\n') };
}
