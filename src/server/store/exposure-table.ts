// Which services peers publish for as long as they renew them: leases, and for a while those that somebody else ended.
import { asId, type PeerId, type ServiceId } from '#model/ids.ts';
import type { Row, Sql } from './database.ts';
import { deleteRow, flag, insertRow, number, optionalNumber, text, updateRow } from './row.ts';

/** The lease of one service. Times are wall-clock milliseconds. */
export interface ExposureRecord {
  /** The service's. */
  readonly id: ServiceId;
  readonly peerId: PeerId;
  readonly peerName: string;
  readonly domain: string;
  readonly leaseUntil: number;
  /** When it ends however often it is renewed; undefined for never. */
  readonly endsAt: number | undefined;
  /** Somebody other than its peer took the service away: the record stays until the lease has long lapsed, so that the peer learns of it. */
  readonly withdrawn: boolean;
}

const select = 'SELECT exposures.*, peers.name AS peer_name FROM exposures JOIN peers ON peers.id = exposures.peer_id';

export class ExposureTable {
  readonly #sql: Sql;

  constructor(sql: Sql) {
    this.#sql = sql;
  }

  /** Those that are, not those that were withdrawn. */
  async list(): Promise<readonly ExposureRecord[]> {
    return (await this.#sql.query(`${select} WHERE withdrawn = 0 ORDER BY exposures.id`)).map(parse);
  }

  async listOfPeer(peer: PeerId): Promise<readonly ExposureRecord[]> {
    return (await this.#sql.query(`${select} WHERE peer_id = ? AND withdrawn = 0 ORDER BY exposures.id`, [peer])).map(parse);
  }

  async find(id: ServiceId): Promise<ExposureRecord | undefined> {
    const [row] = await this.#sql.query(`${select} WHERE exposures.id = ?`, [id]);
    return row === undefined ? undefined : parse(row);
  }

  /** The latest of that peer at that domain: one that is, before one that was withdrawn. */
  async findByDomain(peer: PeerId, domain: string): Promise<ExposureRecord | undefined> {
    const order = 'ORDER BY withdrawn, lease_until DESC LIMIT 1';
    const [row] = await this.#sql.query(`${select} WHERE peer_id = ? AND domain = ? ${order}`, [peer, domain]);
    return row === undefined ? undefined : parse(row);
  }

  async insert(record: Omit<ExposureRecord, 'peerName'>): Promise<void> {
    const { id, peerId, domain, leaseUntil, endsAt, withdrawn } = record;
    await insertRow(this.#sql, 'exposures', { id, peer_id: peerId, domain, lease_until: leaseUntil, ends_at: endsAt, withdrawn });
  }

  async renew(id: ServiceId, leaseUntil: number): Promise<void> {
    await updateRow(this.#sql, 'exposures', id, { lease_until: leaseUntil });
  }

  async withdraw(id: ServiceId): Promise<void> {
    await updateRow(this.#sql, 'exposures', id, { withdrawn: true });
  }

  async delete(id: ServiceId): Promise<boolean> {
    return await deleteRow(this.#sql, 'exposures', id);
  }

  /** A server that was away let nobody renew: every lease lasts until then at least. */
  async extendAll(leaseUntil: number): Promise<void> {
    await this.#sql.execute('UPDATE exposures SET lease_until = ? WHERE withdrawn = 0 AND lease_until < ?', [leaseUntil, leaseUntil]);
  }

  async forgetWithdrawn(before: number): Promise<void> {
    await this.#sql.execute('DELETE FROM exposures WHERE withdrawn = 1 AND lease_until < ?', [before]);
  }
}

function parse(row: Row): ExposureRecord {
  return {
    id: asId(text(row, 'id')),
    peerId: asId(text(row, 'peer_id')),
    peerName: text(row, 'peer_name'),
    domain: text(row, 'domain'),
    leaseUntil: number(row, 'lease_until'),
    endsAt: optionalNumber(row, 'ends_at'),
    withdrawn: flag(row, 'withdrawn'),
  };
}
