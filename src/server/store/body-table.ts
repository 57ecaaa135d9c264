// A table of things that are only ever read whole: an id, what the database has to know, and the rest as JSON.
import type { Row, Sql } from './database.ts';
import { countRows, deleteRow, insertRow, json, text, updateRow, type Values } from './row.ts';

export interface BodyTableOptions<T> {
  readonly table: string;
  /** Columns beside id and body, such as the id of an owner. */
  readonly columns?: (value: T) => Values;
  /** What a body that was written before a field existed, or without one that was undefined, has there. */
  readonly defaults: Partial<T>;
}

export class BodyTable<T extends { readonly id: string }> {
  readonly #sql: Sql;
  readonly #options: BodyTableOptions<T>;

  constructor(sql: Sql, options: BodyTableOptions<T>) {
    this.#sql = sql;
    this.#options = options;
  }

  /** All, in the order of their making as far as ids tell it; `where` names a column of the options and its value. */
  async list(where?: { readonly column: string; readonly value: string }): Promise<readonly T[]> {
    const { table } = this.#options;
    const rows =
      where === undefined
        ? await this.#sql.query(`SELECT * FROM ${table} ORDER BY id`)
        : await this.#sql.query(`SELECT * FROM ${table} WHERE ${where.column} = ? ORDER BY id`, [where.value]);
    return rows.map((row) => this.#parse(row));
  }

  async find(id: string): Promise<T | undefined> {
    const [row] = await this.#sql.query(`SELECT * FROM ${this.#options.table} WHERE id = ?`, [id]);
    return row === undefined ? undefined : this.#parse(row);
  }

  async count(): Promise<number> {
    return await countRows(this.#sql, this.#options.table);
  }

  async insert(value: T): Promise<void> {
    const { table, columns } = this.#options;
    await insertRow(this.#sql, table, { id: value.id, ...columns?.(value), body: value });
  }

  async update(value: T): Promise<boolean> {
    const { table, columns } = this.#options;
    return await updateRow(this.#sql, table, value.id, { ...columns?.(value), body: value });
  }

  async delete(id: string): Promise<boolean> {
    return await deleteRow(this.#sql, this.#options.table, id);
  }

  #parse(row: Row): T {
    return { ...this.#options.defaults, ...json<T>(row, 'body'), id: text(row, 'id') };
  }
}
