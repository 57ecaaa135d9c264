// Networks behind peers, routes, names and posture checks, as people planned them.
import type { GroupId } from '#model/ids.ts';
import type { NameserverGroup, Network, NetworkResource, NetworkRouter, PlannedRoute, ResourceId, Zone, ZoneRecord } from '#model/network-plan.ts';
import type { PostureCheck } from '#model/posture.ts';
import { BodyTable } from './body-table.ts';
import type { Row, Sql } from './database.ts';
import { text } from './row.ts';

/** A resource without its groups: which groups it is in is kept with the groups. */
export type ResourceRecord = Omit<NetworkResource, 'groups'>;

/** Resources, and the groups that they are in. */
export class ResourceTable {
  readonly #sql: Sql;
  readonly #records: BodyTable<ResourceRecord>;

  constructor(sql: Sql) {
    this.#sql = sql;
    this.#records = new BodyTable<ResourceRecord>(sql, {
      table: 'network_resources',
      columns: ({ networkId }) => ({ network_id: networkId }),
      defaults: {},
    });
  }

  async list(networkId?: string): Promise<readonly NetworkResource[]> {
    const groups = new Map<string, GroupId[]>();
    for (const row of await this.#sql.query('SELECT group_id, resource_id FROM group_resources ORDER BY group_id')) {
      const resource = text(row, 'resource_id');
      groups.set(resource, [...(groups.get(resource) ?? []), groupOf(row)]);
    }
    const records = await this.#records.list(networkId === undefined ? undefined : { column: 'network_id', value: networkId });
    return records.map((record) => ({ ...record, groups: groups.get(record.id) ?? [] }));
  }

  async find(id: string): Promise<NetworkResource | undefined> {
    const record = await this.#records.find(id);
    if (record === undefined) return undefined;
    const rows = await this.#sql.query('SELECT group_id FROM group_resources WHERE resource_id = ? ORDER BY group_id', [id]);
    return { ...record, groups: rows.map(groupOf) };
  }

  async count(): Promise<number> {
    return await this.#records.count();
  }

  async insert({ groups, ...record }: NetworkResource): Promise<void> {
    await this.#records.insert(record);
    for (const group of groups) await this.addToGroup(group, record.id);
  }

  async update({ groups, ...record }: NetworkResource): Promise<void> {
    await this.#records.update(record);
    await this.#sql.execute('DELETE FROM group_resources WHERE resource_id = ?', [record.id]);
    for (const group of groups) await this.addToGroup(group, record.id);
  }

  async addToGroup(group: GroupId, resource: ResourceId): Promise<void> {
    await this.#sql.execute('INSERT INTO group_resources (group_id, resource_id) VALUES (?, ?) ON CONFLICT DO NOTHING', [group, resource]);
  }

  async removeFromGroup(group: GroupId, resource: ResourceId): Promise<void> {
    await this.#sql.execute('DELETE FROM group_resources WHERE group_id = ? AND resource_id = ?', [group, resource]);
  }

  async delete(id: string): Promise<boolean> {
    return await this.#records.delete(id);
  }
}

export interface PlanTables {
  readonly networks: BodyTable<Network>;
  readonly resources: ResourceTable;
  readonly routers: BodyTable<NetworkRouter>;
  readonly routes: BodyTable<PlannedRoute>;
  readonly nameservers: BodyTable<NameserverGroup>;
  readonly zones: BodyTable<Zone>;
  readonly zoneRecords: BodyTable<ZoneRecord>;
  readonly postureChecks: BodyTable<PostureCheck>;
}

export function planTables(sql: Sql): PlanTables {
  return {
    networks: new BodyTable<Network>(sql, { table: 'networks', defaults: {} }),
    resources: new ResourceTable(sql),
    routers: new BodyTable<NetworkRouter>(sql, {
      table: 'network_routers',
      columns: ({ networkId }) => ({ network_id: networkId }),
      defaults: { peer: undefined },
    }),
    routes: new BodyTable<PlannedRoute>(sql, { table: 'routes', defaults: { network: undefined, peer: undefined } }),
    nameservers: new BodyTable<NameserverGroup>(sql, { table: 'nameserver_groups', defaults: {} }),
    zones: new BodyTable<Zone>(sql, { table: 'zones', columns: ({ domain }) => ({ domain }), defaults: {} }),
    zoneRecords: new BodyTable<ZoneRecord>(sql, { table: 'zone_records', columns: ({ zoneId }) => ({ zone_id: zoneId }), defaults: {} }),
    postureChecks: new BodyTable<PostureCheck>(sql, { table: 'posture_checks', defaults: {} }),
  };
}

function groupOf(row: Row): GroupId {
  return text(row, 'group_id') as GroupId;
}
