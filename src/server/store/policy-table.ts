// Policies: who may talk to whom.
import { asId, type PolicyId } from '#model/ids.ts';
import type { Policy, PolicyRule } from '#model/network.ts';
import type { PostureCheckId } from '#model/posture.ts';
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
    const { id, name, description, enabled, rules, sourcePostureChecks = [] } = policy;
    await insertRow(this.#sql, 'policies', { id, name, description, enabled, rules, posture_checks: sourcePostureChecks });
  }

  async update(policy: Policy): Promise<void> {
    const { id, name, description, enabled, rules, sourcePostureChecks = [] } = policy;
    await updateRow(this.#sql, 'policies', id, { name, description, enabled, rules, posture_checks: sourcePostureChecks });
  }

  async delete(id: PolicyId): Promise<boolean> {
    return await deleteRow(this.#sql, 'policies', id);
  }
}

function parsePolicy(row: Row): Policy {
  const checks = json<readonly PostureCheckId[]>(row, 'posture_checks');
  return {
    id: asId(text(row, 'id')),
    name: text(row, 'name'),
    description: text(row, 'description'),
    enabled: flag(row, 'enabled'),
    ...(checks.length === 0 ? {} : { sourcePostureChecks: checks }),
    rules: json<readonly PolicyRule[]>(row, 'rules'),
  };
}
