// Peers: who is in the network, and what becomes of them.
import type { PublicKey, UserId } from '#model/ids.ts';
import type { Peer, PeerMeta } from '#model/network.ts';
import type { Tables } from '../store/store.ts';
import { endAgentToken } from './agent-doors.ts';
import { canonicalCluster, checkName } from './checks.ts';
import { abandonedMs } from './constants.ts';
import { write, type Context, type Write } from './context.ts';
import type { Actor, PeerSelf, PeerUseCases, SignInToken } from './contract.ts';
import { domainError } from './errors.ts';
import { endExposuresOf } from './exposures.ts';
import { freeLabel } from './labels.ts';
import { loginEndsAt, markExpiredLogins, sweepLogins } from './login-expiry.ts';
import { sweep } from './maintenance.ts';
import { networkBits } from './maps.ts';
import type { OneTimeTokens } from './one-time-tokens.ts';
import { checkMeta, refuseStranger, registerGateway, registerPeer, useSignInToken } from './registration.ts';
import { readSettings } from './saved-settings.ts';
import { announceTargetsChanged } from './service-announce.ts';

export function peerUseCases(context: Context, oneTimeTokens: OneTimeTokens): PeerUseCases {
  const { store } = context;
  const system: Actor = { kind: 'system' };
  const selfOf = async (peer: Peer, tables: Tables): Promise<PeerSelf> => ({
    peer,
    networkBits: networkBits(context.account),
    fqdn: `${peer.dnsLabel}.${context.dnsDomain}`,
    sessionExpiresAt: peer.userId === undefined ? undefined : loginEndsAt(peer, await readSettings(tables)),
  });
  const refuseExpired = (self: PeerSelf, now: number): PeerSelf => {
    if (self.sessionExpiresAt !== undefined && self.sessionExpiresAt <= now) throw domainError('DOMAIN_LOGIN_EXPIRED');
    return self;
  };

  return {
    async login(request) {
      checkMeta(request.meta);
      await refuseStranger(context, request);
      return await write(context, async (write) => {
        const known = await write.tables.peers.findByKey(request.publicKey);
        const { tables, now } = write;
        if (known === undefined) return selfOf(await registerPeer(context, write, request), tables);
        const owner = known.userId === undefined ? undefined : await tables.users.find(known.userId);
        if (owner?.blocked === true) throw domainError('DOMAIN_USER_BLOCKED');
        if (request.userId !== undefined) await signInAgain(write, known, request.userId, request.signInToken);
        else {
          refuseExpired(await selfOf(known, tables), now);
          // where a user owns the peer, only that user's sign-ins count as logins
          if (known.userId === undefined) await tables.peers.setLogin(known.id, now);
          else await tables.peers.setSeen(known.id, now);
        }
        await storeMeta(write, known, request.meta);
        return selfOf((await tables.peers.find(known.id)) ?? known, tables);
      });
    },

    async extendSession({ publicKey, userId, signInToken }) {
      return await write(context, async (write) => {
        const { tables } = write;
        const known = await tables.peers.findByKey(publicKey);
        if (known === undefined) throw domainError('DOMAIN_PEER_UNKNOWN');
        if ((await selfOf(known, tables)).sessionExpiresAt === undefined) throw domainError('DOMAIN_SESSION_NOT_EXPIRING');
        await signInAgain(write, known, userId, signInToken);
        return selfOf((await tables.peers.find(known.id)) ?? known, tables);
      });
    },

    async self(publicKey) {
      return refuseExpired(await selfOf(await byKey(context, publicKey), store.tables), context.clock.wall());
    },

    async isKnown(publicKey) {
      return (await store.tables.peers.findByKey(publicKey)) !== undefined;
    },

    async updateMeta(publicKey, meta) {
      checkMeta(meta);
      const peer = await byKey(context, publicKey);
      if (sameMeta(peer.meta, meta)) return; // most are: no need for a transaction
      await write(context, async (write) => {
        const now = await write.tables.peers.findByKey(publicKey);
        if (now !== undefined) await storeMeta(write, now, meta);
      });
    },

    async setConnected(publicKey, connected, connectionIp) {
      const peer = await byKey(context, publicKey);
      const { tables } = store;
      await tables.peers.setConnected(peer.id, connected, context.serverId, connectionIp, context.clock.wall());
      // where it comes from may decide what it may reach
      if (!connected || peer.connectionIp === connectionIp || !(await tables.postureChecks.list()).some(({ networks }) => networks !== undefined))
        return;
      await write(context, async ({ changed }) => changed({ kind: 'network', peers: undefined }));
    },

    async logout(publicKey) {
      await write(context, async (write) => {
        const peer = await write.tables.peers.findByKey(publicKey);
        if (peer === undefined) throw domainError('DOMAIN_PEER_UNKNOWN');
        await removePeer(write, peer, 'peer.delete', { kind: 'peer', id: peer.id });
      });
    },

    async registerProxyPeer({ oneTimeToken, serviceId, publicKey, proxyId, ...request }) {
      const cluster = canonicalCluster(request.cluster) ?? '';
      if (!oneTimeTokens.redeem(oneTimeToken, serviceId)) throw domainError('DOMAIN_PROXY_TOKEN_INVALID');
      return await write(context, async (write) => {
        const service = await write.tables.services.find(serviceId);
        if (service === undefined || service.cluster !== cluster) throw domainError('DOMAIN_PROXY_TOKEN_INVALID', 'service or cluster');
        const known = await write.tables.peers.findByKey(publicKey);
        if (known === undefined) return selfOf(await registerGateway(context, write, publicKey, cluster, proxyId), write.tables);
        if (known.proxyCluster !== cluster) throw domainError('DOMAIN_PEER_KEY_TAKEN');
        return selfOf(known, write.tables);
      });
    },

    async list() {
      return await store.tables.peers.list();
    },

    async get(id) {
      return byId(await store.tables.peers.find(id));
    },

    async rename(id, name, actor) {
      const checked = checkName(name, 'The name');
      return await write(context, async (write) => {
        const peer = byId(await write.tables.peers.find(id));
        if (peer.name === checked) return peer;
        const taken = async (label: string): Promise<boolean> => label !== peer.dnsLabel && (await write.tables.peers.hasLabel(label));
        const label = await freeLabel(checked, peer.ipv4, peer.ephemeral, taken, context.random);
        await write.tables.peers.setName(id, checked, label);
        await write.audit('peer.rename', actor, id, { name: checked, old_name: peer.name });
        write.changed({ kind: 'network', peers: undefined });
        return { ...peer, name: checked, dnsLabel: label };
      });
    },

    async setLoginExpiration(id, enabled, actor) {
      return await write(context, async (write) => {
        const { tables, audit } = write;
        const peer = byId(await tables.peers.find(id));
        if (peer.userId === undefined || peer.loginExpirationEnabled === enabled) return peer;
        await tables.peers.setLoginExpiration(id, enabled);
        await audit(enabled ? 'peer.login.expiration.enable' : 'peer.login.expiration.disable', actor, id, { name: peer.name });
        await markExpiredLogins(write, await readSettings(tables));
        return byId(await tables.peers.find(id));
      });
    },

    async delete(id, actor) {
      await write(context, async (write) => {
        await removePeer(write, byId(await write.tables.peers.find(id)), 'peer.delete', actor);
      });
    },

    async reapAbandoned() {
      await sweep(context);
      await sweepLogins(context);
      const before = context.clock.wall() - abandonedMs;
      if ((await store.tables.peers.listAbandoned(before)).length === 0) return;
      await write(context, async (write) => {
        for (const peer of await write.tables.peers.listAbandoned(before)) await removePeer(write, peer, 'peer.expire', system);
      });
    },
  };
}

