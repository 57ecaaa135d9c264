// Configuration from four places, later ones win: defaults, file, environment, flags. One schema names the settings for all of them.
import { nearest } from './nearest.ts';
import { isPlainObject, parse, type Schema } from './schema.ts';
import { Issues, libError, type Issue } from './schema-errors.ts';

/** One setting that the environment and the command line can give: a leaf of the schema outside lists and maps of objects. */
export interface Setting {
  /** Keys from the root, such as `['tls', 'certificate']`. */
  readonly path: readonly string[];
  /** `PREFIX_TLS_CERTIFICATE` */
  readonly env: string;
  /** `tls-certificate`; undefined for secrets, which never stand on a command line. */
  readonly flag: string | undefined;
  readonly schema: Schema<unknown>;
}

/** All settings of a schema, in its order. */
export function settingsOf(schema: Schema<unknown>, prefix: string, path: readonly string[] = []): readonly Setting[] {
  const { shape } = schema;
  if (shape.kind === 'object') return Object.entries(shape.fields).flatMap(([name, field]) => settingsOf(field, prefix, [...path, name]));
  const words = path.map((key) => key.replaceAll(/([a-z0-9])([A-Z])/g, '$1_$2'));
  const env = [prefix, ...words].join('_').toUpperCase();
  const flag = schema.info.secret === true ? undefined : words.join('_').toLowerCase().replaceAll('_', '-');
  return [{ path, env, flag, schema }];
}

/**
 * The JSON value that a text from the environment or a flag stands for: numbers and booleans by the schema's kind, lists with commas
 * (or as JSON), objects as JSON. Text that is none of these stays text, and the check then says what is wrong.
 */
export function fromText(schema: Schema<unknown>, text: string): unknown {
  const { shape } = schema;
  switch (shape.kind) {
    case 'integer':
      return /^-?[0-9]{1,16}$/.test(text) ? Number(text) : text;
    case 'boolean':
      if (/^(?:true|1|yes|on)$/i.test(text)) return true;
      return /^(?:false|0|no|off)$/i.test(text) ? false : text;
    case 'list':
      if (text.startsWith('[')) return fromJson(text);
      return text.split(',').map((part) => fromText(shape.item, part.trim()));
    case 'record':
    case 'object':
      return fromJson(text);
    case 'union':
      return /^[[{]/.test(text) ? fromJson(text) : text;
    case 'string':
    case 'choice':
      return text;
  }
}

function fromJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

export interface ConfigSources {
  /** The parsed file, with its name for messages. */
  readonly file?: { readonly name: string; readonly value: unknown };
  /** An empty variable counts as not set, as container tools cannot unset one. */
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** By flag name without dashes. */
  readonly flags?: Readonly<Record<string, string>>;
}

export interface LoadedConfig<T> {
  readonly value: T;
  /** Such as variables that look like ours and are not; Kubernetes makes some by itself, so they do not stop a start. */
  readonly warnings: readonly string[];
}

/** Puts the sources together and checks the whole. Throws LIB_CONFIG_INVALID; each issue names the place that has to be changed. */
export function loadConfig<T>(schema: Schema<T>, prefix: string, sources: ConfigSources): LoadedConfig<T> {
  const settings = settingsOf(schema, prefix);
  const origin = new Map<string, string>();
  let raw: unknown = sources.file?.value ?? {};
  const apply = (setting: Setting, text: string, name: string): void => {
    raw = withValue(raw, setting.path, fromText(setting.schema, text));
    origin.set(setting.path.join('.'), name);
  };
  for (const setting of settings) {
    const text = sources.env?.[setting.env];
    if (text !== undefined && text !== '') apply(setting, text, setting.env);
  }
  for (const setting of settings) {
    const text = setting.flag === undefined ? undefined : sources.flags?.[setting.flag];
    if (text !== undefined) apply(setting, text, `--${setting.flag}`);
  }
  const parsed = parse(schema, raw);
  if (!parsed.ok) {
    const issues = new Issues(parsed.issues.map((issue) => named(issue, origin, settings, sources.file?.name)));
    throw libError('LIB_CONFIG_INVALID', String(issues), issues);
  }
  return { value: parsed.value, warnings: strangers(sources.env ?? {}, prefix, settings) };
}

/** The same value with one path replaced. Where the way is blocked by something that is no object, it is left for the check to name. */
function withValue(target: unknown, path: readonly string[], value: unknown): unknown {
  const [key, ...rest] = path;
  if (key === undefined) return value;
  if (target !== undefined && target !== null && !isPlainObject(target)) return target;
  const own = isPlainObject(target) ? target : {};
  const old = Object.hasOwn(own, key) ? own[key] : undefined;
  return Object.fromEntries([...Object.entries(own).filter(([name]) => name !== key), [key, withValue(old, rest, value)]]);
}

function named(issue: Issue, origin: ReadonlyMap<string, string>, settings: readonly Setting[], file: string | undefined): Issue {
  for (const [path, name] of origin) {
    if (issue.path === path) return { path: name, message: issue.message };
    if (issue.path.startsWith(`${path}[`)) return { path: `${name}${issue.path.slice(path.length)}`, message: issue.message };
  }
  const setting = settings.find((candidate) => candidate.path.join('.') === issue.path);
  if (issue.message === 'is missing' && setting !== undefined) {
    const ways = setting.flag === undefined ? setting.env : `--${setting.flag} or ${setting.env}`;
    return { path: issue.path, message: `is missing (in the file, or as ${ways})` };
  }
  return file === undefined ? issue : { path: issue.path === '' ? file : `${file}: ${issue.path}`, message: issue.message };
}

function strangers(env: Readonly<Record<string, string | undefined>>, prefix: string, settings: readonly Setting[]): readonly string[] {
  const known = settings.map((setting) => setting.env);
  const tails = known.map((name) => name.slice(prefix.length + 1)); // the common prefix would make everything look near
  return Object.keys(env)
    .filter((name) => name.startsWith(`${prefix}_`) && !known.includes(name))
    .map((name) => {
      const near = nearest(name.slice(prefix.length + 1), tails);
      return `the environment variable ${name} is not known${near === undefined ? '' : `; did you mean ${prefix}_${near}?`}`;
    });
}
