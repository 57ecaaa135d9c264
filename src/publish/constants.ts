// The bounds of publishing. Times in milliseconds, sizes in bytes; each says what reaching it does.

/** Time for a whole TLS handshake, ClientHello included; then the connection is closed. */
export const HANDSHAKE_MS = 10_000;
/** Time for a whole request head from its first byte, and for the first one from the handshake. */
export const HEAD_MS = 10_000;
/** A kept connection without a request is closed after this. */
export const IDLE_MS = 60_000;
/** A request body that brings nothing for this long, while we want more, ends the exchange. */
export const BODY_STALL_MS = 30_000;
/** Bytes a second that a request body has to bring on average, as long as we want more and nothing has been answered: slower ones use up `BODY_STALL_MS` and end. */
export const BODY_MIN_RATE = 500;
/** A client that takes nothing of an answer for this long is cut off. */
export const WRITE_STALL_MS = 120_000;
/** After an answer that left the request body unread: how long its rest is thrown away before the connection is closed. */
export const LINGER_MS = 2_000;
/** How often deadlines are looked at; each may be late by this much. */
export const SWEEP_MS = 500;

/** Connections of one IPv4 address or one IPv6 /64 at a time; more are closed at once. */
export const CONNECTIONS_PER_ADDRESS = 512;
/** Connections in all. */
export const CONNECTIONS = 20_000;
/** Silence after which TCP probes the client; ten lost probes, a second apart, close the connection. */
export const KEEP_ALIVE_PROBE_MS = 20_000;
/** A stream's peer that acknowledges nothing of what was sent for this long is gone. With the probes: one that vanishes is found out within 30 s. */
export const PEER_UNHEARD_MS = 28_000;
/** A stream that is as old as this has its two ends watched for that. */
export const STREAM_WATCH_MS = 1_000;
/** Bytes read beyond the request in work (pipelining) before reading stops. */
export const READ_AHEAD = 65_536;

/** HTTP/2: streams at a time, and the header list's size as RFC 9113 §6.5.2 counts it. */
export const H2_STREAMS = 100;
export const H2_HEADER_LIST = 32_768;
/** Streams that a client may open and reset per window before its connection is closed (CVE-2023-44487). */
export const H2_RESETS = 100;
export const H2_RESET_WINDOW_MS = 30_000;

/** Idle connections kept for one upstream, and for how long. Upstreams often close after 5 s; a stale one is retried. */
export const UPSTREAM_IDLE_CONNECTIONS = 64;
export const UPSTREAM_IDLE_MS = 30_000;
/** Idle connections beyond that, which a burst has left, are closed after this. */
export const SURPLUS_IDLE_MS = 2_000;
/** Connections to one upstream that begin to be made in one turn of the event loop. */
export const UPSTREAM_DIALS_PER_TURN = 4;
/** Connections to one upstream at a time; more requests get 503. */
export const UPSTREAM_CONNECTIONS = 1_024;
/** HTTP/2 connections to one upstream, and requests at a time on each, where it allows as many; more requests get 503. */
export const UPSTREAM_SESSIONS = 16;
export const UPSTREAM_STREAMS = 250;
/** What one answer over HTTP/2, and all of a connection, may have under way or waiting for a slow client. */
export const UPSTREAM_STREAM_WINDOW = 262_144;
export const UPSTREAM_SESSION_WINDOW = 4_194_304;
/** Megabytes of memory for one HTTP/2 connection to an upstream; a stream beyond is refused. */
export const UPSTREAM_SESSION_MEGABYTES = 128;
/** So much of a request body is kept until the answer begins, so that a request that the upstream refused unprocessed can be sent again. */
export const REPLAY_BYTES = 65_536;
/** How often that is done. */
export const REPLAYS = 2;
/** An HTTP/2 connection that was silent for this long while a request waited in vain, or for the second time while any is open, is pinged. gRPC servers take more frequent pings for an attack. */
export const PING_SUSPECT_MS = 5_000;
export const PING_SILENCE_MS = 330_000;
/** Without an answer to a ping for this long the connection is given up. */
export const PING_ANSWER_MS = 5_000;
/** Time to connect, TLS included. */
export const CONNECT_MS = 6_000;
/** Time from the request to the head of the answer, unless the target says otherwise. */
export const ANSWER_MS = 120_000;
/** A client that sends its body only after a word (100) is given it after this, where the upstream has said nothing. */
export const CONTINUE_MS = 1_000;
/** A request that waits for its answer is told at this interval whether there still is a path to its upstream. */
export const PATH_CHECK_MS = 6_000;
/** Interim answers (1xx) to one request; more are a fault of the upstream. */
export const INTERIM_ANSWERS = 8;
/** Up to this size head and payload are copied together to save a write. */
export const COALESCE_BYTES = 16_384;
/** Larger payload that an upstream's socket lends is copied into pieces of this size, of which so many are kept for the next write. */
export const LENT_PIECE_BYTES = 65_536;
export const LENT_PIECES = 64;
/** To be told whose a client certificate is; until then its connection waits. */
export const CERTIFICATE_ASK_MS = 5_000;
/** How often the session or token behind an upgraded stream is asked for again; most answers come from the cache. */
export const CONFIRM_MS = 60_000;
/** An upgraded stream with silence both ways is closed after this. */
export const UPGRADE_IDLE_MS = 600_000;

/** TLS contexts kept ready; a certificate that is asked for beyond that is read again with each first handshake. */
export const SECURE_CONTEXTS = 1_024;
/** The secret behind session tickets is replaced after this long; tickets themselves last five minutes. */
export const TICKET_KEY_MS = 12 * 3_600_000;

