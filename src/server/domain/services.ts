// Published services.
import { generateKeyPairSync } from 'node:crypto';
import { asId, type GroupId, type PeerId, type ServiceId } from '#model/ids.ts';
import type { ExposureRecord } from '../store/exposure-table.ts';
import { hasPages, type Service, type ServiceTarget } from '#model/service.ts';
import type { GatewayReport, ServiceRecord } from '../store/service-table.ts';
import type { Tables } from '../store/store.ts';
import { canonicalCluster, checkGroups, checkLimit } from './checks.ts';
import { write, type Context, type Write } from './context.ts';
import type { ServiceInput, ServiceUseCases } from './contract.ts';
import { domainError, domainErrorNaming } from './errors.ts';
import { newId } from './ids.ts';
import { checkIssuers } from './issuer-choice.ts';
import { mappingOf, worstStatus } from './mappings.ts';
import type { OneTimeTokens } from './one-time-tokens.ts';
import { checkDomainFree, clusterOf, portOf } from './service-places.ts';
import { hashSecrets, joinAuth, type HashedSecrets } from './service-auth.ts';
import { checkService } from './service-rules.ts';
import { readSettings } from './saved-settings.ts';
import { agentOf, agentProxyId, clustersOf, doorOf, isAgentCluster, viewOf } from './tls-place.ts';
import { sealTargetKey } from './upstream-keys.ts';
import { allTargetHosts, checkResourceTarget, targetHosts } from './target-hosts.ts';

/** An Ed25519 key pair as raw bytes, 32 each; the private half is the seed. */
export interface SessionKey {
  readonly privateKey: Uint8Array;
  readonly publicKey: Uint8Array;
}

export interface ServiceSessionKeys {
  /** The key that signs a stock proxy's session tokens for this service (netbird-wire §6.5). DOMAIN_SERVICE_UNKNOWN. */
  sessionKey(id: ServiceId): Promise<SessionKey>;
}

export function serviceUseCases(context: Context, tokens: OneTimeTokens): ServiceUseCases & ServiceSessionKeys {
  const { store, account, sealer, authorities } = context;
  const complete = async (tables: Tables, record: ServiceRecord): Promise<Service> =>
    (await completeAll(context, tables, [record]))[0] ?? unknownService();

  return {
    async list() {
      return await store.read(async (tables) => await completeAll(context, tables, await tables.services.list()));
    },

    async get(id) {
      return await store.read(async (tables) => await complete(tables, (await tables.services.find(id)) ?? unknownService()));
    },

    async signsInAt(host) {
      return await store.read(async (tables) => (await signInServiceAt(tables, host)) !== undefined);
    },

    async issuersAt(host) {
      return await store.read(async (tables) => (await signInServiceAt(tables, host))?.issuers ?? []);
    },

    async create(request, actor) {
      const input = checkService(request);
      const hashed = await hashSecrets(context, input.auth);
      return await write(context, async (write) => {
        const { tables, audit } = write;
        const record = await insertService(context, write, input, hashed);
        await audit('service.create', actor, record.id, { name: record.name, domain: record.domain });
        return await complete(tables, record);
      });
    },

    async update(id, request, actor) {
      const input = checkService(request);
      const hashed = await hashSecrets(context, input.auth);
      return await write(context, async (write) => {
        const { tables, audit, changed } = write;
        const old = (await tables.services.find(id)) ?? unknownService();
        if ((await tables.exposures.find(id)) !== undefined) throw domainError('DOMAIN_SERVICE_EXPOSED');
        if (old.mode !== input.mode) throw domainError('DOMAIN_SERVICE_MODE_FIXED');
        const record = await assemble(context, write, id, input, hashed, old);
        await tables.services.update(record);
        await audit('service.update', actor, id, { name: record.name, domain: record.domain });
        const stays = record.enabled ? clustersOf(record) : [];
        const left = old.enabled ? clustersOf(old).filter((cluster) => !stays.includes(cluster)) : [];
        if (left.length > 0) {
          await tables.services.clearStatuses(id);
          for (const cluster of left) changed({ kind: 'service-removed', serviceId: id, cluster });
          changed({ kind: 'network', peers: undefined });
        }
        if (record.enabled) announce(write, record);
        if (trustOf(old) !== trustOf(record)) await revokeService(write, old);
        return await complete(tables, record);
      });
    },

    async delete(id, actor) {
      await write(context, async (write) => {
        const { tables, audit } = write;
        const old = (await tables.services.find(id)) ?? unknownService();
        await removeService(write, old);
        await tables.exposures.withdraw(id);
        await audit('service.delete', actor, id, { name: old.name, domain: old.domain });
      });
    },

    async mappings(cluster) {
      return await store.read(async (tables) => {
        const hosts = await allTargetHosts(tables);
        const own = canonicalCluster(cluster) ?? cluster;
        const services = await tables.services.listEnabled(isAgentCluster(own) ? undefined : own);
        const settings = await readSettings(tables);
        return services.flatMap((service) => {
          const view = viewOf(service, own);
          return (view && mappingOf(view, account.id, hosts, sealer, tokens, settings, authorities.client.certPem)) ?? [];
        });
      });
    },

    async mapping(id, cluster) {
      return await store.read(async (tables) => {
        const service = await tables.services.find(id);
        const view = service && viewOf(service, canonicalCluster(cluster) ?? cluster);
        if (view === undefined) return undefined;
        const hosts = await targetHosts(tables, view.targets);
        return mappingOf(view, account.id, hosts, sealer, tokens, await readSettings(tables), authorities.client.certPem);
      });
    },

    async reportStatus({ serviceId, cluster, proxyId, status, certificateIssued }) {
      await write(context, async ({ tables, now, audit }) => {
        const service = await tables.services.find(serviceId);
        if (service?.enabled !== true || !clustersOf(service).includes(cluster)) return; // a report that crossed a change on its way
        await tables.services.setStatus(serviceId, proxyId, { state: status.state, reason: status.reason.slice(0, reasonLength) }, now);
        if (!certificateIssued || doorOf(service) !== cluster || service.certificateIssuedAt !== undefined) return;
        await tables.services.setCertificateIssued(serviceId, now);
        await audit('service.certificate.issue', { kind: 'system' }, serviceId, { domain: service.domain });
      });
    },

    async sessionKey(id) {
      const sealed = await store.tables.services.sessionKey(id);
      if (sealed === undefined) return unknownService();
      const both = sealer.open(keyPlace(id), sealed);
      return { privateKey: both.subarray(0, 32), publicKey: both.subarray(32) };
    },
  };
}

