// How a peer gets into the network: by a setup key, by a user who signed in, or as a gateway with a one-time token.
import { createHash } from 'node:crypto';
import { asId, type GroupId, type PublicKey, type UserId } from '#model/ids.ts';
import type { Peer, PeerMeta } from '#model/network.ts';
import { freeAddress, matchingV6 } from './addresses.ts';
import { checkLimit } from './checks.ts';
import { nameLength, peerMetaBytes } from './constants.ts';
import type { Context, Write } from './context.ts';
import type { PeerLogin, SignInToken } from './contract.ts';
import { domainError, invalid } from './errors.ts';
import { newId } from './ids.ts';
import { freeLabel } from './labels.ts';
import { announceTargetsChanged } from './service-announce.ts';

/** What clients send for "no setup key" when they register by sign-in (netbird-wire §2.1). */
const zeroKey = '00000000-0000-0000-0000-000000000000';

/** The text under which a setup key is stored: base64 of the SHA-256 of its upper-case form. */
export function setupKeyDigest(key: string): string {
  return createHash('sha256').update(key.toUpperCase(), 'utf8').digest('base64');
}

/**
 * Throws what `registerPeer` would for a key that is not known and a proof that cannot be one. It only reads: strangers must not make the
 * writers wait.
 */
export async function refuseStranger(context: Context, request: PeerLogin): Promise<void> {
  const { tables } = context.store;
  if ((await tables.peers.findByKey(request.publicKey)) !== undefined) return;
  const withKey = request.setupKey !== '' && request.setupKey !== zeroKey;
  if (!withKey && request.userId === undefined) throw domainError('DOMAIN_PEER_UNKNOWN');
  if (withKey && (await tables.setupKeys.findByDigest(setupKeyDigest(request.setupKey))) === undefined) throw domainError('DOMAIN_SETUP_KEY_INVALID');
}

/** Adds a peer that is not known yet; the key's use is counted in the same transaction. */
export async function registerPeer(context: Context, write: Write, request: PeerLogin): Promise<Peer> {
  const withKey = request.setupKey !== '' && request.setupKey !== zeroKey;
  if (withKey) return await registerByKey(context, write, request);
  if (request.userId !== undefined) return await registerByUser(context, write, request, request.userId);
  throw domainError('DOMAIN_PEER_UNKNOWN');
}

async function registerByKey(context: Context, write: Write, request: PeerLogin): Promise<Peer> {
  const { tables, now } = write;
  const key = await tables.setupKeys.findByDigest(setupKeyDigest(request.setupKey));
  if (key === undefined) throw domainError('DOMAIN_SETUP_KEY_INVALID');
  if (key.revoked) throw domainError('DOMAIN_SETUP_KEY_REVOKED');
  if (key.expiresAt !== undefined && key.expiresAt <= now) throw domainError('DOMAIN_SETUP_KEY_EXPIRED');
  if (key.usageLimit > 0 && key.usedTimes >= key.usageLimit) throw domainError('DOMAIN_SETUP_KEY_USED_UP');
  const { publicKey, meta } = request;
  const peer = await addPeer(context, write, { publicKey, meta, name: meta.hostname, ephemeral: key.ephemeral, groups: key.autoGroups });
  await tables.setupKeys.countUse(key.id, now);
  await write.audit('peer.setupkey.add', { kind: 'peer', id: peer.id }, peer.id, { name: peer.name, ip: peer.ipv4, setup_key_name: key.name });
  return peer;
}

async function registerByUser(context: Context, write: Write, request: PeerLogin, userId: UserId): Promise<Peer> {
  const user = await write.tables.users.find(userId);
  if (user === undefined) throw domainError('DOMAIN_PEER_UNKNOWN', 'unknown user');
  if (user.blocked) throw domainError('DOMAIN_USER_BLOCKED');
  await useSignInToken(write, request.signInToken);
  const { publicKey, meta } = request;
  const peer = await addPeer(context, write, { publicKey, meta, name: meta.hostname, ephemeral: false, groups: user.autoGroups, userId });
  await write.audit('peer.user.add', { kind: 'user', id: userId }, peer.id, { name: peer.name, ip: peer.ipv4 });
  return peer;
}

/** Uses the token up. Within the transaction: what fails leaves it as it was, so that a peer may try again with it. */
export async function useSignInToken(write: Write, token: SignInToken | undefined): Promise<void> {
  if (token === undefined) return;
  if (!(await write.tables.account.useLoginToken(token.digest, token.expiresAt))) throw domainError('DOMAIN_LOGIN_TOKEN_USED');
}

/** A gateway's peer: in no group, removed when it stays away. */
export async function registerGateway(context: Context, write: Write, publicKey: PublicKey, cluster: string, proxyId: string): Promise<Peer> {
  const meta: PeerMeta = { hostname: '', os: '', osVersion: '', kernel: '', platform: '', version: '', uiVersion: '', ipv6: false };
  const name = `proxy-${newId(context.random)}`;
  const peer = await addPeer(context, write, { publicKey, meta, name, ephemeral: true, groups: [], cluster });
  await write.audit('peer.proxy.add', { kind: 'system' }, peer.id, { name: peer.name, ip: peer.ipv4, cluster, proxy_id: proxyId });
  return peer;
}

interface NewPeer {
  readonly publicKey: PublicKey;
  readonly meta: PeerMeta;
  readonly name: string;
  readonly ephemeral: boolean;
  readonly groups: readonly GroupId[];
  readonly userId?: UserId;
  readonly cluster?: string;
}

async function addPeer(context: Context, write: Write, request: NewPeer): Promise<Peer> {
  const { account, random, limits } = context;
  const { tables, now } = write;
  checkMeta(request.meta);
  checkLimit(await tables.peers.count(), limits.peers);
  const ipv4 = await freeAddress(
    account.networkV4,
    random,
    (ip) => tables.peers.hasAddress(ip),
    () => tables.peers.addresses(),
  );
  const name = request.name.trim().slice(0, nameLength) || 'peer';
  const peer: Peer = {
    id: newId(random),
    publicKey: request.publicKey,
    name,
    dnsLabel: await freeLabel(name, ipv4, request.ephemeral && request.cluster === undefined, (label) => tables.peers.hasLabel(label), random),
    ipv4,
    ipv6: matchingV6(account.networkV6, ipv4),
    meta: request.meta,
    userId: request.userId,
    loginExpirationEnabled: request.userId !== undefined,
    loginExpired: false,
    ephemeral: request.ephemeral,
    proxyCluster: request.cluster,
    connected: false,
    connectionIp: '',
    lastSeen: now,
    lastLogin: now,
    createdAt: now,
  };
  await tables.peers.insert(peer);
  const known = await tables.groups.names();
  for (const group of request.groups) {
    if (known.get(group)?.system === false) await tables.groups.addMember(asId(group), peer.id);
  }
  write.changed({ kind: 'network', peers: undefined });
  if (peer.proxyCluster === undefined) await announceTargetsChanged(write, await tables.groups.groupsOf(peer.id));
  return peer;
}

/** What a peer says of itself is stored with it, so it has a limit. */
export function checkMeta(meta: PeerMeta): void {
  if (JSON.stringify(meta).length > peerMetaBytes) throw invalid('The description that the peer sent is too long.');
}
