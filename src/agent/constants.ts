// Limits of the agent's forwarding; each bounds what a peer can make this process hold.

/** Open forwarded connections; one more is closed at once. */
export const maxConnections = 4_096;
/** How long an internal target may take to accept, milliseconds. */
export const dialTimeoutMs = 10_000;
/** A forwarded connection that is silent both ways for this long is closed, milliseconds. */
export const idleTimeoutMs = 15 * 60_000;
/** Names in the hosts file and the like are looked up by the system's threads, which are few: this many at once. */
export const maxSystemLookups = 2;
/** For how long such an answer is told to be good, seconds: the system does not say. */
export const systemLookupTtlSeconds = 60;
/** The failures kept per target for `status`. */
export const maxTargetsInStatus = 256;
/** UDP ports that are listened on at once, however many the policies name. */
export const maxUdpPorts = 2_048;
/** A UDP port that could not be opened is tried again: 1 s, then × 2 up to a minute. */
export const udpPortRetry = { firstMs: 1_000, factor: 2, maxMs: 60_000, jitter: 0.2 } as const;
/** UDP flows at once in all, and of one caller (a gateway brings those of all its visitors). */
export const maxUdpFlows = 8_192;
export const maxUdpFlowsPerCaller = 4_096;
/** A UDP flow ends after this much silence both ways, milliseconds. Longer than a gateway's own, which is the one that counts. */
export const udpIdleMs = 120_000;

/** Services that people and programs of this machine have published at once; the control plane has a limit of its own. */
export const maxExposures = 256;
/** One call to the control plane about one of them. */
export const exposeCallMs = 15_000;
/** They are renewed after this share of their life, up to this share of that earlier. */
export const renewShare = 1 / 3;
export const renewJitter = 0.3;
/** A call that failed is made again: 1 s, then × 1.7 up to 15 s. */
export const exposeRetry = { firstMs: 1_000, factor: 1.7, maxMs: 15_000, jitter: 0.2 } as const;
/** What was refused is asked for again this seldom, where it is asked for again at all. */
export const exposeRefusedRetryMs = 30_000;
/** A new service is looked at after this time, then after twice it and so on, until a gateway says how it is. */
export const firstLookMs = 500;
/** Ports of the overlay for what cannot have its own, and tries to find one. */
export const leadPorts = { first: 20_000, last: 60_000 } as const;
export const leadTries = 64;
/** A request on the status socket, bytes. */
export const maxRequestBytes = 65_536;

/** The file of services: how often it is looked at, its size, its services, and how often an alias in it may be used. */
export const discoveryPollMs = 1_000;
export const discoveryFileBytes = 1_048_576;
export const maxFileServices = 200;
export const maxYamlAliases = 100;
/** Docker: one question, containers that are looked at, what the answers may be in bytes, and how long changes are gathered. */
export const dockerCallMs = 10_000;
export const maxContainers = 1_000;
export const dockerAnswerBytes = 16 * 1024 * 1024;
export const dockerLineLength = 262_144;
export const dockerGatherMs = 200;
export const dockerRetry = { firstMs: 500, factor: 1.7, maxMs: 15_000, jitter: 0.2 } as const;

/** Where TLS ends here: one question to the control plane; how often it is asked, well before the token's hour is over, and after a failure. */
export const tlsGrantMs = 15_000;
export const tlsRenewMs = 10 * 60_000;
export const tlsGrantRetryMs = 3_000;
/** A connection of an unknown peer asks again at most this often: it may be a gateway that is new. */
export const tlsAskAgainMs = 1_000;
