// Certificates that users got for services, by their digest: what they stand for is looked up, so that each can be revoked.
import { asId, type ServiceId, type UserId } from '#model/ids.ts';
import type { Row, Sql } from './database.ts';
import { deleteRow, insertRow, number, text } from './row.ts';

export interface MintedRecord {
  readonly id: string;
  readonly kind: 'tls' | 'ssh';
  /** Of TLS: SHA-256 of the certificate in lower-case hexadecimal. Of SSH: its serial number. */
  readonly digest: string;
  readonly serviceId: ServiceId;
  readonly userId: UserId;
  readonly createdAt: number;
  readonly expiresAt: number;
}

/** With the names of what it belongs to. */
export interface NamedMinted extends MintedRecord {
  readonly domain: string;
  readonly email: string;
}

export class MintedTable {
  readonly #sql: Sql;

  constructor(sql: Sql) {
    this.#sql = sql;
  }

  async find(id: string): Promise<MintedRecord | undefined> {
    const [row] = await this.#sql.query('SELECT * FROM minted_certificates WHERE id = ?', [id]);
    return row === undefined ? undefined : parseMinted(row);
  }

  async findByDigest(digest: string): Promise<MintedRecord | undefined> {
    const [row] = await this.#sql.query('SELECT * FROM minted_certificates WHERE digest = ?', [digest]);
    return row === undefined ? undefined : parseMinted(row);
  }

  /** Of one user, or of all; the newest first. Those that are over are left out. */
  async listLive(now: number, userId: UserId | undefined, limit: number): Promise<readonly NamedMinted[]> {
    const rows = await this.#sql.query(
      `SELECT minted_certificates.*, services.domain AS domain, users.email AS email FROM minted_certificates
        JOIN services ON services.id = minted_certificates.service_id JOIN users ON users.id = minted_certificates.user_id
        WHERE minted_certificates.expires_at > ? ${userId === undefined ? '' : 'AND minted_certificates.user_id = ?'}
        ORDER BY minted_certificates.created_at DESC, minted_certificates.id LIMIT ?`,
      [now, ...(userId === undefined ? [] : [userId]), limit],
    );
    return rows.map((row) => ({ ...parseMinted(row), domain: text(row, 'domain'), email: text(row, 'email') }));
  }

  async countLive(now: number, userId: UserId): Promise<number> {
    const [row] = await this.#sql.query('SELECT count(*) AS total FROM minted_certificates WHERE user_id = ? AND expires_at > ?', [userId, now]);
    return row === undefined ? 0 : number(row, 'total');
  }

  async insert({ id, kind, digest, serviceId, userId, createdAt, expiresAt }: MintedRecord): Promise<void> {
    await insertRow(this.#sql, 'minted_certificates', {
      id,
      kind,
      digest,
      service_id: serviceId,
      user_id: userId,
      created_at: createdAt,
      expires_at: expiresAt,
    });
  }

  async delete(id: string): Promise<boolean> {
    return await deleteRow(this.#sql, 'minted_certificates', id);
  }

  async deleteBefore(createdAt: number): Promise<void> {
    await this.#sql.execute('DELETE FROM minted_certificates WHERE created_at < ?', [createdAt]);
  }
}

function parseMinted(row: Row): MintedRecord {
  return {
    id: text(row, 'id'),
    kind: text(row, 'kind') === 'ssh' ? 'ssh' : 'tls',
    digest: text(row, 'digest'),
    serviceId: asId(text(row, 'service_id')),
    userId: asId(text(row, 'user_id')),
    createdAt: number(row, 'created_at'),
    expiresAt: number(row, 'expires_at'),
  };
}
