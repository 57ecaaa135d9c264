// Limits of the management, proxy and gateway services. Times are milliseconds.

/** Changes that come together are told together; each is told at the latest after this time. */
export const gatherMs = 100;
/** Sync streams that may be in their set-up at once; the next ones are told to come back. */
export const maxSyncSetups = 1000;
/** Calls that peers without a proven key may make from one address (or one /64 of IPv6) at once, and how many come back each second. */
export const strangerBurst = 500;
export const strangersPerSecond = 20;
/** Peers whose key was proven since the start, and that are not counted any more. */
export const maxProvenPeers = 65_536;
/** Maps that are built at once. */
export const maxBuilds = 32;
/** Relay tokens are renewed when this share of their life is over. */
export const relayRenewShare = 0.75;
/** Text that a peer tells of itself, such as its host name. */
export const maxMetaText = 255;
/** Networks and running programs that a peer may tell of. */
export const maxMetaNetworks = 64;
export const maxMetaFiles = 64;
/** A setup key or sign-in token; longer ones are refused unread. */
export const maxSecretText = 16_384;
/** Characters of a password or another secret of a service, and of what comes beside it; a longer secret is wrong. */
export const maxProofSecret = 1_024;
export const maxProofText = 512;

/** Texts in a request to expose a service, and groups that it names. */
export const maxExposeText = 1_024;
export const maxExposeGroups = 100;

/** Mappings in one message of a gateway's first snapshot. */
export const snapshotBatch = 500;
/** A gateway acknowledges a message within this time, or its stream is ended. */
export const ackMs = 120_000;
/** How often a gateway's record is refreshed while its stream is open. */
export const heartbeatMs = 60_000;
/** A gateway says who it is within this time after it opened its stream. */
export const initMs = 15_000;
/** Messages that a gateway has not acknowledged yet: one while it gets its snapshot, so many afterwards. */
export const maxUnacknowledged = 64;
/** A gateway's own name for itself. */
export const maxProxyIdText = 128;
/** Gateway streams at once. */
export const maxGatewayStreams = 1_000;
/** Revocations that wait for one slow gateway; one more ends its stream, which makes it forget what it has cached. */
export const maxQueuedRevocations = 10_000;
/** A sign of life on the revocation stream. */
export const revocationHeartbeatMs = 30_000;
/** Wrong gateway tokens from one address before it has to wait, and how long each is remembered. */
export const maxTokenFailures = 20;
export const tokenFailureMs = 60_000;
/** Addresses whose failures are remembered. */
export const maxFailingAddresses = 10_000;
/** Text in access log entries and status reports of gateways. */
export const maxLogText = 2_048;
/** Access log records in one call. */
export const maxAccessLogs = 64;

/** Reports of paths: how soon a peer may send the next one, after how long one means nothing any more, and its sealed size. */
export const reportGapMs = 5_000;
export const reportStaleMs = 180_000;
export const maxReportBytes = 131_072;
/** Paths that are kept of all peers together, about 200 bytes each; beyond it the oldest reports go. */
export const maxKeptPaths = 200_000;
/** Certificates in one report of a gateway. */
export const maxCertificateReports = 100;

/** Changes of the network within this time are told to gateways as one, milliseconds. */
export const peersChangedMs = 100;

/** A token is 40 characters; what is much longer is not even looked up. */
export const maxTokenText = 256;
