// Wrong passwords, PINs and other secrets of services, counted by what they were tried on and where they came from.
import type { Sql } from './database.ts';
import { number } from './row.ts';

export interface AttemptCount {
  readonly failures: number;
  /** Wall-clock milliseconds. */
  readonly last: number;
}

export class AttemptTable {
  readonly #sql: Sql;

  constructor(sql: Sql) {
    this.#sql = sql;
  }

  async find(key: string): Promise<AttemptCount | undefined> {
    const [row] = await this.#sql.query('SELECT failures, last FROM proof_attempts WHERE key = ?', [key]);
    return row === undefined ? undefined : { failures: number(row, 'failures'), last: number(row, 'last') };
  }

  async set(key: string, { failures, last }: AttemptCount): Promise<void> {
    const update = 'ON CONFLICT (key) DO UPDATE SET failures = excluded.failures, last = excluded.last';
    await this.#sql.execute(`INSERT INTO proof_attempts (key, failures, last) VALUES (?, ?, ?) ${update}`, [key, failures, last]);
  }

  /** Takes failures back, down to none. */
  async subtract(key: string, failures: number): Promise<void> {
    await this.#sql.execute('UPDATE proof_attempts SET failures = failures - ? WHERE key = ?', [failures, key]);
    await this.#sql.execute('DELETE FROM proof_attempts WHERE key = ? AND failures <= 0', [key]);
  }

  async delete(key: string): Promise<void> {
    await this.#sql.execute('DELETE FROM proof_attempts WHERE key = ?', [key]);
  }

  async count(): Promise<number> {
    const [row] = await this.#sql.query('SELECT count(*) AS total FROM proof_attempts');
    return row === undefined ? 0 : number(row, 'total');
  }

  /** Forgets what is older than that, and of more than `limit` the oldest. */
  async trim(before: number, limit: number): Promise<void> {
    await this.#sql.execute('DELETE FROM proof_attempts WHERE last < ?', [before]);
    const surplus = (await this.count()) - limit;
    if (surplus <= 0) return;
    await this.#sql.execute('DELETE FROM proof_attempts WHERE key IN (SELECT key FROM proof_attempts ORDER BY last, key LIMIT ?)', [surplus]);
  }
}
