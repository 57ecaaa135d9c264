// Setup keys, by the digest of the key.
import { asId, type GroupId, type SetupKeyId } from '#model/ids.ts';
import type { SetupKey } from '#model/network.ts';
import type { Row, Sql } from './database.ts';
import { countRows, deleteRow, flag, insertRow, json, number, optionalNumber, text, updateRow } from './row.ts';

export class SetupKeyTable {
  readonly #sql: Sql;

  constructor(sql: Sql) {
    this.#sql = sql;
  }

  async list(): Promise<readonly SetupKey[]> {
    return (await this.#sql.query('SELECT * FROM setup_keys ORDER BY created_at, id')).map(parseSetupKey);
  }

  async find(id: SetupKeyId): Promise<SetupKey | undefined> {
    return await this.#one('id', id);
  }

  async findByDigest(digest: string): Promise<SetupKey | undefined> {
    return await this.#one('digest', digest);
  }

  async count(): Promise<number> {
    return await countRows(this.#sql, 'setup_keys');
  }

  async insert(key: SetupKey, digest: string): Promise<void> {
    await insertRow(this.#sql, 'setup_keys', {
      id: key.id,
      digest,
      name: key.name,
      type: key.type,
      hint: key.hint,
      expires_at: key.expiresAt,
      revoked: key.revoked,
      used_times: key.usedTimes,
      usage_limit: key.usageLimit,
      last_used: key.lastUsed,
      ephemeral: key.ephemeral,
      auto_groups: key.autoGroups,
      created_at: key.createdAt,
      updated_at: key.updatedAt,
    });
  }

  async update(id: SetupKeyId, revoked: boolean, autoGroups: readonly GroupId[], at: number): Promise<void> {
    await updateRow(this.#sql, 'setup_keys', id, { revoked, auto_groups: autoGroups, updated_at: at });
  }

  async countUse(id: SetupKeyId, at: number): Promise<void> {
    await this.#sql.execute('UPDATE setup_keys SET used_times = used_times + 1, last_used = ? WHERE id = ?', [at, id]);
  }

  async delete(id: SetupKeyId): Promise<boolean> {
    return await deleteRow(this.#sql, 'setup_keys', id);
  }

  async #one(column: string, value: string): Promise<SetupKey | undefined> {
    const [row] = await this.#sql.query(`SELECT * FROM setup_keys WHERE ${column} = ?`, [value]);
    return row === undefined ? undefined : parseSetupKey(row);
  }
}

function parseSetupKey(row: Row): SetupKey {
  return {
    id: asId(text(row, 'id')),
    name: text(row, 'name'),
    type: text(row, 'type') as SetupKey['type'],
    hint: text(row, 'hint'),
    expiresAt: optionalNumber(row, 'expires_at'),
    revoked: flag(row, 'revoked'),
    usedTimes: number(row, 'used_times'),
    usageLimit: number(row, 'usage_limit'),
    lastUsed: optionalNumber(row, 'last_used'),
    ephemeral: flag(row, 'ephemeral'),
    autoGroups: json<readonly GroupId[]>(row, 'auto_groups'),
    createdAt: number(row, 'created_at'),
    updatedAt: number(row, 'updated_at'),
  };
}
