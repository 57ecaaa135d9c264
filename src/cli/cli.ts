// Finds the command that was asked for, runs it, and turns every outcome into an exit code: 0 done, 1 failed, 2 wrong command line.
import { MeshgateError } from '#lib/errors.ts';
import { nearest } from '#lib/nearest.ts';
import { formatIssue, issuesOf } from '#lib/schema-errors.ts';
import { parseInput } from './args.ts';
import type { AnyCommand } from './command.ts';
import { cliError } from './errors.ts';
import { commandHelp, overview } from './help.ts';
import type { Io } from './io.ts';

/** Runs one command line, without the names of node and script. Never throws for what a person can put right. */
export async function runCli(args: readonly string[], commands: readonly AnyCommand[], io: Io): Promise<number> {
  try {
    return await dispatch(args, commands, io);
  } catch (error) {
    if (!(error instanceof MeshgateError)) throw error;
    const issues = issuesOf(error);
    if (error.code === 'CLI_USAGE') io.err(`meshgate: ${error.detail}`);
    else if (issues.length === 0) io.err(`meshgate: ${sayError(error)}`);
    else for (const issue of issues) io.err(`meshgate: ${formatIssue(issue)}`);
    return error.code === 'CLI_USAGE' || error.code === 'LIB_CONFIG_INVALID' ? 2 : 1;
  }
}

/** One line: the text, then the place in brackets behind a sentence, behind a colon otherwise. */
function sayError({ message, detail }: MeshgateError): string {
  if (detail === '') return message;
  return message.endsWith('.') ? `${message} (${detail})` : `${message}: ${detail}`;
}

async function dispatch(args: readonly string[], commands: readonly AnyCommand[], io: Io): Promise<number> {
  const [first, second] = args;
  if (first === undefined || first === 'help' || first === '--help' || first === '-h') {
    const text = overview(commands);
    if (first === undefined) io.err(text);
    else io.out(text);
    return first === undefined ? 2 : 0;
  }
  const two = commands.find((command) => command.name === `${first} ${second ?? ''}`);
  const command = two ?? commands.find((candidate) => candidate.name === first);
  if (command === undefined) return noSuchCommand(first, second, commands, io);
  const rest = args.slice(two === undefined ? 1 : 2);
  if ('runRaw' in command) return command.runRaw(rest, io);
  const flags = typeof command.flags === 'function' ? await command.flags() : (command.flags ?? {});
  const input = parseInput(rest, flags, command.positionals ?? []);
  if (input.on('help')) {
    io.out(commandHelp(command, flags));
    return 0;
  }
  return command.run(input, io);
}

/** A noun alone, or with --help, tells its commands; everything else is a mistake with the nearest command. */
function noSuchCommand(first: string, second: string | undefined, commands: readonly AnyCommand[], io: Io): number {
  const family = commands.filter((command) => command.name.startsWith(`${first} `));
  const wantsHelp = second === undefined || second === '--help' || second === '-h';
  if (family.length > 0 && wantsHelp) {
    const text = overview(family);
    if (second === undefined) io.err(text);
    else io.out(text);
    return second === undefined ? 2 : 0;
  }
  const typed = family.length > 0 || second === undefined || second.startsWith('-') ? first : `${first} ${second}`;
  const wanted = family.length > 0 ? `${first} ${second ?? ''}`.trim() : typed;
  const names = family.length > 0 ? family.map((command) => command.name) : commands.map((command) => command.name);
  const near = nearest(wanted, names) ?? nearest(first, [...new Set(names.map((name) => name.split(' ')[0] ?? ''))]);
  throw cliError('CLI_USAGE', `there is no command "${wanted}"${near === undefined ? '; see meshgate --help' : `; did you mean "${near}"?`}`);
}
