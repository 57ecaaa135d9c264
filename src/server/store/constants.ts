// The limits of store/.

/** Transactions that may wait for the writer; more are refused as busy. */
export const writersWaiting = 20_000;

/** Milliseconds that SQLite waits for another process that holds the file. */
export const sqliteBusyMs = 2_000;

/** Prepared SQLite statements kept; the least recently used goes first. */
export const preparedStatements = 500;

/** Connections to PostgreSQL of one server, the one that listens not counted. */
export const poolSize = 8;

/** Milliseconds for a connection to PostgreSQL to come up. */
export const connectMs = 10_000;

/** Milliseconds that one PostgreSQL statement may take, the wait for the writer's lock included. */
export const statementMs = 15_000;

/** Changes kept for servers whose notification connection was away, in milliseconds. */
export const changeRetentionMs = 60 * 60_000;

/** Rows of one multi-row INSERT. */
export const insertBatch = 50;
