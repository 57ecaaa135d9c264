// Services that peers publish by themselves, for as long as they renew them. Everything about such a service is a service's; here is who may
// have one, under which name, and when it ends.
import { MeshgateError } from '#lib/errors.ts';
import type { ExposeRequest } from '#model/exposure.ts';
import type { PeerId, PublicKey, ServiceId } from '#model/ids.ts';
import type { Peer } from '#model/network.ts';
import type { ServiceTarget } from '#model/service.ts';
import type { ExposureRecord } from '../store/exposure-table.ts';
import type { ServiceRecord } from '../store/service-table.ts';
import type { Tables } from '../store/store.ts';
import { proxyLiveMs } from './constants.ts';
import { write, type Context, type Write } from './context.ts';
import type { Actor } from './contract.ts';
import { domainError, domainErrorNaming } from './errors.ts';
import type { Exposure, ExposeSettings, ExposureUseCases } from './expose-contract.ts';
import { accessOf, checkExactName, checkExposeRequest, checkMayExpose, exposedService, exposedUrl, parentOf, randomLabel } from './expose-rules.ts';
import type { ResourceReach } from './maps.ts';
import { readSettings } from './saved-settings.ts';
import { hashSecrets } from './service-auth.ts';
import { checkService } from './service-rules.ts';
import { completeAll, insertService, removeService } from './services.ts';
import { canonicalTarget, isInResource } from './target-hosts.ts';

/** Names tried before it is given up: with 20 bits behind a chosen name, two in a row that are taken are chance already. */
const nameTries = 16;

type Place = Pick<ServiceTarget, 'targetId' | 'targetType' | 'host'>;

