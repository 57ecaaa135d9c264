// What a command is: its words, its flags and what it does. The table of them is in commands/index.ts.
import type { Io } from './io.ts';

export interface Flag {
  readonly kind: 'text' | 'integer' | 'switch' | 'many';
  /** Stands for the value in the help, such as FILE. */
  readonly value?: string;
  readonly about: string;
  readonly required?: boolean;
}

export type Flags = Readonly<Record<string, Flag>>;

/** What was typed, checked against the flags: the getters throw nothing where the flag was declared required. */
export interface Input {
  text(flag: string): string | undefined;
  integer(flag: string): number | undefined;
  on(flag: string): boolean;
  many(flag: string): readonly string[];
  /** The positional arguments, as many as the command names. */
  readonly positionals: readonly string[];
}

export interface Command {
  /** One or two words: `status`, `user create`. */
  readonly name: string;
  readonly summary: string;
  /** Names of the positional arguments, all required. */
  readonly positionals?: readonly string[];
  /** A function where the flags are known only after the part they belong to is loaded. */
  readonly flags?: Flags | (() => Promise<Flags>);
  /** The exit code. */
  run(input: Input, io: Io): Promise<number>;
}

/** A command that reads its own arguments, `--help` included. */
export interface RawCommand {
  readonly name: string;
  readonly summary: string;
  runRaw(args: readonly string[], io: Io): Promise<number>;
}

export type AnyCommand = Command | RawCommand;
