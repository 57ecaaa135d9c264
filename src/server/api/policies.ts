// Policies: who may talk to whom. Requests name groups by id, answers carry the groups' short form.
import { boolean, convert, integer, list, object, oneOf, optional, type Schema, string } from '#lib/schema.ts';
import type { GroupId, PolicyId } from '#model/ids.ts';
import { ruleProtocols, type Group, type Policy, type PolicyRule } from '#model/network.ts';
import type { PostureCheckId } from '#model/posture.ts';
import type { PortRange } from '#model/network-map.ts';
import type { PolicyInput } from '../domain/contract.ts';
import { deleted, idParam, ok, readBody, type Call, type Handler } from './call.ts';
import { groupIds, idField, present, resourceRef, unsupported } from './fields.ts';
import { groupMinimum } from './groups.ts';

const portNumber = integer({ min: 1, max: 65_535 });

/** `80` or `8000-8100`, as a range. */
const portText: Schema<PortRange> = convert(string({ max: 11 }), (text, refuse) => {
  const match = /^([0-9]{1,5})(?:-([0-9]{1,5}))?$/.exec(text);
  const start = Number(match?.[1] ?? 0);
  const end = Number(match?.[2] ?? start);
  return start >= 1 && end <= 65_535 && start <= end ? { start, end } : refuse('must be a port from 1 to 65535, or two with a dash');
});

const portRange: Schema<PortRange> = convert(object({ start: portNumber, end: portNumber }), (range, refuse) =>
  range.start <= range.end ? range : refuse('must not be below start', '.end'),
);

const ruleFields = object({
  id: optional(string({ max: 200 })),
  name: string({ max: 255 }),
  description: string({ min: 0, max: 1024, default: '' }),
  enabled: boolean(),
  action: oneOf(['accept', 'drop']),
  bidirectional: boolean(),
  protocol: oneOf(ruleProtocols),
  ports: list(portText, { default: [], max: 200 }),
  port_ranges: list(portRange, { default: [], max: 200 }),
  sources: groupIds(),
  destinations: groupIds(),
  sourceResource: optional(resourceRef()),
  destinationResource: optional(resourceRef()),
  authorized_groups: unsupported(),
});

const rule: Schema<Omit<PolicyRule, 'id'>> = convert(ruleFields, (fields, refuse) => {
  const { id: _id, ports, port_ranges: ranges, sourceResource, destinationResource, authorized_groups: _a, ...rest } = fields;
  if (ports.length > 0 && ranges.length > 0) return refuse('takes either ports or port_ranges');
  const all = [...ports, ...ranges];
  if (all.length > 0 && (rest.protocol === 'all' || rest.protocol === 'icmp')) return refuse(`has no ports with protocol ${rest.protocol}`);
  const both = 'takes either groups or one resource';
  if (rest.sources.length === 0 && sourceResource === undefined) return refuse('must not be empty', '.sources');
  if (rest.sources.length > 0 && sourceResource !== undefined) return refuse(both, '.sourceResource');
  if (rest.destinations.length === 0 && destinationResource === undefined) return refuse('must not be empty', '.destinations');
  if (rest.destinations.length > 0 && destinationResource !== undefined) return refuse(both, '.destinationResource');
  return { ...rest, ports: all, sourceResource, destinationResource };
});

const policyRequest = object({
  id: optional(string({ max: 200 })),
  name: string({ max: 255 }),
  description: string({ min: 0, max: 1024, default: '' }),
  enabled: boolean(),
  source_posture_checks: list(idField<PostureCheckId>(), { default: [], max: 10 }),
  rules: list(rule, { min: 1, max: 100 }),
});

/** The policy that a JSON body asks for. */
function readPolicy(call: Call): PolicyInput {
  const { name, description, enabled, rules, source_posture_checks: sourcePostureChecks } = readBody(call, policyRequest);
  return { name, description, enabled, sourcePostureChecks, rules };
}

function ruleShape(rule: PolicyRule, groups: ReadonlyMap<GroupId, Group>): Readonly<Record<string, unknown>> {
  const short = (ids: readonly GroupId[]): readonly unknown[] => ids.flatMap((id) => groups.get(id) ?? []).map(groupMinimum);
  const single = rule.ports.every((range) => range.start === range.end);
  return present({
    id: rule.id,
    name: rule.name,
    description: rule.description,
    enabled: rule.enabled,
    action: rule.action,
    bidirectional: rule.bidirectional,
    protocol: rule.protocol,
    ports: single && rule.ports.length > 0 ? rule.ports.map((range) => String(range.start)) : undefined,
    port_ranges: single ? undefined : rule.ports,
    sources: short(rule.sources),
    destinations: short(rule.destinations),
    sourceResource: rule.sourceResource,
    destinationResource: rule.destinationResource,
  });
}

function policyShape(policy: Policy, groups: ReadonlyMap<GroupId, Group>): Readonly<Record<string, unknown>> {
  return {
    id: policy.id,
    name: policy.name,
    description: policy.description,
    enabled: policy.enabled,
    source_posture_checks: policy.sourcePostureChecks ?? [],
    rules: policy.rules.map((rule) => ruleShape(rule, groups)),
  };
}

async function groupsById(call: Call): Promise<ReadonlyMap<GroupId, Group>> {
  return new Map((await call.domain.groups.list()).map((group) => [group.id, group]));
}

export const listPolicies: Handler = async (call) => {
  const [policies, groups] = await Promise.all([call.domain.policies.list(), groupsById(call)]);
  return ok(policies.map((policy) => policyShape(policy, groups)));
};

export const getPolicy: Handler = async (call) => ok(policyShape(await call.domain.policies.get(idParam<PolicyId>(call)), await groupsById(call)));

export const createPolicy: Handler = async (call) => {
  const policy = await call.domain.policies.create(readPolicy(call), call.actor);
  return ok(policyShape(policy, await groupsById(call)));
};

export const updatePolicy: Handler = async (call) => {
  const policy = await call.domain.policies.update(idParam<PolicyId>(call), readPolicy(call), call.actor);
  return ok(policyShape(policy, await groupsById(call)));
};

export const deletePolicy: Handler = async (call) => {
  await call.domain.policies.delete(idParam<PolicyId>(call), call.actor);
  return deleted;
};
