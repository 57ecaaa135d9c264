// The audit log of changes and the access log of requests.
import type { AccessLogEntry } from '#model/access-log.ts';
import { asId } from '#model/ids.ts';
import { insertBatch } from './constants.ts';
import type { Row, Sql, SqlValue } from './database.ts';
import { flag, insertRow, json, number, optionalText, text } from './row.ts';

export interface AuditRecord {
  readonly id: string;
  readonly at: number;
  readonly code: string;
  readonly activity: string;
  readonly initiatorId: string;
  readonly initiatorName: string;
  readonly initiatorEmail: string;
  readonly targetId: string;
  readonly meta: Readonly<Record<string, string>>;
}

/** One condition of a search: `contains` finds the text anywhere in a column, whatever its case. */
export type AccessFilter =
  | { readonly kind: 'equals'; readonly column: AccessColumn; readonly value: string | number }
  | { readonly kind: 'contains'; readonly columns: readonly AccessColumn[]; readonly value: string }
  | { readonly kind: 'range'; readonly column: AccessColumn; readonly from: number | undefined; readonly before: number | undefined }
  | { readonly kind: 'one-of'; readonly column: AccessColumn; readonly values: readonly string[] };

export type AccessColumn = 'id' | 'at' | 'source_ip' | 'host' | 'path' | 'user_id' | 'method' | 'service_id' | 'status' | 'reason';

const accessColumns =
  'id, service_id, at, protocol, method, host, path, duration_ms, status, source_ip, user_id, auth_method, auth_success, bytes_up, bytes_down, reason';
const accessMarks = `(${accessColumns
  .split(',')
  .map(() => '?')
  .join(', ')})`;

export class EventTable {
  readonly #sql: Sql;

  constructor(sql: Sql) {
    this.#sql = sql;
  }

  async addAudit(record: AuditRecord): Promise<void> {
    await insertRow(this.#sql, 'audit', {
      id: record.id,
      at: record.at,
      code: record.code,
      activity: record.activity,
      initiator_id: record.initiatorId,
      initiator_name: record.initiatorName,
      initiator_email: record.initiatorEmail,
      target_id: record.targetId,
      meta: record.meta,
    });
  }

  /** Newest first. */
  async audit(limit: number): Promise<readonly AuditRecord[]> {
    const rows = await this.#sql.query('SELECT * FROM audit ORDER BY at DESC, id DESC LIMIT ?', [limit]);
    return rows.map((row) => ({
      id: text(row, 'id'),
      at: number(row, 'at'),
      code: text(row, 'code'),
      activity: text(row, 'activity'),
      initiatorId: text(row, 'initiator_id'),
      initiatorName: text(row, 'initiator_name'),
      initiatorEmail: text(row, 'initiator_email'),
      targetId: text(row, 'target_id'),
      meta: json<Readonly<Record<string, string>>>(row, 'meta'),
    }));
  }

  async deleteAuditBefore(at: number): Promise<void> {
    await this.#sql.execute('DELETE FROM audit WHERE at < ?', [at]);
  }

  /** An entry that is there already is left alone, so that a batch may be sent again. */
  async addAccess(entries: readonly AccessLogEntry[]): Promise<void> {
    for (let start = 0; start < entries.length; start += insertBatch) {
      const batch = entries.slice(start, start + insertBatch);
      const marks = batch.map(() => accessMarks).join(', ');
      await this.#sql.execute(`INSERT INTO access_log (${accessColumns}) VALUES ${marks} ON CONFLICT (id) DO NOTHING`, batch.flatMap(accessValues));
    }
  }

  /** Newest first. */
  async access(filters: readonly AccessFilter[], limit: number, offset: number): Promise<readonly AccessLogEntry[]> {
    const { where, params } = conditions(filters);
    const rows = await this.#sql.query(`SELECT * FROM access_log ${where} ORDER BY at DESC, id DESC LIMIT ? OFFSET ?`, [...params, limit, offset]);
    return rows.map(parseAccess);
  }

  async countAccess(filters: readonly AccessFilter[]): Promise<number> {
    const { where, params } = conditions(filters);
    const [row] = await this.#sql.query(`SELECT count(*) AS total FROM access_log ${where}`, params);
    return row === undefined ? 0 : number(row, 'total');
  }

  /** Removes what is older than that time, and the oldest where there is more than `keep`. */
  async trimAccess(before: number, keep: number): Promise<void> {
    await this.#sql.execute('DELETE FROM access_log WHERE at < ?', [before]);
    const [row] = await this.#sql.query('SELECT at FROM access_log ORDER BY at DESC LIMIT 1 OFFSET ?', [keep]);
    if (row !== undefined) await this.#sql.execute('DELETE FROM access_log WHERE at <= ?', [number(row, 'at')]);
  }
}

function conditions(filters: readonly AccessFilter[]): { readonly where: string; readonly params: readonly SqlValue[] } {
  const parts: string[] = [];
  const params: SqlValue[] = [];
  for (const filter of filters) {
    switch (filter.kind) {
      case 'equals':
        parts.push(`${filter.column} = ?`);
        params.push(filter.value);
        break;
      case 'contains': {
        const pattern = `%${filter.value.toLowerCase().replaceAll(/[\\%_]/g, (sign) => `\\${sign}`)}%`;
        parts.push(`(${filter.columns.map((column) => `lower(${column}) LIKE ? ESCAPE '\\'`).join(' OR ')})`);
        params.push(...filter.columns.map(() => pattern));
        break;
      }
      case 'range':
        if (filter.from !== undefined) {
          parts.push(`${filter.column} >= ?`);
          params.push(filter.from);
        }
        if (filter.before !== undefined) {
          parts.push(`${filter.column} < ?`);
          params.push(filter.before);
        }
        break;
      case 'one-of':
        parts.push(filter.values.length === 0 ? '1 = 0' : `${filter.column} IN (${filter.values.map(() => '?').join(', ')})`);
        params.push(...filter.values);
        break;
    }
  }
  return { where: parts.length === 0 ? '' : `WHERE ${parts.join(' AND ')}`, params };
}

function accessValues(entry: AccessLogEntry): SqlValue[] {
  return [
    entry.id,
    entry.serviceId ?? null,
    entry.timestamp,
    entry.protocol,
    entry.method,
    entry.host,
    entry.path,
    entry.durationMs,
    entry.status,
    entry.sourceIp,
    entry.userId,
    entry.authMethod,
    entry.authSuccess ? 1 : 0,
    entry.bytesUp,
    entry.bytesDown,
    entry.reason,
  ];
}

function parseAccess(row: Row): AccessLogEntry {
  const serviceId = optionalText(row, 'service_id');
  return {
    id: text(row, 'id'),
    serviceId: serviceId === undefined ? undefined : asId(serviceId),
    timestamp: number(row, 'at'),
    protocol: text(row, 'protocol') as AccessLogEntry['protocol'],
    method: text(row, 'method'),
    host: text(row, 'host'),
    path: text(row, 'path'),
    durationMs: number(row, 'duration_ms'),
    status: number(row, 'status'),
    sourceIp: text(row, 'source_ip'),
    userId: text(row, 'user_id'),
    authMethod: text(row, 'auth_method'),
    authSuccess: flag(row, 'auth_success'),
    bytesUp: number(row, 'bytes_up'),
    bytesDown: number(row, 'bytes_down'),
    reason: text(row, 'reason'),
  };
}
