// Every limit and time of the overlay. Times in milliseconds, sizes in bytes; sections are those of netbird-wire.

export const DEFAULT_MTU = 1280;
/** Both ends keep the NAT's mapping and the session alive (§5.6). */
export const KEEPALIVE_MS = 25_000;
/** The side that does not start the handshake waits this long for it, then starts one itself (§5.1). */
export const RESPONDER_PATIENCE_MS = 5000;
/** A handshake that was sent while there was no path is repeated once it is this old: the engine ignores earlier wishes. */
export const HANDSHAKE_REPEAT_MS = 520;

/** Peers of one map; a map with more is cut, as each costs a session's memory. */
export const MAX_PEERS = 16_384;
/** Streams that have been opened or accepted and not closed. */
export const MAX_STREAMS = 32_768;
/** Dials that wait for a path. */
export const MAX_WAITING_DIALS = 4096;
/** Received bytes of a stream are gathered in pieces of this size before they are handed on. */
export const STREAM_SLAB_BYTES = 64 * 1024;
/** Pieces of this size and above are lent at once; smaller ones are gathered first. */
export const STREAM_LEND_BYTES = 8 * 1024;
/** What a stream holds for its reader beyond the stack's own window, */
export const STREAM_HIGH_WATER_BYTES = 32 * 1024;
/** and what it takes from its writer beyond the stack's buffer. Both count against the 256 KB of a busy connection. */
export const STREAM_WRITE_AHEAD_BYTES = 16 * 1024;

/** UDP and ICMP flows that the filter remembers; the oldest is forgotten first. TCP flows are the stack's connections. */
export const MAX_TRACKED_FLOWS = 8192;
/** An answer to a UDP packet or a ping is let in for this long after the last packet out. */
export const FLOW_LIFETIME_MS = 30_000;

/** Datagrams to one peer that leave together, and their bytes: what the kernel takes as one run. */
export const SEND_BATCH_DATAGRAMS = 64;
export const SEND_BATCH_BYTES = 65_000;
/** Remote addresses kept as objects; when full the table starts anew. */
export const MAX_KNOWN_REMOTES = 16_384;
/** Largest datagram that is taken from a socket. */
export const MAX_DATAGRAM_BYTES = 9000;

/** Offers: the first at once, then by these (§5.2). */
export const OFFER_FIRST_MS = 3000;
export const OFFER_FIRST_AFTER_CHANGE_MS = 800;
export const OFFER_FACTOR = 2;
export const OFFER_JITTER = 0.1;
/** The cap is random between these, once for each peer, so that a thousand peers do not offer together. */
export const OFFER_CAP_MIN_MS = 30_000;
export const OFFER_CAP_MAX_MS = 45_000;
/** With the relay up and no direct path: this many retries, and then a slow repetition. NetBird repeats hourly. */
export const PARTIAL_RETRIES = 3;
export const PARTIAL_REPEAT_MS = 5 * 60_000;
/** After a change that concerns every peer, offers are spread over this time, and over so much for each peer where that is more. */
export const CHANGE_SPREAD_MS = 200;
export const CHANGE_SPREAD_PER_PEER_MS = 2;

