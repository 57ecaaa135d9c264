// Flags and positional arguments of one command, over node:util's parser; what is wrong is said in one line with the nearest flag.
import { parseArgs } from 'node:util';
import { nearest } from '#lib/nearest.ts';
import type { Flags, Input } from './command.ts';
import { cliError } from './errors.ts';

/** Flags that every command has. */
export const commonFlags: Flags = { help: { kind: 'switch', about: 'this text' } };

/** Reads what stands behind a command's words. CLI_USAGE names the first thing that is wrong. */
export function parseInput(args: readonly string[], flags: Flags, positionalNames: readonly string[]): Input {
  const known = { ...flags, ...commonFlags };
  const values = new Map<string, string[]>();
  const positionals: string[] = [];
  const options = Object.fromEntries(
    Object.entries(known).map(([name, flag]) => [
      name,
      { type: flag.kind === 'switch' ? ('boolean' as const) : ('string' as const), multiple: true },
    ]),
  );
  const { tokens } = parseArgs({ args: [...args], options: { ...options, help: { type: 'boolean', short: 'h' } }, strict: false, tokens: true });
  for (const token of tokens) {
    if (token.kind === 'positional') positionals.push(token.value);
    if (token.kind !== 'option') continue;
    const flag = Object.hasOwn(known, token.name) ? known[token.name] : undefined;
    if (flag === undefined) throw unknownFlag(token.rawName, Object.keys(known));
    const isSwitch = flag.kind === 'switch';
    if (isSwitch && token.value !== undefined) throw cliError('CLI_USAGE', `--${token.name} takes no value`);
    if (!isSwitch && (token.value === undefined || (!token.inlineValue && token.value.startsWith('--')))) {
      throw cliError('CLI_USAGE', `--${token.name} needs a value`);
    }
    const earlier = values.get(token.name) ?? [];
    if (earlier.length > 0 && flag.kind !== 'many' && !isSwitch) throw cliError('CLI_USAGE', `--${token.name} may be given once`);
    if (flag.kind === 'integer' && !/^[0-9]{1,15}$/.test(token.value ?? '')) throw cliError('CLI_USAGE', `--${token.name} takes a number`);
    values.set(token.name, [...earlier, token.value ?? '']);
  }
  const input: Input = {
    text: (name) => values.get(name)?.at(-1),
    integer: (name) => (values.has(name) ? Number(values.get(name)?.at(-1)) : undefined),
    on: (name) => values.has(name),
    many: (name) => values.get(name) ?? [],
    positionals,
  };
  if (!input.on('help')) checkComplete(input, flags, positionalNames);
  return input;
}

function checkComplete(input: Input, flags: Flags, positionalNames: readonly string[]): void {
  const missing = positionalNames[input.positionals.length];
  if (missing !== undefined) throw cliError('CLI_USAGE', `${missing} is missing`);
  const extra = input.positionals[positionalNames.length];
  if (extra !== undefined) throw cliError('CLI_USAGE', `"${extra}" is one argument too many`);
  for (const [name, flag] of Object.entries(flags)) {
    if (flag.required === true && !input.on(name)) throw cliError('CLI_USAGE', `--${name} is missing`);
  }
}

function unknownFlag(raw: string, known: readonly string[]): Error {
  const typed = raw.replace(/^-+/, '');
  const near = nearest(typed, known) ?? known.find((name) => name.startsWith(`${typed}-`)); // --password means --password-file
  return cliError('CLI_USAGE', `the flag ${raw} is not known${near === undefined ? '' : `; did you mean --${near}?`}`);
}
