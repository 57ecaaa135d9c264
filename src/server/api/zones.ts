// DNS zones and their records.
import { boolean, integer, object, oneOf, optional, string } from '#lib/schema.ts';
import { zoneRecordTypes, type RecordId, type Zone, type ZoneId, type ZoneRecord } from '#model/network-plan.ts';
import type { RecordInput } from '../domain/plan-contract.ts';
import { deleted, idParam, ok, readBody, type Call, type Handler } from './call.ts';
import { groupIds } from './fields.ts';

const zoneRequest = object({
  id: optional(string({ max: 200 })),
  name: string({ max: 255 }),
  domain: string({ max: 255 }),
  enabled: boolean({ default: true }),
  enable_search_domain: boolean({ default: false }),
  distribution_groups: groupIds(),
});

const recordRequest = object({
  id: optional(string({ max: 200 })),
  name: string({ max: 255 }),
  type: oneOf(zoneRecordTypes),
  content: string({ max: 255 }),
  ttl: integer({ max: 2_147_483_647 }),
});

function readZone(call: Call): Omit<Zone, 'id'> {
  const { name, domain, enabled, enable_search_domain: enableSearchDomain, distribution_groups: distributionGroups } = readBody(call, zoneRequest);
  return { name, domain, enabled, enableSearchDomain, distributionGroups };
}

function readRecord(call: Call): RecordInput {
  const { id: _id, ...request } = readBody(call, recordRequest);
  return request;
}

function recordShape({ id, name, type, content, ttl }: ZoneRecord): Readonly<Record<string, unknown>> {
  return { id, name, type, content, ttl };
}

function zoneShape(zone: Zone, records: readonly ZoneRecord[]): Readonly<Record<string, unknown>> {
  return {
    id: zone.id,
    name: zone.name,
    domain: zone.domain,
    enabled: zone.enabled,
    enable_search_domain: zone.enableSearchDomain,
    distribution_groups: zone.distributionGroups,
    records: records.filter(({ zoneId }) => zoneId === zone.id).map(recordShape),
  };
}

const zoneOf = (call: Call): ZoneId => idParam<ZoneId>(call);
const recordOf = (call: Call): RecordId => idParam<RecordId>(call, 'recordId');

export const listZones: Handler = async (call) => {
  const [zones, records] = await Promise.all([call.domain.zones.list(), call.domain.zones.records()]);
  return ok(zones.map((zone) => zoneShape(zone, records)));
};

export const getZone: Handler = async (call) =>
  ok(zoneShape(await call.domain.zones.get(zoneOf(call)), await call.domain.zones.records(zoneOf(call))));

export const createZone: Handler = async (call) => ok(zoneShape(await call.domain.zones.create(readZone(call), call.actor), []));

export const updateZone: Handler = async (call) => {
  const zone = await call.domain.zones.update(zoneOf(call), readZone(call), call.actor);
  return ok(zoneShape(zone, await call.domain.zones.records(zone.id)));
};

export const deleteZone: Handler = async (call) => {
  await call.domain.zones.delete(zoneOf(call), call.actor);
  return deleted;
};

export const listRecords: Handler = async (call) => ok((await call.domain.zones.records(zoneOf(call))).map(recordShape));

export const getRecord: Handler = async (call) => ok(recordShape(await call.domain.zones.record(zoneOf(call), recordOf(call))));

export const createRecord: Handler = async (call) =>
  ok(recordShape(await call.domain.zones.createRecord(zoneOf(call), readRecord(call), call.actor)));

export const updateRecord: Handler = async (call) =>
  ok(recordShape(await call.domain.zones.updateRecord(zoneOf(call), recordOf(call), readRecord(call), call.actor)));

export const deleteRecord: Handler = async (call) => {
  await call.domain.zones.deleteRecord(zoneOf(call), recordOf(call), call.actor);
  return deleted;
};
