// Whose request it is by address: the connection's other end, or what trusted proxies before us say (attack rows H-10 to H-12).
import { formatIp, parseIp, prefixContains, unmapIp, type IpAddress, type IpPrefix } from '#lib/ip.ts';
import type { Endpoint } from '#lib/net.ts';
import type { PublicKey } from '#model/ids.ts';
import { nodeAddress } from './proxy-chain.ts';

export interface ClientAddress {
  readonly ip: IpAddress;
  readonly text: string;
}

/**
 * The client's address. From a trusted peer, the chain that it tells is read from the right up to the first address that is not trusted; a node
 * that is no address there makes the whole chain worthless, and the result is undefined: nothing can be allowed by it.
 * Nobody is trusted where the list is empty.
 */
export function clientAddress(remote: string, chain: readonly string[] | undefined, trusted: readonly IpPrefix[]): ClientAddress | undefined {
  let ip = parse(remote);
  if (ip === undefined || chain === undefined || !isTrusted(ip, trusted)) return describe(ip);
  for (let i = chain.length - 1; i >= 0; i--) {
    ip = nodeAddress(chain[i] ?? '');
    if (ip === undefined || !isTrusted(ip, trusted)) break;
  }
  return describe(ip);
}

/**
 * Whether what the connection's other end says about the request before it is believed. Who comes over the mesh stands for itself alone, whatever
 * ranges are trusted.
 */
export function isTrustedPeer(
  { remote, meshPeer }: { readonly remote: Endpoint; readonly meshPeer: PublicKey | undefined },
  trusted: readonly IpPrefix[],
): boolean {
  if (trusted.length === 0 || meshPeer !== undefined) return false;
  const ip = parse(remote.address);
  return ip !== undefined && isTrusted(ip, trusted);
}

function isTrusted(ip: IpAddress, trusted: readonly IpPrefix[]): boolean {
  return trusted.some((prefix) => prefixContains(prefix, ip));
}

function parse(text: string): IpAddress | undefined {
  const zone = text.indexOf('%');
  const ip = parseIp(zone < 0 ? text : text.slice(0, zone));
  return ip === undefined ? undefined : unmapIp(ip);
}

function describe(ip: IpAddress | undefined): ClientAddress | undefined {
  return ip === undefined ? undefined : { ip, text: formatIp(ip) };
}
