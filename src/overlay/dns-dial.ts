// Dialling by name: what the map and its name servers know of the name, then its addresses in turn.
import type { Duplex } from 'node:stream';
import { formatIp, type IpAddress, parseIp } from '#lib/ip.ts';
import type { Dial } from '#lib/net.ts';
import { canonicalDomain } from '#model/dns.ts';
import { ADDRESS_TRY_MS, MAX_ADDRESSES_DIALLED } from './constants.ts';
import type { Names } from './dns-names.ts';
import { overlayError } from './errors.ts';

export interface DialByNameOptions {
  /** Dials addresses, and the hosts that `knows` knows. */
  readonly dial: Dial;
  readonly knows: (host: string) => boolean;
  readonly names: Pick<Names, 'resolve' | 'searchDomains' | 'forgetName'>;
  /** The domain that this peer is in; may be empty. */
  readonly ownDomain: () => string;
}

/** A dial that takes names too. Rejects with EHOSTUNREACH where nobody knows the name, with EAI_AGAIN where who should know does not answer. */
export function dialByName(options: DialByNameOptions): Dial {
  const { dial, knows, names } = options;
  return async (target, { signal }) => {
    if (parseIp(target.host) !== undefined || knows(target.host)) return dial(target, { signal });
    const name = canonicalDomain(target.host);
    for (const candidate of name === undefined ? [] : candidatesOf(name, options.ownDomain(), names.searchDomains)) {
      if (knows(candidate)) return dial({ ...target, host: candidate }, { signal });
      const addresses = await names.resolve(candidate, signal);
      if (addresses.length === 0) continue;
      try {
        return await dialAny(dial, addresses.slice(0, MAX_ADDRESSES_DIALLED), target.port, signal);
      } catch (error) {
        names.forgetName(candidate);
        throw error;
      }
    }
    throw unknown(target.host);
  };
}

/** The first address that answers; rejects with the last one's error. */
async function dialAny(dial: Dial, addresses: readonly IpAddress[], port: number, signal: AbortSignal): Promise<Duplex> {
  let failure: unknown;
  for (const [i, ip] of addresses.entries()) {
    const last = i === addresses.length - 1;
    try {
      return await dial({ host: formatIp(ip), port }, { signal: last ? signal : AbortSignal.any([signal, AbortSignal.timeout(ADDRESS_TRY_MS)]) });
    } catch (error) {
      if (signal.aborted) throw error;
      failure = error;
    }
  }
  throw failure;
}

/** The addresses that `dialByName` would go through: of a peer, where `addressOf` knows it, else of what the name servers say. */
export async function resolveByName(
  host: string,
  { addressOf, names, ownDomain }: Pick<DialByNameOptions, 'names' | 'ownDomain'> & { readonly addressOf: (host: string) => IpAddress | undefined },
  signal: AbortSignal,
): Promise<readonly IpAddress[]> {
  const known = parseIp(host) ?? addressOf(host);
  if (known !== undefined) return [known];
  const name = canonicalDomain(host);
  for (const candidate of name === undefined ? [] : candidatesOf(name, ownDomain(), names.searchDomains)) {
    const peer = addressOf(candidate);
    if (peer !== undefined) return [peer];
    const addresses = await names.resolve(candidate, signal);
    if (addresses.length > 0) return addresses.slice(0, MAX_ADDRESSES_DIALLED);
  }
  return [];
}

/** A name of one label is looked for in our domains first. */
function candidatesOf(name: string, ownDomain: string, searchDomains: readonly string[]): readonly string[] {
  if (name === '') return [];
  const domains = name.includes('.') ? [] : [ownDomain, ...searchDomains].filter((domain) => domain !== '');
  return [...domains.map((domain) => `${name}.${domain}`), name];
}

function unknown(host: string): Error {
  return overlayError('EHOSTUNREACH', `no peer has the address or name ${host}`);
}
