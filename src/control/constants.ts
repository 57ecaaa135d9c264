// Limits and times of the control plane's client. Times are milliseconds.

/** A whole login, with its attempts. */
export const loginMs = 10_000;
export const serverKeyMs = 5_000;
/** A stream shows its first sign of life by then. */
export const streamOpenMs = 15_000;
/** Reconnecting: 0.8 s, then × 1.7 up to 10 s (netbird-wire §2.5). */
export const reconnect = { firstMs: 800, factor: 1.7, maxMs: 10_000, jitter: 0.2 } as const;
/** A connection that lasted this long starts the next reconnect from the first delay. */
export const stableMs = 10_000;
/** How long to leave a control plane alone that refuses this peer or this token. */
export const refusedPauseMs = 30_000;

/** Telling our paths. */
export const reportMs = 10_000;

/** Texts that the control plane tells of an exposed service. */
export const maxExposeText = 1_024;
/** A stock control plane keeps an exposed service so long without a renewal (netbird-features A14). */
export const stockExposeTtlMs = 90_000;

/** Signal: how often silence is looked at, how much of it asks for a heartbeat, and how long its echo may take (§3.1). */
export const watchEveryMs = 10_000;
export const silenceMs = 30_000;
export const echoMs = 10_000;
/** After a change of the host's network, a connection has this long to carry one call; else another is opened. */
export const verifyMs = 2_000;
/** Attempts to deliver one signal message, and the time of each. */
export const sendAttempts = 3;
export const sendMs = 10_000;
/** Signal messages that are on their way at once; the next one is dropped, as the path's own schedule repeats it. */
export const maxSignalsInFlight = 256;
/** A sealed signal message that is looked at. */
export const maxSignalBytes = 64 * 1024;
/** Text inside a signal message: credentials, a candidate, an address. */
export const maxSignalText = 1_024;

/** Peers of one map that are used; those beyond are dropped. */
export const maxPeers = 50_000;
/** A map with more rules admits nothing. */
export const maxRules = 200_000;
/** Routes of one map, and names of one route; those beyond are dropped. */
export const maxRoutes = 20_000;
export const maxDomainsPerRoute = 64;
/** Zones of one map, records of all of them, nameserver groups and servers of one group; those beyond are dropped. */
export const maxZones = 1_000;
export const maxDnsRecords = 200_000;
export const maxNameServerGroups = 1_000;
export const maxNameServers = 8;
/** A record that asks to be kept for longer is kept this long, seconds. */
export const maxRecordTtlSeconds = 86_400;
/** Where routing peers answer for names when the control plane names no port (§2.6). */
export const defaultForwarderPort = 5_353;
/** Ids and names of networks, for people and for comparing. */
export const maxNameText = 256;

/** Paths of one service; one with more is not published. */
export const maxPathsPerMapping = 1_000;

/** Unary calls of the proxy side. */
export const proxyCallMs = 10_000;
/** The revocation stream is given up when nothing, not even a heartbeat, came for this long. */
export const revocationSilenceMs = 90_000;

/** Access log records in one call of our extension: far below what a request may have in bytes, however long their texts. */
export const accessLogsInCall = 64;
/** Calls at once where a stock control plane takes one record each. */
export const accessLogsInFlight = 16;

/** TURN servers of one message; the overlay uses the first of them that it can. */
export const maxTurnServers = 8;
