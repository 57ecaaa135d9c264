// The bounds of OCSP stapling. Times in milliseconds.

/** One question to a responder; then it has failed. */
export const OCSP_CALL_MS = 5_000;
/** Bytes of an answer. */
export const OCSP_BYTES = 65_536;
/** How long a handshake waits for the first answer; then it goes on without. */
export const OCSP_FIRST_WAIT_MS = 2_000;
/** A responder that failed is asked again after this, and none more often. */
export const OCSP_RETRY_MS = 60_000;
/** How far a responder's clock may be ahead. */
export const OCSP_SKEW_MS = 300_000;
/** How long an answer without an end is good. */
export const OCSP_UNDATED_MS = 3_600_000;
