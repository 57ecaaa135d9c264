// Peers: the members of the overlay network.
import { asId, type PeerId, type PublicKey, type UserId } from '#model/ids.ts';
import type { Peer, PeerMeta } from '#model/network.ts';
import type { Row, Sql } from './database.ts';
import { countRows, deleteRow, flag, insertRow, json, number, optionalText, text, updateRow } from './row.ts';

export class PeerTable {
  readonly #sql: Sql;

  constructor(sql: Sql) {
    this.#sql = sql;
  }

  async list(): Promise<readonly Peer[]> {
    return (await this.#sql.query('SELECT * FROM peers ORDER BY created_at, id')).map(parsePeer);
  }

  async find(id: PeerId): Promise<Peer | undefined> {
    return await this.#one('id', id);
  }

  async findByKey(key: PublicKey): Promise<Peer | undefined> {
    return await this.#one('public_key', key);
  }

  async listOfUser(userId: UserId): Promise<readonly Peer[]> {
    return (await this.#sql.query('SELECT * FROM peers WHERE user_id = ? ORDER BY created_at, id', [userId])).map(parsePeer);
  }

  /** Ephemeral and gateway peers that are not connected and were last seen before that time. */
  async listAbandoned(before: number): Promise<readonly Peer[]> {
    const where = 'connected = 0 AND last_seen < ? AND (ephemeral = 1 OR proxy_cluster IS NOT NULL)';
    return (await this.#sql.query(`SELECT * FROM peers WHERE ${where} ORDER BY id`, [before])).map(parsePeer);
  }

  async addresses(): Promise<readonly string[]> {
    return (await this.#sql.query('SELECT ipv4 FROM peers')).map((row) => text(row, 'ipv4'));
  }

  async hasAddress(ipv4: string): Promise<boolean> {
    return (await this.#one('ipv4', ipv4)) !== undefined;
  }

  async hasLabel(label: string): Promise<boolean> {
    return (await this.#one('dns_label', label)) !== undefined;
  }

  async count(): Promise<number> {
    return await countRows(this.#sql, 'peers');
  }

  async insert(peer: Peer): Promise<void> {
    await insertRow(this.#sql, 'peers', {
      id: peer.id,
      public_key: peer.publicKey,
      name: peer.name,
      dns_label: peer.dnsLabel,
      ipv4: peer.ipv4,
      ipv6: peer.ipv6,
      meta: peer.meta,
      user_id: peer.userId,
      login_expiration: peer.loginExpirationEnabled,
      login_expired: peer.loginExpired,
      ephemeral: peer.ephemeral,
      proxy_cluster: peer.proxyCluster,
      connected: peer.connected,
      server_id: undefined,
      connection_ip: peer.connectionIp,
      last_seen: peer.lastSeen,
      last_login: peer.lastLogin,
      created_at: peer.createdAt,
    });
  }

  async setName(id: PeerId, name: string, dnsLabel: string): Promise<void> {
    await updateRow(this.#sql, 'peers', id, { name, dns_label: dnsLabel });
  }

  async setMeta(id: PeerId, meta: PeerMeta): Promise<void> {
    await updateRow(this.#sql, 'peers', id, { meta });
  }

  async setLogin(id: PeerId, at: number): Promise<void> {
    await updateRow(this.#sql, 'peers', id, { last_login: at, last_seen: at, login_expired: false });
  }

  async setSeen(id: PeerId, at: number): Promise<void> {
    await updateRow(this.#sql, 'peers', id, { last_seen: at });
  }

  async setLoginExpiration(id: PeerId, enabled: boolean): Promise<void> {
    await updateRow(this.#sql, 'peers', id, { login_expiration: enabled });
  }

  async setLoginExpired(id: PeerId, expired: boolean): Promise<void> {
    await updateRow(this.#sql, 'peers', id, { login_expired: expired });
  }

  /** Peers of users whose mark does not fit: sign-ins at or before that time have expired, later ones have not. */
  async listLoginMarksWrong(signedInBefore: number): Promise<readonly Peer[]> {
    const late = 'login_expired = 0 AND login_expiration = 1 AND last_login <= ?';
    const back = 'login_expired = 1 AND (login_expiration = 0 OR last_login > ?)';
    const where = `user_id IS NOT NULL AND ((${late}) OR (${back}))`;
    return (await this.#sql.query(`SELECT * FROM peers WHERE ${where} ORDER BY id`, [signedInBefore, signedInBefore])).map(parsePeer);
  }

  /** `serverId` is the server that holds the connection. */
  async setConnected(id: PeerId, connected: boolean, serverId: string, connectionIp: string, at: number): Promise<void> {
    const where = connected ? {} : { server_id: undefined };
    await updateRow(this.#sql, 'peers', id, {
      connected,
      server_id: serverId,
      ...where,
      ...(connectionIp === '' ? {} : { connection_ip: connectionIp }),
      last_seen: at,
    });
  }

  async delete(id: PeerId): Promise<boolean> {
    return await deleteRow(this.#sql, 'peers', id);
  }

  async #one(column: string, value: string): Promise<Peer | undefined> {
    const [row] = await this.#sql.query(`SELECT * FROM peers WHERE ${column} = ?`, [value]);
    return row === undefined ? undefined : parsePeer(row);
  }
}

function parsePeer(row: Row): Peer {
  const userId = optionalText(row, 'user_id');
  return {
    id: asId(text(row, 'id')),
    publicKey: asId(text(row, 'public_key')),
    name: text(row, 'name'),
    dnsLabel: text(row, 'dns_label'),
    ipv4: text(row, 'ipv4'),
    ipv6: text(row, 'ipv6'),
    meta: json<PeerMeta>(row, 'meta'),
    userId: userId === undefined ? undefined : asId(userId),
    loginExpirationEnabled: flag(row, 'login_expiration'),
    loginExpired: flag(row, 'login_expired'),
    ephemeral: flag(row, 'ephemeral'),
    proxyCluster: optionalText(row, 'proxy_cluster'),
    connected: flag(row, 'connected'),
    connectionIp: text(row, 'connection_ip'),
    lastSeen: number(row, 'last_seen'),
    lastLogin: number(row, 'last_login'),
    createdAt: number(row, 'created_at'),
  };
}
