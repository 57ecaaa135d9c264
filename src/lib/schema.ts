// A small typed schema for what comes from outside: unknown in, a frozen value of a known type out, or every issue with its path.
// One description serves the check, the defaults, the environment (schema-config.ts) and the documentation (schema-docs.ts).
import { nearest } from './nearest.ts';
import { Issues, libError, type Issue } from './schema-errors.ts';

/** A value may be wrong in more ways than anybody reads: the list of issues ends here. */
export const maxIssues = 50;

export interface Info {
  /** What the setting does, for the reference. */
  readonly about?: string;
  /** Never shown, never a command-line flag. */
  readonly secret?: boolean;
  /** For the example, where there is no default. */
  readonly example?: unknown;
  /** The type in words where the kind does not say it, such as `duration`. */
  readonly typeName?: string;
}

/** Info with a default, which is read like a value that was given. */
export type InfoWith<Raw> = Info & { readonly default?: Raw };

/** What a schema is made of, for whoever walks it. */
export type Shape =
  | { readonly kind: 'string' | 'boolean' }
  | { readonly kind: 'integer'; readonly min: number; readonly max: number }
  | { readonly kind: 'choice'; readonly choices: readonly string[] }
  | { readonly kind: 'list' | 'record'; readonly item: Schema<unknown> }
  | { readonly kind: 'object'; readonly fields: Readonly<Record<string, Schema<unknown>>> }
  | { readonly kind: 'union'; readonly options: readonly Schema<unknown>[] };

export type Report = (path: string, message: string) => void;

export interface Schema<T> {
  readonly shape: Shape;
  readonly info: InfoWith<unknown>;
  /** Absent (and null, which many JSON writers mean by it) is allowed. */
  readonly optional: boolean;
  /** Reads a value at a path. What it returns counts only where nothing was reported. */
  read(input: unknown, path: string, report: Report): T | undefined;
}

/** The static type of what a schema reads. */
export type Infer<S> = S extends Schema<infer T> ? T : never;

export type Parsed<T> = { readonly ok: true; readonly value: T } | { readonly ok: false; readonly issues: readonly Issue[] };

/** Reads a whole value: the frozen result with its defaults, or all issues (at most `maxIssues`). Never throws. */
export function parse<T>(schema: Schema<T>, input: unknown): Parsed<T> {
  const issues: Issue[] = [];
  const value = schema.read(input, '', (path, message) => {
    if (issues.length < maxIssues) issues.push({ path, message });
  });
  return issues.length === 0 ? { ok: true, value: value as T } : { ok: false, issues };
}

/** As `parse`, but throws LIB_INPUT_INVALID with the issues as its cause. */
export function parseOrThrow<T>(schema: Schema<T>, input: unknown): T {
  const parsed = parse(schema, input);
  if (parsed.ok) return parsed.value;
  const issues = new Issues(parsed.issues);
  throw libError('LIB_INPUT_INVALID', String(issues), issues);
}

function make<T>(shape: Shape, info: InfoWith<unknown>, readPresent: (input: unknown, path: string, report: Report) => T | undefined): Schema<T> {
  return {
    shape,
    info,
    optional: false,
    read(input, path, report) {
      if (input !== undefined && input !== null) return readPresent(input, path, report);
      if (info.default !== undefined) return readPresent(info.default, path, report);
      if (shape.kind === 'object') return readPresent({}, path, report);
      report(path, 'is missing');
      return undefined;
    },
  };
}

export interface StringInfo extends InfoWith<string> {
  /** Lengths in UTF-16 units; at least 1 and at most 4096 unless told otherwise. */
  readonly min?: number;
  readonly max?: number;
  /** Anchored by its author. `hint` says in words what fits. */
  readonly pattern?: RegExp;
  readonly hint?: string;
}

export function string(info: StringInfo = {}): Schema<string> {
  const { min = 1, max = 4096, pattern, hint = 'has the wrong form' } = info;
  return make({ kind: 'string' }, info, (input, path, report) => {
    if (typeof input !== 'string') report(path, 'must be a string');
    else if (input.length < min) report(path, input === '' ? 'must not be empty' : `must have at least ${min} characters`);
    else if (input.length > max) report(path, `must have at most ${max} characters`);
    else if (pattern !== undefined && !pattern.test(input)) report(path, hint);
    else return input;
    return undefined;
  });
}

export interface IntegerInfo extends InfoWith<number> {
  /** 0 unless told otherwise. */
  readonly min?: number;
  readonly max?: number;
}

