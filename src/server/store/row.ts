// Reading rows and writing them: columns by name, with their type checked once, here.
import { storeError } from './errors.ts';
import type { Row, Sql, SqlValue } from './database.ts';

export function text(row: Row, column: string): string {
  const value = row[column];
  if (typeof value !== 'string') throw storeError('STORE_DAMAGED', column);
  return value;
}

export function number(row: Row, column: string): number {
  const value = row[column];
  if (typeof value !== 'number') throw storeError('STORE_DAMAGED', column);
  return value;
}

export function flag(row: Row, column: string): boolean {
  return number(row, column) !== 0;
}

export function optionalText(row: Row, column: string): string | undefined {
  return row[column] === null ? undefined : text(row, column);
}

export function optionalNumber(row: Row, column: string): number | undefined {
  return row[column] === null ? undefined : number(row, column);
}

/** A column that this store wrote as JSON of that type. */
export function json<T>(row: Row, column: string): T {
  try {
    return JSON.parse(text(row, column)) as T;
  } catch (error) {
    throw storeError('STORE_DAMAGED', column, error);
  }
}

export type Values = Readonly<Record<string, string | number | boolean | object | null | undefined>>;

/** Booleans as 0 and 1, undefined as NULL, objects as JSON. */
function encode(value: Values[string]): SqlValue {
  if (value === undefined || value === null) return null;
  if (typeof value === 'boolean') return value ? 1 : 0;
  return typeof value === 'object' ? JSON.stringify(value) : value;
}

/** Table and column names come from the code, never from outside. */
export async function insertRow(sql: Sql, table: string, values: Values): Promise<void> {
  const columns = Object.keys(values);
  const marks = columns.map(() => '?').join(', ');
  await sql.execute(`INSERT INTO ${table} (${columns.join(', ')}) VALUES (${marks})`, Object.values(values).map(encode));
}

/** Inserts, or replaces the columns of the row with the same key. */
export async function upsertRow(sql: Sql, table: string, key: readonly string[], values: Values): Promise<void> {
  const columns = Object.keys(values);
  const marks = columns.map(() => '?').join(', ');
  const changes = columns.filter((column) => !key.includes(column)).map((column) => `${column} = excluded.${column}`);
  const conflict = `ON CONFLICT (${key.join(', ')}) DO UPDATE SET ${changes.join(', ')}`;
  await sql.execute(`INSERT INTO ${table} (${columns.join(', ')}) VALUES (${marks}) ${conflict}`, Object.values(values).map(encode));
}

/** Whether there was such a row. */
export async function updateRow(sql: Sql, table: string, id: string, values: Values): Promise<boolean> {
  const changes = Object.keys(values).map((column) => `${column} = ?`);
  const params = [...Object.values(values).map(encode), id];
  return (await sql.execute(`UPDATE ${table} SET ${changes.join(', ')} WHERE id = ?`, params)) > 0;
}

export async function deleteRow(sql: Sql, table: string, id: string): Promise<boolean> {
  return (await sql.execute(`DELETE FROM ${table} WHERE id = ?`, [id])) > 0;
}

export async function countRows(sql: Sql, table: string): Promise<number> {
  const [row] = await sql.query(`SELECT count(*) AS total FROM ${table}`);
  return row === undefined ? 0 : number(row, 'total');
}
