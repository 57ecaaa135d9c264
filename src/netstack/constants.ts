// Every limit and time of the stack that is our own choice, and those of the RFCs that it applies. Times in milliseconds, sizes in bytes.

/** Smallest MTU that IPv6 allows (RFC 8200 §5); a stack is not built for less. */
export const MIN_MTU = 1280;
export const MAX_MTU = 65_535;

/**
 * Payload of a super-packet. 43 segments of 1,368 bytes: sealed for WireGuard they still fit one UDP send with segmentation offload,
 * which takes 65,507 bytes.
 */
export const MAX_SUPER_PAYLOAD = 60_000;
/** Most that IPv6 and TCP headers with options take before it. */
export const SUPER_HEADERS = 100;

/** Connections of one stack, those in TIME-WAIT not counted. About 1.5 KB each while idle. */
export const MAX_CONNECTIONS = 32_768;
/** Handshakes that others have begun and not completed. A SYN beyond it is answered with a cookie, and nothing is kept. */
export const MAX_HALF_OPEN = 1024;
/** Half-open handshakes from one remote address; beyond it cookies, so that one peer's flood leaves the others their options. */
export const MAX_HALF_OPEN_PER_PEER = 256;
/** How fine cookies tell the time, and how many such periods back an answer is taken. */
export const COOKIE_PERIOD_MS = 32_000;
export const COOKIE_PERIODS = 3;
/** Ends kept in TIME-WAIT; the oldest goes first. */
export const MAX_TIME_WAIT = 8192;
export const MAX_UDP_SOCKETS = 4096;
export const MAX_LISTENERS = 4096;
/** Packets that arrive from inside `output` are copied and wait for the call on the stack to finish; more than these are dropped. */
export const MAX_REENTRANT_PACKETS = 256;

/** Packets that wait for fragments: all, those of one sender, and their bytes; the oldest goes first, of one sender the newest is refused. */
export const MAX_REASSEMBLY_PACKETS = 64;
export const MAX_REASSEMBLY_PACKETS_PER_SENDER = 16;
export const MAX_REASSEMBLY_BYTES = 1024 * 1024;
/** A packet of 64 KB in fragments that fit the smallest MTU of IPv4 has 120. */
export const MAX_FRAGMENTS_OF_PACKET = 128;
/** RFC 8200 §4.5 says 60 seconds from the first; RFC 1122 §3.3.2 60 to 120. Within an overlay a fragment that is late by half of that is lost. */
export const REASSEMBLY_MS = 30_000;
/** Largest datagram, headers included. */
export const MAX_DATAGRAM = 65_535;

/** Dynamic ports (RFC 6335 §6). */
export const EPHEMERAL_FIRST = 49_152;
export const EPHEMERAL_LAST = 65_535;
/** Ports tried, from a random one on, before a connection fails with EADDRNOTAVAIL. */
export const EPHEMERAL_ATTEMPTS = 4096;

/**
 * Unsent and unacknowledged bytes of one connection. With RECEIVE_BUFFER_FIRST and what its stream holds this keeps a connection
 * that is busy in one direction below 256 KB; what it needs more, for a long path or between two quick ends, it grows into. The ring grows
 * to this as it is needed,
 */
export const SEND_BUFFER = 112 * 1024;
/** and beyond it up to this where nothing but the buffer holds the connection back. */
export const SEND_BUFFER_MAX = 32 * SEND_BUFFER;
/** A round trip up to this is not yet a queue that is worth avoiding: between two busy processes the turns of their loops are longer. */
export const SEND_BUFFER_QUEUE_MS = 8;
/** For that reason alone the buffer grows no further than this, */
export const SEND_BUFFER_EASY = 8 * SEND_BUFFER;
/** and only while all connections together have taken no more than this beyond theirs: a few may, hundreds keep to SEND_BUFFER. */
export const EASY_EXTRA_BUFFERS = 4 * 1024 * 1024;
/** What all connections of a stack together may take beyond SEND_BUFFER and RECEIVE_BUFFER_FIRST each: some long paths, or a little for hundreds. */
export const MAX_EXTRA_BUFFERS = 16 * 1024 * 1024;
export const SEND_RING_FIRST = 8 * 1024;
/** An empty send ring is given back after this. */
export const SEND_RING_IDLE_MS = 10_000;

