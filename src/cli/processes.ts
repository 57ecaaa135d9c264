// The long-running processes: configuration from file, environment and flags, start, wait for the wish to stop, close in time.
import type { Closable } from '#lib/lifecycle.ts';
import type { Logger, LogLevel } from '#lib/log.ts';
import { createLogger } from '#lib/log-writer.ts';
import { loadConfig, settingsOf, type ConfigSources } from '#lib/schema-config.ts';
import { typeText, type Schema } from '#lib/schema.ts';
import type { Command, Flags } from './command.ts';
import { closeDeadlineMs } from './constants.ts';
import { readJsonFile } from './files.ts';
import type { Io } from './io.ts';
import { checkStateDir } from './state-dir.ts';

/** What a started process is to us: closable, with lines for people. */
export interface Running extends Closable {
  describe(): readonly string[];
}

/** One process with its types bound together, so that the rest needs to know none of them. */
export interface ProcessKind {
  readonly prefix: string;
  readonly schema: Schema<unknown>;
  /** Checks the configuration (LIB_CONFIG_INVALID), then starts. */
  start(sources: ConfigSources, warn: (line: string) => void): Promise<Running>;
}

export function bindProcess<Config extends { readonly logLevel: LogLevel; readonly stateDir: string }>(
  name: string,
  schema: Schema<Config>,
  start: (config: Config, deps: { readonly log: Logger }) => Promise<Running>,
): ProcessKind {
  const prefix = `MESHGATE_${name.toUpperCase()}`;
  return {
    prefix,
    schema,
    async start(sources, warn) {
      const { value, warnings } = loadConfig(schema, prefix, sources);
      for (const warning of warnings) warn(warning);
      await checkStateDir(value.stateDir);
      return start(value, { log: createLogger(value.logLevel, name) });
    },
  };
}

const configFlag: Flags = { config: { kind: 'text', value: 'FILE', about: 'JSON file; environment variables and flags win over it' } };

function flagsOf(kind: ProcessKind): Flags {
  const settings = settingsOf(kind.schema, kind.prefix).flatMap(({ flag, env, schema }) => {
    const about = `${schema.info.about ?? ''} [${env}]`.trim();
    return flag === undefined ? [] : [[flag, { kind: 'text', value: typeText(schema), about } as const] as const];
  });
  return { ...configFlag, ...Object.fromEntries(settings) };
}

/** The command of one process. The part itself is loaded only when it is asked for. */
export function processCommand(name: string, summary: string, load: () => Promise<ProcessKind>): Command {
  return {
    name,
    summary,
    flags: async () => flagsOf(await load()),
    async run(input, io) {
      const kind = await load();
      const file = input.text('config') ?? (io.env['MESHGATE_CONFIG'] || undefined);
      const flags = settingsOf(kind.schema, kind.prefix).flatMap(({ flag }) => {
        const text = flag === undefined ? undefined : input.text(flag);
        return flag === undefined || text === undefined ? [] : [[flag, text] as const];
      });
      const sources: ConfigSources = {
        env: io.env,
        flags: Object.fromEntries(flags),
        ...(file === undefined ? {} : { file: { name: file, value: await readJsonFile(file) } }),
      };
      const running = await kind.start(sources, (line) => io.err(`meshgate: ${line}`));
      for (const line of running.describe()) io.out(line);
      await aborted(io.stop);
      return closeInTime(running, io);
    },
  };
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
}

/** 0 where everything ended by itself, 1 where it did not. */
export async function closeInTime(running: Closable, io: Io, deadlineMs = closeDeadlineMs): Promise<number> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<'late'>((resolve) => {
    timer = setTimeout(() => resolve('late'), deadlineMs);
  });
  try {
    if ((await Promise.race([running.close(), late])) !== 'late') return 0;
    io.err(`meshgate: not everything ended within ${deadlineMs / 1000} s`);
    return 1;
  } finally {
    clearTimeout(timer);
  }
}
