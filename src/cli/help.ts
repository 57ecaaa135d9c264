// The help texts, written from the command table.
import { commonFlags } from './args.ts';
import type { AnyCommand, Command, Flags } from './command.ts';

export function overview(commands: readonly AnyCommand[]): string {
  const width = Math.max(...commands.map((command) => command.name.length));
  return [
    'Usage: meshgate COMMAND [options]',
    '',
    ...commands.map((command) => `  ${command.name.padEnd(width)}  ${command.summary}`),
    '',
    'meshgate COMMAND --help tells the options of a command.',
    'Exit codes: 0 done, 1 failed or not well, 2 the command line is not right.',
  ].join('\n');
}

export function commandHelp(command: Command, flags: Flags): string {
  const all = { ...flags, ...commonFlags };
  const left = Object.entries(all).map(([name, flag]) => `--${name}${flag.kind === 'switch' ? '' : ` ${flag.value ?? 'VALUE'}`}`);
  const width = Math.min(40, Math.max(...left.map((text) => text.length)));
  const words = ['Usage: meshgate', command.name, ...(command.positionals ?? []), '[options]'].join(' ');
  const lines = Object.values(all).map(
    (flag, i) => `  ${(left[i] ?? '').padEnd(width)}  ${flag.about}${flag.required === true ? ' (required)' : ''}`,
  );
  return [words, '', sentence(command.summary), '', ...lines].join('\n');
}

function sentence(text: string): string {
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}.`;
}
