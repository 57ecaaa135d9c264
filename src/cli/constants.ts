// Limits of the command line tool.

/** From the first signal to the end of a process that does not end by itself, milliseconds. */
export const closeDeadlineMs = 10_000;
/** After a command is done, handles that somebody forgot keep the process no longer than this, milliseconds. */
export const lingerMs = 500;
/** One call of the REST API, milliseconds. */
export const apiTimeoutMs = 35_000;
/** One question to a status socket, milliseconds. */
export const statusTimeoutMs = 3_000;
/** One question to an agent, milliseconds. */
export const agentTimeoutMs = 20_000;
/** An agent that went away is looked for again this often, and for so long, milliseconds. */
export const agentRetryMs = 1_000;
export const agentAwayMs = 120_000;
/** A peer that joins only to expose something has joined after this time, milliseconds. */
export const joinMs = 60_000;
/** Longest answer that is read into memory, bytes. */
export const maxAnswerBytes = 32 * 1024 * 1024;
/** Longest configuration, credentials or request file, bytes. */
export const maxFileBytes = 4 * 1024 * 1024;
/** Longest secret typed or piped in, characters. */
export const maxSecretLength = 4096;
/** Status sockets looked at below one state directory. */
export const maxStatusSockets = 64;
/** A process that runs this long writes what it has added to the compile cache, milliseconds. */
export const compileCacheFlushMs = 10_000;