export function exposureUseCases(context: Context, reach: ResourceReach): ExposureUseCases {
  const { store, clock, exposureTtlMs: ttlMs } = context;

  /** Asked before anything costs much, and again in the transaction that counts. */
  const admit = async (tables: Tables, publicKey: PublicKey): Promise<{ readonly peer: Peer; readonly settings: ExposeSettings }> => {
    const peer = await tables.peers.findByKey(publicKey);
    if (peer === undefined) throw domainError('DOMAIN_PEER_UNKNOWN');
    if (peer.loginExpired) throw domainError('DOMAIN_LOGIN_EXPIRED');
    const user = peer.userId === undefined ? undefined : await tables.users.find(peer.userId);
    if (user?.blocked === true) throw domainError('DOMAIN_USER_BLOCKED');
    const settings = (await readSettings(tables)).expose;
    await checkMayExpose(tables, settings, peer);
    return { peer, settings };
  };

  const placeOf = async (publicKey: PublicKey, peer: Peer, { host, protocol, port }: ExposeRequest): Promise<Place> => {
    if (host === undefined) return { targetId: peer.id, targetType: 'peer', host: '' };
    const canonical = canonicalTarget(host);
    const reached = await reach.reachedBy(publicKey, protocol === 'udp' ? 'udp' : 'tcp', port);
    const resource = canonical === undefined ? undefined : reached.find((each) => isInResource(each, canonical));
    if (canonical === undefined || resource === undefined) throw domainErrorNaming('DOMAIN_EXPOSE_HOST', `${host}:${port}`);
    return { targetId: resource.id, targetType: resource.type, host: canonical };
  };

  /** That policies still let the peer reach what its service leads to. */
  const checkStillReached = async (publicKey: PublicKey, service: ServiceRecord): Promise<void> => {
    for (const { targetType, targetId, port, host } of service.targets) {
      if (targetType === 'peer') continue;
      const reached = await reach.reachedBy(publicKey, service.mode === 'udp' ? 'udp' : 'tcp', port);
      if (!reached.some(({ id }) => id === targetId)) throw domainErrorNaming('DOMAIN_EXPOSE_HOST', `${host}:${port}`);
    }
  };

  const describe = async (tables: Tables, record: ServiceRecord, endsAt: number | undefined): Promise<Exposure> => {
    const [service] = await completeAll(context, tables, [record]);
    if (service === undefined) throw domainError('DOMAIN_EXPOSE_LAPSED');
    const names = await tables.groups.names();
    const url = exposedUrl(record, (await tables.clusters.publicPort(record.cluster)) ?? 443);
    return { service, url, ttlMs, endsAt, groups: record.auth.oidc.groups.map((id) => names.get(id)?.name ?? id) };
  };

  /** The record and its service where they are this peer's and have not ended. */
  const held = async (
    tables: Tables,
    publicKey: PublicKey,
    id: ServiceId,
  ): Promise<{ readonly lease: ExposureRecord; readonly record: ServiceRecord }> => {
    const lease = await tables.exposures.find(id);
    const peer = await tables.peers.findByKey(publicKey);
    if (lease === undefined || lease.peerId !== peer?.id) throw domainError('DOMAIN_EXPOSE_LAPSED');
    if (lease.withdrawn) throw domainError('DOMAIN_EXPOSE_WITHDRAWN');
    const record = await tables.services.find(id);
    if (record === undefined || hasEnded(lease, clock.wall())) throw domainError('DOMAIN_EXPOSE_LAPSED');
    return { lease, record };
  };

  return {
    async create(publicKey, request) {
      checkExposeRequest(request);
      const { peer: asking } = await admit(store.tables, publicKey);
      const place = await placeOf(publicKey, asking, request);
      const { access } = request;
      const { password, pin } = access.kind === 'proof' ? access : { password: undefined, pin: undefined };
      const hashed = await hashSecrets(context, {
        oidc: { enabled: false, groups: [] },
        password: password === undefined ? undefined : { enabled: true, password },
        pin: pin === undefined ? undefined : { enabled: true, pin },
        headers: [],
      });
      return await write(context, async (write) => {
        const { tables, now, audit } = write;
        const { peer, settings } = await admit(tables, publicKey);
        const auth = await accessOf(tables, settings, request);
        const domain = await domainOf(context, write, settings, peer.id, request);
        if ((await tables.exposures.listOfPeer(peer.id)).length >= settings.perPeer)
          throw domainErrorNaming('DOMAIN_EXPOSE_LIMIT', `The limit is ${settings.perPeer}.`);
        const record = await insertService(context, write, checkService(exposedService(request, place, domain, auth)), hashed);
        const endsAt = request.endsAfterMs === undefined ? undefined : now + request.endsAfterMs;
        await tables.exposures.insert({ id: record.id, peerId: peer.id, domain, leaseUntil: now + ttlMs, endsAt, withdrawn: false });
        const actor: Actor = { kind: 'peer', id: peer.id };
        await audit('service.peer.expose', actor, record.id, { name: record.name, domain, peer: peer.name, mode: record.mode });
        return await describe(tables, record, endsAt);
      });
    },

    async renew(publicKey, id) {
      const { record } = await held(store.tables, publicKey, id);
      try {
        await admit(store.tables, publicKey);
        await checkStillReached(publicKey, record);
      } catch (error) {
        if (!(error instanceof MeshgateError) || error.row.status !== 403) throw error; // a database that is away forbids nothing
        await write(context, async (write) => {
          const lease = await write.tables.exposures.find(id);
          if (lease !== undefined) await end(write, lease, 'service.peer.unexpose', { kind: 'system' });
        });
        throw error;
      }
      return await write(context, async ({ tables, now }) => {
        const { lease, record: current } = await held(tables, publicKey, id);
        await tables.exposures.renew(id, now + ttlMs);
        return await describe(tables, current, lease.endsAt);
      });
    },

    async stop(publicKey, id) {
      await write(context, async (write) => {
        const lease = await write.tables.exposures.find(id);
        const peer = await write.tables.peers.findByKey(publicKey);
        if (lease === undefined || lease.withdrawn || lease.peerId !== peer?.id) return;
        await end(write, lease, 'service.peer.unexpose', { kind: 'peer', id: lease.peerId });
      });
    },

    async idOf(publicKey, domain) {
      const peer = await store.tables.peers.findByKey(publicKey);
      const lease = peer === undefined ? undefined : await store.tables.exposures.findByDomain(peer.id, domain);
      if (lease === undefined) throw domainError('DOMAIN_EXPOSE_LAPSED');
      return lease.id;
    },

    async reapLapsed() {
      const lapsed = (await store.tables.exposures.list()).some((lease) => hasEnded(lease, clock.wall()));
      const { expose } = await readSettings(store.tables);
      const forbidden = await forbiddenOf(store.tables, expose);
      if (!lapsed && forbidden.length === 0) return;
      await write(context, async (write) => {
        for (const lease of await write.tables.exposures.list())
          if (hasEnded(lease, write.now)) await end(write, lease, 'service.peer.expose.expire', { kind: 'system' });
        await endForbidden(write, expose);
      });
    },
  };
}

