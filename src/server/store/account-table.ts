// The one account of a control plane, its counters, and the servers that run on this database.
import type { AccountId } from '#model/ids.ts';
import { asId } from '#model/ids.ts';
import type { Sql } from './database.ts';
import { insertRow, json, number, text, upsertRow } from './row.ts';

export interface Account {
  readonly id: AccountId;
  /** Prefixes such as 100.92.0.0/16 and fd12:3456:789a:1::/64, kept for ever. */
  readonly networkV4: string;
  readonly networkV6: string;
  /** A known text under the master key: tells a wrong key at start. */
  readonly keyCheck: string;
  readonly createdAt: number;
}

/** `serial` numbers the states of the network map, `change` the announcements; both only grow. */
export type Counter = 'serial' | 'change';

export class AccountTable {
  readonly #sql: Sql;

  constructor(sql: Sql) {
    this.#sql = sql;
  }

  async find(): Promise<Account | undefined> {
    const [row] = await this.#sql.query('SELECT * FROM account');
    if (row === undefined) return undefined;
    return {
      id: asId(text(row, 'id')),
      networkV4: text(row, 'network_v4'),
      networkV6: text(row, 'network_v6'),
      keyCheck: text(row, 'key_check'),
      createdAt: number(row, 'created_at'),
    };
  }

  async insert(account: Account): Promise<void> {
    await insertRow(this.#sql, 'account', {
      id: account.id,
      network_v4: account.networkV4,
      network_v6: account.networkV6,
      key_check: account.keyCheck,
      created_at: account.createdAt,
    });
  }

  /** Settings that were saved under that name, as an object of whatever shape it had then. */
  async settings(name: string): Promise<Readonly<Record<string, unknown>> | undefined> {
    const [row] = await this.#sql.query('SELECT body FROM settings WHERE id = ?', [name]);
    return row === undefined ? undefined : json<Readonly<Record<string, unknown>>>(row, 'body');
  }

  async saveSettings(name: string, body: object): Promise<void> {
    await upsertRow(this.#sql, 'settings', ['id'], { id: name, body });
  }

  /** Whether this sign-in token had not been used before; from now on it has, until it expires. */
  async useLoginToken(digest: string, expiresAt: number): Promise<boolean> {
    const text = 'INSERT INTO login_tokens (id, expires_at) VALUES (?, ?) ON CONFLICT DO NOTHING';
    return (await this.#sql.execute(text, [digest, expiresAt])) > 0;
  }

  async forgetLoginTokens(now: number): Promise<void> {
    await this.#sql.execute('DELETE FROM login_tokens WHERE expires_at <= ?', [now]);
  }

  async counter(name: Counter): Promise<number> {
    const [row] = await this.#sql.query('SELECT value FROM counters WHERE name = ?', [name]);
    return row === undefined ? 0 : number(row, 'value');
  }

  /** The next value. Within a transaction it is taken for good only when that commits. */
  async next(name: Counter): Promise<number> {
    const [row] = await this.#sql.query('UPDATE counters SET value = value + 1 WHERE name = ? RETURNING value', [name]);
    return row === undefined ? 0 : number(row, 'value');
  }

  /** Lifts the counter to that value where it is below. */
  async raise(name: Counter, value: number): Promise<void> {
    await this.#sql.execute('UPDATE counters SET value = ? WHERE name = ? AND value < ?', [value, name, value]);
  }

  async serverAlive(id: string, at: number): Promise<void> {
    await upsertRow(this.#sql, 'servers', ['id'], { id, heartbeat: at });
  }

  /** Forgets the servers last heard of before that time, and that peers and gateways are connected to them. */
  async forgetServers(before: number, now: number): Promise<void> {
    await this.#sql.execute('DELETE FROM servers WHERE heartbeat < ?', [before]);
    const gone = 'NOT IN (SELECT id FROM servers)';
    await this.#sql.execute(
      `UPDATE peers SET connected = 0, server_id = NULL, last_seen = ? WHERE connected = 1 AND (server_id IS NULL OR server_id ${gone})`,
      [now],
    );
    await this.#sql.execute(`DELETE FROM service_status WHERE proxy_id IN (SELECT id FROM proxies WHERE server_id ${gone})`);
    await this.#sql.execute(`DELETE FROM proxies WHERE server_id ${gone}`);
  }
}