/** The user has proven again who he is. A peer that belongs to nobody stays nobody's. */
async function signInAgain(write: Write, known: Peer, userId: UserId, token: SignInToken | undefined): Promise<void> {
  const { tables, now, audit, changed } = write;
  if (known.userId !== undefined && known.userId !== userId) throw domainError('DOMAIN_PEER_OTHER_USER');
  await useSignInToken(write, token);
  await tables.peers.setLogin(known.id, now);
  await audit('peer.login', { kind: 'user', id: userId }, known.id, { name: known.name, ip: known.ipv4 });
  if (known.loginExpired) changed({ kind: 'network', peers: undefined });
}

async function byKey(context: Context, publicKey: PublicKey): Promise<Peer> {
  const peer = await context.store.tables.peers.findByKey(publicKey);
  if (peer === undefined) throw domainError('DOMAIN_PEER_UNKNOWN');
  return peer;
}

function byId(peer: Peer | undefined): Peer {
  if (peer === undefined) throw domainError('DOMAIN_NOT_FOUND', 'peer');
  return peer;
}

async function storeMeta(write: Write, peer: Peer, meta: PeerMeta): Promise<void> {
  if (sameMeta(peer.meta, meta)) return;
  await write.tables.peers.setMeta(peer.id, meta);
  // others' maps carry the version, its own map the IPv6 addresses; posture checks ask for the rest
  const told = peer.meta.version !== meta.version || peer.meta.ipv6 !== meta.ipv6;
  const judged = ({ os, osVersion, kernel, posture }: PeerMeta): string => JSON.stringify([os, osVersion, kernel, posture]);
  const matters = told || (judged(peer.meta) !== judged(meta) && (await write.tables.postureChecks.count()) > 0);
  if (matters) write.changed({ kind: 'network', peers: undefined });
}

function sameMeta(a: PeerMeta, b: PeerMeta): boolean {
  return (
    a.hostname === b.hostname &&
    a.os === b.os &&
    a.osVersion === b.osVersion &&
    a.kernel === b.kernel &&
    a.platform === b.platform &&
    a.version === b.version &&
    a.uiVersion === b.uiVersion &&
    a.ipv6 === b.ipv6 &&
    JSON.stringify(a.posture) === JSON.stringify(b.posture)
  );
}

/** Takes the peer out of the network and of its groups, and tells the gateways of the services that it was a target of, alone or as a member of a group. */
export async function removePeer(write: Write, peer: Peer, code: 'peer.delete' | 'peer.expire', actor: Actor): Promise<void> {
  const groups = peer.proxyCluster === undefined ? await write.tables.groups.groupsOf(peer.id) : [];
  await write.audit(code, actor, peer.id, { name: peer.name, ip: peer.ipv4 });
  await endExposuresOf(write, peer.id);
  await endAgentToken(write, peer.id);
  await write.tables.peers.delete(peer.id);
  write.changed({ kind: 'peer-removed', publicKey: peer.publicKey });
  write.changed({ kind: 'network', peers: undefined });
  await announceTargetsChanged(write, [peer.id, ...groups]);
}
