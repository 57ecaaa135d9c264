// Policies. Without one nobody reaches anybody.
import type { PolicyId } from '#model/ids.ts';
import { ruleProtocols, type Policy, type PolicyRule } from '#model/network.ts';
import type { Tables } from '../store/store.ts';
import { checkGroups, checkLimit, checkName } from './checks.ts';
import { descriptionLength, portsPerRule, rulesPerPolicy } from './constants.ts';
import { write, type Context } from './context.ts';
import type { PolicyInput, PolicyUseCases } from './contract.ts';
import { domainError, invalid } from './errors.ts';
import { newId, type RandomBytes } from './ids.ts';

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
    if (rule.sources.length === 0 || rule.destinations.length === 0) throw invalid('A rule needs source and destination groups.');
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
    });
  }
  return { id, name, description: request.description, enabled: request.enabled, rules };
}

function checkDescription(text: string): void {
  if (text.length > descriptionLength) throw invalid(`A description has at most ${descriptionLength} characters.`);
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