/** Bytes of PEM files; larger ones are not certificates. */
export const PEM_BYTES = 262_144;
/** Certificates in the directory. */
export const CERTIFICATES = 10_000;
/** How often the certificate directory is read where watching tells nothing, and how long a burst of changes is awaited. */
export const CERTIFICATE_POLL_MS = 30_000;
export const CERTIFICATE_SETTLE_MS = 200;

/** Access log records waiting for their sink; more are dropped and counted. */
export const LOG_QUEUE = 8_192;
/** Characters of a path, method or host in a record. */
export const LOG_TEXT = 2_048;
/** Records handed to the control plane at a time, and how long one waits for company. */
export const LOG_BATCH = 256;
export const LOG_BATCH_MS = 1_000;

/** Bytes of one file of the spool. */
export const SPOOL_SEGMENT_BYTES = 1_048_576;
/** A log file that could not be written is opened again after this. */
export const LOG_REOPEN_MS = 30_000;

/** Time that handing over one batch may take. */
export const LOG_SEND_MS = 10_000;

/** Failed requests that are logged as warnings in one second; further ones are for debugging only, and in the access log. */
export const WARNINGS_PER_SECOND = 20;

/** Bytes of a form that one of our own pages sends; longer ones are refused with 413. Its return address may be the longest that a request has. */
export const FORM_BYTES = 65_536;

/** Time that the access checks may take, asking the control plane included; then the request is denied. */
export const ACCESS_MS = 5_000;

/** TCP and TLS services: connections at a time in all and of one IPv4 address or IPv6 /64; more are closed at once. */
export const STREAMS = 20_000;
export const STREAMS_PER_ADDRESS = 512;
/** Time to reach a target, unless the service says less; and silence both ways after which a stream is closed, unless it says otherwise. */
export const STREAM_DIAL_MS = 30_000;
export const STREAM_IDLE_MS = 300_000;

/** A connection that checks a target is held open for so long: an agent that cannot reach the target resets it within. */
export const CONNECT_CHECK_HOLD_MS = 500;

/** Connections whose first bytes are awaited to see which service they mean: in all, and of one address; more are closed at once. */
export const HELLOS = 4_000;
export const HELLOS_PER_ADDRESS = 256;

/** Services, and reasons, that figures are kept for by name; those beyond are counted together as `other`. */
export const FIGURE_SERVICES = 100;
export const FIGURE_REASONS = 64;

/** UDP services: flows at a time in all and of one IPv4 address or IPv6 /64. Where there is no room, the oldest that nobody has answered makes some. */
export const UDP_FLOWS = 4_000;
export const UDP_FLOWS_PER_ADDRESS = 64;
/** Silence both ways after which a flow ends, unless the service says otherwise; it may be late by the sweep's interval. */
export const UDP_IDLE_MS = 30_000;
export const UDP_SWEEP_MS = 1_000;

/** Bodies below this are sent as they are: compressing them saves no packet. */
export const COMPRESS_BYTES = 1_024;
/** Bodies compressed at a time, about a megabyte each; further ones are sent as they are. */
export const COMPRESSIONS = 256;

/** A target that is ejected again and again stays away twice as long each time, at most so many times. */
export const EJECT_GROWTH = 4;
/** The share of its load that a target begins with at a slow start. */
export const SLOW_START_SHARE = 0.1;
/** How many comparisons finding a number for a new visitor of a sticky service may take. */
export const STICKY_WORK = 4_096;
/** A request body is held for a retry up to this size; a longer one is sent once. */
export const RETRY_BODY = 65_536;
/** Retries of one service: in a burst, a second without traffic, and for each request. */
export const RETRY_BURST = 500;
export const RETRY_RATE = 10;
export const RETRY_SHARE = 0.2;
/** Health checks under way at once; more wait. */
export const HEALTH_CHECKS = 64;
/** Each interval between checks is longer or shorter by up to this share, so that they do not come at once. */
export const HEALTH_JITTER = 0.1;
/** The first check of a new target comes within this time. */
export const HEALTH_FIRST_MS = 500;

/** Ports opened by a sign-in, for an address each: in all, and people behind one address at one service; more are refused. */
export const UNLOCKS = 20_000;
export const UNLOCKS_PER_ADDRESS = 16;
/** Addresses from which one sign-in has a service's port open; with one more, the first is closed. */
export const UNLOCKS_PER_TRUST = 8;
/** How often the end of a session's time is looked for. */
export const UNLOCK_SWEEP_MS = 1_000;
/** For how long a service token opens a port; then it has to be shown again. */
export const UNLOCK_TOKEN_MS = 3_600_000;

/** Traces: requests that wait to be told to the collector (more are dropped), how many go at a time, how often, and how long that may take. */
export const SPAN_QUEUE = 2_048;
export const SPAN_BATCH = 256;
export const SPAN_BATCH_MS = 2_000;
export const SPAN_SEND_MS = 10_000;

/** Rate limits: callers that are counted by themselves, buckets that all others share, and how many a newcomer looks at for one to leave. */
export const RATE_BUCKETS = 100_000;
export const RATE_SHARED = 4_096;
export const RATE_LOOK = 4;

/** A diagnosis as a whole, and how many targets of a route it asks. */
export const DIAGNOSIS_MS = 15_000;
/** Tokens for diagnoses that the control plane is asked about at once. */
export const DIAGNOSES = 4;
export const DIAGNOSIS_TARGETS = 16;
