// Paired devices: credentials that stand for a user at one service, by the digest of their secret.
import { asId, type ServiceId, type UserId } from '#model/ids.ts';
import type { Row, Sql } from './database.ts';
import { deleteRow, insertRow, number, optionalNumber, text } from './row.ts';

export interface DeviceRecord {
  readonly id: string;
  readonly serviceId: ServiceId;
  readonly userId: UserId;
  readonly name: string;
  readonly createdAt: number;
  readonly lastUsed: number | undefined;
  readonly digest: string;
}

/** With the names of what it belongs to. */
export interface NamedDevice extends DeviceRecord {
  readonly domain: string;
  readonly email: string;
}

export class DeviceTable {
  readonly #sql: Sql;

  constructor(sql: Sql) {
    this.#sql = sql;
  }

  async findByDigest(digest: string): Promise<DeviceRecord | undefined> {
    const [row] = await this.#sql.query('SELECT * FROM devices WHERE digest = ?', [digest]);
    return row === undefined ? undefined : parseDevice(row);
  }

  async find(id: string): Promise<DeviceRecord | undefined> {
    const [row] = await this.#sql.query('SELECT * FROM devices WHERE id = ?', [id]);
    return row === undefined ? undefined : parseDevice(row);
  }

  /** Of one user at one service, the newest first. */
  async listAt(serviceId: ServiceId, userId: UserId): Promise<readonly DeviceRecord[]> {
    const rows = await this.#sql.query('SELECT * FROM devices WHERE service_id = ? AND user_id = ? ORDER BY created_at DESC, id', [
      serviceId,
      userId,
    ]);
    return rows.map(parseDevice);
  }

  /** Of one user, or of all; the newest first. */
  async listNamed(userId: UserId | undefined, limit: number): Promise<readonly NamedDevice[]> {
    const rows = await this.#sql.query(
      `SELECT devices.*, services.domain AS domain, users.email AS email FROM devices
        JOIN services ON services.id = devices.service_id JOIN users ON users.id = devices.user_id
        ${userId === undefined ? '' : 'WHERE devices.user_id = ?'} ORDER BY devices.created_at DESC, devices.id LIMIT ?`,
      [...(userId === undefined ? [] : [userId]), limit],
    );
    return rows.map((row) => ({ ...parseDevice(row), domain: text(row, 'domain'), email: text(row, 'email') }));
  }

  async insert(device: DeviceRecord): Promise<void> {
    const { id, name, digest, serviceId, userId, createdAt, lastUsed } = device;
    await insertRow(this.#sql, 'devices', { id, name, digest, service_id: serviceId, user_id: userId, created_at: createdAt, last_used: lastUsed });
  }

  async setUsed(id: string, at: number): Promise<void> {
    await this.#sql.execute('UPDATE devices SET last_used = ? WHERE id = ?', [at, id]);
  }

  async deleteOfUser(id: UserId): Promise<void> {
    await this.#sql.execute('DELETE FROM devices WHERE user_id = ?', [id]);
  }

  async delete(id: string): Promise<boolean> {
    return await deleteRow(this.#sql, 'devices', id);
  }
}

function parseDevice(row: Row): DeviceRecord {
  return {
    id: text(row, 'id'),
    serviceId: asId(text(row, 'service_id')),
    userId: asId(text(row, 'user_id')),
    name: text(row, 'name'),
    createdAt: number(row, 'created_at'),
    lastUsed: optionalNumber(row, 'last_used'),
    digest: text(row, 'digest'),
  };
}
