// Limits of the signal server. Times are milliseconds.

/** Peers that may listen at once. */
export const maxStreams = 20_000;
/** Of these from one address, or from one /64 of IPv6. */
export const maxStreamsPerAddress = 4_096;
/** A sealed message; an offer is a few hundred bytes. */
export const maxBodyBytes = 16 * 1024;
/** Messages that wait for one slow receiver; the next ones are dropped, as senders repeat themselves. */
export const maxQueuedPerPeer = 256;
/** A receiver that takes nothing for this long is cut off. */
export const deliveryMs = 10_000;
/** Messages one sender may send at once, and how many come back each second. */
export const sendBurst = 2_000;
export const sendPerSecond = 500;
/** Senders whose rate is remembered. */
export const maxSenders = 20_000;
