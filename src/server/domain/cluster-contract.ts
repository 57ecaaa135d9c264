// The use cases of clusters of gateways, and of domains that lead to them.
import type { ProxyId, TokenId } from '#model/ids.ts';
import type { Actor } from './actor.ts';

export interface Domain {
  readonly id: string;
  readonly domain: string;
  readonly type: 'free' | 'custom';
  readonly cluster: string;
  readonly validated: boolean;
  /** The TXT record that proves a custom domain. */
  readonly proof?: { readonly name: string; readonly value: string };
}

export interface Cluster {
  readonly id: string;
  readonly address: string;
  readonly online: boolean;
  readonly connectedProxies: number;
}

export interface ProxyConnection {
  readonly proxyId: ProxyId;
  readonly tokenId: TokenId;
  readonly cluster: string;
  readonly version: string;
  /** Where visitors reach its HTTPS; 443 where it does not say. */
  readonly publicPort?: number;
}

export interface ClusterUseCases {
  clusters(): Promise<readonly Cluster[]>;
  deleteCluster(address: string, actor: Actor): Promise<void>;
  domains(): Promise<readonly Domain[]>;
  createDomain(domain: string, cluster: string, actor: Actor): Promise<Domain>;
  deleteDomain(id: string, actor: Actor): Promise<void>;
  /** Looks for the TXT record or the CNAME (injected resolvers) and stores the outcome. DOMAIN_DNS_UNAVAILABLE. */
  validateDomain(id: string): Promise<void>;
  /** Looks again at proofs that are a day old; to be called now and then. */
  recheckDomains(): Promise<void>;
  /**
   * Binds a token that belongs to no cluster yet. DOMAIN_PROXY_TOKEN_ELSEWHERE where it belongs to another cluster, DOMAIN_NOT_FOUND where it is
   * gone or revoked, DOMAIN_PROXY_TAKEN where the name is that of another token's gateway.
   */
  proxyConnected(connection: ProxyConnection): Promise<void>;
  proxyHeartbeat(proxyId: ProxyId): Promise<void>;
  proxyDisconnected(proxyId: ProxyId): Promise<void>;
}
