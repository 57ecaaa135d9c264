// Users. `connector` and `subject` are who somebody is at the place that signs them in; for local users the subject is the e-mail address.
import type { Role, User } from '#model/identity.ts';
import { asId, type GroupId, type UserId } from '#model/ids.ts';
import type { Row, Sql } from './database.ts';
import { countRows, deleteRow, flag, insertRow, json, number, optionalNumber, optionalText, text, updateRow } from './row.ts';

/** A user with the scrypt string of the password, which leaves the domain never. */
export interface UserRecord {
  readonly user: User;
  readonly password: string | undefined;
}

export class UserTable {
  readonly #sql: Sql;

  constructor(sql: Sql) {
    this.#sql = sql;
  }

  async list(): Promise<readonly User[]> {
    return (await this.#sql.query('SELECT * FROM users ORDER BY created_at, id')).map((row) => parseUser(row).user);
  }

  async find(id: UserId): Promise<User | undefined> {
    const [row] = await this.#sql.query('SELECT * FROM users WHERE id = ?', [id]);
    return row === undefined ? undefined : parseUser(row).user;
  }

  async findBySubject(connector: string, subject: string): Promise<UserRecord | undefined> {
    const [row] = await this.#sql.query('SELECT * FROM users WHERE connector = ? AND subject = ?', [connector, subject]);
    return row === undefined ? undefined : parseUser(row);
  }

  /** Only what a password is checked against. */
  async findPassword(connector: string, subject: string): Promise<{ readonly id: UserId; readonly password: string | undefined } | undefined> {
    const [row] = await this.#sql.query('SELECT id, password FROM users WHERE connector = ? AND subject = ?', [connector, subject]);
    return row === undefined ? undefined : { id: asId<UserId>(text(row, 'id')), password: optionalText(row, 'password') };
  }

  async listByEmail(email: string): Promise<readonly User[]> {
    return (await this.#sql.query('SELECT * FROM users WHERE email = ? ORDER BY id', [email])).map((row) => parseUser(row).user);
  }

  async countOfConnector(connector: string): Promise<number> {
    const [row] = await this.#sql.query('SELECT count(*) AS total FROM users WHERE connector = ?', [connector]);
    return row === undefined ? 0 : number(row, 'total');
  }

  async idsOfConnector(connector: string): Promise<readonly UserId[]> {
    return (await this.#sql.query('SELECT id FROM users WHERE connector = ?', [connector])).map((row) => asId<UserId>(text(row, 'id')));
  }

  /** Owners who are not blocked. */
  async countActiveOwners(): Promise<number> {
    const [row] = await this.#sql.query(`SELECT count(*) AS total FROM users WHERE role = 'owner' AND blocked = 0`);
    return row === undefined ? 0 : number(row, 'total');
  }

  async hasOwner(): Promise<boolean> {
    return (await this.#sql.query(`SELECT id FROM users WHERE role = 'owner' LIMIT 1`)).length > 0;
  }

  async count(): Promise<number> {
    return await countRows(this.#sql, 'users');
  }

  async insert(user: User, subject: string, password: string | undefined): Promise<void> {
    await insertRow(this.#sql, 'users', {
      id: user.id,
      connector: user.connector,
      subject,
      email: user.email,
      name: user.name,
      role: user.role,
      blocked: user.blocked,
      service: user.service,
      auto_groups: user.autoGroups,
      password,
      created_at: user.createdAt,
      last_login: user.lastLogin,
    });
  }

  async update(user: User): Promise<void> {
    const { id, email, name, role, blocked } = user;
    await updateRow(this.#sql, 'users', id, { email, name, role, blocked, auto_groups: user.autoGroups });
  }

  async setPassword(id: UserId, password: string): Promise<void> {
    await updateRow(this.#sql, 'users', id, { password });
  }

  /** What the issuer said at the last sign-in. */
  async setClaims(id: UserId, claims: NonNullable<User['claims']>): Promise<void> {
    await updateRow(this.#sql, 'users', id, { claims });
  }

  async setLastLogin(id: UserId, at: number): Promise<void> {
    await updateRow(this.#sql, 'users', id, { last_login: at });
  }

  async delete(id: UserId): Promise<boolean> {
    return await deleteRow(this.#sql, 'users', id);
  }
}

function parseUser(row: Row): UserRecord {
  const user: User = {
    id: asId(text(row, 'id')),
    email: text(row, 'email'),
    name: text(row, 'name'),
    role: text(row, 'role') as Role,
    blocked: flag(row, 'blocked'),
    service: flag(row, 'service'),
    autoGroups: json<readonly GroupId[]>(row, 'auto_groups'),
    connector: text(row, 'connector'),
    createdAt: number(row, 'created_at'),
    lastLogin: optionalNumber(row, 'last_login'),
    ...claimsOf(row),
  };
  return { user, password: optionalText(row, 'password') };
}

/** Most users have none, and no field for them. */
function claimsOf(row: Row): Pick<User, 'claims'> {
  const claims = json<NonNullable<User['claims']>>(row, 'claims');
  return Object.keys(claims).length === 0 ? {} : { claims };
}
