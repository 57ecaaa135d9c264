// SQLite behind the asynchronous face: one connection, one user of it at a time. The file belongs to this process alone, as changes made
// by another would not be told to anybody here. synchronous=FULL: what was acknowledged survives kill -9 and a loss of power.
import { closeSync, mkdirSync, openSync } from 'node:fs';
import { dirname } from 'node:path';
import { DatabaseSync, type StatementSync } from 'node:sqlite';
import { preparedStatements, sqliteBusyMs } from './constants.ts';
import type { Database, Row, Sql, SqlValue } from './database.ts';
import { storeError } from './errors.ts';
import { SerialQueue } from './serial-queue.ts';

/** Opens or makes the file (0600, its folder 0700); `:memory:` keeps nothing. STORE_IN_USE where another process has it. */
export function openSqlite(path: string): Database {
  if (path === '') throw storeError('STORE_URL_INVALID');
  if (path !== ':memory:') {
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
    closeSync(openSync(path, 'a', 0o600)); // SQLite itself would take the umask's mode; its side files follow this one's
  }
  return new SqliteDatabase(path);
}

class SqliteDatabase implements Database {
  readonly engine = 'sqlite';
  readonly #database: DatabaseSync;
  readonly #statements = new Map<string, StatementSync>();
  readonly #queue = new SerialQueue();
  readonly #direct: Sql = {
    query: async (text, params = []) => this.#query(text, params),
    execute: async (text, params = []) => this.#execute(text, params),
  };
  #closing: Promise<void> | undefined;

  constructor(path: string) {
    this.#database = new DatabaseSync(path, { enableForeignKeyConstraints: true, timeout: sqliteBusyMs });
    try {
      this.#database.exec('PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA temp_store = MEMORY');
      this.#database.exec('BEGIN IMMEDIATE; COMMIT');
    } catch (error) {
      this.#database.close();
      throw fault(error);
    }
  }

  query(text: string, params?: readonly SqlValue[]): Promise<readonly Row[]> {
    return this.#run(() => this.#direct.query(text, params));
  }

  execute(text: string, params?: readonly SqlValue[]): Promise<number> {
    return this.#run(() => this.#direct.execute(text, params));
  }

  transaction<T>(work: (tx: Sql) => Promise<T>): Promise<T> {
    return this.#run(() => this.#enclosed('BEGIN IMMEDIATE', work));
  }

  snapshot<T>(work: (tx: Sql) => Promise<T>): Promise<T> {
    return this.#run(() => this.#enclosed('BEGIN', work));
  }

  async announce(): Promise<void> {}

  onAnnounced(): () => void {
    return () => undefined;
  }

  close(): Promise<void> {
    this.#closing ??= this.#queue.idle().then(() => this.#database.close());
    return this.#closing;
  }

  async #run<T>(work: () => Promise<T>): Promise<T> {
    if (this.#closing !== undefined) throw storeError('STORE_CLOSED');
    return await this.#queue.run(work);
  }

  async #enclosed<T>(begin: string, work: (tx: Sql) => Promise<T>): Promise<T> {
    this.#execute(begin, []);
    try {
      const result = await work(this.#direct);
      this.#execute('COMMIT', []);
      return result;
    } catch (error) {
      if (this.#database.isTransaction) this.#execute('ROLLBACK', []);
      throw error;
    }
  }

  #query(text: string, params: readonly SqlValue[]): readonly Row[] {
    try {
      return this.#prepare(text).all(...params);
    } catch (error) {
      throw fault(error);
    }
  }

  #execute(text: string, params: readonly SqlValue[]): number {
    try {
      return Number(this.#prepare(text).run(...params).changes);
    } catch (error) {
      throw fault(error);
    }
  }

  #prepare(text: string): StatementSync {
    const known = this.#statements.get(text);
    const statement = known ?? this.#database.prepare(text);
    this.#statements.delete(text); // the end of the map is what was used last
    this.#statements.set(text, statement);
    if (this.#statements.size > preparedStatements) {
      const oldest = this.#statements.keys().next().value;
      if (oldest !== undefined) this.#statements.delete(oldest);
    }
    return statement;
  }
}

function fault(error: unknown): unknown {
  const text = error instanceof Error ? error.message : String(error);
  if (/database is locked/.test(text)) return storeError('STORE_IN_USE', text, error);
  if (/disk is full/.test(text)) return storeError('STORE_FULL', text, error);
  return storeError('STORE_FAILED', text, error);
}
