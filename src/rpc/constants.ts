// Limits of the gRPC layer. Times are milliseconds, sizes are bytes.

/** What a client accepts of one answer: a large network's map fits. */
export const maxAnswerBytes = 16 * 1024 * 1024;
/** What a server accepts of one request: a peer's description of itself, a sealed offer. Far below what a map may have. */
export const maxRequestBytes = 1024 * 1024;
/** Open connections to one server, whoever they belong to; the next ones are closed at once. */
export const maxConnections = 20_000;
/** Of these from one address, or from one /64 of IPv6: a site with a thousand peers behind one address has room, nobody can take all. */
export const maxConnectionsPerAddress = 4_096;
/** From the TCP handshake to the end of the TLS handshake, or to the first bytes without TLS. */
export const handshakeMs = 10_000;
/** A connection on which no call is open is asked to go after this time. */
export const idleConnectionMs = 5 * 60_000;
/** A connection with calls is asked for a sign of life after this much silence: a peer that lost its power says no goodbye. */
export const serverKeepaliveMs = 60_000;
export const serverKeepaliveTimeoutMs = 20_000;
/** Calls that one HTTP/2 connection may have open. */
export const maxStreamsPerConnection = 256;
/** What Node may keep for one HTTP/2 connection, in megabytes. */
export const maxSessionMegabytes = 32;
/** Headers of one HTTP/1.1 request. */
export const maxHeaderBytes = 16 * 1024;
export const maxHeaderCount = 100;
/** HTTP/1.1 headers have to be complete by then. */
export const headersMs = 15_000;
/** A whole HTTP/1.1 request has to be there by then. */
export const requestMs = 60_000;
/** How long a closing server waits for what is open. */
export const closeMs = 1_000;

/** A unary call without a time of its own. */
export const defaultDeadlineMs = 10_000;
/** Client keepalive: a PING after this much silence while a call is open, and how long its answer may take. */
export const keepaliveMs = 30_000;
export const keepaliveTimeoutMs = 10_000;
/** Correspondents whose shared key an envelope keeps. */
export const maxSharedKeys = 4096;
/** The text of a status that goes over the wire or into a log. */
export const maxStatusText = 300;
