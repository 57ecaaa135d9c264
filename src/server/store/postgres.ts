// PostgreSQL behind the same face. An advisory lock makes write transactions strictly sequential over all servers, which gives them
// SQLite's meaning; single statements do not take it. Announcements travel by LISTEN and NOTIFY.
import { Pool, types, type ClientBase, type PoolClient, type PoolConfig, type QueryResult } from 'pg';
import { errorCode } from '#lib/errors.ts';
import type { Logger } from '#lib/log.ts';
import { connectMs, poolSize, statementMs } from './constants.ts';
import type { Database, Row, Sql, SqlValue } from './database.ts';
import { storeError } from './errors.ts';
import { PostgresListener, channel } from './postgres-listener.ts';
import { SerialQueue } from './serial-queue.ts';

/** The key of the writer's lock: any number that nothing else in the database uses. */
const writerLock = 0x6d657368;

const int8 = types.builtins.INT8;

/** Connects to `postgres://…`; STORE_UNAVAILABLE where that fails. */
export async function openPostgres(url: string, log: Logger): Promise<Database> {
  const config: PoolConfig = {
    connectionString: url,
    max: poolSize,
    connectionTimeoutMillis: connectMs,
    statement_timeout: statementMs,
    query_timeout: statementMs + 1_000,
    keepAlive: true,
    application_name: 'meshgate',
    // every BIGINT of the schema is a count or milliseconds, both exact as a number
    types: { getTypeParser: ((oid, format) => (oid === int8 ? Number : types.getTypeParser(oid, format))) satisfies typeof types.getTypeParser },
  };
  const database = new PostgresDatabase(new Pool(config), url, log);
  try {
    await database.start();
    return database;
  } catch (error) {
    await database.close();
    throw error;
  }
}

class PostgresDatabase implements Database {
  readonly engine = 'postgres';
  readonly #pool: Pool;
  readonly #listener: PostgresListener;
  readonly #writers = new SerialQueue();
  #closing: Promise<void> | undefined;

  constructor(pool: Pool, url: string, log: Logger) {
    this.#pool = pool;
    this.#listener = new PostgresListener(url, log);
    pool.on('error', (error) => log.warn('idle database connection lost', { error: error.message }));
  }

  async start(): Promise<void> {
    await this.query('SELECT 1');
    await this.#listener.start();
  }

  query(text: string, params: readonly SqlValue[] = []): Promise<readonly Row[]> {
    return this.#with((client) => sqlOver(client).query(text, params));
  }

  execute(text: string, params: readonly SqlValue[] = []): Promise<number> {
    return this.#with((client) => sqlOver(client).execute(text, params));
  }

  transaction<T>(work: (tx: Sql) => Promise<T>): Promise<T> {
    return this.#writers.run(() =>
      this.#enclosed('BEGIN', async (tx) => {
        await tx.query('SELECT pg_advisory_xact_lock(?)', [writerLock]);
        return await work(tx);
      }),
    );
  }

  snapshot<T>(work: (tx: Sql) => Promise<T>): Promise<T> {
    return this.#enclosed('BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY', work);
  }

  async announce(tx: Sql): Promise<void> {
    await tx.query('SELECT pg_notify(?, ?)', [channel, '']);
  }

  onAnnounced(wake: () => void): () => void {
    return this.#listener.subscribe(wake);
  }

  close(): Promise<void> {
    this.#closing ??= this.#end();
    return this.#closing;
  }

  async #end(): Promise<void> {
    await this.#writers.idle();
    await this.#listener.close();
    await this.#pool.end();
  }

  #enclosed<T>(begin: string, work: (tx: Sql) => Promise<T>): Promise<T> {
    return this.#with(async (client) => {
      const tx = sqlOver(client);
      await tx.execute(begin);
      try {
        const result = await work(tx);
        await tx.execute('COMMIT');
        return result;
      } catch (error) {
        await tx.execute('ROLLBACK');
        throw error;
      }
    });
  }

  /** Runs with a connection of the pool; one whose transaction may still be open, or whose statement hangs, is not used again. */
  async #with<T>(work: (client: PoolClient) => Promise<T>): Promise<T> {
    if (this.#closing !== undefined) throw storeError('STORE_CLOSED');
    let client: PoolClient;
    try {
      client = await this.#pool.connect();
    } catch (error) {
      throw fault(error);
    }
    let broken = false;
    const onError = (): void => {
      broken = true;
    };
    client.on('error', onError);
    try {
      return await work(client);
    } catch (error) {
      broken ||= errorCode(error) === 'STORE_UNAVAILABLE';
      throw error;
    } finally {
      client.off('error', onError);
      client.release(broken);
    }
  }
}

function sqlOver(client: ClientBase): Sql {
  const run = async (text: string, params: readonly SqlValue[] = []): Promise<QueryResult<Row>> => {
    try {
      return await client.query<Row>(numbered(text), [...params]);
    } catch (error) {
      throw fault(error);
    }
  };
  return {
    query: async (text, params) => (await run(text, params)).rows,
    execute: async (text, params) => (await run(text, params)).rowCount ?? 0,
  };
}

/** `?` as `$1`, `$2` …; no statement of ours has a question mark in a literal. */
function numbered(text: string): string {
  let index = 0;
  return text.replaceAll('?', () => `$${++index}`);
}

/** SQLSTATE has five characters; anything else came from the connection. Class 08, 53 and 57 are the server's own troubles. */
function fault(error: unknown): unknown {
  const code = errorCode(error) ?? '';
  const text = error instanceof Error ? error.message : String(error);
  const refused = /^[0-9A-Z]{5}$/.test(code) && !/^(?:08|53|57)/.test(code);
  return storeError(refused ? 'STORE_FAILED' : 'STORE_UNAVAILABLE', `${code} ${text}`.trim(), error);
}
