// Limits of the REST API. Bodies of callers that have not signed in are held much smaller than those of callers that have.

/** Largest JSON body of a signed-in caller, in bytes. */
export const maxBodyBytes = 1024 * 1024;
/** Largest body of a caller that nobody knows (`POST /setup`), in bytes. */
export const maxOpenBodyBytes = 16 * 1024;
/** From the head of a request to the end of its body. */
export const bodyDeadlineMs = 10_000;
/** From the end of the body to the answer. */
export const handlerDeadlineMs = 30_000;
/** Longest request target; longer ones are answered 414. */
export const maxUrlLength = 4096;
/** Longest id, address or other part of a path, after decoding. */
export const maxPathPartLength = 200;
/** Longest token or JWT in an `Authorization` header. */
export const maxCredentialLength = 8192;

/** Addresses that the limiters remember; the one that was quiet longest makes room. */
export const maxLimitedAddresses = 10_000;
/** Endpoints that need no sign-in: this many at once per address, then one per interval. */
export const openBurst = 30;
export const openIntervalMs = 2_000;
/** Credentials that do not fit, per address. */
export const failureBurst = 20;
export const failureIntervalMs = 3_000;
/** Old passwords that do not fit, per user. */
export const passwordBurst = 5;
export const passwordIntervalMs = 60_000;

/** Entries of one page of the access log. */
export const maxPageSize = 100;
export const defaultPageSize = 50;

/** Paths in one list of peers; the peers beyond have their summary only. */
export const maxListedPaths = 5_000;
