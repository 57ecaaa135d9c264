// Limits and times of the gateway; what a stranger can make it hold is bounded here and in publish/.

/** Services a gateway takes from the control plane. */
export const maxMappings = 20_000;
/** Changes that stand in the journal of the last good configuration, or as many as there are services, before it is written whole. */
export const journalLines = 1_000;
/** What a disk did not take is written again after this long, milliseconds. */
export const diskRetryMs = 5_000;
/** One call to the control plane, milliseconds. */
export const callTimeoutMs = 10_000;
/** Before a sign-in while the link is down: how long the control plane may take to show that it is there, milliseconds. */
export const reachableMs = 2_000;
/** Open requests get this long at a shutdown, milliseconds. */
export const drainMs = 5_000;
/** After a change the states of the services are told to the control plane at most this often, milliseconds. */
export const reportIntervalMs = 500;
/** Registering as a peer is tried again after this long, milliseconds (first, factor, longest). */
export const registerBackoff = { firstMs: 500, factor: 2, maxMs: 10_000, jitter: 0.2 } as const;
/** A connection of a load balancer may take so long to say whose it is, milliseconds; and so many may be about to. Others are closed. */
export const proxyHeaderMs = 5_000;
export const maxProxyHeaders = 1_024;
/** A service's port that could not be opened is tried again after this long, milliseconds. */
export const portRetryMs = 5_000;
/** Plain HTTP: bytes of a request's head, its whole time in milliseconds, and connections at a time, in all and of one IPv4 address or IPv6 /64; what goes beyond is cut. */
export const plainHeadBytes = 8_192;
export const plainRequestMs = 5_000;
export const plainConnections = 1_024;
export const plainConnectionsPerAddress = 64;
/** Datagrams of a flow that wait for its overlay socket to open; more are dropped. */
export const maxWaitingDatagrams = 16;
/** Time to find the address of a UDP target that is a name. */
export const udpResolveMs = 5_000;
/** Services that are gone and whose last records may still come. */
export const maxGoneServices = 1_000;
/** How often the states of certificates are looked at for the control plane, milliseconds, and how many go into one call. */
export const certificateReportMs = 2_000;
export const certificatesInReport = 100;

/** Bytes of the picture above our own pages: it travels within each of them. */
export const maxLogoBytes = 65_536;

/** How often data bases of addresses are looked at for a change, milliseconds; and addresses whose records are kept at hand. */
export const geoPollMs = 5_000;
export const geoCacheSize = 4_096;

/** CrowdSec is asked this often, and a call may take so long, milliseconds; after something was deleted that is not known, everything again at most this often. */
export const crowdsecPollMs = 10_000;
/** Until it has told its decisions once it is asked this often, milliseconds. */
export const crowdsecFirstMs = 1_000;
export const crowdsecCallMs = 30_000;
export const crowdsecResyncMs = 300_000;
/** Decisions that are held; where there are more, nothing can be said of anybody. Taken in so many at a time, from an answer of at most so many bytes. */
export const crowdsecDecisions = 500_000;
export const crowdsecSlice = 5_000;
export const crowdsecBodyBytes = 256 * 1_048_576;

/** Where peers of the mesh come to web services: HTTPS at our overlay addresses. What the packet filter lets in is the control plane's to say. */
export const visitorPort = 443;
