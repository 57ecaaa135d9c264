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
/** To open a connection to a published port, milliseconds. */
export const connectMs = 15_000;
/** A token that unlocked a port is not shown again within this time; and again when this share of the port’s time is over, milliseconds. */
export const unlockEveryMs = 30_000;
export const unlockRenewShare = 0.5;
/** A certificate is made anew when this share of its time is over; an SSH certificate when less than this is left of it, milliseconds. */
export const certificateRenewShare = 0.66;
export const sshCertificateLeftMs = 5 * 60_000;
/** Connections through one `meshgate connect` at once. */
export const maxLocalConnections = 1_024;
/** For an SSH server to show its host key, milliseconds. */
export const hostKeyMs = 5_000;
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