export function integer(info: IntegerInfo = {}): Schema<number> {
  const { min = 0, max = Number.MAX_SAFE_INTEGER } = info;
  return make({ kind: 'integer', min, max }, info, (input, path, report) => {
    if (typeof input === 'number' && Number.isInteger(input) && input >= min && input <= max) return input;
    report(path, max === Number.MAX_SAFE_INTEGER ? `must be an integer of at least ${min}` : `must be an integer from ${min} to ${max}`);
    return undefined;
  });
}

export function boolean(info: InfoWith<boolean> = {}): Schema<boolean> {
  return make({ kind: 'boolean' }, info, (input, path, report) => {
    if (typeof input === 'boolean') return input;
    report(path, 'must be true or false');
    return undefined;
  });
}

/** One of a closed list of words. */
export function oneOf<const Choice extends string>(choices: readonly Choice[], info: InfoWith<NoInfer<Choice>> = {}): Schema<Choice> {
  return make({ kind: 'choice', choices }, info, (input, path, report) => {
    const found = choices.find((choice) => choice === input);
    if (found !== undefined) return found;
    const near = typeof input === 'string' ? nearest(input, choices) : undefined;
    report(path, `must be one of ${choices.join(', ')}${near === undefined ? '' : `; did you mean ${near}?`}`);
    return undefined;
  });
}

export interface ManyInfo<Raw> extends InfoWith<Raw> {
  readonly min?: number;
  /** 1000 unless told otherwise. */
  readonly max?: number;
}

export function list<T>(item: Schema<T>, info: ManyInfo<readonly unknown[]> = {}): Schema<readonly T[]> {
  const { min = 0, max = 1000 } = info;
  return make<readonly T[]>({ kind: 'list', item }, info, (input, path, report) => {
    if (!Array.isArray(input)) report(path, 'must be a list');
    else if (input.length < min || input.length > max) report(path, `must have ${min} to ${max} entries`);
    else return Object.freeze(input.map((entry: unknown, index) => item.read(entry, `${path}[${index}]`, report) as T));
    return undefined;
  });
}

/** An object whose keys are data. Keys such as `__proto__` stay plain keys. */
export function record<T>(item: Schema<T>, info: ManyInfo<Readonly<Record<string, unknown>>> = {}): Schema<Readonly<Record<string, T>>> {
  const { min = 0, max = 1000 } = info;
  return make<Readonly<Record<string, T>>>({ kind: 'record', item }, info, (input, path, report) => {
    if (!isPlainObject(input)) {
      report(path, 'must be an object');
      return undefined;
    }
    const entries = Object.entries(input);
    if (entries.length < min || entries.length > max) {
      report(path, `must have ${min} to ${max} entries`);
      return undefined;
    }
    // fromEntries defines properties and never assigns, so no key reaches a setter of Object.prototype.
    return Object.freeze(Object.fromEntries(entries.map(([key, value]) => [key, item.read(value, join(path, key), report) as T])));
  });
}

type ObjectOf<Fields> = { readonly [Name in keyof Fields]: Infer<Fields[Name]> };

/** Known keys only: each of the others is an issue, with the nearest known key. An absent object reads as an empty one. */
export function object<Fields extends Readonly<Record<string, Schema<unknown>>>>(fields: Fields, info: Info = {}): Schema<ObjectOf<Fields>> {
  return make<ObjectOf<Fields>>({ kind: 'object', fields }, info, (input, path, report) => {
    if (!isPlainObject(input)) {
      report(path, 'must be an object');
      return undefined;
    }
    for (const key of Object.keys(input)) if (!Object.hasOwn(fields, key)) report(join(path, key), unknownKey(key, Object.keys(fields)));
    const read = Object.entries(fields).map(([name, field]) => {
      const given = Object.hasOwn(input, name) ? input[name] : undefined;
      return [name, field.read(given, join(path, name), report)];
    });
    return Object.freeze(Object.fromEntries(read) as ObjectOf<Fields>);
  });
}

function unknownKey(key: string, known: readonly string[]): string {
  const near = nearest(key, known);
  return `is not known${near === undefined ? '' : `; did you mean ${near}?`}`;
}

/** The same, or nothing. */
export function optional<T>(schema: Schema<T>): Schema<T | undefined> {
  return {
    ...schema,
    optional: true,
    read: (input, path, report) => (input === undefined || input === null ? undefined : schema.read(input, path, report)),
  };
}