/** ICE (§5.3, RFC 8445). One check leaves an agent in this time. */
export const ICE_PACE_MS = 50;
export const ICE_RETRY_FIRST_MS = 200;
export const ICE_RETRY_FACTOR = 1.5;
export const ICE_RETRY_MAX_MS = 1600;
export const ICE_MAX_CHECKS_PER_PAIR = 12;
/** Without a pair that works after this, the agent has failed. */
export const ICE_CHECKING_LIMIT_MS = 15_000;
/** How long a pair that works waits for a better one to be found. A relayed one need not wait long (NetBird: 2 s): a better one replaces it. */
export const ICE_NOMINATION_WAIT_MS = { host: 200, srflx: 500, prflx: 1000, relay: 800 } as const;
export const ICE_CONSENT_INTERVAL_MS = 4000;
/** The interval while something is being sent: a NAT that has changed its mapping is noticed by nothing else. */
export const ICE_CONSENT_BUSY_MS = 1500;
/** The interval is shorter by a random part up to this, so that 10,000 sessions do not ask together (RFC 7675 §5.1). */
export const ICE_CONSENT_JITTER = 0.2;
/** An unanswered consent check is repeated after this, so that one lost packet is not a lost path. */
export const ICE_CONSENT_RETRY_MS = 250;
export const ICE_DISCONNECTED_MS = 6000;
/** After this much more the agent has failed and the path is sought anew. */
export const ICE_FAILED_MS = 6000;
/** The system's list of addresses is read at most this often. */
export const HOST_ADDRESSES_FRESH_MS = 1000;
export const ICE_MAX_LOCAL_CANDIDATES = 16;
export const ICE_MAX_REMOTE_CANDIDATES = 32;
/** Candidates that authenticated checks come from without having been announced. */
export const ICE_MAX_REFLEXIVE_CANDIDATES = 16;
/** Candidates of the other side that are kept for a run of ICE that starts after them. */
export const ICE_MAX_RECENT_CANDIDATES = 32;
/** Pairs of one run; beyond it the worst are left out (RFC 8445 §6.1.2.5). */
export const ICE_MAX_PAIRS = 100;
export const ICE_MAX_OPEN_TRANSACTIONS = 64;
export const ICE_TRANSACTION_LIFETIME_MS = 5000;

/** A direct path that was lost is taken again only after it held this long, doubled with each loss. */
export const DIRECT_SETTLE_MS = 1000;
export const DIRECT_SETTLE_MAX_MS = 30_000;
/** Losses are forgotten after a direct path has held this long. */
export const DIRECT_FORGIVE_MS = 60_000;

/** The last known address of a peer, while signal is away: first within this time, */
export const LAST_KNOWN_FIRST_MS = 300;
/** then as a stock client signs in again, */
export const LAST_KNOWN_RETRY = { firstMs: 1000, factor: 2, maxMs: 15_000, jitter: 0.2 } as const;
/** for so long after the path was lost, or so long after somebody wanted the peer. */
export const LAST_KNOWN_SEEK_MS = 60 * 60_000;
export const LAST_KNOWN_WANTED_MS = 60_000;
/** While signal is there, whether it still is is looked at this often. */
export const LAST_KNOWN_LOOK_MS = 5000;
/** Without ICE nothing asks for consent: data has to bring back at least WireGuard's keepalive (10 s), and silence may last two of ours. */
export const LAST_KNOWN_SILENCE_MS = 12_000;
export const LAST_KNOWN_QUIET_MS = 60_000;

/** Data that was sent directly and brought nothing back for so long makes the path prove itself. */
export const DIRECT_SILENCE_MS = 1000;

/** Asking a STUN server for our outer address. */
export const STUN_RETRY_MS = 500;
export const STUN_ATTEMPTS = 4;
export const STUN_MAX_SERVERS = 4;
/** However often somebody doubts what is known, it is not asked for more often than this. */
export const STUN_AGAIN_MS = 1000;
/** An answer is good for this long (§5.3). */
export const STUN_FRESH_MS = 25_000;

/** Relay (§4.5, §4.7). */
export const RELAY_CONNECT_TIMEOUT_MS = 8000;
export const RELAY_AUTH_TIMEOUT_MS = 8000;
/** Without a health check of the server for this long, the connection is dropped. */
export const RELAY_HEALTH_LIMIT_MS = 35_000;
/** Our own ping, for the round-trip time. */
export const RELAY_PING_INTERVAL_MS = 10_000;
/** A relay that does not answer it in this time is left. */
export const RELAY_PONG_LIMIT_MS = 5000;
/** Packets that bring nothing back for so long make the relay answer a ping, within the same time again. */
export const RELAY_SILENCE_MS = 2000;
export const RELAY_QUICK_RETRY_MS = 1500;
/** After the loss of one relay of several, the others are tried within this time: not all peers at once. */
export const RELAY_NEXT_SPREAD_MS = 300;
export const RELAY_RETRY_FIRST_MS = 2000;
export const RELAY_RETRY_MAX_MS = 60_000;
export const RELAY_MAX_URLS = 7;
/** Relays of other peers that we are connected to. */
export const RELAY_MAX_FOREIGN = 64;
/** A foreign relay that no peer uses is left after this. */
export const RELAY_FOREIGN_IDLE_MS = 60_000;
/** Bytes that wait in the WebSocket; beyond it packets are dropped. */
export const RELAY_MAX_QUEUED_BYTES = 1024 * 1024;

