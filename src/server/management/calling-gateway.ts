// Which gateway a call comes from.
import { asId, type ProxyId } from '#model/ids.ts';
import type { Call } from '#rpc/method.ts';
import { maxProxyIdText } from './constants.ts';
import { managementError } from './errors.ts';
import type { Gateways } from './gateways.ts';
import type { TokenGuard } from './token-guard.ts';

/** Our own gateways say on every call which one they are; a stock one is found by its token. */
const proxyIdHeader = 'x-meshgate-proxy-id';

/** MANAGEMENT_TOKEN_INVALID, MANAGEMENT_PROXY_INVALID; MANAGEMENT_PROXY_TAKEN where the name is another token's. */
export async function callingGateway(call: Call, tokens: TokenGuard, gateways: Gateways): Promise<ProxyId> {
  const token = await tokens.check(call);
  const named = call.header(proxyIdHeader);
  if (named !== undefined) {
    const proxyId = proxyIdFrom(named);
    gateways.checkName(proxyId, token.id);
    return proxyId;
  }
  return gateways.ofToken(token.id) ?? asId<ProxyId>(token.id);
}

export function proxyIdFrom(text: string): ProxyId {
  if (text.length > maxProxyIdText || !/^[\x21-\x7e]+$/.test(text)) throw managementError('MANAGEMENT_PROXY_INVALID');
  return asId<ProxyId>(text);
}
