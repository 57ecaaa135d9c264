// Names as this host sees them, for peers that ask for routed names: its name servers first, then whatever else the system knows.
import { type LookupAddress, type LookupOptions, type RecordWithTtl } from 'node:dns';
import { lookup, Resolver } from 'node:dns/promises';
import { errorCode } from '#lib/errors.ts';
import { agentError } from './errors.ts';
import { maxSystemLookups, systemLookupTtlSeconds } from './constants.ts';

export interface ResolvedName {
  readonly addresses: readonly string[];
  readonly ttlSeconds: number;
}

/** The part of `node:dns` that is used; another in tests. */
export interface NameSystem {
  readonly resolver: () => {
    resolve4(name: string, options: { ttl: true }): Promise<RecordWithTtl[]>;
    resolve6(name: string, options: { ttl: true }): Promise<RecordWithTtl[]>;
    cancel(): void;
  };
  readonly lookup: (name: string, options: LookupOptions & { all: true }) => Promise<LookupAddress[]>;
}

const system: NameSystem = { resolver: () => new Resolver({ tries: 2, timeout: 2000 }), lookup };

/** No name server knows the name, or none is there to ask. */
const unknownCodes = new Set(['ENOTFOUND', 'ENODATA', 'ENONAME', 'ECONNREFUSED']);

let lookups = 0;

/** Undefined where there is no such name. Rejects with AGENT_NAME_UNANSWERED where it cannot be found out, and where the signal aborts. */
export async function resolveForPeers(
  name: string,
  family: 4 | 6,
  signal: AbortSignal,
  names: NameSystem = system,
): Promise<ResolvedName | undefined> {
  signal.throwIfAborted();
  const resolver = names.resolver();
  const cancel = (): void => resolver.cancel();
  signal.addEventListener('abort', cancel, { once: true });
  try {
    const records = await (family === 4 ? resolver.resolve4(name, { ttl: true }) : resolver.resolve6(name, { ttl: true }));
    return { addresses: records.map(({ address }) => address), ttlSeconds: Math.min(...records.map(({ ttl }) => ttl)) };
  } catch (error) {
    signal.throwIfAborted();
    if (errorCode(error) === 'ENODATA') return { addresses: [], ttlSeconds: 0 };
    if (!unknownCodes.has(errorCode(error) ?? '')) throw agentError('AGENT_NAME_UNANSWERED', name, error);
    return await untilAborted(lookUp(name, family, names), signal);
  } finally {
    signal.removeEventListener('abort', cancel);
  }
}

/** The system's look-up cannot be given up, so only the waiting for it is; it counts against the limit until it is over. */
function untilAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const abort = (): void => reject(agentError('AGENT_NAME_UNANSWERED', 'given up', signal.reason));
    signal.addEventListener('abort', abort, { once: true });
    void work.then(resolve, reject).finally(() => signal.removeEventListener('abort', abort));
    if (signal.aborted) abort();
  });
}

async function lookUp(name: string, family: 4 | 6, names: NameSystem): Promise<ResolvedName | undefined> {
  if (lookups >= maxSystemLookups) throw agentError('AGENT_NAME_UNANSWERED', `${name}: too many at once`);
  lookups++;
  try {
    // Of both families, so that a name with addresses of the other one is not taken for unknown.
    const found = await names.lookup(name, { all: true });
    return { addresses: found.filter((entry) => entry.family === family).map(({ address }) => address), ttlSeconds: systemLookupTtlSeconds };
  } catch (error) {
    if (errorCode(error) === 'ENOTFOUND') return undefined;
    throw agentError('AGENT_NAME_UNANSWERED', name, error);
  } finally {
    lookups--;
  }
}