/** The first of the schemas that accepts the value. Where none does, the issues of the one that has the value's kind are told. */
export function union<const Options extends readonly Schema<unknown>[]>(
  options: Options,
  info: InfoWith<unknown> = {},
): Schema<Infer<Options[number]>> {
  return make<Infer<Options[number]>>({ kind: 'union', options }, info, (input, path, report) => {
    for (const option of options) {
      let refused = false;
      const value = option.read(input, path, () => (refused = true));
      if (!refused) return value as Infer<Options[number]>;
    }
    const fitting = options.filter((option) => kindFits(input, option.shape.kind));
    const only = fitting.length === 1 ? fitting[0] : undefined;
    if (only === undefined) report(path, `must be ${options.map((option) => typeText(option)).join(' or ')}`);
    else only.read(input, path, report);
    return undefined;
  });
}

function kindFits(input: unknown, kind: Shape['kind']): boolean {
  if (Array.isArray(input)) return kind === 'list';
  if (typeof input === 'object') return kind === 'object' || kind === 'record';
  if (typeof input === 'number') return kind === 'integer';
  if (typeof input === 'string') return kind === 'string' || kind === 'choice';
  return typeof input === 'boolean' && kind === 'boolean';
}

/**
 * What a schema reads, turned into something else. `change` returns the new value, or calls `refuse` with what is wrong (`must be …`)
 * and returns what that returns.
 */
export function convert<From, To>(
  schema: Schema<From>,
  change: (value: From, refuse: (message: string, below?: string) => undefined) => To | undefined,
  typeName?: string,
): Schema<To> {
  const info = typeName === undefined ? schema.info : { ...schema.info, typeName };
  return make<To>(schema.shape, info, (input, path, report) => {
    let refused = false;
    const value = schema.read(input, path, (at, message) => {
      refused = true;
      report(at, message);
    });
    if (refused) return undefined;
    return change(value as From, (message, below = '') => {
      report(path + below, message);
      return undefined;
    });
  });
}

const durationUnits = { ns: 1e-6, us: 1e-3, µs: 1e-3, ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const;

/** Milliseconds of a duration such as `300ms`, `1.5h` or `1m30s`; undefined where the text is not one. */
export function parseDuration(text: string): number | undefined {
  if (text === '0') return 0;
  const parts = [...text.matchAll(/([0-9]+(?:\.[0-9]+)?)(ns|us|µs|ms|s|m|h|d)/g)];
  if (parts.length === 0 || parts.length > 8 || parts.map((part) => part[0]).join('') !== text) return undefined;
  return parts.reduce((sum, part) => sum + Number(part[1]) * durationUnits[part[2] as keyof typeof durationUnits], 0);
}

/** One unit that Go's parser knows too: `90s`, `1500ms`, `48h`. */
export function formatDuration(ms: number): string {
  for (const unit of ['h', 'm', 's'] as const) if (ms !== 0 && ms % durationUnits[unit] === 0) return `${ms / durationUnits[unit]}${unit}`;
  return ms === 0 ? '0s' : `${ms}ms`;
}

/** A duration in text, read as milliseconds within limits. */
export function duration(info: InfoWith<string> & { readonly minMs?: number; readonly maxMs?: number } = {}): Schema<number> {
  const { minMs = 0, maxMs = 365 * durationUnits.d, ...rest } = info;
  return convert(
    string({ max: 64, ...rest }),
    (text, refuse) => {
      const ms = parseDuration(text);
      if (ms === undefined) return refuse('must be a duration such as 300ms, 30s or 1h30m');
      return ms < minMs || ms > maxMs ? refuse(`must be from ${formatDuration(minMs)} to ${formatDuration(maxMs)}`) : ms;
    },
    'duration',
  );
}

/** The type of a value in words. */
export function typeText(schema: Schema<unknown>): string {
  if (schema.info.typeName !== undefined) return schema.info.typeName;
  const { shape } = schema;
  switch (shape.kind) {
    case 'integer':
      return shape.max === Number.MAX_SAFE_INTEGER ? 'integer' : `integer ${shape.min}–${shape.max}`;
    case 'choice':
      return shape.choices.join(' | ');
    case 'list':
      return `list of ${typeText(shape.item)}`;
    case 'record':
      return `map of ${typeText(shape.item)}`;
    case 'union':
      return shape.options.map(typeText).join(' or ');
    case 'string':
    case 'boolean':
    case 'object':
      return shape.kind;
  }
}

/** An object that JSON could have written: no list, no null. */
export function isPlainObject(input: unknown): input is Readonly<Record<string, unknown>> {
  return typeof input === 'object' && input !== null && !Array.isArray(input);
}

/** `path.key`; a key that is no plain word is quoted and cut, so that a path stays one readable line. */
function join(path: string, key: string): string {
  if (!/^[A-Za-z_][\w-]{0,63}$/.test(key)) return `${path}[${JSON.stringify(key.slice(0, 64))}]`;
  return path === '' ? key : `${path}.${key}`;
}
