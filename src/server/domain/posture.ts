// Posture checks: what a machine must be like to count as a source of a policy.
import type { PostureCheck, PostureCheckId, ProcessPaths, SystemVersions } from '#model/posture.ts';
import { parseVersion } from '../netmap/posture.ts';
import type { Tables } from '../store/store.ts';
import { checkLimit, checkName } from './checks.ts';
import { checksPerPolicy, processesPerCheck, processPathLength, rangesPerCheck } from './constants.ts';
import { write, type Context } from './context.ts';
import { domainError, domainErrorNaming, invalid } from './errors.ts';
import { newId } from './ids.ts';
import { checkDescription, checkPrefix } from './plan-checks.ts';
import type { PostureUseCases } from './plan-contract.ts';

export function postureUseCases(context: Context): PostureUseCases {
  const { store, random, limits } = context;
  return {
    async list() {
      return await store.tables.postureChecks.list();
    },

    async get(id) {
      return found(await store.tables.postureChecks.find(id));
    },

    async create(request, actor) {
      return await write(context, async ({ tables, audit, changed }) => {
        checkLimit(await tables.postureChecks.count(), limits.postureChecks);
        const check = await checked(tables, newId<PostureCheckId>(random), request);
        await tables.postureChecks.insert(check);
        await audit('posture.check.create', actor, check.id, { name: check.name });
        changed({ kind: 'network', peers: undefined });
        return check;
      });
    },

    async update(id, request, actor) {
      return await write(context, async ({ tables, audit, changed }) => {
        found(await tables.postureChecks.find(id));
        const check = await checked(tables, id, request);
        await tables.postureChecks.update(check);
        await audit('posture.check.update', actor, id, { name: check.name });
        changed({ kind: 'network', peers: undefined });
        return check;
      });
    },

    async delete(id, actor) {
      await write(context, async ({ tables, audit }) => {
        const check = found(await tables.postureChecks.find(id));
        const users = (await tables.policies.list()).filter((policy) => policy.sourcePostureChecks?.includes(id) === true);
        if (users.length > 0) {
          throw domainErrorNaming(
            'DOMAIN_POSTURE_IN_USE',
            `Used by ${users
              .slice(0, 5)
              .map(({ name }) => `policy "${name}"`)
              .join(', ')}.`,
          );
        }
        await tables.postureChecks.delete(id);
        await audit('posture.check.delete', actor, id, { name: check.name });
      });
    },
  };
}

/** That all of them exist; each once. */
export async function checkPostureIds(tables: Tables, ids: readonly PostureCheckId[]): Promise<readonly PostureCheckId[]> {
  if (ids.length > checksPerPolicy) throw invalid(`A policy has at most ${checksPerPolicy} posture checks.`);
  for (const id of ids) if ((await tables.postureChecks.find(id)) === undefined) throw domainErrorNaming('DOMAIN_POSTURE_UNKNOWN', id);
  return [...new Set(ids)];
}

function found(check: PostureCheck | undefined): PostureCheck {
  if (check === undefined) throw domainError('DOMAIN_NOT_FOUND', 'posture check');
  return check;
}

async function checked(tables: Tables, id: PostureCheckId, request: Omit<PostureCheck, 'id'>): Promise<PostureCheck> {
  const name = checkName(request.name, 'The name');
  for (const other of await tables.postureChecks.list()) if (other.id !== id && other.name === name) throw domainError('DOMAIN_NAME_TAKEN', name);
  const { minVersion, systems, networks, processes } = request;
  if (minVersion === undefined && systems === undefined && networks === undefined && processes === undefined)
    throw invalid('A posture check needs something to check.');
  return {
    id,
    name,
    description: checkDescription(request.description),
    ...(minVersion === undefined ? {} : { minVersion: checkVersion(minVersion) }),
    ...(systems === undefined ? {} : { systems: checkSystems(systems) }),
    ...(networks === undefined ? {} : { networks: { action: networks.action, ranges: checkRanges(networks.ranges) } }),
    ...(processes === undefined ? {} : { processes: checkProcesses(processes) }),
  };
}

function checkVersion(text: string): string {
  if (parseVersion(text) === undefined) throw invalid(`"${text}" is not a version such as 1.2.3.`);
  return text.trim();
}

function checkSystems(systems: SystemVersions): SystemVersions {
  const given = Object.entries(systems).filter((entry): entry is [string, string] => typeof entry[1] === 'string');
  if (given.length === 0) throw invalid('A check of systems needs one at least.');
  return Object.fromEntries(given.map(([system, version]) => [system, checkVersion(version)]));
}

function checkRanges(ranges: readonly string[]): readonly string[] {
  if (ranges.length === 0 || ranges.length > rangesPerCheck) throw invalid(`A check of networks has 1 to ${rangesPerCheck} ranges.`);
  return [...new Set(ranges.map(checkPrefix))];
}

function checkProcesses(processes: readonly ProcessPaths[]): readonly ProcessPaths[] {
  if (processes.length === 0 || processes.length > processesPerCheck) throw invalid(`A check of programs has 1 to ${processesPerCheck}.`);
  for (const { linux = '', mac = '', windows = '' } of processes) {
    if (linux + mac + windows === '') throw invalid('A program needs a path.');
    if (Math.max(linux.length, mac.length, windows.length) > processPathLength) throw invalid(`A path has at most ${processPathLength} characters.`);
  }
  return processes;
}
