// The bounds of automatic certificates. Times in milliseconds; each says what reaching it does.
const minuteMs = 60_000;
const hourMs = 60 * minuteMs;

/** One call to an authority. */
export const ACME_CALL_MS = 20_000;
/** Bytes of an authority's answer; a chain takes some kilobytes. */
export const ACME_ANSWER_BYTES = 262_144;
/** A whole order, from the lease to the certificate; then it has failed. */
export const ORDER_MS = 8 * minuteMs;
/** How often authorizations and orders are looked at while the authority works (first, factor, longest). */
export const POLL_FIRST_MS = 250;
export const POLL_FACTOR = 1.5;
export const POLL_MAX_MS = 10_000;
/** After a failed order (first, factor, longest, jitter). The first is long enough for a person to have mended a DNS record. */
export const RETRY = { firstMs: minuteMs, factor: 2, maxMs: 6 * hourMs, jitter: 0.2 } as const;
/** A lease that another gateway holds is asked for again. */
export const LEASE_HELD_MS = 3_000;
/** A control plane that cannot be asked for a lease is asked again (first, factor, longest, jitter). */
export const LEASE_RETRY = { firstMs: 1_000, factor: 2, maxMs: 10 * minuteMs, jitter: 0.5 } as const;
/** How long it is asked before we decide alone: without a certificate, and with one that is still good. Half of it up to one and a half, by chance. */
export const LEASE_PATIENCE_MS = 15_000;
export const RENEWAL_PATIENCE_MS = 2 * hourMs;
/** An authority that is away or refuses is left alone for this long where it names no time; one that limits us, for longer. */
export const AWAY_MS = 5 * minuteMs;
export const LIMITED_MS = hourMs;
/** One that limits so many sets of names at a time is left alone for all. */
export const LIMITED_NAMES = 3;
/** A Retry-After beyond this is not believed. */
export const RETRY_AFTER_MAX_MS = 7 * 24 * hourMs;

/** Caps of our own for one authority, well below those of the public ones: new orders in an hour, orders of one set of names in an hour, failed proofs of one name in an hour. */
export const ORDERS_PER_HOUR = 60;
export const ORDERS_PER_NAMES = 4;
export const FAILURES_PER_NAME = 4;
export const CAP_WINDOW_MS = hourMs;

/** Without renewal information: renewal begins at this share of the lifetime, later by up to the jitter's share. */
export const RENEW_AT = 2 / 3;
export const RENEW_JITTER = 0.05;
/** Bounds of how often renewal information is asked for (RFC 9773 §4.3). */
export const RENEWAL_POLL_MIN_MS = minuteMs;
export const RENEWAL_POLL_MAX_MS = 24 * hourMs;
export const RENEWAL_POLL_MS = 6 * hourMs;

/** Orders at work at a time; more wait. */
export const ORDERS_AT_A_TIME = 8;
/** Names of one certificate. */
export const NAMES_PER_CERTIFICATE = 100;
/** Certificates looked after; services beyond have none. */
export const CERTIFICATES_KEPT = 10_000;
/** Challenge answers at a time. */
export const LIVE_CHALLENGES = 1_000;
/** An `acme-tls/1` handshake, whole. */
export const CHALLENGE_HANDSHAKE_MS = 5_000;
/** How long it is believed that the cluster has no answer for a name, so that strangers cannot make us ask the control plane at will. */
export const NO_ANSWER_MS = 1_000;
/** One DNS exchange, and the lifetime of the records, seconds. */
export const DNS_CALL_MS = 5_000;
export const DNS_TTL_SECONDS = 60;
/** One run of the command hook; then it is killed. And what is kept of its output, bytes. */
export const HOOK_MS = minuteMs;
export const HOOK_OUTPUT_BYTES = 8_192;
/** What a disk did not take is written again after this long, milliseconds. */
export const DISK_RETRY_MS = 5_000;
