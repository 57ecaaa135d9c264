// Groups of peers and of resources. The members of the group All are not stored: it is every peer that is not a gateway's, at every moment.
import { asId, type GroupId, type PeerId } from '#model/ids.ts';
import type { Group } from '#model/network.ts';
import type { ResourceId } from '#model/network-plan.ts';
import type { Row, Sql } from './database.ts';
import { countRows, deleteRow, flag, insertRow, text, updateRow } from './row.ts';

const membersOfAll = 'SELECT id AS peer_id FROM peers WHERE proxy_cluster IS NULL ORDER BY created_at, id';

export class GroupTable {
  readonly #sql: Sql;

  constructor(sql: Sql) {
    this.#sql = sql;
  }

  async list(): Promise<readonly Group[]> {
    const members = new Map<string, PeerId[]>();
    for (const row of await this.#sql.query('SELECT group_id, peer_id FROM group_members ORDER BY peer_id')) {
      const group = text(row, 'group_id');
      const peers = members.get(group) ?? [];
      peers.push(asId(text(row, 'peer_id')));
      members.set(group, peers);
    }
    const resources = new Map<string, ResourceId[]>();
    for (const row of await this.#sql.query('SELECT group_id, resource_id FROM group_resources ORDER BY resource_id')) {
      const group = text(row, 'group_id');
      resources.set(group, [...(resources.get(group) ?? []), resourceOf(row)]);
    }
    const everybody = (await this.#sql.query(membersOfAll)).map(memberOf);
    const rows = await this.#sql.query('SELECT * FROM peer_groups ORDER BY name, id');
    return rows.map((row) => {
      const id = text(row, 'id');
      return parseGroup(row, flag(row, 'system') ? everybody : (members.get(id) ?? []), resources.get(id) ?? []);
    });
  }

  async find(id: GroupId): Promise<Group | undefined> {
    const [row] = await this.#sql.query('SELECT * FROM peer_groups WHERE id = ?', [id]);
    if (row === undefined) return undefined;
    const members = flag(row, 'system')
      ? await this.#sql.query(membersOfAll)
      : await this.#sql.query('SELECT peer_id FROM group_members WHERE group_id = ? ORDER BY peer_id', [id]);
    const resources = await this.#sql.query('SELECT resource_id FROM group_resources WHERE group_id = ? ORDER BY resource_id', [id]);
    return parseGroup(row, members.map(memberOf), resources.map(resourceOf));
  }

  /** Of a peer that is not a gateway's: the groups that it was put into, and All. */
  async groupsOf(peer: PeerId): Promise<readonly GroupId[]> {
    const rows = await this.#sql.query(
      'SELECT group_id AS id FROM group_members WHERE peer_id = ? UNION SELECT id FROM peer_groups WHERE system = 1',
      [peer],
    );
    return rows.map((row) => asId(text(row, 'id')));
  }

  async findByName(name: string): Promise<GroupId | undefined> {
    const [row] = await this.#sql.query('SELECT id FROM peer_groups WHERE name = ?', [name]);
    return row === undefined ? undefined : asId(text(row, 'id'));
  }

  /** Names by id, without members. */
  async names(): Promise<ReadonlyMap<GroupId, { readonly name: string; readonly system: boolean }>> {
    const rows = await this.#sql.query('SELECT id, name, system FROM peer_groups');
    return new Map(rows.map((row) => [asId<GroupId>(text(row, 'id')), { name: text(row, 'name'), system: flag(row, 'system') }]));
  }

  async count(): Promise<number> {
    return await countRows(this.#sql, 'peer_groups');
  }

  async insert(group: Group): Promise<void> {
    await insertRow(this.#sql, 'peer_groups', { id: group.id, name: group.name, system: group.system });
    for (const peer of group.peers) await this.addMember(group.id, peer);
  }

  async setName(id: GroupId, name: string): Promise<void> {
    await updateRow(this.#sql, 'peer_groups', id, { name });
  }

  async addMember(id: GroupId, peer: PeerId): Promise<void> {
    await this.#sql.execute('INSERT INTO group_members (group_id, peer_id) VALUES (?, ?) ON CONFLICT DO NOTHING', [id, peer]);
  }

  async removeMember(id: GroupId, peer: PeerId): Promise<void> {
    await this.#sql.execute('DELETE FROM group_members WHERE group_id = ? AND peer_id = ?', [id, peer]);
  }

  async delete(id: GroupId): Promise<boolean> {
    return await deleteRow(this.#sql, 'peer_groups', id);
  }
}

function memberOf(row: Row): PeerId {
  return asId(text(row, 'peer_id'));
}

function resourceOf(row: Row): ResourceId {
  return asId(text(row, 'resource_id'));
}

function parseGroup(row: Row, peers: readonly PeerId[], resources: readonly ResourceId[]): Group {
  return { id: asId(text(row, 'id')), name: text(row, 'name'), peers, resources, system: flag(row, 'system') };
}
