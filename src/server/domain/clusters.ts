// Clusters of gateways and the domains that lead to them. A cluster is known from the first time one of its gateways connects.
import type { TokenId } from '#model/ids.ts';
import type { DomainRecord } from '../store/cluster-table.ts';
import type { Tables } from '../store/store.ts';
import { canonicalCluster, canonicalHost, checkLimit, isAtOrBelow } from './checks.ts';
import { proxyLiveMs } from './constants.ts';
import { write, type Context, type Write } from './context.ts';
import type { ClusterUseCases, Domain } from './contract.ts';
import { isProven, newChallenge, proofRecord, recheckDomains, type DomainResolvers } from './domain-proof.ts';
import { domainError, domainErrorNaming, invalid } from './errors.ts';
import { newId } from './ids.ts';
import { isAgentCluster } from './tls-place.ts';

export function clusterUseCases(context: Context, resolvers: DomainResolvers): ClusterUseCases {
  const { store, random, limits, clock } = context;
  return {
    async clusters() {
      return await store.read(async (tables) => {
        const live = await tables.clusters.countLive(clock.wall() - proxyLiveMs);
        const clusters = await tables.clusters.list();
        return clusters.map(({ id, address }) => {
          const connectedProxies = live.get(address) ?? 0;
          return { id, address, online: connectedProxies > 0, connectedProxies };
        });
      });
    },

    async deleteCluster(address, actor) {
      await write(context, async ({ tables, audit }) => {
        const cluster = (await tables.clusters.list()).find((entry) => entry.address === address);
        if (cluster === undefined) throw domainError('DOMAIN_NOT_FOUND', 'cluster');
        const service = (await tables.services.list()).find((entry) => entry.cluster === address);
        if (service !== undefined) throw domainErrorNaming('DOMAIN_CLUSTER_IN_USE', `It serves "${service.name}".`);
        const domain = (await tables.clusters.domains()).find((entry) => entry.cluster === address);
        if (domain !== undefined) throw domainErrorNaming('DOMAIN_CLUSTER_IN_USE', `The domain ${domain.domain} leads to it.`);
        await tables.clusters.delete(cluster.id);
        await audit('cluster.delete', actor, cluster.id, { address });
      });
    },

    async domains() {
      return await store.read(async (tables) => {
        const free = (await tables.clusters.list()).map(({ id, address }) => ({ id, domain: address, cluster: address, validated: true }));
        const custom = await tables.clusters.domains();
        return [...free.map((entry) => ({ ...entry, type: 'free' as const })), ...custom.map(customDomain)];
      });
    },

    async createDomain(domain, cluster, actor) {
      const name = canonicalHost(domain);
      if (name === undefined || !name.includes('.')) throw invalid('This is not a domain name.');
      return await write(context, async ({ tables, audit }) => {
        const clusters = await tables.clusters.list();
        if (!clusters.some((entry) => entry.address === cluster)) throw domainError('DOMAIN_NOT_FOUND', 'cluster');
        const domains = await tables.clusters.domains();
        checkLimit(domains.length, limits.domains);
        const taken = domains.some((entry) => entry.domain === name) || clusters.some((entry) => isAtOrBelow(name, entry.address));
        if (taken) throw domainError('DOMAIN_DOMAIN_TAKEN');
        const record = {
          id: newId(random),
          domain: name,
          cluster,
          validated: false,
          challenge: newChallenge(context),
          checkedAt: undefined,
          failingSince: undefined,
        };
        await tables.clusters.insertDomain(record);
        await audit('domain.add', actor, record.id, { domain: name, cluster });
        return customDomain(record);
      });
    },

    async deleteDomain(id, actor) {
      await write(context, async ({ tables, audit }) => {
        const domain = (await tables.clusters.domains()).find((entry) => entry.id === id);
        if (domain === undefined) throw domainError('DOMAIN_NOT_FOUND', 'domain');
        const service = (await tables.services.list()).find((entry) => isAtOrBelow(entry.domain, domain.domain));
        if (service !== undefined) throw domainErrorNaming('DOMAIN_DOMAIN_IN_USE', `The service "${service.name}" is below it.`);
        await tables.clusters.deleteDomain(id);
        await audit('domain.delete', actor, id, { domain: domain.domain });
      });
    },

    async validateDomain(id) {
      const domain = (await store.tables.clusters.domains()).find((entry) => entry.id === id);
      if (domain === undefined) throw domainError('DOMAIN_NOT_FOUND', 'domain');
      const validated = await isProven(context, resolvers, domain);
      await write(context, async ({ tables, now, audit }) => {
        const proof = { validated, checkedAt: now, failingSince: undefined };
        if (!(await tables.clusters.setProof(id, proof))) throw domainError('DOMAIN_NOT_FOUND', 'domain');
        await audit('domain.validate', { kind: 'system' }, id, { domain: domain.domain, validated: String(validated) });
      });
    },

    recheckDomains: () => recheckDomains(context, resolvers),

    async proxyConnected({ proxyId, tokenId, cluster, version, publicPort = 443 }) {
      const address = canonicalCluster(cluster);
      if (address === undefined) throw invalid('The address of a cluster is a domain name or an IP address.');
      if (proxyId === '' || proxyId.length > 128 || version.length > 128) throw invalid('The id or version of the gateway is too long.');
      if (publicPort > 65_535) throw invalid('The public port of the gateway is none.');
      await write(context, async ({ tables, now, audit }) => {
        await bind(tables, tokenId, address, audit);
        const known = await tables.clusters.liveProxy(proxyId, now - proxyLiveMs);
        if (known !== undefined && known.tokenId !== tokenId) throw domainError('DOMAIN_PROXY_TAKEN');
        if (!isAgentCluster(address) && !(await tables.clusters.list()).some((entry) => entry.address === address)) {
          checkLimit(await tables.clusters.count(), limits.clusters);
          const record = { id: newId(random), address, createdAt: now };
          await tables.clusters.insert(record);
          await audit('cluster.add', { kind: 'proxy', id: tokenId }, record.id, { address });
        }
        await tables.clusters.setProxy({ id: proxyId, tokenId, cluster: address, version, serverId: context.serverId, heartbeat: now, publicPort });
      });
    },

    async proxyHeartbeat(proxyId) {
      await store.tables.clusters.proxyAlive(proxyId, clock.wall());
    },

    async proxyDisconnected(proxyId) {
      await write(context, ({ tables }) => tables.clusters.deleteProxy(proxyId, context.serverId));
    },
  };
}

/** A token is good for one cluster: the one that it was made for, else the first that comes. */
async function bind(tables: Tables, id: TokenId, cluster: string, audit: Write['audit']): Promise<void> {
  const token = await tables.tokens.findProxy(id);
  if (token === undefined || token.revoked) throw domainError('DOMAIN_NOT_FOUND', 'gateway token');
  if (token.cluster === cluster) return;
  if (isAgentCluster(cluster) || !(await tables.tokens.bindProxy(id, cluster)))
    throw domainErrorNaming('DOMAIN_PROXY_TOKEN_ELSEWHERE', `This is ${cluster}, and the token is for ${token.cluster}.`);
  await audit('proxy.token.bind', { kind: 'proxy', id }, id, { name: token.name, cluster });
}

function customDomain(record: DomainRecord): Domain {
  const { id, domain, cluster, validated, challenge } = record;
  return { id, domain, cluster, validated, type: 'custom', ...(challenge === '' ? {} : { proof: proofRecord(record) }) };
}
