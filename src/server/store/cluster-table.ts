// Clusters of gateways, the gateways that are connected now, and domains that point to a cluster.
import { asId, type ProxyId, type TokenId } from '#model/ids.ts';
import type { Sql } from './database.ts';
import { countRows, deleteRow, flag, insertRow, number, optionalNumber, text, updateRow, upsertRow } from './row.ts';

export interface ClusterRecord {
  readonly id: string;
  readonly address: string;
  readonly createdAt: number;
}

export interface ProxyRecord {
  readonly id: ProxyId;
  readonly tokenId: TokenId;
  readonly cluster: string;
  readonly version: string;
  readonly serverId: string;
  readonly heartbeat: number;
  readonly publicPort: number;
}

export interface DomainRecord {
  readonly id: string;
  readonly domain: string;
  readonly cluster: string;
  readonly validated: boolean;
  /** What its TXT record holds; empty for one from before there were any. */
  readonly challenge: string;
  /** When its proof was looked at last, and since when it is missing. */
  readonly checkedAt: number | undefined;
  readonly failingSince: number | undefined;
}

export class ClusterTable {
  readonly #sql: Sql;

  constructor(sql: Sql) {
    this.#sql = sql;
  }

  async list(): Promise<readonly ClusterRecord[]> {
    const rows = await this.#sql.query('SELECT * FROM clusters ORDER BY address');
    return rows.map((row) => ({ id: text(row, 'id'), address: text(row, 'address'), createdAt: number(row, 'created_at') }));
  }

  async count(): Promise<number> {
    return await countRows(this.#sql, 'clusters');
  }

  async insert(cluster: ClusterRecord): Promise<void> {
    await insertRow(this.#sql, 'clusters', { id: cluster.id, address: cluster.address, created_at: cluster.createdAt });
  }

  async delete(id: string): Promise<boolean> {
    return await deleteRow(this.#sql, 'clusters', id);
  }

  /** Gateways of each cluster that gave a sign of life since that time. */
  async countLive(since: number): Promise<ReadonlyMap<string, number>> {
    const rows = await this.#sql.query('SELECT cluster, count(*) AS total FROM proxies WHERE heartbeat >= ? GROUP BY cluster', [since]);
    return new Map(rows.map((row) => [text(row, 'cluster'), number(row, 'total')]));
  }

  /** The gateway of this name, where it gave a sign of life since that time. */
  async liveProxy(id: ProxyId, since: number): Promise<Pick<ProxyRecord, 'tokenId' | 'cluster'> | undefined> {
    const [row] = await this.#sql.query('SELECT token_id, cluster FROM proxies WHERE id = ? AND heartbeat >= ?', [id, since]);
    return row === undefined ? undefined : { tokenId: asId(text(row, 'token_id')), cluster: text(row, 'cluster') };
  }

  async setProxy(proxy: ProxyRecord): Promise<void> {
    await upsertRow(this.#sql, 'proxies', ['id'], {
      id: proxy.id,
      token_id: proxy.tokenId,
      cluster: proxy.cluster,
      version: proxy.version,
      server_id: proxy.serverId,
      heartbeat: proxy.heartbeat,
      public_port: proxy.publicPort,
    });
  }

  /** Where visitors reach HTTPS at a cluster, as the gateway says that was heard of last; undefined where there is none. */
  async publicPort(cluster: string): Promise<number | undefined> {
    const [row] = await this.#sql.query('SELECT public_port FROM proxies WHERE cluster = ? ORDER BY heartbeat DESC LIMIT 1', [cluster]);
    return row === undefined ? undefined : number(row, 'public_port');
  }

  async proxyAlive(id: ProxyId, at: number): Promise<boolean> {
    return await updateRow(this.#sql, 'proxies', id, { heartbeat: at });
  }

  /** Not where it is connected to another server meanwhile. */
  async deleteProxy(id: ProxyId, serverId: string): Promise<void> {
    await this.#sql.execute('DELETE FROM proxies WHERE id = ? AND server_id = ?', [id, serverId]);
    if ((await this.#sql.query('SELECT id FROM proxies WHERE id = ?', [id])).length > 0) return;
    await this.#sql.execute('DELETE FROM service_status WHERE proxy_id = ?', [id]);
    await this.#sql.execute('DELETE FROM gateway_certificates WHERE proxy_id = ?', [id]);
  }

  async deleteProxiesBefore(heartbeat: number): Promise<void> {
    await this.#sql.execute('DELETE FROM service_status WHERE proxy_id IN (SELECT id FROM proxies WHERE heartbeat < ?)', [heartbeat]);
    await this.#sql.execute('DELETE FROM gateway_certificates WHERE proxy_id IN (SELECT id FROM proxies WHERE heartbeat < ?)', [heartbeat]);
    await this.#sql.execute('DELETE FROM proxies WHERE heartbeat < ?', [heartbeat]);
  }

  async domains(): Promise<readonly DomainRecord[]> {
    const rows = await this.#sql.query('SELECT * FROM domains ORDER BY domain');
    return rows.map((row) => ({
      id: text(row, 'id'),
      domain: text(row, 'domain'),
      cluster: text(row, 'cluster'),
      validated: flag(row, 'validated'),
      challenge: text(row, 'challenge'),
      checkedAt: optionalNumber(row, 'checked_at'),
      failingSince: optionalNumber(row, 'failing_since'),
    }));
  }

  async insertDomain(domain: DomainRecord): Promise<void> {
    await insertRow(this.#sql, 'domains', {
      id: domain.id,
      domain: domain.domain,
      cluster: domain.cluster,
      validated: domain.validated,
      challenge: domain.challenge,
      checked_at: domain.checkedAt,
      failing_since: domain.failingSince,
    });
  }

  async setProof(id: string, proof: Pick<DomainRecord, 'validated' | 'checkedAt' | 'failingSince'>): Promise<boolean> {
    const { validated, checkedAt, failingSince } = proof;
    return await updateRow(this.#sql, 'domains', id, { validated, checked_at: checkedAt, failing_since: failingSince });
  }

  async deleteDomain(id: string): Promise<boolean> {
    return await deleteRow(this.#sql, 'domains', id);
  }
}
