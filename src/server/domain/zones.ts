// DNS zones of one's own, told to the peers of some groups.
import { formatIp, parseIp } from '#lib/ip.ts';
import { canonicalDomain, isUnder } from '#model/dns.ts';
import { zoneRecordTypes, type RecordId, type Zone, type ZoneId, type ZoneRecord } from '#model/network-plan.ts';
import type { Tables } from '../store/store.ts';
import { checkGroups, checkLimit, checkName } from './checks.ts';
import { recordContentLength, recordTtlMax } from './constants.ts';
import { write, type Context } from './context.ts';
import { domainError, invalid } from './errors.ts';
import { newId } from './ids.ts';
import type { RecordInput, ZoneUseCases } from './plan-contract.ts';

export function zoneUseCases(context: Context): ZoneUseCases {
  const { store, random, limits } = context;
  const changeZone = { kind: 'network', peers: undefined } as const;
  return {
    async list() {
      return await store.tables.zones.list();
    },

    async get(id) {
      return await found(store.tables, id);
    },

    async create(request, actor) {
      return await write(context, async ({ tables, audit, changed }) => {
        checkLimit(await tables.zones.count(), limits.zones);
        const domain = checkZoneDomain(request.domain);
        const taken = domain === context.dnsDomain || (await tables.zones.list()).some((zone) => zone.domain === domain);
        if (taken) throw domainError('DOMAIN_ZONE_TAKEN', domain);
        const zone = { id: newId<ZoneId>(random), domain, ...(await checkRest(tables, request)) };
        await tables.zones.insert(zone);
        await audit('dns.zone.create', actor, zone.id, { name: zone.name, domain });
        changed(changeZone);
        return zone;
      });
    },

    async update(id, request, actor) {
      return await write(context, async ({ tables, audit, changed }) => {
        const old = await found(tables, id);
        if (checkZoneDomain(request.domain) !== old.domain) throw invalid('The domain of a zone cannot be changed. Make a new zone.');
        const zone = { id, domain: old.domain, ...(await checkRest(tables, request)) };
        await tables.zones.update(zone);
        await audit('dns.zone.update', actor, id, { name: zone.name });
        changed(changeZone);
        return zone;
      });
    },

    async delete(id, actor) {
      await write(context, async ({ tables, audit, changed }) => {
        const zone = await found(tables, id);
        await tables.zones.delete(id);
        await audit('dns.zone.delete', actor, id, { name: zone.name });
        changed(changeZone);
      });
    },

    async records(zoneId) {
      if (zoneId === undefined) return await store.tables.zoneRecords.list();
      return await store.read(async (tables) => {
        await found(tables, zoneId);
        return await recordsOf(tables, zoneId);
      });
    },

    async record(zoneId, id) {
      return await foundRecord(store.tables, zoneId, id);
    },

    async createRecord(zoneId, request, actor) {
      return await write(context, async ({ tables, audit, changed }) => {
        const zone = await found(tables, zoneId);
        checkLimit(await tables.zoneRecords.count(), limits.zoneRecords);
        const record = checkRecord(zone, newId<RecordId>(random), request, await recordsOf(tables, zoneId));
        await tables.zoneRecords.insert(record);
        await audit('dns.zone.record.create', actor, record.id, { name: record.name, type: record.type });
        changed(changeZone);
        return record;
      });
    },

    async updateRecord(zoneId, id, request, actor) {
      return await write(context, async ({ tables, audit, changed }) => {
        const zone = await found(tables, zoneId);
        await foundRecord(tables, zoneId, id);
        const record = checkRecord(zone, id, request, await recordsOf(tables, zoneId));
        await tables.zoneRecords.update(record);
        await audit('dns.zone.record.update', actor, id, { name: record.name, type: record.type });
        changed(changeZone);
        return record;
      });
    },

    async deleteRecord(zoneId, id, actor) {
      await write(context, async ({ tables, audit, changed }) => {
        const record = await foundRecord(tables, zoneId, id);
        await tables.zoneRecords.delete(id);
        await audit('dns.zone.record.delete', actor, id, { name: record.name, type: record.type });
        changed(changeZone);
      });
    },
  };
}

async function found(tables: Tables, id: ZoneId): Promise<Zone> {
  const zone = await tables.zones.find(id);
  if (zone === undefined) throw domainError('DOMAIN_NOT_FOUND', 'zone');
  return zone;
}

async function foundRecord(tables: Tables, zoneId: ZoneId, id: RecordId): Promise<ZoneRecord> {
  const record = await tables.zoneRecords.find(id);
  if (record === undefined || record.zoneId !== zoneId) throw domainError('DOMAIN_NOT_FOUND', 'record');
  return record;
}

async function recordsOf(tables: Tables, zoneId: ZoneId): Promise<readonly ZoneRecord[]> {
  return await tables.zoneRecords.list({ column: 'zone_id', value: zoneId });
}

function checkZoneDomain(text: string): string {
  const domain = canonicalDomain(text.trim());
  if (domain === undefined || domain === '') throw invalid(`"${text}" is not a domain name.`);
  return domain;
}

async function checkRest(tables: Tables, request: Omit<Zone, 'id' | 'domain'>): Promise<Omit<Zone, 'id' | 'domain'>> {
  if (request.distributionGroups.length === 0) throw invalid('A zone needs the groups whose peers get it.');
  return {
    name: checkName(request.name, 'The name'),
    enabled: request.enabled,
    enableSearchDomain: request.enableSearchDomain,
    distributionGroups: await checkGroups(tables, request.distributionGroups),
  };
}

function checkRecord(zone: Zone, id: RecordId, request: RecordInput, others: readonly ZoneRecord[]): ZoneRecord {
  const name = canonicalDomain(request.name.trim(), true);
  if (name === undefined || !isUnder(zone.domain, name.replace(/^\*\./, ''))) throw invalid(`The name of a record is ${zone.domain} or below it.`);
  if (!zoneRecordTypes.includes(request.type)) throw invalid(`A record's type must be one of ${zoneRecordTypes.join(', ')}.`);
  if (!Number.isInteger(request.ttl) || request.ttl < 0 || request.ttl > recordTtlMax)
    throw invalid(`The time to live is from 0 to ${recordTtlMax} seconds.`);
  const record = { id, zoneId: zone.id, name, type: request.type, content: checkContent(request), ttl: request.ttl };
  const same = others.filter((other) => other.id !== id && other.name === name);
  // RFC 1034 §3.6.2: a name that is another name has nothing else
  const alone = record.type === 'CNAME' ? same.length === 0 : same.every((other) => other.type !== 'CNAME');
  if (!alone) throw invalid(`${name} has other records: a CNAME stands alone.`);
  if (same.some((other) => other.type === record.type && other.content === record.content))
    throw domainError('DOMAIN_NAME_TAKEN', 'the record exists');
  return record;
}

function checkContent({ type, content }: RecordInput): string {
  if (content.length > recordContentLength) throw invalid(`What a record says has at most ${recordContentLength} characters.`);
  if (type === 'CNAME') {
    const target = canonicalDomain(content.trim());
    if (target === undefined || target === '') throw invalid(`"${content}" is not a domain name.`);
    return target;
  }
  const ip = parseIp(content.trim());
  if (ip?.family !== (type === 'A' ? 4 : 6)) throw invalid(`"${content}" is not an ${type === 'A' ? 'IPv4' : 'IPv6'} address.`);
  return formatIp(ip);
}
