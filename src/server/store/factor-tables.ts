// Second factors and passkeys of users.
import type { UserId } from '#model/ids.ts';
import type { Passkey } from '#model/passkey.ts';
import { BodyTable } from './body-table.ts';
import type { Sql } from './database.ts';

/** By the id of the user. Secrets are sealed, recovery codes are digests. */
export interface FactorRecord {
  readonly id: UserId;
  readonly totp: { readonly secret: string; readonly lastStep: number; readonly failures: number } | undefined;
  /** A secret of which no code has been shown yet. */
  readonly pending: { readonly secret: string; readonly at: number } | undefined;
  readonly recovery: readonly string[];
}

export interface FactorTables {
  readonly factors: BodyTable<FactorRecord>;
  readonly passkeys: BodyTable<Passkey>;
}

export function factorTables(sql: Sql): FactorTables {
  return {
    factors: new BodyTable<FactorRecord>(sql, { table: 'user_factors', defaults: { totp: undefined, pending: undefined } }),
    passkeys: new BodyTable<Passkey>(sql, { table: 'passkeys', columns: ({ userId }) => ({ user_id: userId }), defaults: { lastUsed: undefined } }),
  };
}
