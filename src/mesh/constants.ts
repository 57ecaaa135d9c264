// Times and limits of being a peer. Times are milliseconds, sizes are bytes.

/** Signing in again: 1 s, then × 1.7 up to 15 s, as stock clients do. */
export const signInRetry = { firstMs: 1_000, factor: 1.7, maxMs: 15_000, jitter: 0.2 } as const;
/** A control plane that refuses us is asked again this seldom. */
export const refusedRetryMs = 30_000;
/** Maps are written to disk at most this often; the newest one wins. */
export const saveEveryMs = 2_000;
/** A saved map that is read at start. */
export const maxSavedBytes = 64 * 1024 * 1024;

/** Our paths are told this long after a change, at most once per gap, and once per interval; each up to this share later. */
export const reportSoonMs = 1_000;
export const reportGapMs = 10_000;
export const reportEveryMs = 50_000;
export const reportJitter = 0.3;
/** What a disk did not take is written again after this long, milliseconds. */
export const saveRetryMs = 5_000;
