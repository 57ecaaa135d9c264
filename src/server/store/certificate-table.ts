// What the gateways of a cluster share about certificates: leases, challenge answers, sealed copies, and the state of each at each gateway.
import type { ProxyId } from '#model/ids.ts';
import type { CertificateStatus } from '#model/status.ts';
import type { Sql } from './database.ts';
import { json, number, text, upsertRow } from './row.ts';

export interface LeaseRecord {
  readonly proxyId: ProxyId;
  readonly expiresAt: number;
}

export interface ChallengeRecord {
  readonly type: string;
  readonly name: string;
  readonly token: string;
  readonly keyAuthorization: string;
}

/** Keys and box in base64. */
export interface ShareRecord {
  readonly recipient: string;
  readonly sender: string;
  readonly box: string;
  readonly notAfter: number;
}

export class CertificateTable {
  readonly #sql: Sql;

  constructor(sql: Sql) {
    this.#sql = sql;
  }

  async lease(cluster: string, names: string): Promise<LeaseRecord | undefined> {
    const [row] = await this.#sql.query('SELECT * FROM certificate_leases WHERE cluster = ? AND names = ?', [cluster, names]);
    return row === undefined ? undefined : { proxyId: text(row, 'proxy_id') as ProxyId, expiresAt: number(row, 'expires_at') };
  }

  async setLease(cluster: string, names: string, lease: LeaseRecord): Promise<void> {
    await upsertRow(this.#sql, 'certificate_leases', ['cluster', 'names'], { cluster, names, proxy_id: lease.proxyId, expires_at: lease.expiresAt });
  }

  /** With the challenge answers of the order. Of that gateway only. */
  async release(cluster: string, names: string, proxyId: ProxyId): Promise<void> {
    const held = await this.#sql.execute('DELETE FROM certificate_leases WHERE cluster = ? AND names = ? AND proxy_id = ?', [
      cluster,
      names,
      proxyId,
    ]);
    if (held > 0) await this.#sql.execute('DELETE FROM certificate_challenges WHERE cluster = ? AND names = ?', [cluster, names]);
  }

  async countLeases(cluster: string): Promise<number> {
    const [row] = await this.#sql.query('SELECT count(*) AS total FROM certificate_leases WHERE cluster = ?', [cluster]);
    return row === undefined ? 0 : number(row, 'total');
  }

  async setChallenge(cluster: string, names: string, challenge: ChallengeRecord, expiresAt: number): Promise<void> {
    await upsertRow(this.#sql, 'certificate_challenges', ['cluster', 'type', 'name', 'token'], {
      cluster,
      type: challenge.type,
      name: challenge.name,
      token: challenge.token,
      key_authorization: challenge.keyAuthorization,
      names,
      expires_at: expiresAt,
    });
  }

  /** Live at that time; of several for one name without a token, any. */
  async challenge(cluster: string, type: string, name: string, token: string | undefined, now: number): Promise<string | undefined> {
    const where = token === undefined ? '' : ' AND token = ?';
    const params = [cluster, type, name, now, ...(token === undefined ? [] : [token])];
    const [row] = await this.#sql.query(
      `SELECT key_authorization FROM certificate_challenges WHERE cluster = ? AND type = ? AND name = ? AND expires_at > ?${where} ORDER BY expires_at DESC LIMIT 1`,
      params,
    );
    return row === undefined ? undefined : text(row, 'key_authorization');
  }

  /** The sealed copy for one gateway's key. */
  async share(cluster: string, names: string, recipient: string): Promise<ShareRecord | undefined> {
    const [row] = await this.#sql.query('SELECT * FROM certificate_shares WHERE cluster = ? AND names = ? AND recipient = ?', [
      cluster,
      names,
      recipient,
    ]);
    return row === undefined
      ? undefined
      : { recipient: text(row, 'recipient'), sender: text(row, 'sender'), box: text(row, 'box'), notAfter: number(row, 'not_after') };
  }

  async setShare(cluster: string, names: string, share: ShareRecord): Promise<void> {
    const { recipient, sender, box, notAfter } = share;
    await upsertRow(this.#sql, 'certificate_shares', ['cluster', 'names', 'recipient'], {
      cluster,
      names,
      recipient,
      sender,
      box,
      not_after: notAfter,
    });
  }

  async setSealKey(proxyId: ProxyId, cluster: string, publicKey: string, at: number): Promise<void> {
    await upsertRow(this.#sql, 'gateway_seal_keys', ['proxy_id'], { proxy_id: proxyId, cluster, public_key: publicKey, seen_at: at });
  }

  /** Keys of gateways of the cluster that gave a sign of life since that time. */
  async sealKeys(cluster: string, since: number): Promise<readonly string[]> {
    const rows = await this.#sql.query(
      `SELECT gateway_seal_keys.public_key FROM gateway_seal_keys JOIN proxies ON proxies.id = gateway_seal_keys.proxy_id
       WHERE proxies.cluster = ? AND gateway_seal_keys.cluster = ? AND proxies.heartbeat >= ? ORDER BY proxies.id`,
      [cluster, cluster, since],
    );
    return rows.map((row) => text(row, 'public_key'));
  }

  /** Whether this gateway is connected to the cluster. */
  async isMember(cluster: string, proxyId: ProxyId): Promise<boolean> {
    return (await this.#sql.query('SELECT id FROM proxies WHERE id = ? AND cluster = ?', [proxyId, cluster])).length > 0;
  }

  async deleteExpired(now: number, sealKeysBefore: number): Promise<void> {
    await this.#sql.execute('DELETE FROM certificate_leases WHERE expires_at <= ?', [now]);
    await this.#sql.execute('DELETE FROM certificate_challenges WHERE expires_at <= ?', [now]);
    await this.#sql.execute('DELETE FROM certificate_shares WHERE not_after <= ?', [now]);
    await this.#sql.execute('DELETE FROM gateway_seal_keys WHERE seen_at < ?', [sealKeysBefore]);
  }

  async setState(proxyId: ProxyId, cluster: string, id: string, body: CertificateStatus): Promise<void> {
    await upsertRow(this.#sql, 'gateway_certificates', ['proxy_id', 'id'], { proxy_id: proxyId, id, cluster, body });
  }

  async countStates(proxyId: ProxyId): Promise<number> {
    const [row] = await this.#sql.query('SELECT count(*) AS total FROM gateway_certificates WHERE proxy_id = ?', [proxyId]);
    return row === undefined ? 0 : number(row, 'total');
  }

  async deleteState(proxyId: ProxyId, id: string): Promise<void> {
    await this.#sql.execute('DELETE FROM gateway_certificates WHERE proxy_id = ? AND id = ?', [proxyId, id]);
  }

  async states(): Promise<readonly { readonly proxyId: ProxyId; readonly cluster: string; readonly status: CertificateStatus }[]> {
    const rows = await this.#sql.query('SELECT * FROM gateway_certificates ORDER BY cluster, id, proxy_id');
    return rows.map((row) => ({
      proxyId: text(row, 'proxy_id') as ProxyId,
      cluster: text(row, 'cluster'),
      status: json<CertificateStatus>(row, 'body'),
    }));
  }
}
