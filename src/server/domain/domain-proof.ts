// Who may publish below a custom domain: whoever can put a record of ours into it. Looked at when asked, and again and again afterwards, because
// domains expire and change hands (attack row M-6).
import type { Clock } from '#lib/clock.ts';
import { errorCode } from '#lib/errors.ts';
import type { DomainRecord } from '../store/cluster-table.ts';
import { canonicalHost } from './checks.ts';
import { cnameDeadlineMs, domainRecheckMs, domainsInRecheck, domainToleranceMs } from './constants.ts';
import { write, type Context } from './context.ts';
import { domainError } from './errors.ts';

/** Each rejects as `node:dns` does. */
export interface DomainResolvers {
  readonly cname: (name: string) => Promise<readonly string[]>;
  /** The parts of each record. */
  readonly txt: (name: string) => Promise<readonly (readonly string[])[]>;
}

/** Where the TXT record stands, and what it holds: bound to the account by being random and known to it alone until it is published. */
export function proofRecord({ domain, challenge }: Pick<DomainRecord, 'domain' | 'challenge'>): { readonly name: string; readonly value: string } {
  return { name: `_meshgate-challenge.${domain}`, value: `meshgate-domain-verification=${challenge}` };
}

export function newChallenge(context: Context): string {
  return Buffer.from(context.random(24)).toString('base64url');
}

/** By the TXT record, or by the CNAME that NetBird's validation looks for. DOMAIN_DNS_UNAVAILABLE where DNS says nothing. */
export async function isProven({ clock }: Context, resolvers: DomainResolvers, record: DomainRecord): Promise<boolean> {
  const { name, value } = proofRecord(record);
  const [cname, txt] = await Promise.allSettled([
    lookUp(clock, `validation.${record.domain}`, resolvers.cname),
    record.challenge === '' ? Promise.resolve([]) : lookUp(clock, name, resolvers.txt),
  ]);
  if (txt.status === 'fulfilled' && txt.value.some((parts) => parts.join('') === value)) return true;
  if (cname.status === 'fulfilled' && cname.value.some((answer) => canonicalHost(answer) === record.cluster)) return true;
  for (const looked of [cname, txt]) if (looked.status === 'rejected') throw looked.reason;
  return false;
}

/**
 * Looks at the domains whose last look is a day ago. One that has failed for a week is no longer proven: nothing new can be published below it. DNS
 * that says nothing changes nothing.
 */
export async function recheckDomains(context: Context, resolvers: DomainResolvers): Promise<void> {
  const { store, clock, log } = context;
  const before = clock.wall() - domainRecheckMs;
  const due = (await store.tables.clusters.domains()).filter(({ validated, checkedAt }) => validated && (checkedAt ?? 0) <= before);
  for (const record of due.slice(0, domainsInRecheck)) {
    let proven: boolean;
    try {
      proven = await isProven(context, resolvers, record);
    } catch (error) {
      log.debug('a custom domain could not be looked up', { domain: record.domain, code: errorCode(error) });
      continue;
    }
    const written = await write(context, async ({ tables, now, audit }) => {
      const current = (await tables.clusters.domains()).find(({ id }) => id === record.id);
      // Somebody else has looked meanwhile, and knows better.
      if (current?.validated !== true || current.checkedAt !== record.checkedAt) return false;
      const failingSince = proven ? undefined : (record.failingSince ?? now);
      const lapsed = failingSince !== undefined && now - failingSince >= domainToleranceMs;
      await tables.clusters.setProof(record.id, { validated: !lapsed, checkedAt: now, failingSince });
      if (lapsed) await audit('domain.validate', { kind: 'system' }, record.id, { domain: record.domain, validated: 'false' });
      return true;
    });
    if (written && !proven) log.warn('the proof of a custom domain is gone from DNS', { domain: record.domain, record: proofRecord(record).name });
  }
}

/** What stands there; nothing where the name server says so. DOMAIN_DNS_UNAVAILABLE where it says nothing in time. */
async function lookUp<T>(clock: Clock, name: string, resolve: (name: string) => Promise<readonly T[]>): Promise<readonly T[]> {
  const late = Promise.withResolvers<never>();
  const timer = clock.after(cnameDeadlineMs, () => late.reject(domainError('DOMAIN_DNS_UNAVAILABLE', 'timeout')));
  try {
    return await Promise.race([resolve(name), late.promise]);
  } catch (error) {
    const code = errorCode(error);
    if (code === 'ENOTFOUND' || code === 'ENODATA') return [];
    throw code === 'DOMAIN_DNS_UNAVAILABLE' ? error : domainError('DOMAIN_DNS_UNAVAILABLE', name, error);
  } finally {
    timer.cancel();
  }
}
