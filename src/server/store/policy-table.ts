// Policies: who may talk to whom.
import { asId, type PolicyId } from '#model/ids.ts';
import type { Policy, PolicyRule } from '#model/network.ts';
import type { Row, Sql } from './database.ts';
import { countRows, deleteRow, flag, insertRow, json, text, updateRow } from './row.ts';

export class PolicyTable {
  readonly #sql: Sql;

  constructor(sql: Sql) {
    this.#sql = sql;
  }

  async list(): Promise<readonly Policy[]> {
    return (await this.#sql.query('SELECT * FROM policies ORDER BY name, id')).map(parsePolicy);
  }

  async find(id: PolicyId): Promise<Policy | undefined> {
    const [row] = await this.#sql.query('SELECT * FROM policies WHERE id = ?', [id]);
    return row === undefined ? undefined : parsePolicy(row);
  }

  async count(): Promise<number> {
    return await countRows(this.#sql, 'policies');
  }

  async insert(policy: Policy): Promise<void> {
    const { id, name, description, enabled, rules } = policy;
    await insertRow(this.#sql, 'policies', { id, name, description, enabled, rules });
  }

  async update(policy: Policy): Promise<void> {
    const { id, name, description, enabled, rules } = policy;
    await updateRow(this.#sql, 'policies', id, { name, description, enabled, rules });
  }

  async delete(id: PolicyId): Promise<boolean> {
    return await deleteRow(this.#sql, 'policies', id);
  }
}

function parsePolicy(row: Row): Policy {
  return {
    id: asId(text(row, 'id')),
    name: text(row, 'name'),
    description: text(row, 'description'),
    enabled: flag(row, 'enabled'),
    rules: json<readonly PolicyRule[]>(row, 'rules'),
  };
}