/** Received bytes that wait for the application, and with them the window: where it starts and how far it grows. */
export const RECEIVE_BUFFER_FIRST = 96 * 1024;
export const RECEIVE_BUFFER_MAX = 4 * 1024 * 1024;
/** The buffer grows where the sender, at the speed of this long, would fill one part of so many of it in a round trip, */
export const GROWTH_MEASURE_MS = 10;
export const GROWTH_SHARE = 4;
/** and no round trip counts as shorter than this, for the same reason as SEND_BUFFER_QUEUE_MS, */
export const GROWTH_RTT_MIN_MS = 4;
/** nor as longer than so often the shortest: the rest is a queue, which a larger window would only lengthen. */
export const GROWTH_RTT_FACTOR = 2;
/** Lets the 16-bit field carry RECEIVE_BUFFER_MAX (RFC 7323 §2). */
export const WINDOW_SCALE = 7;
/** Out-of-order bytes and pieces of one connection: no more than the largest window lets come. Pieces (small neighbours share one) bound what many small segments cost beside their bytes. */
export const MAX_OUT_OF_ORDER_BYTES = 4 * 1024 * 1024;
export const MAX_OUT_OF_ORDER_PIECES = 1024;
/** Gaps between them; real loss makes few. */
export const MAX_OUT_OF_ORDER_RANGES = 256;
/** Ranges that the peer reports as received; further ones are ignored and so sent again. */
export const MAX_SACKED_RANGES = 256;
/** Ranges of sent bytes with a time each; further ones join the last, whose bytes then all count as sent at the latest time. */
export const MAX_SENT_RANGES = 2048;

/** What a peer that sends no MSS option takes (RFC 9293 §3.7.1), by family. */
export const DEFAULT_MSS_V4 = 536;
export const DEFAULT_MSS_V6 = 1220;
/** A smaller MSS offer is raised to this: it would cost a header for every few bytes. */
export const MIN_MSS = 88;

/** RFC 6298 §2.1. */
export const RTO_INITIAL_MS = 1000;
/** RFC 6298 §5.7: where the SYN had to be repeated. */
export const RTO_AFTER_SYN_LOSS_MS = 3000;
/** Below RFC 6298's second, as every current stack; added to the smoothed round trip as the least variance, to outlast delayed ACKs. */
export const RTO_MIN_MS = 200;
export const RTO_MAX_MS = 60_000;
/** A handshake without an answer ends with ETIMEDOUT. */
export const SYN_TIMEOUT_MS = 60_000;
/** Data (or a window probe) without an answer for so long ends the connection with ETIMEDOUT (RFC 9293 §3.8.3, R2). */
export const USER_TIMEOUT_MS = 120_000;
/** RFC 9293 §3.8.6.3 allows 500. */
export const DELAYED_ACK_MS = 40;
/** Segments that arrive in one turn are acknowledged together, but so many at the most, or one super-packet. */
export const MAX_UNACKNOWLEDGED_SEGMENTS = 16;
/** An idle connection is probed after this, then each interval; without an answer to so many probes it is ETIMEDOUT. */
export const KEEPALIVE_IDLE_MS = 120_000;
export const KEEPALIVE_INTERVAL_MS = 30_000;
export const KEEPALIVE_PROBES = 4;
/** Twice the maximum segment lifetime. RFC 9293 says four minutes; within an overlay no segment lives for seconds. */
export const TIME_WAIT_MS = 60_000;
/** Answers to segments that may be forged or looping: at most one per connection in this time (RFC 5961 §7). */
export const CHALLENGE_ACK_MS = 500;
/** A timestamp older than this no longer rejects anything (RFC 7323 §5.5). */
export const PAWS_IDLE_MS = 24 * 24 * 3600 * 1000;

/** Duplicate ACKs, or SACKed segments above, that mean loss (RFC 5681, RFC 6675). */
export const DUPLICATE_ACKS = 3;
/** The time for reordering grows by quarters of the shortest round trip up to so many, */
export const REORDER_STEPS = 16;
/** and falls back to one after so many recoveries without a D-SACK (RFC 8985 §6.2). */
export const REORDER_PERSIST = 16;
/** A shortest round trip older than this is measured anew (RFC 8985 §6.2, Linux's tcp_min_rtt_wlen). */
export const MIN_RTT_AGE_MS = 300_000;
/** The last segments of a flight are asked after when two round trips have brought nothing (RFC 8985 §7), but not sooner than this, */
export const TAIL_PROBE_MIN_MS = 10;
/** and later by this where fewer than two full segments are out, whose ACK the peer may delay. */
export const TAIL_PROBE_SINGLE_MS = 80;

/** Path MTUs to fall back to when timeouts follow each other and no ICMP error says why (RFC 4821): the least of each family last. */
export const FALLBACK_MTUS = { 4: [1280, 1024, 576], 6: [1280] } as const;
/** So many timeouts in a row. */
export const BLACK_HOLE_TIMEOUTS = 4;
/** After this the full size is tried again, each time after twice as long (RFC 4821 §7.7, RFC 1191 §6.3). */
export const MSS_RAISE_MS = 600_000;

/** Segments of the initial window (RFC 6928), in bytes at most 14,600. */
export const INITIAL_WINDOW_SEGMENTS = 10;
export const INITIAL_WINDOW_BYTES = 14_600;

/** Resets for segments to no connection, per second and in a burst. */
export const RESETS_PER_SECOND = 1000;
/** ICMP errors and echo replies, per second and in a burst (RFC 4443 §2.4 f). */
export const ICMP_PER_SECOND = 100;
