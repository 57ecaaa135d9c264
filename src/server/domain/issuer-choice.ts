// The issuers that a service takes users from.
import type { Tables } from '../store/store.ts';
import type { Context } from './context.ts';
import { domainErrorNaming } from './errors.ts';

/** That a service names issuers that there are; each once, in their order. */
export async function checkIssuers(context: Context, tables: Tables, ids: readonly string[]): Promise<readonly string[]> {
  for (const id of ids) {
    const known = id === 'local' || context.configuredIssuers.some((issuer) => issuer.id === id) || (await tables.issuers.find(id)) !== undefined;
    if (!known) throw domainErrorNaming('DOMAIN_ISSUER_UNKNOWN', id);
  }
  return [...new Set(ids)];
}
