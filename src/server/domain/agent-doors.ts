// What an agent needs where TLS of its services ends: a token for the cluster that it is alone, and who may bring visitors. The token lives for as
// long as the agent asks again, and ends with its peer.
import { generateToken, proxyTokenPrefix, tokenDigest } from '#crypto/tokens.ts';
import { asId, type PeerId, type PublicKey, type TokenId } from '#model/ids.ts';
import type { Peer } from '#model/network.ts';
import type { TlsGrant } from '#model/tls-grant.ts';
import type { Tables } from '../store/store.ts';
import { agentTokenMs } from './constants.ts';
import { write, type Context, type Write } from './context.ts';
import { domainError } from './errors.ts';
import { agentCluster, agentOf, agentProxyId } from './tls-place.ts';

/** `expiresAt` in wall-clock milliseconds. */
export type AgentDoor = TlsGrant & { readonly expiresAt: number };

export interface AgentDoorUseCases {
  /**
   * `current` is the token in use; where it is not, the answer has another. Only for peers that an administrator has made a service for:
   * DOMAIN_AGENT_NO_SERVICE, DOMAIN_PEER_UNKNOWN, DOMAIN_LOGIN_EXPIRED, DOMAIN_USER_BLOCKED.
   */
  grant(publicKey: PublicKey, current: string): Promise<AgentDoor>;
}

export function agentDoorUseCases(context: Context): AgentDoorUseCases {
  return {
    async grant(publicKey, current) {
      // They ask again and again until there is one: that costs no writing.
      await context.store.read(async (tables) => await clustersAt(tables, publicKey));
      return await write(context, async (write) => {
        const { tables, now } = write;
        const { peer, clusters } = await clustersAt(tables, publicKey);
        if (peer.loginExpired) throw domainError('DOMAIN_LOGIN_EXPIRED');
        const user = peer.userId === undefined ? undefined : await tables.users.find(peer.userId);
        if (user?.blocked === true) throw domainError('DOMAIN_USER_BLOCKED');
        const cluster = agentCluster(peer.id);
        const expiresAt = now + agentTokenMs;
        const known = current === '' ? undefined : await tables.tokens.findProxyByDigest(tokenDigest(current));
        const good = known?.id === tokenIdOf(peer.id) && !known.revoked && (known.expiresAt ?? now) > now;
        const token = good ? current : generateToken(proxyTokenPrefix);
        if (good) await tables.tokens.setProxyExpiry(known.id, expiresAt);
        else {
          await endAgentToken(write, peer.id);
          const record = {
            id: tokenIdOf(peer.id),
            name: `agent ${peer.name}`,
            createdAt: now,
            expiresAt,
            lastUsed: undefined,
            revoked: false,
            cluster,
          };
          await tables.tokens.insertProxy(record, tokenDigest(token));
          await write.audit('proxy.token.create', { kind: 'peer', id: peer.id }, record.id, { name: record.name, cluster });
        }
        return { token, cluster, proxyId: agentProxyId(peer.id), expiresAt, gateways: await gatewaysOf(tables, clusters) };
      });
    },
  };
}

/** Ends the token of the peer's agent and what it opened. */
export async function endAgentToken({ tables, changed }: Write, peer: PeerId): Promise<void> {
  const id = tokenIdOf(peer);
  if (await tables.tokens.deleteProxy(id)) changed({ kind: 'proxy-token-revoked', tokenId: id });
}

function tokenIdOf(peer: PeerId): TokenId {
  return asId<TokenId>(`agent-${peer}`);
}

/** The peer, and the clusters of its services. */
async function clustersAt(tables: Tables, publicKey: PublicKey): Promise<{ readonly peer: Peer; readonly clusters: ReadonlySet<string> }> {
  const peer = await tables.peers.findByKey(publicKey);
  if (peer === undefined || peer.proxyCluster !== undefined) throw domainError('DOMAIN_PEER_UNKNOWN');
  const services = (await tables.services.listNaming([peer.id])).filter((service) => agentOf(service) === peer.id);
  if (services.length === 0) throw domainError('DOMAIN_AGENT_NO_SERVICE');
  return { peer, clusters: new Set(services.map(({ cluster }) => cluster)) };
}

async function gatewaysOf(tables: Tables, clusters: ReadonlySet<string>): Promise<readonly PublicKey[]> {
  return (await tables.peers.list()).flatMap(({ proxyCluster, publicKey }) =>
    proxyCluster !== undefined && clusters.has(proxyCluster) ? [publicKey] : [],
  );
}
