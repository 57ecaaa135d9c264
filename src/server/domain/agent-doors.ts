// What an agent needs where TLS of its services ends: a token for the cluster that it is alone, and who may bring visitors. The token lives for as
// long as the agent asks again, and ends with its peer.
import { generateToken, proxyTokenPrefix, tokenDigest } from '#crypto/tokens.ts';
import { asId, type PeerId, type ProxyId, type PublicKey, type TokenId } from '#model/ids.ts';
import type { Tables } from '../store/store.ts';
import { agentTlsPort, agentTokenMs } from './constants.ts';
import { write, type Context, type Write } from './context.ts';
import { domainError } from './errors.ts';
import { agentCluster, agentOf, agentProxyId } from './tls-place.ts';

export interface AgentDoor {
  readonly token: string;
  readonly cluster: string;
  readonly proxyId: ProxyId;
  /** Wall-clock milliseconds. */
  readonly expiresAt: number;
  readonly port: number;
  /** The gateways of the clusters of its services. */
  readonly gateways: readonly PublicKey[];
}

export interface AgentDoorUseCases {
  /** `current` is the token in use; where it is not, the answer has another. DOMAIN_PEER_UNKNOWN, DOMAIN_LOGIN_EXPIRED, DOMAIN_USER_BLOCKED. */
  grant(publicKey: PublicKey, current: string): Promise<AgentDoor>;
}

export function agentDoorUseCases(context: Context): AgentDoorUseCases {
  return {
    async grant(publicKey, current) {
      return await write(context, async (write) => {
        const { tables, now } = write;
        const peer = await tables.peers.findByKey(publicKey);
        if (peer === undefined || peer.proxyCluster !== undefined) throw domainError('DOMAIN_PEER_UNKNOWN');
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
        return { token, cluster, proxyId: agentProxyId(peer.id), expiresAt, port: agentTlsPort, gateways: await gatewaysOf(tables, peer.id) };
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

async function gatewaysOf(tables: Tables, peer: PeerId): Promise<readonly PublicKey[]> {
  const services = await tables.services.listNaming([peer]);
  const clusters = new Set(services.filter((service) => agentOf(service) === peer).map(({ cluster }) => cluster));
  return (await tables.peers.list()).flatMap(({ proxyCluster, publicKey }) =>
    proxyCluster !== undefined && clusters.has(proxyCluster) ? [publicKey] : [],
  );
}
