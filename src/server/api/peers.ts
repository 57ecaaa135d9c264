// Peers of the network. Those of gateways come and go with their gateways and are not listed here.
import { boolean, object, optional, string } from '#lib/schema.ts';
import type { PeerId } from '#model/ids.ts';
import type { Group, Peer } from '#model/network.ts';
import { roleAllows, seesOthers } from './access.ts';
import { deleted, idParam, ok, readBody, readQuery, type Call, type Handler } from './call.ts';
import { maxListedPaths } from './constants.ts';
import { apiError } from './errors.ts';
import { present, time, timeOrZero, unsupported } from './fields.ts';
import { groupMinimum } from './groups.ts';
import { PathShapes } from './path-shapes.ts';
import { countReachable } from './reach.ts';

const listQuery = object({ name: optional(string({ max: 255 })), ip: optional(string({ max: 45 })) });

const updateRequest = object({
  name: string({ max: 255 }),
  ssh_enabled: unsupported(),
  login_expiration_enabled: optional(boolean()),
  inactivity_expiration_enabled: unsupported(),
  approval_required: unsupported(),
  ip: unsupported(),
  ipv6: unsupported(),
});

function peerShape(peer: Peer, groups: readonly Group[]): Readonly<Record<string, unknown>> {
  return present({
    id: peer.id,
    name: peer.name,
    created_at: time(peer.createdAt),
    ip: peer.ipv4,
    ipv6: peer.ipv6 === '' ? undefined : peer.ipv6,
    connection_ip: peer.connectionIp,
    connected: peer.connected,
    last_seen: timeOrZero(peer.lastSeen),
    os: `${peer.meta.os} ${peer.meta.osVersion}`.trim(),
    kernel_version: peer.meta.kernel,
    geoname_id: 0,
    version: peer.meta.version,
    groups: groups.filter((group) => group.peers.includes(peer.id)).map(groupMinimum),
    ssh_enabled: false,
    user_id: peer.userId ?? '',
    hostname: peer.meta.hostname,
    ui_version: peer.meta.uiVersion,
    dns_label: peer.dnsLabel,
    login_expiration_enabled: peer.loginExpirationEnabled,
    login_expired: peer.loginExpired,
    last_login: timeOrZero(peer.lastLogin),
    inactivity_expiration_enabled: false,
    approval_required: false,
    country_code: '',
    city_name: '',
    serial_number: '',
    extra_dns_labels: [],
    ephemeral: peer.ephemeral,
  });
}

function isVisible(call: Call, peer: Peer): boolean {
  return peer.proxyCluster === undefined && (seesOthers(call.caller) || peer.userId === call.caller.id);
}

async function visiblePeer(call: Call): Promise<Peer> {
  const peer = await call.domain.peers.get(idParam<PeerId>(call));
  if (!isVisible(call, peer)) throw apiError('API_RESOURCE_NOT_FOUND', `peer ${peer.id}`);
  return peer;
}

/** Filters: `name` is the whole name without regard to case, `ip` one of the overlay addresses. */
export const listPeers: Handler = async (call) => {
  const query = readQuery(call, listQuery);
  const [peers, groups, policies] = await Promise.all([call.domain.peers.list(), call.domain.groups.list(), call.domain.policies.list()]);
  const reach = countReachable(groups, policies);
  const groupsOf = groupsByPeer(groups);
  const paths = new PathShapes(peers, call.pathsOf, maxListedPaths);
  const wanted = peers.filter(
    (peer) =>
      isVisible(call, peer) &&
      (query.name === undefined || peer.name.toLowerCase() === query.name.toLowerCase()) &&
      (query.ip === undefined || peer.ipv4 === query.ip || peer.ipv6 === query.ip),
  );
  return ok(
    wanted.map((peer) => ({
      ...peerShape(peer, groupsOf.get(peer.id) ?? []),
      accessible_peers_count: reach.get(peer.id) ?? 0,
      ...paths.shape(peer),
    })),
  );
};

function groupsByPeer(groups: readonly Group[]): ReadonlyMap<PeerId, readonly Group[]> {
  const found = new Map<PeerId, Group[]>();
  for (const group of groups) {
    for (const peer of group.peers) {
      const own = found.get(peer);
      if (own === undefined) found.set(peer, [group]);
      else own.push(group);
    }
  }
  return found;
}

export const getPeer: Handler = async (call) => {
  const peer = await visiblePeer(call);
  const [groups, peers] = await Promise.all([call.domain.groups.list(), call.domain.peers.list()]);
  return ok({ ...peerShape(peer, groups), ...new PathShapes(peers, call.pathsOf).shape(peer) });
};

export const updatePeer: Handler = async (call) => {
  const peer = await visiblePeer(call);
  const { name, login_expiration_enabled: expires } = readBody(call, updateRequest);
  let updated = await call.domain.peers.rename(peer.id, name, call.actor);
  if (expires !== undefined) updated = await call.domain.peers.setLoginExpiration(peer.id, expires, call.actor);
  return ok(peerShape(updated, await call.domain.groups.list()));
};

/** One's own, or any by whoever writes the network. */
export const deletePeer: Handler = async (call) => {
  const peer = await visiblePeer(call);
  if (peer.userId !== call.caller.id && !roleAllows(call.caller.role, 'network:write')) throw apiError('API_FORBIDDEN', `peer ${peer.id}`);
  await call.domain.peers.delete(peer.id, call.actor);
  return deleted;
};
