// Limits and life times of the identity provider. Seconds where the OpenID library counts in seconds, else milliseconds.

/** A sign-in lasts this long without use. */
export const sessionIdleSeconds = 7 * 24 * 3600;

/** A sign-in is over after this time, whatever happens. */
export const sessionMaxSeconds = 30 * 24 * 3600;

/** Time from a sign-in page to its form. */
export const interactionSeconds = 30 * 60;

/** Time from the redirect back to a client until it has traded its code (RFC 6749 §4.1.2 asks for 10 minutes at most). */
export const codeSeconds = 60;

export const idTokenSeconds = 3600;
export const accessTokenSeconds = 3600;

/** Device codes (RFC 8628); NetBird's clients poll for as long as we say. */
export const deviceCodeSeconds = 10 * 60;

/** Seconds between polls of a device; NetBird's client needs a number above zero. */
export const devicePollSeconds = 5;

export const refreshTokenSeconds = 14 * 24 * 3600;

/** How long what a client was granted is kept; longer than any token that refers to it. */
export const grantSeconds = sessionMaxSeconds + refreshTokenSeconds;

/** Clock difference that tokens of others may have. */
export const clockToleranceSeconds = 5;

/** A signing key signs for this long, was in the key set for as long before, and stays there for as long after. */
export const keyPeriodMs = 30 * 24 * 3_600_000;

/** How often a process looks whether the keys in the vault are due or were changed by another process. */
export const keyCheckMs = 10 * 60_000;

/** Least time between two looks into the vault because a token names an unknown key. */
export const keyReloadMs = 10_000;

/** Characters of a request's path and query; what an authorization request says is kept until it is answered. */
export const requestUrlLength = 8192;

/** Bytes of a form that one of our pages receives. */
export const formBytes = 16 * 1024;

/** Time in which a form must arrive. */
export const formMs = 10_000;

/** Characters of an address, a password, a name and a code in a form. */
export const formFieldLength = 1024;

/** Failed sign-ins of one address or for one account before each further one has to wait. */
export const attemptsFree = 5;

/** Time from a first factor to the second, and from a page to the answer of a passkey, of which the browser is told less. */
export const pendingSeconds = 10 * 60;
export const challengeSeconds = 6 * 60;
export const challengeTimeoutMs = 5 * 60_000;

/** How long after signing in the account page still lets factors be changed. */
export const accountFreshMs = 15 * 60_000;

/** First wait; it doubles with each failure. */
export const attemptDelayMs = 1000;
export const attemptDelayMaxMs = 15 * 60_000;

/** Longest wait for an account: anybody can fail in somebody else's name, so this one stays short. */
export const accountDelayMaxMs = 30_000;

/** An address whose last failure is older starts over. */
export const attemptForgetMs = 60 * 60_000;

/** How long a browser in which somebody has signed in is known. */
export const knownBrowserSeconds = 180 * 24 * 3600;

/** Addresses and accounts that are counted at one time; beyond that the oldest are forgotten. */
export const attemptTableSize = 10_000;

/** Sign-ins, device codes and the like that one address may start in a minute: each is a record in the vault. */
export const startsPerMinute = 120;

/** Characters of one value of an external claim, and values of one. */
export const claimLength = 256;
export const claimValues = 500;

/** How long the id of an issuer's logout token is remembered: longer than one may be old. */
export const logoutRememberedSeconds = 10 * 60;

/** Time for one exchange with an external provider. */
export const connectorMs = 15_000;

/** Most external providers. */
export const connectorsMax = 16;

/** Time that requests under way get when the provider closes. */
export const closeMs = 5_000;
