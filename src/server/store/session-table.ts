// Signed-in browsers, by the digest of the session id. A session that was ended stays as a mark until it would have expired.
import { asId, type ServiceId, type UserId } from '#model/ids.ts';
import type { Row, Sql } from './database.ts';
import { flag, insertRow, number, text } from './row.ts';

export interface SessionRecord {
  readonly digest: string;
  readonly serviceId: ServiceId;
  readonly userId: UserId;
  readonly createdAt: number;
  readonly expiresAt: number;
  readonly revoked: boolean;
}

export class SessionTable {
  readonly #sql: Sql;

  constructor(sql: Sql) {
    this.#sql = sql;
  }

  async find(digest: string): Promise<SessionRecord | undefined> {
    const [row] = await this.#sql.query('SELECT * FROM sessions WHERE digest = ?', [digest]);
    return row === undefined ? undefined : parseSession(row);
  }

  /** The user's sessions from the newest on, ended ones too. */
  async listOfUser(userId: UserId): Promise<readonly SessionRecord[]> {
    const rows = await this.#sql.query('SELECT * FROM sessions WHERE user_id = ? ORDER BY created_at DESC, digest', [userId]);
    return rows.map(parseSession);
  }

  async insert(session: SessionRecord): Promise<void> {
    await insertRow(this.#sql, 'sessions', {
      digest: session.digest,
      service_id: session.serviceId,
      user_id: session.userId,
      created_at: session.createdAt,
      expires_at: session.expiresAt,
      revoked: session.revoked,
    });
  }

  async revoke(digest: string): Promise<boolean> {
    return (await this.#sql.execute('UPDATE sessions SET revoked = 1 WHERE digest = ? AND revoked = 0', [digest])) > 0;
  }

  async revokeOfUser(userId: UserId): Promise<number> {
    return await this.#sql.execute('UPDATE sessions SET revoked = 1 WHERE user_id = ? AND revoked = 0', [userId]);
  }

  async revokeOfService(serviceId: ServiceId): Promise<number> {
    return await this.#sql.execute('UPDATE sessions SET revoked = 1 WHERE service_id = ? AND revoked = 0', [serviceId]);
  }

  async delete(digest: string): Promise<void> {
    await this.#sql.execute('DELETE FROM sessions WHERE digest = ?', [digest]);
  }

  async deleteExpired(now: number): Promise<number> {
    return await this.#sql.execute('DELETE FROM sessions WHERE expires_at <= ?', [now]);
  }
}

function parseSession(row: Row): SessionRecord {
  return {
    digest: text(row, 'digest'),
    serviceId: asId(text(row, 'service_id')),
    userId: asId(text(row, 'user_id')),
    createdAt: number(row, 'created_at'),
    expiresAt: number(row, 'expires_at'),
    revoked: flag(row, 'revoked'),
  };
}