/** Characters of a gateway's reason that are kept. */
const reasonLength = 1_000;

const keyPlace = (id: ServiceId): string => `service session key ${id}`;

/** Seed and public half of a new Ed25519 pair, 64 bytes. */
function newSessionKey(): Uint8Array {
  const { d = '', x = '' } = generateKeyPairSync('ed25519').privateKey.export({ format: 'jwk' });
  return Buffer.concat([Buffer.from(d, 'base64url'), Buffer.from(x, 'base64url')]);
}

/** The enabled service at a host that asks people to sign in. */
async function signInServiceAt(tables: Tables, host: string): Promise<ServiceRecord | undefined> {
  const dot = host.indexOf('.');
  if (host.startsWith('*') || dot === 0) return undefined;
  // As gateways route: the service with pages at that name, also where it is disabled, else the one whose wildcard stands for its first label.
  const at = async (name: string): Promise<ServiceRecord | undefined> => (await tables.services.listByDomain(name)).find(hasPages);
  const service = (await at(host)) ?? (dot < 0 ? undefined : await at(`*${host.slice(dot)}`));
  return service !== undefined && service.enabled && service.auth.oidc.enabled ? service : undefined;
}

function unknownService(): never {
  throw domainError('DOMAIN_SERVICE_UNKNOWN');
}

/** The record to store; checks everything that only the database knows. */
async function assemble(
  context: Context,
  { tables, now }: Write,
  id: ServiceId,
  input: ServiceInput,
  hashed: HashedSecrets,
  old: ServiceRecord | undefined,
): Promise<ServiceRecord> {
  const cluster = await clusterOf(tables, input.domain);
  const port = await portOf(context, tables, id, cluster, input, old);
  await checkDomainFree(tables, id, { ...input, listenPort: port.listenPort });
  const auth = joinAuth(input.auth, hashed, old?.auth);
  await checkGroups(tables, auth.oidc.groups);
  await checkGroups(
    tables,
    input.access.rules.flatMap(({ when }) => when.groups),
  );
  const { name, domain, mode, enabled, passHostHeader, rewriteRedirects, restrictions, access, web, stream } = input;
  return {
    id,
    name,
    domain,
    mode,
    listenPort: port.listenPort,
    portAutoAssigned: port.autoAssigned,
    cluster,
    targets: (await checkTargets(tables, cluster, input.targets)).map((target) => sealTargetKey(context.sealer, id, target, old?.targets ?? [])),
    enabled,
    passHostHeader,
    rewriteRedirects,
    auth,
    issuers: await checkIssuers(context, tables, input.issuers),
    restrictions,
    access,
    private: input.private,
    tlsAt: input.tlsAt,
    accessGroups: await checkGroups(tables, input.accessGroups),
    web,
    stream,
    createdAt: old?.createdAt ?? now,
    certificateIssuedAt: old?.domain === domain ? old.certificateIssuedAt : undefined,
  };
}

