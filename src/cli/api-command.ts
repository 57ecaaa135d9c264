// The common part of every command that calls the API: its flags, the client, and finding a thing by id or by name.
import type { ApiClient } from './api-client.ts';
import { openApi } from './api-client.ts';
import type { Command, Flags, Input } from './command.ts';
import { findCredentials } from './credentials.ts';
import { cliError } from './errors.ts';
import type { Io } from './io.ts';
import { clean, field, printJson, printRows, type Column } from './output.ts';

export const apiFlags: Flags = {
  api: { kind: 'text', value: 'URL', about: 'the server; else MESHGATE_API, else the one of meshgate setup' },
  ca: { kind: 'text', value: 'FILE', about: 'PEM file of its private certificate authority; else MESHGATE_CA' },
  json: { kind: 'switch', about: 'print JSON' },
};

export interface ApiSession {
  readonly api: ApiClient;
  readonly input: Input;
  readonly io: Io;
  readonly json: boolean;
}

export interface ApiCommandSpec {
  readonly name: string;
  readonly summary: string;
  readonly positionals?: readonly string[];
  readonly flags?: Flags;
  run(session: ApiSession): Promise<void>;
}

/** A command that signs in, runs, and closes its connections whatever happens. */
export function apiCommand(spec: ApiCommandSpec): Command {
  return {
    name: spec.name,
    summary: spec.summary,
    positionals: spec.positionals ?? [],
    flags: { ...spec.flags, ...apiFlags },
    async run(input, io) {
      const credentials = await findCredentials(io, input.text('api'), input.text('ca'));
      const api = await openApi(credentials, io.stop);
      try {
        await spec.run({ api, input, io, json: input.on('json') });
        return 0;
      } finally {
        await api.close();
      }
    },
  };
}

/** Column titles with the way to the field; `groups` of objects print their names. */
export type Columns = Readonly<Record<string, string | readonly string[]>>;

function columnsOf(columns: Columns): readonly Column<unknown>[] {
  return Object.entries(columns).map(([title, path]) => ({ title, cell: (row) => field(row, ...(typeof path === 'string' ? [path] : path)) }));
}

/** `NOUN list`: one GET, one table. */
export function listCommand(noun: string, summary: string, path: string, columns: Columns): Command {
  return apiCommand({
    name: `${noun} list`,
    summary,
    async run({ api, io, json }) {
      const rows = asRows(await api.call('GET', path));
      printRows(io, json, rows, rows, columnsOf(columns));
    },
  });
}

/** Rows that somebody already has, as the list commands print them. */
export function printTable(session: ApiSession, raw: unknown, rows: readonly unknown[], columns: Columns): void {
  printRows(session.io, session.json, raw, rows, columnsOf(columns));
}

/** `NOUN delete NAME`: finds it in the list, then deletes it by id. */
export function deleteCommand(noun: string, path: string, ...nameFields: readonly string[]): Command {
  return apiCommand({
    name: `${noun} delete`,
    summary: `delete a ${noun}, by id or ${nameFields.join(' or ')}`,
    positionals: [noun.toUpperCase()],
    async run(session) {
      const found = await find(session.api, path, session.input.positionals[0] ?? '', nameFields);
      await session.api.call('DELETE', `${path}/${encodeURIComponent(found.id)}`);
      done(session, `deleted ${found.name}`, {});
    },
  });
}

/** Says what was done, or prints the answer where JSON is wanted. */
export function done(session: ApiSession, line: string, answer: unknown): void {
  if (session.json) printJson(session.io, answer);
  else session.io.out(clean(line));
}

export interface Found {
  readonly id: string;
  readonly name: string;
  readonly row: unknown;
}

/** The one entry of a list with this id, or with this text in one of the fields. CLI_NOT_FOUND, CLI_AMBIGUOUS. */
export async function find(api: ApiClient, path: string, wanted: string, nameFields: readonly string[]): Promise<Found> {
  const rows = asRows(await api.call('GET', path));
  const byId = rows.filter((row) => field(row, 'id') === wanted);
  const found = byId.length > 0 ? byId : rows.filter((row) => nameFields.some((name) => field(row, name).toLowerCase() === wanted.toLowerCase()));
  const [row] = found;
  if (row === undefined) throw cliError('CLI_NOT_FOUND', wanted);
  if (found.length > 1) throw cliError('CLI_AMBIGUOUS', `${wanted}: ${found.map((each) => field(each, 'id')).join(', ')}`);
  return { id: field(row, 'id'), name: field(row, nameFields[0] ?? 'name'), row };
}

/** The ids of several, each by id or name. */
export async function findIds(api: ApiClient, path: string, wanted: readonly string[], nameFields: readonly string[] = ['name']): Promise<string[]> {
  const ids: string[] = [];
  for (const each of wanted) ids.push((await find(api, path, each, nameFields)).id);
  return ids;
}

export function asRows(answer: unknown): readonly unknown[] {
  if (!Array.isArray(answer)) throw cliError('CLI_API_REFUSED', 'the answer is not a list');
  return answer;
}