/** How often this host's addresses and default routes are looked at. One look costs a fraction of a millisecond. */
export const NETWORK_LOOK_MS = 1000;
/** A look that comes this much later than it should, or a wall clock that ran ahead this much, means that the host slept. */
export const NETWORK_SLEEP_MS = 5000;
/** What is read of a table of routes: default routes stand first. */
export const NETWORK_ROUTE_BYTES = 64 * 1024;
/** Connections of peers whose path came back are hurried together, after this: the peer may be still at its own switch. */
export const PATH_HURRY_MS = 20;
/** After a change that may have cut a path, a path has this long to prove itself before it counts as lost. */
export const PATH_VERIFY_MS = 1000;
/** Meanwhile it is asked this often. */
export const PATH_VERIFY_RETRY_MS = 240;
/** A controlling side that sees us at a new address has this long to follow us there. Stock peers do not: a new run is then quicker. */
export const PATH_MOVED_MS = 1500;

/** Lazy connections (§5.7): without traffic for this long, a peer rests. */
export const LAZY_IDLE_MS = 15 * 60_000;
/** Peers older than this know no lazy connections: major and minor of the version. */
export const LAZY_MIN_VERSION = [0, 45] as const;

/** TURN (RFC 8656). Servers of the map that are used. */
export const TURN_MAX_SERVERS = 2;
/** A request is repeated after this, doubled each time, and given up after so many attempts: 7.5 s in all. */
export const TURN_RETRY_MS = 500;
export const TURN_ATTEMPTS = 4;
/** A nonce that was called stale this often in a row is the server's fault. */
export const TURN_MAX_STALE = 3;
/** Without an allocation after a failure, the next attempt comes after this, doubled up to the limit. */
export const TURN_AGAIN_FIRST_MS = 5000;
export const TURN_AGAIN_MAX_MS = 5 * 60_000;
/** An older allocation in the way is given back, and a new one asked for after this, doubled each time, so often. */
export const TURN_CLEARING_MS = 500;
export const TURN_CLEARINGS = 4;
/** Asked for; the server may grant less. Refreshed this long before the end, or at half of a short one. */
export const TURN_LIFETIME_S = 600;
export const TURN_REFRESH_AHEAD_MS = 60_000;
/** An allocation that no run of ICE has asked for during this time, and no peer uses, is given back. */
export const TURN_IDLE_MS = 60_000;
/** A permission lives five minutes at the server, a channel ten; its number rests five more before it names another peer. */
export const TURN_PERMISSION_REFRESH_MS = 4 * 60_000;
export const TURN_CHANNEL_REFRESH_MS = 5 * 60_000;
export const TURN_CHANNEL_REUSE_MS = 15 * 60_000;
/** Addresses that may send to us through one allocation, and how many are asked for in one request. */
export const TURN_MAX_PERMISSIONS = 4096;
export const TURN_PERMISSION_BATCH = 8;
/** Requests that wait for their answer. */
export const TURN_MAX_OPEN_REQUESTS = 32;
/** Addresses behind a relay that are kept as objects; when full, those without a channel are forgotten. */
export const TURN_MAX_REMOTES = 8192;

