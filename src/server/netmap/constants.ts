// What maps say that nobody chooses.

/** Where routing peers answer for names of domain routes: the well-known UDP port of stock clients (netbird-wire §2.6). */
export const forwarderPort = 22_054;

/** Seconds for which the name of a peer may be kept. */
export const peerTtlSeconds = 300;

/** Different zones of peers that are kept while the state of the network stands; the first made goes first. */
export const keptZones = 64;

/** Sources of a rule that are told one by one; more are told as ranges. */
export const listedSources = 32;
