// The one face of both database engines. SQL is written once, in the dialect they share: `?` for parameters, TEXT and BIGINT columns,
// booleans as 0 and 1, structured values as JSON text, secrets as base64 text.
import type { Closable } from '#lib/lifecycle.ts';

export type SqlValue = string | number | null;
export type Row = Readonly<Record<string, unknown>>;

export interface Sql {
  /** Rows of a SELECT, or of a RETURNING clause. */
  query(text: string, params?: readonly SqlValue[]): Promise<readonly Row[]>;
  /** Runs a statement; returns the number of rows it touched. */
  execute(text: string, params?: readonly SqlValue[]): Promise<number>;
}

/**
 * Outside a transaction each call stands alone. Inside one, only the handle that `work` gets may be used: a call to the database itself
 * would wait for the transaction that waits for it.
 */
export interface Database extends Sql, Closable {
  readonly engine: 'sqlite' | 'postgres';
  /**
   * Runs `work` as the only writer, over all servers: transactions come strictly one after another, so that what one has read stays true
   * until it commits. Commits where `work` resolves, else rolls back and rethrows. What has committed survives a crash.
   */
  transaction<T>(work: (tx: Sql) => Promise<T>): Promise<T>;
  /** Runs several reads over one state of the database. */
  snapshot<T>(work: (tx: Sql) => Promise<T>): Promise<T>;
  /** Wakes the other servers when this transaction commits; nothing to do where there can be no others. */
  announce(tx: Sql): Promise<void>;
  /** Calls back when another server has announced something, or may have while the connection was away; returns how to stop. */
  onAnnounced(wake: () => void): () => void;
}