function hasEnded({ leaseUntil, endsAt }: ExposureRecord, now: number): boolean {
  return leaseUntil <= now || (endsAt !== undefined && endsAt <= now);
}

/** A name that nobody has. One that the peer asked for by name may be its own from before it was started anew: then that ends. */
async function domainOf(context: Context, write: Write, settings: ExposeSettings, peer: PeerId, { place }: ExposeRequest): Promise<string> {
  const { tables } = write;
  if (place.kind === 'exact') {
    const domain = checkExactName(settings, place.domain);
    // On no port and in no mode: a tls service that passes TLS on would get what was meant for the web service of its name.
    for (const other of await tables.services.listByDomain(domain)) {
      if ((await tables.exposures.find(other.id))?.peerId !== peer) throw domainErrorNaming('DOMAIN_SERVICE_DOMAIN_TAKEN', `It is ${other.name}'s.`);
    }
    const own = await tables.exposures.findByDomain(peer, domain);
    if (own !== undefined && !own.withdrawn) await end(write, own, 'service.peer.unexpose', { kind: 'peer', id: peer });
    return domain;
  }
  const parent = await parentOf(tables, place.below, write.now - proxyLiveMs, context.random);
  for (let i = 0; i < nameTries; i++) {
    const domain = `${randomLabel(place.name, context.random)}.${parent}`;
    if ((await tables.services.listByDomain(domain)).length === 0) return domain;
  }
  throw domainError('DOMAIN_SERVICE_DOMAIN_TAKEN');
}

async function end(write: Write, lease: ExposureRecord, code: string, actor: Actor): Promise<void> {
  const record = await write.tables.services.find(lease.id);
  if (record !== undefined) await removeService(write, record);
  await write.tables.exposures.delete(lease.id);
  await write.audit(code, actor, lease.id, { name: record?.name ?? '', domain: lease.domain, peer: lease.peerName });
}

/** A peer that goes takes what it publishes along. To be called while it is still there. */
export async function endExposuresOf(write: Write, peer: PeerId): Promise<void> {
  for (const lease of await write.tables.exposures.listOfPeer(peer)) await end(write, lease, 'service.peer.unexpose', { kind: 'system' });
}

/** Ends what the settings no longer permit: whose peer may not, what is public where that is not wanted. */
export async function endForbidden(write: Write, settings: ExposeSettings): Promise<void> {
  for (const lease of await forbiddenOf(write.tables, settings)) await end(write, lease, 'service.peer.unexpose', { kind: 'system' });
}

async function forbiddenOf(tables: Tables, settings: ExposeSettings): Promise<readonly ExposureRecord[]> {
  const forbidden: ExposureRecord[] = [];
  for (const lease of await tables.exposures.list()) {
    const groups = settings.enabled ? await tables.groups.groupsOf(lease.peerId) : [];
    const permitted = groups.some((id) => settings.groups.includes(id)) && (settings.public || !(await isPublic(tables, lease.id)));
    if (!permitted) forbidden.push(lease);
  }
  return forbidden;
}

async function isPublic(tables: Tables, id: ServiceId): Promise<boolean> {
  const auth = (await tables.services.find(id))?.auth;
  return auth !== undefined && !auth.oidc.enabled && auth.password === undefined && auth.pin === undefined;
}
