// Limits and times of the relay server (netbird-wire §4.5–4.6). Times in milliseconds, sizes in bytes.

/** From the accepted WebSocket to a valid Auth. */
export const AUTH_TIMEOUT_MS = 10_000;
export const HEALTH_CHECK_INTERVAL_MS = 25_000;
/** Without an echo for this long, a connection is gone. */
export const HEALTH_CHECK_LIMIT_MS = 45_000;
export const TOKEN_LIFETIME_MS = 12 * 60 * 60 * 1000;

/** Connections that have not shown a token yet; further ones are closed at once. */
export const MAX_UNAUTHENTICATED = 1024;
/** Connections in all: a queue's worth of memory each, in the worst case. */
export const MAX_CONNECTIONS = 32_768;
/** Ids that one connection is subscribed to; further ones are left out. */
export const MAX_SUBSCRIPTIONS = 16_384;

/** Bytes that wait for a slow receiver. Beyond it packets to it are dropped, as a full router would. */
export const MAX_QUEUED_BYTES = 1024 * 1024;
/** Notices are not dropped, as nobody would repeat them: a receiver with this much waiting is closed. */
export const MAX_QUEUED_WITH_NOTICES_BYTES = 4 * 1024 * 1024;
/** How long a closing connection may take to answer before it is cut. */
export const CLOSE_GRACE_MS = 1000;
