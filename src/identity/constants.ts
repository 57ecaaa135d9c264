// Limits and life times of the relying-party side. Milliseconds unless the name says otherwise.

/** Time from leaving for the identity provider to coming back. */
export const loginMs = 10 * 60_000;

/** Sign-ins that one browser may have under way at one host; the oldest goes first. */
export const loginsParallel = 4;

/** Characters of a page's path and query that a sign-in can return to: with more, the cookie would not fit into 4096 bytes. */
export const loginTargetLength = 2048;

/** Characters of a Cookie header in which sign-in state is looked for. */
export const cookieHeaderLength = 32 * 1024;

/** Deadline of one request to an identity provider. */
export const oidcRequestMs = 5_000;

/** How long what an issuer says about itself is believed. */
export const discoveryMs = 60 * 60_000;

/** Bytes of an answer of an identity provider. */
export const oidcBodyBytes = 256 * 1024;

/** Tries of a discovery before giving up; between them first this long, then twice as long. */
export const discoveryTries = 3;
export const discoveryRetryMs = 200;

/** Characters of a logout token, and seconds after which it is too old. */
export const logoutTokenLength = 8192;
export const logoutTokenSeconds = 5 * 60;

/** Clock difference between an identity provider and us, in seconds. */
export const clockToleranceSeconds = 10;

/** An assertion is valid for this long and signed anew after half of it. */
export const assertionMs = 5 * 60_000;

/** Assertions that are kept signed. */
export const assertionTableSize = 10_000;

/** A signing key of assertions signs for this long; its public half stays for as long after. */
export const assertionKeyMs = 7 * 24 * 3_600_000;
/** New keys that could not be kept are made again after this long, milliseconds. */
export const assertionRetryMs = 60_000;

/** Bytes of an identity header's value; what is longer is cut at a whole character or left out. */
export const headerValueBytes = 4096;

/** A cached session or token is good for this long; then it is asked for again in the background while it still serves. */
export const sessionFreshMs = 30_000;

/** A cached answer older than this is served only after the authority has been asked, or could not be. */
export const sessionWaitMs = 90_000;

/** How often ended sessions are looked for, so that open streams end in time. */
export const sweepMs = 1_000;

/** How long a cached answer serves while the authority cannot be asked. */
export const sessionGraceMs = 60 * 60_000;

/** How long a "no such session" is believed. */
export const sessionMissMs = 5_000;

/** After a failed question the next one waits this long. */
export const authorityRetryMs = 2_000;

/** Deadline of one question to the authority. */
export const authorityMs = 5_000;

/** Sessions and tokens that are kept; beyond that the longest unused go. */
export const sessionTableSize = 100_000;

/** "No such session" answers that are kept. */
export const missTableSize = 10_000;

/** Questions to the authority under way at one time; beyond that callers are told that it cannot be asked. */
export const authorityParallel = 256;

/** Characters of a cookie value or token that is looked at. */
export const credentialLength = 512;