/** That each target is there and is what it is said to be. A gateway's own peer is no target. */
async function checkTargets(tables: Tables, cluster: string, targets: readonly ServiceTarget[]): Promise<readonly ServiceTarget[]> {
  const checked: ServiceTarget[] = [];
  for (const target of targets) {
    if (target.targetType === 'peer') {
      const peer = await tables.peers.find(target.targetId as PeerId);
      if (peer === undefined || peer.proxyCluster !== undefined) throw domainErrorNaming('DOMAIN_SERVICE_TARGET_UNKNOWN', target.targetId);
      checked.push(target);
    } else if (target.targetType === 'group') {
      if ((await tables.groups.find(asId<GroupId>(target.targetId))) === undefined)
        throw domainErrorNaming('DOMAIN_SERVICE_TARGET_UNKNOWN', target.targetId);
      checked.push(target);
    } else if (target.targetType !== 'cluster') {
      checked.push(await checkResourceTarget(tables, target));
    } else {
      const known = (await tables.clusters.list()).find((entry) => entry.address === cluster);
      const same = ['', cluster, known?.id].includes(target.targetId);
      if (!same) throw domainErrorNaming('DOMAIN_SERVICE_TARGET_UNKNOWN', target.targetId);
      checked.push({ ...target, targetId: cluster });
    }
  }
  return checked;
}

/** What a session's holder was let in by; when it changes, nobody is in any more. */
function trustOf(service: ServiceRecord): string {
  const { auth, access, issuers, domain, private: isPrivate, accessGroups } = service;
  return JSON.stringify([auth, access.proofs, issuers, domain, isPrivate, accessGroups, agentOf(service)]);
}

/** Told to the gateways that have served it so far. */
async function revokeService({ tables, changed }: Write, service: ServiceRecord): Promise<void> {
  await tables.sessions.revokeOfService(service.id);
  changed({ kind: 'revocation', revocation: { kind: 'service', serviceId: service.id }, cluster: doorOf(service) });
}

function announce({ changed }: Write, record: ServiceRecord): void {
  for (const cluster of clustersOf(record)) changed({ kind: 'service-set', serviceId: record.id, cluster });
  changed({ kind: 'network', peers: undefined });
}

/** Stores a new service and tells its gateways. `input` has been checked. */
export async function insertService(context: Context, write: Write, input: ServiceInput, hashed: HashedSecrets): Promise<ServiceRecord> {
  const { tables } = write;
  checkLimit(await tables.services.count(), context.limits.services);
  const id = newId<ServiceId>(context.random);
  const record = await assemble(context, write, id, input, hashed, undefined);
  await tables.services.insert(record, context.sealer.seal(keyPlace(id), newSessionKey()));
  if (record.enabled) announce(write, record);
  return record;
}

/** Takes a service and everybody's sessions at it away. */
export async function removeService(write: Write, record: ServiceRecord): Promise<void> {
  const { id } = record;
  await revokeService(write, record);
  await write.tables.services.delete(id);
  for (const cluster of clustersOf(record)) write.changed({ kind: 'service-removed', serviceId: id, cluster });
  write.changed({ kind: 'network', peers: undefined });
}

/** Records with the hosts of their targets, their status, and who exposes them. */
export async function completeAll({ account }: Context, tables: Tables, records: readonly ServiceRecord[]): Promise<readonly Service[]> {
  const only = records.length === 1 ? records[0] : undefined;
  const statuses = await tables.services.statuses(only?.id);
  const leases = only === undefined ? await tables.exposures.list() : [(await tables.exposures.find(only.id)) ?? []].flat();
  const exposures = new Map(leases.map((lease) => [lease.id, lease]));
  const hosts = only === undefined ? await allTargetHosts(tables) : await targetHosts(tables, only.targets);
  return records.map((record) => ({
    ...record,
    accountId: account.id,
    targets: record.targets.map((target) => ({ ...target, host: hosts.hostOf(target) ?? '' })),
    status: statusOf(record, statuses.get(record.id) ?? []),
    ...exposureOf(exposures.get(record.id)),
  }));
}

/** A gateway that only passes bytes on cannot say that a service works: its agent has to. */
function statusOf(record: ServiceRecord, reports: readonly GatewayReport[]): Service['status'] {
  const agent = agentOf(record);
  if (record.enabled && agent !== undefined && !reports.some(({ proxyId }) => proxyId === agentProxyId(agent))) {
    return { state: 'pending', reason: 'The agent has not said yet that it ends TLS. Set tlsHere.enabled in its configuration.' };
  }
  return worstStatus(record.enabled, reports);
}

function exposureOf(lease: ExposureRecord | undefined): Pick<Service, 'exposure'> {
  if (lease === undefined) return {};
  const { peerId, peerName, leaseUntil, endsAt } = lease;
  return { exposure: { peerId, peerName, leaseUntil, endsAt } };
}
