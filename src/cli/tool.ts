// The tool: the real world, the command table, and the exit code.
import { describeError } from '#lib/errors.ts';
import { runCli } from './cli.ts';
import { commands } from './commands/index.ts';
import { lingerMs } from './constants.ts';
import { systemIo } from './io.ts';

/** Runs the command line of this process and sets its exit code. */
export async function runTool(): Promise<void> {
  const io = systemIo();
  try {
    process.exitCode = await runCli(process.argv.slice(2), commands, io);
  } catch (error) {
    io.err(`meshgate: ${describeError(error)}`);
    process.exitCode = 1;
  }
  // Output may still be on its way into a pipe, so the process ends by itself; this is for handles that somebody forgot.
  setTimeout(() => process.exit(), lingerMs).unref();
}
