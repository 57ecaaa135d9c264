// Peers that visit a web service over the mesh. What lets them in is their group, as for policies: a laptop may, whoever sits at it, and a user
// without an enrolled device may not.
import { asId, type UserId } from '#model/ids.ts';
import type { Context } from './context.ts';
import type { VisitorUseCases } from './contract.ts';
import { isForPeers } from './mappings.ts';
import { doorOf } from './tls-place.ts';

export function visitorUseCases({ store }: Context): VisitorUseCases {
  return {
    async verify(key, serviceId, cluster) {
      return await store.read(async (tables) => {
        const service = await tables.services.find(serviceId);
        const peer = await tables.peers.findByKey(key);
        if (service?.enabled !== true || doorOf(service) !== cluster || !isForPeers(service)) return { denied: 'token_invalid' };
        if (peer === undefined || peer.proxyCluster !== undefined || peer.loginExpired) return { denied: 'token_invalid' };
        const user = peer.userId === undefined ? undefined : await tables.users.find(peer.userId);
        if (peer.userId !== undefined && (user === undefined || user.blocked)) return { denied: 'token_invalid' };
        const groups = (await tables.groups.list()).filter((group) => group.peers.includes(peer.id));
        if (!groups.some((group) => service.accessGroups.includes(group.id))) return { denied: 'group_not_allowed' };
        return {
          identity: {
            userId: user?.id ?? asId<UserId>(`peer:${peer.id}`),
            email: user?.email ?? '',
            name: user?.name ?? peer.name,
            groups: groups.map(({ name }) => name).toSorted(),
            groupIds: groups.map(({ id }) => id),
            method: 'peer',
          },
        };
      });
    },
  };
}
