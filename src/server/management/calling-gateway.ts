// Which gateway a call comes from, and the one cluster that it speaks for: its token's. What is another cluster's it can neither see nor change.
import { asId, type ProxyId } from '#model/ids.ts';
import type { Call } from '#rpc/method.ts';
import { canonicalCluster } from '../domain/checks.ts';
import type { ProxyToken } from '../domain/contract.ts';
import { maxProxyIdText } from './constants.ts';
import { managementError } from './errors.ts';
import type { Gateways } from './gateways.ts';
import type { TokenGuard } from './token-guard.ts';

/** Our own gateways say on every call which one they are; a stock one is found by its token. */
const proxyIdHeader = 'x-meshgate-proxy-id';

export interface CallingGateway {
  readonly proxyId: ProxyId;
  readonly cluster: string;
}

export class GatewayCallers {
  readonly #tokens: TokenGuard;
  readonly #gateways: Gateways;

  constructor(tokens: TokenGuard, gateways: Gateways) {
    this.#tokens = tokens;
    this.#gateways = gateways;
  }

  /** The caller's cluster. MANAGEMENT_TOKEN_INVALID, MANAGEMENT_TOKEN_UNBOUND; MANAGEMENT_CLUSTER_WRONG where the call names another one. */
  async clusterOf(call: Call, named?: string): Promise<string> {
    return ownCluster(await this.#tokens.check(call), named);
  }

  /** As `clusterOf`; MANAGEMENT_PROXY_INVALID; MANAGEMENT_PROXY_TAKEN where the name is another token's. */
  async gatewayOf(call: Call, named?: string): Promise<CallingGateway> {
    const token = await this.#tokens.check(call);
    return { proxyId: this.#proxyIdOf(call, token), cluster: ownCluster(token, named) };
  }

  #proxyIdOf(call: Call, token: ProxyToken): ProxyId {
    const named = call.header(proxyIdHeader);
    if (named === undefined) return this.#gateways.ofToken(token.id) ?? asId<ProxyId>(token.id);
    const proxyId = proxyIdFrom(named);
    this.#gateways.checkName(proxyId, token.id);
    return proxyId;
  }
}

function ownCluster({ cluster }: ProxyToken, named: string | undefined): string {
  if (cluster === undefined) throw managementError('MANAGEMENT_TOKEN_UNBOUND');
  if (named !== undefined && clusterFrom(named) !== cluster) throw managementError('MANAGEMENT_CLUSTER_WRONG');
  return cluster;
}

export function proxyIdFrom(text: string): ProxyId {
  if (text.length > maxProxyIdText || !/^[\x21-\x7e]+$/.test(text)) throw managementError('MANAGEMENT_PROXY_INVALID');
  return asId<ProxyId>(text);
}

/** A cluster is named by a DNS name or an IP address. MANAGEMENT_PROXY_INVALID. */
export function clusterFrom(address: string): string {
  const cluster = canonicalCluster(address);
  if (cluster === undefined) throw managementError('MANAGEMENT_PROXY_INVALID');
  return cluster;
}
