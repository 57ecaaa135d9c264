// Encrypted key-value entries of other parts of the server. This table never sees a plain value.
import type { Sql } from './database.ts';
import { optionalNumber, text, upsertRow } from './row.ts';

export class VaultTable {
  readonly #sql: Sql;

  constructor(sql: Sql) {
    this.#sql = sql;
  }

  async find(key: string): Promise<{ readonly value: string; readonly expiresAt: number | undefined } | undefined> {
    const [row] = await this.#sql.query('SELECT value, expires_at FROM vault WHERE id = ?', [key]);
    return row === undefined ? undefined : { value: text(row, 'value'), expiresAt: optionalNumber(row, 'expires_at') };
  }

  async set(key: string, value: string, expiresAt: number | undefined): Promise<void> {
    await upsertRow(this.#sql, 'vault', ['id'], { id: key, value, expires_at: expiresAt });
  }

  async delete(key: string): Promise<void> {
    await this.#sql.execute('DELETE FROM vault WHERE id = ?', [key]);
  }

  /** Compared by characters: LIKE ignores case in one of the engines, and ranges follow the other's collation. */
  async deletePrefix(prefix: string): Promise<void> {
    await this.#sql.execute('DELETE FROM vault WHERE substr(id, 1, length(CAST(? AS TEXT))) = ?', [prefix, prefix]);
  }

  async deleteExpired(now: number): Promise<void> {
    await this.#sql.execute('DELETE FROM vault WHERE expires_at <= ?', [now]);
  }
}
