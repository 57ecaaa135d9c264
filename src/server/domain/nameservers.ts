// Name servers that groups of peers use, and the groups that keep their own.
import { formatIp, parseIp } from '#lib/ip.ts';
import { canonicalDomain } from '#model/dns.ts';
import type { DnsSettings, NameserverGroup, NameserverGroupId } from '#model/network-plan.ts';
import type { Tables } from '../store/store.ts';
import { checkGroups, checkLimit, checkName } from './checks.ts';
import { domainsPerNameserverGroup, nameserverNameLength, nameserversPerGroup } from './constants.ts';
import { write, type Context } from './context.ts';
import { domainError, invalid } from './errors.ts';
import { newId } from './ids.ts';
import { checkDescription } from './plan-checks.ts';
import type { NameserverUseCases } from './plan-contract.ts';

const settingsPlace = 'dns';

export function nameserverUseCases(context: Context): NameserverUseCases {
  const { store, random, limits } = context;
  return {
    async list() {
      return await store.tables.nameservers.list();
    },

    async get(id) {
      return found(await store.tables.nameservers.find(id));
    },

    async create(request, actor) {
      return await write(context, async ({ tables, audit, changed }) => {
        checkLimit(await tables.nameservers.count(), limits.nameserverGroups);
        const group = await check(tables, newId<NameserverGroupId>(random), request);
        await tables.nameservers.insert(group);
        await audit('nameserver.group.add', actor, group.id, { name: group.name });
        changed({ kind: 'network', peers: undefined });
        return group;
      });
    },

    async update(id, request, actor) {
      return await write(context, async ({ tables, audit, changed }) => {
        found(await tables.nameservers.find(id));
        const group = await check(tables, id, request);
        await tables.nameservers.update(group);
        await audit('nameserver.group.update', actor, id, { name: group.name });
        changed({ kind: 'network', peers: undefined });
        return group;
      });
    },

    async delete(id, actor) {
      await write(context, async ({ tables, audit, changed }) => {
        const group = found(await tables.nameservers.find(id));
        await tables.nameservers.delete(id);
        await audit('nameserver.group.delete', actor, id, { name: group.name });
        changed({ kind: 'network', peers: undefined });
      });
    },

    async settings() {
      return await readDnsSettings(store.tables);
    },

    async setSettings(disabledManagementGroups, actor) {
      return await write(context, async ({ tables, audit, changed }) => {
        const settings: DnsSettings = { disabledManagementGroups: await checkGroups(tables, disabledManagementGroups) };
        await tables.account.saveSettings(settingsPlace, settings);
        await audit('dns.settings.update', actor, context.account.id);
        changed({ kind: 'network', peers: undefined });
        return settings;
      });
    },
  };
}

/** What was saved; nobody keeps his own name servers unless somebody said so. */
export async function readDnsSettings(tables: Tables): Promise<DnsSettings> {
  return { disabledManagementGroups: [], ...(await tables.account.settings(settingsPlace)) };
}

function found(group: NameserverGroup | undefined): NameserverGroup {
  if (group === undefined) throw domainError('DOMAIN_NOT_FOUND', 'name servers');
  return group;
}

async function check(tables: Tables, id: NameserverGroupId, request: Omit<NameserverGroup, 'id'>): Promise<NameserverGroup> {
  const name = checkName(request.name, 'The name');
  if (name.length > nameserverNameLength) throw invalid(`The name has at most ${nameserverNameLength} characters.`);
  for (const other of await tables.nameservers.list()) {
    if (other.id !== id && other.name === name) throw domainError('DOMAIN_NAME_TAKEN', name);
  }
  const { primary, searchDomainsEnabled, nameservers } = request;
  if (nameservers.length === 0 || nameservers.length > nameserversPerGroup)
    throw invalid(`There are 1 to ${nameserversPerGroup} name servers in a group.`);
  if (primary === request.domains.length > 0) throw invalid('Either the group is primary, or it has domains.');
  if (searchDomainsEnabled && primary) throw invalid('A primary group has no domains to search.');
  if (request.domains.length > domainsPerNameserverGroup) throw invalid(`A group has at most ${domainsPerNameserverGroup} domains.`);
  if (request.groups.length === 0) throw invalid('Name servers need the groups whose peers use them.');
  return {
    id,
    name,
    description: checkDescription(request.description),
    enabled: request.enabled,
    nameservers: nameservers.map(checkNameserver),
    groups: await checkGroups(tables, request.groups),
    primary,
    domains: [...new Set(request.domains.map(checkMatchDomain))],
    searchDomainsEnabled,
  };
}

/** A stock client ends where the address of a name server is none (netbird-wire §2.6). */
function checkNameserver({ ip, port }: NameserverGroup['nameservers'][number]): NameserverGroup['nameservers'][number] {
  const address = parseIp(ip);
  if (address === undefined) throw invalid(`"${ip}" is not the address of a name server.`);
  if (!Number.isInteger(port) || port < 1 || port > 65_535) throw invalid('The port of a name server is from 1 to 65535.');
  return { ip: formatIp(address), port };
}

function checkMatchDomain(text: string): string {
  const name = canonicalDomain(text.trim());
  if (name === undefined || name === '') throw invalid(`"${text}" is not a domain name.`);
  return name;
}
