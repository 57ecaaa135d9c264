// Signed-in browsers, by the digest of the session id. A session that was ended stays as a mark until it would have expired.
import { asId, type ServiceId, type UserId } from '#model/ids.ts';
import type { ProofKind } from '#model/access.ts';
import type { Row, Sql } from './database.ts';
import { flag, insertRow, json, number, text } from './row.ts';

export interface SessionRecord {
  readonly digest: string;
  /** What it is called where it may be ended by others than its bearer; opens nothing. */
  readonly id: string;
  readonly serviceId: ServiceId;
  readonly userId: UserId;
  readonly createdAt: number;
  readonly expiresAt: number;
  readonly revoked: boolean;
  /** The sign-in at the identity provider that it came from; empty where it is not known. */
  readonly signIn: string;
  /** How its person proved who he is, such as `pwd`, `otp` or `hwk` (RFC 8176). */
  readonly methods: readonly string[];
  readonly address: string;
  readonly userAgent: string;
  /** To the precision of a minute. */
  readonly lastUsed: number;
  /** All that its browser has proven. */
  readonly proofs: readonly ProofKind[];
  /** Of somebody without an account, for the log. */
  readonly name: string;
}

/** With the names of what it belongs to. */
export interface NamedSession extends SessionRecord {
  readonly serviceName: string;
  readonly domain: string;
  readonly email: string;
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

  async findById(id: string): Promise<SessionRecord | undefined> {
    const [row] = await this.#sql.query('SELECT * FROM sessions WHERE id = ?', [id]);
    return row === undefined ? undefined : parseSession(row);
  }

  /** Sessions that have not been ended, the newest first. */
  async listLive(now: number, userId: UserId | undefined, limit: number): Promise<readonly NamedSession[]> {
    const rows = await this.#sql.query(
      `SELECT sessions.*, services.name AS service_name, services.domain AS domain, COALESCE(users.email, '') AS email FROM sessions
        JOIN services ON services.id = sessions.service_id LEFT JOIN users ON users.id = sessions.user_id
        WHERE sessions.revoked = 0 AND sessions.expires_at > ? ${userId === undefined ? '' : 'AND sessions.user_id = ?'}
        ORDER BY sessions.created_at DESC, sessions.digest LIMIT ?`,
      [now, ...(userId === undefined ? [] : [userId]), limit],
    );
    return rows.map((row) => ({
      ...parseSession(row),
      serviceName: text(row, 'service_name'),
      domain: text(row, 'domain'),
      email: text(row, 'email'),
    }));
  }

  /** Digests of what has not been ended of one sign-in. */
  async liveOfSignIn(signIn: string): Promise<readonly string[]> {
    const rows = await this.#sql.query('SELECT digest FROM sessions WHERE sign_in = ? AND revoked = 0', [signIn]);
    return rows.map((row) => text(row, 'digest'));
  }

  async setUsed(digest: string, at: number): Promise<void> {
    await this.#sql.execute('UPDATE sessions SET last_used = ? WHERE digest = ? AND last_used < ?', [at, digest, at]);
  }

  async insert(session: SessionRecord): Promise<void> {
    await insertRow(this.#sql, 'sessions', {
      digest: session.digest,
      service_id: session.serviceId,
      user_id: session.userId,
      created_at: session.createdAt,
      expires_at: session.expiresAt,
      revoked: session.revoked,
      id: session.id,
      sign_in: session.signIn,
      methods: session.methods,
      address: session.address,
      user_agent: session.userAgent,
      last_used: session.lastUsed,
      proofs: session.proofs,
      name: session.name,
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

  /** Live sessions that a share link has opened or had a part in: of a link on its own only that one's. */
  async listOfLink(serviceId: ServiceId, link: UserId): Promise<readonly SessionRecord[]> {
    const which = "user_id = ? OR (proofs LIKE '%\"link\"%' AND user_id NOT LIKE 'link:%')";
    const rows = await this.#sql.query(`SELECT * FROM sessions WHERE service_id = ? AND revoked = 0 AND (${which})`, [serviceId, link]);
    return rows.map(parseSession);
  }

  /** Ends the oldest sessions of people without an account, but so many at a service. */
  async trimNameless(serviceId: ServiceId, limit: number): Promise<void> {
    const nameless = "service_id = ? AND revoked = 0 AND user_id LIKE '%:%'";
    const [row] = await this.#sql.query(`SELECT count(*) AS total FROM sessions WHERE ${nameless}`, [serviceId]);
    const surplus = (row === undefined ? 0 : number(row, 'total')) - limit;
    if (surplus <= 0) return;
    const oldest = `SELECT digest FROM sessions WHERE ${nameless} ORDER BY created_at, digest LIMIT ?`;
    await this.#sql.execute(`UPDATE sessions SET revoked = 1 WHERE digest IN (${oldest})`, [serviceId, surplus]);
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
    id: text(row, 'id'),
    signIn: text(row, 'sign_in'),
    methods: json<readonly string[]>(row, 'methods'),
    address: text(row, 'address'),
    userAgent: text(row, 'user_agent'),
    lastUsed: number(row, 'last_used'),
    proofs: json<readonly ProofKind[]>(row, 'proofs'),
    name: text(row, 'name'),
  };
}
