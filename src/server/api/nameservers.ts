// Name servers of groups, and the groups that keep their own.
import { boolean, integer, list, object, oneOf, optional, string } from '#lib/schema.ts';
import type { DnsSettings, NameserverGroup, NameserverGroupId } from '#model/network-plan.ts';
import { deleted, idParam, ok, readBody, type Call, type Handler } from './call.ts';
import { descriptionField, groupIds } from './fields.ts';

const nameserver = object({ ip: string({ max: 45 }), ns_type: oneOf(['udp']), port: integer({ min: 1, max: 65_535 }) });

const groupRequest = object({
  id: optional(string({ max: 200 })),
  name: string({ max: 40 }),
  description: descriptionField(),
  nameservers: list(nameserver, { min: 1, max: 3 }),
  enabled: boolean(),
  groups: groupIds(),
  primary: boolean(),
  domains: list(string({ max: 255 }), { default: [], max: 100 }),
  search_domains_enabled: boolean(),
});

const settingsRequest = object({ disabled_management_groups: groupIds() });

function readGroup(call: Call): Omit<NameserverGroup, 'id'> {
  const { id: _id, search_domains_enabled: searchDomainsEnabled, nameservers, ...rest } = readBody(call, groupRequest);
  return { ...rest, nameservers: nameservers.map(({ ip, port }) => ({ ip, port })), searchDomainsEnabled };
}

function groupShape(group: NameserverGroup): Readonly<Record<string, unknown>> {
  return {
    id: group.id,
    name: group.name,
    description: group.description,
    nameservers: group.nameservers.map(({ ip, port }) => ({ ip, ns_type: 'udp', port })),
    enabled: group.enabled,
    groups: group.groups,
    primary: group.primary,
    domains: group.domains,
    search_domains_enabled: group.searchDomainsEnabled,
  };
}

function settingsShape({ disabledManagementGroups }: DnsSettings): Readonly<Record<string, unknown>> {
  return { disabled_management_groups: disabledManagementGroups };
}

export const listNameservers: Handler = async (call) => ok((await call.domain.nameservers.list()).map(groupShape));

export const getNameservers: Handler = async (call) => ok(groupShape(await call.domain.nameservers.get(idParam<NameserverGroupId>(call))));

export const createNameservers: Handler = async (call) => ok(groupShape(await call.domain.nameservers.create(readGroup(call), call.actor)));

export const updateNameservers: Handler = async (call) =>
  ok(groupShape(await call.domain.nameservers.update(idParam<NameserverGroupId>(call), readGroup(call), call.actor)));

export const deleteNameservers: Handler = async (call) => {
  await call.domain.nameservers.delete(idParam<NameserverGroupId>(call), call.actor);
  return deleted;
};

export const getDnsSettings: Handler = async (call) => ok(settingsShape(await call.domain.nameservers.settings()));

export const updateDnsSettings: Handler = async (call) => {
  const { disabled_management_groups: groups } = readBody(call, settingsRequest);
  return ok(settingsShape(await call.domain.nameservers.setSettings(groups, call.actor)));
};
