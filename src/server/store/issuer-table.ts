// External issuers of users.
import type { Issuer } from '#model/issuer.ts';
import { BodyTable } from './body-table.ts';
import type { Sql } from './database.ts';

/** With its client secret, sealed. */
export type IssuerRecord = Omit<Issuer, 'configured'> & { readonly secret: string };

export function issuerTable(sql: Sql): BodyTable<IssuerRecord> {
  return new BodyTable<IssuerRecord>(sql, { table: 'identity_providers', defaults: { ca: undefined, groupsClaim: undefined } });
}
