// Share links, by the digest of their secret: each opens its service so many times, until its time is over.
import { asId, type ServiceId, type UserId } from '#model/ids.ts';
import type { Row, Sql } from './database.ts';
import { flag, insertRow, number, text } from './row.ts';

export interface LinkRecord {
  readonly id: string;
  readonly serviceId: ServiceId;
  readonly label: string;
  readonly createdBy: UserId;
  readonly createdAt: number;
  readonly expiresAt: number;
  /** How often it may be opened, and how often it was. */
  readonly uses: number;
  readonly used: number;
  readonly revoked: boolean;
}

export class LinkTable {
  readonly #sql: Sql;

  constructor(sql: Sql) {
    this.#sql = sql;
  }

  /** The newest first. */
  async list(serviceId: ServiceId): Promise<readonly LinkRecord[]> {
    return (await this.#sql.query('SELECT * FROM share_links WHERE service_id = ? ORDER BY created_at DESC, id', [serviceId])).map(parseLink);
  }

  async find(id: string): Promise<LinkRecord | undefined> {
    const [row] = await this.#sql.query('SELECT * FROM share_links WHERE id = ?', [id]);
    return row === undefined ? undefined : parseLink(row);
  }

  async count(serviceId: ServiceId): Promise<number> {
    const [row] = await this.#sql.query('SELECT count(*) AS total FROM share_links WHERE service_id = ?', [serviceId]);
    return row === undefined ? 0 : number(row, 'total');
  }

  async insert(link: LinkRecord, digest: string): Promise<void> {
    const { id, label, uses, used, revoked } = link;
    const times = { created_at: link.createdAt, expires_at: link.expiresAt };
    const whose = { service_id: link.serviceId, created_by: link.createdBy };
    await insertRow(this.#sql, 'share_links', { id, digest, label, uses, used, revoked, ...times, ...whose });
  }

  /** Uses it once more, in one step: of many at once, as many get true as it has uses left. */
  async use(digest: string, serviceId: ServiceId, now: number): Promise<LinkRecord | undefined> {
    const left = 'revoked = 0 AND expires_at > ? AND used < uses';
    const count = await this.#sql.execute(`UPDATE share_links SET used = used + 1 WHERE digest = ? AND service_id = ? AND ${left}`, [
      digest,
      serviceId,
      now,
    ]);
    if (count === 0) return undefined;
    const [row] = await this.#sql.query('SELECT * FROM share_links WHERE digest = ?', [digest]);
    return row === undefined ? undefined : parseLink(row);
  }

  async revoke(id: string): Promise<boolean> {
    return (await this.#sql.execute('UPDATE share_links SET revoked = 1 WHERE id = ? AND revoked = 0', [id])) > 0;
  }

  async deleteBefore(expiredAt: number): Promise<void> {
    await this.#sql.execute('DELETE FROM share_links WHERE expires_at < ?', [expiredAt]);
  }
}

function parseLink(row: Row): LinkRecord {
  return {
    id: text(row, 'id'),
    serviceId: asId(text(row, 'service_id')),
    label: text(row, 'label'),
    createdBy: asId(text(row, 'created_by')),
    createdAt: number(row, 'created_at'),
    expiresAt: number(row, 'expires_at'),
    uses: number(row, 'uses'),
    used: number(row, 'used'),
    revoked: flag(row, 'revoked'),
  };
}
