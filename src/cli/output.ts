// What commands print: a table for people, JSON for programs. Control characters from elsewhere never reach a terminal.
import type { Io } from './io.ts';

export interface Column<Row> {
  readonly title: string;
  readonly cell: (row: Row) => string;
}

/** Lines of a table with a title line; columns are as wide as their widest cell. */
export function tableLines<Row>(rows: readonly Row[], columns: readonly Column<Row>[]): readonly string[] {
  const cells = [columns.map((column) => column.title), ...rows.map((row) => columns.map((column) => clean(column.cell(row))))];
  const widths = columns.map((_, i) => Math.max(...cells.map((line) => (line[i] ?? '').length)));
  return cells.map((line) =>
    line
      .map((cell, i) => cell.padEnd(widths[i] ?? 0))
      .join('  ')
      .trimEnd(),
  );
}

/** One readable line: control and direction characters become `?`, an empty text a dash. */
export function clean(text: string): string {
  const line = text.replaceAll(/[\p{Cc}\p{Cf}\u2028\u2029]/gu, '?');
  return line === '' ? '-' : line;
}

/** Prints rows as a table, or `raw` as JSON where the command has `--json`. */
export function printRows<Row>(io: Io, json: boolean, raw: unknown, rows: readonly Row[], columns: readonly Column<Row>[]): void {
  if (json) {
    printJson(io, raw);
    return;
  }
  if (rows.length === 0) io.out('none');
  else for (const line of tableLines(rows, columns)) io.out(line);
}

/** JSON escapes control characters by itself. */
export function printJson(io: Io, value: unknown): void {
  io.out(JSON.stringify(value, null, 2) ?? 'null');
}

/** A field of a JSON object from elsewhere as text: lists with commas, everything unknown as a dash. */
export function field(row: unknown, ...path: readonly string[]): string {
  let value: unknown = row;
  for (const key of path)
    value = typeof value === 'object' && value !== null && Object.hasOwn(value, key) ? (value as Record<string, unknown>)[key] : undefined;
  return asText(value);
}

function asText(value: unknown): string {
  if (Array.isArray(value)) return value.map(asText).join(', ');
  if (typeof value === 'object' && value !== null) return 'name' in value ? asText(value.name) : JSON.stringify(value);
  return value === undefined || value === null ? '' : String(value as string | number | boolean);
}
