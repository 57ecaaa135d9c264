// Limits of the UDP port. Sizes in bytes, times in milliseconds.

/** One message of the kernel: the largest UDP payload, and what its coalescing may join, fit. */
export const RECEIVE_SLOT_BYTES = 64 * 1024;
/** Messages that one system call may bring. */
export const RECEIVE_SLOTS = 16;
/** So many are asked for where the last ones were long on the whole: they are still in the processor's cache when they are opened. */
export const RECEIVE_LONG_SLOTS = 2;
export const RECEIVE_LONG_BYTES = 16 * 1024;
/**
 * System calls, and bytes that end the last of them, in one turn of the event loop: a millisecond or two of work. What is left waits for
 * the next, so that timers and other sockets have their turn.
 */
export const RECEIVE_CALLS_PER_TURN = 16;
export const RECEIVE_BYTES_PER_TURN = 512 * 1024;

/** Datagrams that the kernel takes as one run (UDP_MAX_SEGMENTS of every kernel that has it). */
export const MAX_RUN_DATAGRAMS = 64;
/** Bytes that it takes as one run: what fits an IPv4 packet. */
export const MAX_RUN_BYTES = 65_507;
/** Bytes that wait while the socket's buffer is full; beyond it datagrams are dropped, as a full interface would. */
export const MAX_QUEUED_SEND_BYTES = 1024 * 1024;

/** Senders whose addresses are kept as text. A table of fixed size: a new sender takes the place of another. */
export const KNOWN_ADDRESSES = 4096;

/** A copied run counts against this many in the queue of a plain socket. */
export const MAX_QUEUED_DATAGRAMS = 4096;
/** What the kernel is asked to hold for us while we are busy; it grants less where net.core.rmem_max says so. */
export const UDP_BUFFER_BYTES = 4 * 1024 * 1024;
/** Where the port asked for is taken, the next ones are tried. */
export const UDP_PORT_ATTEMPTS = 16;

/** Sockets with one remote end: how many of them one look at the system tells of, and datagrams that one call brings. */
export const FLOW_EVENTS = 256;
export const FLOW_RECEIVE_SLOTS = 16;
/** Datagrams of all such sockets in one turn of the event loop; the rest waits for the next. */
export const FLOW_TURN_DATAGRAMS = 512;
