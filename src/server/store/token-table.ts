// Personal and gateway tokens, by the digest of the token.
import { asId, type TokenId, type UserId } from '#model/ids.ts';
import type { Row, Sql } from './database.ts';
import { deleteRow, flag, insertRow, number, optionalNumber, optionalText, text, updateRow } from './row.ts';

export interface ApiTokenRecord {
  readonly id: TokenId;
  readonly userId: UserId;
  readonly name: string;
  readonly createdAt: number;
  readonly expiresAt: number;
  readonly lastUsed: number | undefined;
  readonly createdBy: UserId;
}

export interface ProxyTokenRecord {
  readonly id: TokenId;
  readonly name: string;
  readonly createdAt: number;
  readonly expiresAt: number | undefined;
  readonly lastUsed: number | undefined;
  readonly revoked: boolean;
  /** The only cluster that it is good for; undefined until it has registered with one. */
  readonly cluster: string | undefined;
}

export class TokenTable {
  readonly #sql: Sql;

  constructor(sql: Sql) {
    this.#sql = sql;
  }

  async listOfUser(userId: UserId): Promise<readonly ApiTokenRecord[]> {
    return (await this.#sql.query('SELECT * FROM api_tokens WHERE user_id = ? ORDER BY created_at, id', [userId])).map(parseApiToken);
  }

  async digestsOfUser(userId: UserId): Promise<readonly string[]> {
    return (await this.#sql.query('SELECT digest FROM api_tokens WHERE user_id = ?', [userId])).map((row) => text(row, 'digest'));
  }

  async find(id: TokenId): Promise<{ readonly token: ApiTokenRecord; readonly digest: string } | undefined> {
    const [row] = await this.#sql.query('SELECT * FROM api_tokens WHERE id = ?', [id]);
    return row === undefined ? undefined : { token: parseApiToken(row), digest: text(row, 'digest') };
  }

  async findByDigest(digest: string): Promise<ApiTokenRecord | undefined> {
    const [row] = await this.#sql.query('SELECT * FROM api_tokens WHERE digest = ?', [digest]);
    return row === undefined ? undefined : parseApiToken(row);
  }

  async insert(token: ApiTokenRecord, digest: string): Promise<void> {
    await insertRow(this.#sql, 'api_tokens', {
      id: token.id,
      user_id: token.userId,
      digest,
      name: token.name,
      created_at: token.createdAt,
      expires_at: token.expiresAt,
      last_used: token.lastUsed,
      created_by: token.createdBy,
    });
  }

  async setUsed(id: TokenId, at: number): Promise<void> {
    await updateRow(this.#sql, 'api_tokens', id, { last_used: at });
  }

  async delete(id: TokenId): Promise<boolean> {
    return await deleteRow(this.#sql, 'api_tokens', id);
  }

  async listProxy(): Promise<readonly ProxyTokenRecord[]> {
    return (await this.#sql.query('SELECT * FROM proxy_tokens ORDER BY created_at, id')).map(parseProxyToken);
  }

  /** Without those of agents. */
  async countProxy(): Promise<number> {
    const [row] = await this.#sql.query("SELECT count(*) AS total FROM proxy_tokens WHERE id NOT LIKE 'agent-%'");
    return row === undefined ? 0 : number(row, 'total');
  }

  async findProxy(id: TokenId): Promise<ProxyTokenRecord | undefined> {
    const [row] = await this.#sql.query('SELECT * FROM proxy_tokens WHERE id = ?', [id]);
    return row === undefined ? undefined : parseProxyToken(row);
  }

  async findProxyByDigest(digest: string): Promise<ProxyTokenRecord | undefined> {
    const [row] = await this.#sql.query('SELECT * FROM proxy_tokens WHERE digest = ?', [digest]);
    return row === undefined ? undefined : parseProxyToken(row);
  }

  async insertProxy(token: ProxyTokenRecord, digest: string): Promise<void> {
    await insertRow(this.#sql, 'proxy_tokens', {
      id: token.id,
      digest,
      name: token.name,
      created_at: token.createdAt,
      expires_at: token.expiresAt,
      last_used: token.lastUsed,
      revoked: token.revoked,
      cluster: token.cluster,
    });
  }

  /** False where it belongs to a cluster already. */
  async bindProxy(id: TokenId, cluster: string): Promise<boolean> {
    return (await this.#sql.execute('UPDATE proxy_tokens SET cluster = ? WHERE id = ? AND cluster IS NULL', [cluster, id])) > 0;
  }

  async revokeProxy(id: TokenId): Promise<void> {
    await updateRow(this.#sql, 'proxy_tokens', id, { revoked: true });
  }

  async setProxyExpiry(id: TokenId, at: number): Promise<void> {
    await updateRow(this.#sql, 'proxy_tokens', id, { expires_at: at });
  }

  async deleteProxy(id: TokenId): Promise<boolean> {
    return await deleteRow(this.#sql, 'proxy_tokens', id);
  }

  async setProxyUsed(id: TokenId, at: number): Promise<void> {
    await updateRow(this.#sql, 'proxy_tokens', id, { last_used: at });
  }
}

function parseApiToken(row: Row): ApiTokenRecord {
  return {
    id: asId(text(row, 'id')),
    userId: asId(text(row, 'user_id')),
    name: text(row, 'name'),
    createdAt: number(row, 'created_at'),
    expiresAt: number(row, 'expires_at'),
    lastUsed: optionalNumber(row, 'last_used'),
    createdBy: asId(text(row, 'created_by')),
  };
}

function parseProxyToken(row: Row): ProxyTokenRecord {
  return {
    id: asId(text(row, 'id')),
    name: text(row, 'name'),
    createdAt: number(row, 'created_at'),
    expiresAt: optionalNumber(row, 'expires_at'),
    lastUsed: optionalNumber(row, 'last_used'),
    revoked: flag(row, 'revoked'),
    cluster: optionalText(row, 'cluster'),
  };
}
