// The reference of a configuration, written from its schema: a table of every setting and an example that reads back.
import { settingsOf } from './schema-config.ts';
import { typeText, type Schema } from './schema.ts';

/** A markdown table: setting, type, default, environment variable, what it does. Secrets are marked; their defaults are never shown. */
export function settingsTable(schema: Schema<unknown>, prefix: string): string {
  const rows = walk(schema, '', new Map(settingsOf(schema, prefix).map((setting) => [setting.path.join('.'), setting.env])));
  const head = ['Setting', 'Type', 'Default', 'Environment', 'What it does'];
  return [head, head.map(() => '---'), ...rows].map((cells) => `| ${cells.map(escapeCell).join(' | ')} |`).join('\n');
}

function walk(schema: Schema<unknown>, path: string, env: ReadonlyMap<string, string>): readonly (readonly string[])[] {
  const { shape, info } = schema;
  if (shape.kind === 'object') {
    return Object.entries(shape.fields).flatMap(([name, field]) => walk(field, path === '' ? name : `${path}.${name}`, env));
  }
  const variable = env.get(path);
  const secret = info.secret === true ? ' (secret)' : '';
  const about = info.about ?? '';
  const row = [code(path), typeText(schema), defaultText(schema), variable === undefined ? '' : code(variable), `${about}${secret}`.trim()];
  const inner = shape.kind === 'list' || shape.kind === 'record' ? shape.item : undefined;
  const below = inner?.shape.kind === 'object' ? walk(inner, `${path}${shape.kind === 'list' ? '[]' : '.*'}`, env) : [];
  return [row, ...below];
}

function defaultText(schema: Schema<unknown>): string {
  if (schema.info.secret === true) return schema.optional ? 'none' : 'required';
  if (schema.info.default !== undefined && !schema.optional) return code(JSON.stringify(schema.info.default));
  return schema.optional ? 'none' : 'required';
}

function code(text: string): string {
  return `\`${text}\``;
}

function escapeCell(text: string): string {
  return text.replaceAll('|', '\\|').replaceAll('\n', ' ');
}

/** An example as JSON text: what is required, what has a default, and what names an example. Secrets are left out where they may be. */
export function exampleJson(schema: Schema<unknown>): string {
  return JSON.stringify(example(schema), null, 2);
}

function example(schema: Schema<unknown>): unknown {
  const { shape, info } = schema;
  if (info.example !== undefined) return info.example;
  if (info.default !== undefined) return info.default;
  switch (shape.kind) {
    case 'object':
      return Object.fromEntries(
        Object.entries(shape.fields)
          .filter(([, field]) => !field.optional || (field.info.example !== undefined && field.info.secret !== true))
          .map(([name, field]) => [name, example(field)]),
      );
    case 'list':
      return [example(shape.item)];
    case 'record':
      return { name: example(shape.item) };
    case 'integer':
      return Math.max(shape.min, 0);
    case 'boolean':
      return false;
    case 'choice':
      return shape.choices[0];
    case 'union':
      return shape.options[0] === undefined ? undefined : example(shape.options[0]);
    case 'string':
      return '…';
  }
}
