// Changes on their way to the other servers, in the order of their transactions. NOTIFY only says that there are some, so that none is
// lost while the notification connection is away.
import type { Sql } from './database.ts';
import { insertRow, number, text } from './row.ts';

export interface StoredChange {
  readonly id: number;
  readonly serverId: string;
  readonly body: string;
}

/** Changes read at one time. */
const page = 500;

export class ChangeTable {
  readonly #sql: Sql;

  constructor(sql: Sql) {
    this.#sql = sql;
  }

  async insert(change: StoredChange, at: number): Promise<void> {
    await insertRow(this.#sql, 'changes', { id: change.id, server_id: change.serverId, at, body: change.body });
  }

  /** The next ones, oldest first. */
  async after(id: number): Promise<readonly StoredChange[]> {
    const rows = await this.#sql.query(`SELECT id, server_id, body FROM changes WHERE id > ? ORDER BY id LIMIT ${page}`, [id]);
    return rows.map((row) => ({ id: number(row, 'id'), serverId: text(row, 'server_id'), body: text(row, 'body') }));
  }

  async deleteBefore(at: number): Promise<void> {
    await this.#sql.execute('DELETE FROM changes WHERE at < ?', [at]);
  }
}
