// The issuers that a service takes users from.
import type { Tables } from '../store/store.ts';
import type { Context } from './context.ts';
import { domainErrorNaming } from './errors.ts';

/** That a service names issuers that there are; each once, in their order. */
export async function checkIssuers(context: Context, tables: Tables, ids: readonly string[]): Promise<readonly string[]> {
  for (const id of ids) {
    const known = await isIssuer(context, tables, id);
    if (!known) throw domainErrorNaming('DOMAIN_ISSUER_UNKNOWN', id);
  }
  return [...new Set(ids)];
}

/** Whether users of it may come in now: one that was taken away leaves its users behind, and what they had made for themselves. */
export async function isIssuer({ configuredIssuers }: Context, tables: Tables, id: string): Promise<boolean> {
  return id === 'local' || configuredIssuers.some((issuer) => issuer.id === id) || (await tables.issuers.find(id)) !== undefined;
}
