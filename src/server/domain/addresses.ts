// The overlay network's prefixes and the addresses in them. A /16 makes the last two octets unique, which stock clients rely on
// (netbird-wire §8, row 30).
import { formatIp, ipFromBytes, parseIp, parsePrefix } from '#lib/ip.ts';
import { domainError } from './errors.ts';
import { randomBelow, type RandomBytes } from './ids.ts';

/** The first and last host number that a peer may get: not the network, not broadcast, nor the last usable one, where clients put their DNS. */
const firstHost = 1;
const lastHost = 0xffff - 2;

/** Tries at random before the free numbers are listed. */
const randomTries = 20;

/** A random /16 inside 100.64.0.0/10, and a random ULA /64 (RFC 4193). */
export function newNetwork(random: RandomBytes): { readonly v4: string; readonly v6: string } {
  const v4 = `100.${64 + randomBelow(random, 64)}.0.0/16`;
  const bytes = new Uint8Array(16);
  bytes.set(random(7), 1);
  bytes[0] = 0xfd;
  const v6 = ipFromBytes(bytes);
  if (v6 === undefined) throw domainError('DOMAIN_NETWORK_FULL');
  return { v4, v6: `${formatIp(v6)}/64` };
}

/** A free IPv4 address of the network. `isTaken` answers for one, `all` lists what is taken when chance did not find any. */
export async function freeAddress(
  networkV4: string,
  random: RandomBytes,
  isTaken: (ipv4: string) => Promise<boolean>,
  all: () => Promise<readonly string[]>,
): Promise<string> {
  const [a, b] = networkV4.split('.');
  const address = (host: number): string => `${a}.${b}.${host >> 8}.${host & 0xff}`;
  for (let i = 0; i < randomTries; i++) {
    const candidate = address(firstHost + randomBelow(random, lastHost - firstHost + 1));
    if (!(await isTaken(candidate))) return candidate;
  }
  const taken = new Set(await all());
  for (let host = firstHost; host <= lastHost; host++) {
    if (!taken.has(address(host))) return address(host);
  }
  throw domainError('DOMAIN_NETWORK_FULL');
}

/** The IPv6 address that goes with an IPv4 address: the same four bytes at the end of the /64, so it is as unique. */
export function matchingV6(networkV6: string, ipv4: string): string {
  const prefix = parsePrefix(networkV6);
  const host = parseIp(ipv4);
  if (prefix === undefined || host === undefined) throw domainError('DOMAIN_SECRET_DAMAGED', 'network prefix');
  const bytes = prefix.address.bytes.slice();
  bytes.set(host.bytes, 12);
  return formatIp({ family: 6, bytes });
}
