// Policies. Without one nobody reaches anybody.
import { asId, type PolicyId } from '#model/ids.ts';
import { ruleProtocols, type Policy, type PolicyRule } from '#model/network.ts';
import { resourceTypes, type ResourceRef } from '#model/network-plan.ts';
import type { Tables } from '../store/store.ts';
import { checkGroups, checkLimit, checkName } from './checks.ts';
import { portsPerRule, rulesPerPolicy } from './constants.ts';
import { write, type Context } from './context.ts';
import type { PolicyInput, PolicyUseCases } from './contract.ts';
import { domainError, domainErrorNaming, invalid } from './errors.ts';
import { newId, type RandomBytes } from './ids.ts';
import { checkDescription, checkPeer } from './plan-checks.ts';
import { checkPostureIds } from './posture.ts';

export function policyUseCases(context: Context): PolicyUseCases {
  const { store, random, limits } = context;
  return {
    async list() {
      return await store.tables.policies.list();
    },

    async get(id) {
      return found(await store.tables.policies.find(id));
    },

    async create(request, actor) {
      return await write(context, async ({ tables, audit, changed }) => {
        checkLimit(await tables.policies.count(), limits.policies);
        const policy = await check(tables, random, newId<PolicyId>(random), request);
        await tables.policies.insert(policy);
        await audit('policy.add', actor, policy.id, { name: policy.name });
        changed({ kind: 'network', peers: undefined });
        return policy;
      });
    },

    async update(id, request, actor) {
      return await write(context, async ({ tables, audit, changed }) => {
        found(await tables.policies.find(id));
        const policy = await check(tables, random, id, request);
        await tables.policies.update(policy);
        await audit('policy.update', actor, id, { name: policy.name });
        changed({ kind: 'network', peers: undefined });
        return policy;
      });
    },

    async delete(id, actor) {
      await write(context, async ({ tables, audit, changed }) => {
        const policy = found(await tables.policies.find(id));
        await tables.policies.delete(id);
        await audit('policy.delete', actor, id, { name: policy.name });
        changed({ kind: 'network', peers: undefined });
      });
    },
  };
}

function found(policy: Policy | undefined): Policy {
  if (policy === undefined) throw domainError('DOMAIN_NOT_FOUND', 'policy');
  return policy;
}

async function check(tables: Tables, random: RandomBytes, id: PolicyId, request: PolicyInput): Promise<Policy> {
  const name = checkName(request.name, 'The name');
  checkDescription(request.description);
  if (request.rules.length === 0 || request.rules.length > rulesPerPolicy) throw invalid(`A policy has 1 to ${rulesPerPolicy} rules.`);
  const rules: PolicyRule[] = [];
  for (const rule of request.rules) {
    checkDescription(rule.description);
    checkPorts(rule);
    const [source, destination] = [await checkRef(tables, rule.sourceResource, ['peer']), await checkRef(tables, rule.destinationResource)];
    const one = (rule.sources.length === 0) !== (source === undefined) && (rule.destinations.length === 0) !== (destination === undefined);
    if (!one) throw invalid('A rule needs source and destination, each as groups or as one resource.');
    rules.push({
      id: newId(random),
      name: rule.name.trim() === '' ? name : checkName(rule.name, 'The name of a rule'),
      description: rule.description,
      enabled: rule.enabled,
      action: rule.action,
      bidirectional: rule.bidirectional,
      protocol: rule.protocol,
      ports: rule.ports.map(({ start, end }) => ({ start, end })),
      sources: await checkGroups(tables, rule.sources),
      destinations: await checkGroups(tables, rule.destinations),
      ...(source === undefined ? {} : { sourceResource: source }),
      ...(destination === undefined ? {} : { destinationResource: destination }),
    });
  }
  const checks = await checkPostureIds(tables, request.sourcePostureChecks ?? []);
  const posture = checks.length === 0 ? {} : { sourcePostureChecks: checks };
  return { id, name, description: request.description, enabled: request.enabled, ...posture, rules };
}

/** One peer or resource in place of groups. Traffic begins at peers only, so `types` is narrower for sources. */
async function checkRef(
  tables: Tables,
  ref: ResourceRef | undefined,
  types: readonly ResourceRef['type'][] = ['peer', ...resourceTypes],
): Promise<ResourceRef | undefined> {
  if (ref === undefined) return undefined;
  if (!types.includes(ref.type)) throw invalid(`The type of this resource must be one of ${types.join(', ')}.`);
  if (ref.type === 'peer') await checkPeer(tables, asId(ref.id));
  else if ((await tables.resources.find(ref.id))?.type !== ref.type) throw domainErrorNaming('DOMAIN_RESOURCE_UNKNOWN', `${ref.type} ${ref.id}`);
  return { type: ref.type, id: ref.id };
}

function checkPorts(rule: Omit<PolicyRule, 'id'>): void {
  if (!ruleProtocols.includes(rule.protocol)) throw invalid(`A rule's protocol must be one of ${ruleProtocols.join(', ')}.`);
  if (rule.ports.length > 0 && rule.protocol !== 'tcp' && rule.protocol !== 'udp') throw invalid('Only rules for tcp and udp can name ports.');
  if (rule.ports.length > portsPerRule) throw invalid(`A rule names at most ${portsPerRule} ports and ranges.`);
  for (const { start, end } of rule.ports) {
    const sound = Number.isInteger(start) && Number.isInteger(end) && start >= 1 && end <= 65_535 && start <= end;
    if (!sound) throw invalid('A port is a number from 1 to 65535, a range goes up.');
  }
}