/** System mode: connections to programs of the host that were cut, or pushed out by newer ones, and are remembered as such. */
export const MAX_CUT_FLOWS = 65_536;
/** System mode: kernel sockets that listen for the overlay; a SYN beyond them is dropped, and comes again. */
export const SYSTEM_LISTENERS_MAX = 1024;
/** A listener without connections is closed after this. */
export const SYSTEM_LISTENER_IDLE_MS = 5 * 60_000;
/** SYNs that wait for one listener to be opened. */
export const SYSTEM_WAITING_SYNS = 64;
/** The kernel replaces `%d` by the first free number. The prefix is one that NetBird's peers also take for a tunnel. */
export const SYSTEM_INTERFACE = 'wtmg%d';

/** Networks behind peers. Prefixes that are taken from routing peers, and addresses that are held for names and open connections. */
export const MAX_PREFIXES_TAKEN = 10_000;
export const MAX_NAMED_ADDRESSES = 4096;
/** Networks and names that this peer carries for others. */
export const MAX_CARRIED = 10_000;
/** Addresses of names that were resolved for others; the one that ends first gives way. */
export const MAX_RESOLVED_ADDRESSES = 4096;
/** Names of one such address. */
export const MAX_NAMES_OF_ADDRESS = 32;
/** New connections to a resolved address are let through for this long after the answer's time is over: callers keep answers, too. */
export const RESOLVED_GRACE_MS = 5 * 60_000;
/** How often addresses whose time is over are looked for. */
export const RESOLVED_SWEEP_MS = 10_000;
/**
 * Connections whose SYN is held while the way to their target opens, each with a socket: as many as an agent forwards at all. One caller alone gets
 * half of them, which is a gateway that begins 2,048 connections in the few milliseconds that a target takes; beyond it callers try again.
 */
export const MAX_OPENINGS = 4096;
/** How long opening may take, and how long a way that is open waits for its caller. */
export const OPENING_MS = 10_000;
export const OPENING_KEPT_MS = 15_000;
/** UDP flows that this peer carries, in all and of one caller; beyond it datagrams are dropped. */
export const MAX_CARRIED_FLOWS = 2048;
export const MAX_CARRIED_FLOWS_PER_PEER = 256;
/** A flow without a datagram either way for this long is over. */
export const CARRIED_FLOW_IDLE_MS = 60_000;

/** Where routing peers answer for names: the port of today and the older one (§2.6). */
export const FORWARDER_PORTS = [22_054, 5353] as const;
/** Questions of others that are being resolved, in all and of one peer; beyond it they are dropped. */
export const MAX_FORWARDED_QUESTIONS = 256;
export const MAX_FORWARDED_QUESTIONS_PER_PEER = 32;
/** Resolving a name for another peer, and for a dial of our own. */
export const RESOLVE_LIMIT_MS = 5000;
/** Addresses of one answer that are used. */
export const MAX_ANSWER_ADDRESSES = 16;
/** An answer is told to be good for this long, seconds, whatever its records say: a router that starts anew must be asked again soon. */
export const MIN_ANSWER_TTL_SECONDS = 5;
export const MAX_ANSWER_TTL_SECONDS = 60;
/** What name servers say of names that are not routed is kept for at most this long, seconds. */
export const MAX_RECORD_TTL_SECONDS = 3600;
/** Answers that are kept; the one used longest ago gives way. */
export const MAX_CACHED_ANSWERS = 4096;
/** That a name is unknown is kept for as long as its zone says, at most this long; 5 s where it says nothing. */
export const MAX_NEGATIVE_TTL_SECONDS = 60;
export const DEFAULT_NEGATIVE_TTL_SECONDS = 5;
/** Questions of ours that wait for an answer. */
export const MAX_OPEN_QUESTIONS = 512;
/** A question is sent to a server again after this, and then the next server is asked. */
export const QUESTION_RETRY_MS = 700;
export const QUESTION_ATTEMPTS = 3;
/** CNAMEs that are followed. */
export const MAX_CNAMES = 8;
/** Addresses of a name that are dialled in turn, and how long each may take while there is another. */
export const MAX_ADDRESSES_DIALLED = 4;
export const ADDRESS_TRY_MS = 4000;
