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
/** UDP flows at once in all, and of one caller (a gateway brings those of all its visitors). */
export const maxUdpFlows = 8_192;
export const maxUdpFlowsPerCaller = 4_096;
/** A UDP flow ends after this much silence both ways, milliseconds. Longer than a gateway's own, which is the one that counts. */
export const udpIdleMs = 120_000;
