// One connection's state: the transmission control block of RFC 9293 §3.3.1 as plain data. The files beside this one act on it.
import { RECEIVE_BUFFER_FIRST } from '../constants.ts';
import type { Timed } from '../deadlines.ts';
import type { Flow, FlowEntry } from '../flow.ts';
import type { SocketAddress, TcpConnection, TcpEnd, TcpHandler } from '../types.ts';
import { Assembler } from './assembler.ts';
import { Congestion } from './congestion.ts';
import { Rack } from './rack.ts';
import { Recovery } from './recovery.ts';
import { RoundTrip } from './round-trip.ts';
import { SendRing } from './send-ring.ts';
import { SentRanges } from './sent.ts';

/** The states of RFC 9293 §3.3.2; LISTEN is a listener of its own, and 'closed' a block that nobody finds any more. */
export type TcpState =
  | 'syn-sent'
  | 'syn-received'
  | 'established'
  | 'fin-wait-1'
  | 'fin-wait-2'
  | 'close-wait'
  | 'closing'
  | 'last-ack'
  | 'time-wait'
  | 'closed';

/** Who gets an accepted connection. */
export interface PassiveOpen {
  accept(connection: TcpConnection, now: number): void;
}

/** What a connection needs from the stack that holds it. */
export interface TcpHost {
  /** Room for one packet, or one super-packet where `superPackets` is set; valid until `emit`. */
  readonly scratch: Uint8Array;
  readonly superPackets: boolean;
  /** Sends the first `length` bytes of `scratch`, as segments of `segmentSize` bytes of payload where that is not 0. */
  emit(length: number, segmentSize: number): void;
  /** Asks for `transmit` to be called before the stack returns to its caller, and for the block's deadline to be looked at. */
  wantOutput(block: ControlBlock): void;
  /** Runs what was asked for, unless the stack is already on its way to do so. */
  flush(now: number): void;
  /**
   * Asks for more buffer for one connection, or gives it back where `bytes` is negative; false when all connections together would have
   * more than `most`, or than the stack gives away at all.
   */
  reserve(block: { extraBytes: number }, bytes: number, most?: number): boolean;
  /** A handshake that another side began is complete. */
  handshakeDone(block: ControlBlock): void;
  /** The block went into TIME-WAIT. */
  waiting(block: ControlBlock): void;
  /** The block is closed: nobody may find it any more. */
  forget(block: ControlBlock): void;
}

export class ControlBlock implements FlowEntry<ControlBlock>, Timed {
  readonly host: TcpHost;
  readonly flow: Flow;
  readonly local: SocketAddress;
  readonly remote: SocketAddress;
  /** Sum of the pseudo header without the length. */
  readonly pseudo: number;
  /** Bytes of the IP header of packets that we send. */
  readonly ipHeader: number;
  /** The MSS that we announce, and the limit of what we send. */
  readonly ownMss: number;

  state: TcpState;
  handler: TcpHandler | undefined;
  /** Set until the accept callback has run. */
  passive: PassiveOpen | undefined;
  /** Opened by the other side: a reset before the handshake is complete is nobody's business. */
  readonly isPassive: boolean;

  // Places in the stack's tables, managed there.
  nextInBucket: ControlBlock | undefined;
  dueAt = Infinity;
  heapIndex = -1;
  wantsOutput = false;

  // Send sequence space.
  readonly ring = new SendRing();
  readonly iss: number;
  sndUna: number;
  sndNxt: number;
  sndWnd = 0;
  sndWl1 = 0;
  sndWl2 = 0;
  maxSndWnd = 0;
  sndScale = 0;
  /** Payload bytes of a full segment, options of every segment taken off. */
  mss: number;
  /** The same as the handshake had it; when to go back to it, and how often the path did not let it through. */
  agreedMss: number;
  mssRaiseAt = Infinity;
  mssLowered = 0;
  /** `end` was called; `finSeq` is the sequence number of our FIN once the handshake is complete. */
  finQueued = false;
  finSeq = 0;
  finSent = false;
  /** `write` took less than it was given. */
  writeBlocked = false;

  // Receive sequence space.
  readonly assembler = new Assembler();
  irs = 0;
  rcvNxt = 0;
  /** Right edge of the window that the other side knows. */
  rcvAdvertised = 0;
  rcvBuffer = RECEIVE_BUFFER_FIRST;
  rcvScale = 0;
  /** Handed to the application and not yet consumed. */
  unconsumed = 0;
  finReceived = false;
  /** Bytes that came twice, to be told in the next segment (RFC 2883); equal where there are none. */
  duplicateStart = 0;
  duplicateEnd = 0;
  remoteFinSeq = 0;
  remoteFinKnown = false;
  /** Bytes that the application has taken since `growMeasuredAt`, to grow the buffer for a fast sender. */
  grownBytes = 0;
  growMeasuredAt = 0;

  // Agreed options.
  timestamps = false;
  sack = false;
  tsOffset: number;
  tsRecent = 0;
  tsRecentAt = 0;
  lastAckSent = 0;

  // Loss, speed and time.
  readonly roundTrip = new RoundTrip();
  readonly congestion: Congestion;
  readonly sent = new SentRanges();
  readonly rack = new Rack();
  readonly recovery = new Recovery();
  /** The last transmission stopped at the congestion window. */
  windowLimited = false;
  /** What its buffers were allowed beyond their first sizes. */
  extraBytes = 0;
  /** When the SYN went out, where it went out once; else negative. */
  synSentAt = -1;
  /** Timestamp of the first retransmission of a recovery, to find out whether it was needed (RFC 3522). */
  undoStamp = 0;
  mayUndo = false;
  /** Bytes sent again in this recovery that the peer has not reported as having got twice; when none are left, it was not needed. */
  undoBytes = 0;

  /** Tail loss probe: when, whether one is out for this flight, and what it sent again (RFC 8985 §7). */
  tailProbeAt = Infinity;
  tailProbed = false;
  tailProbePending = false;
  tailProbeAgain = false;
  tailProbeStamp = 0;

  // What is due.
  /** A rest of data waits for more until then; `uncorked`: it no longer does. */
  corkedUntil = Infinity;
  uncorked = false;
  synPending = false;
  ackNow = false;
  segmentsToAck = 0;
  resetPending = false;
  probePending = false;
  probes = 0;
  synRepeated = false;
  retransmitAt = Infinity;
  persistAt = Infinity;
  persistSince = 0;
  persistBackoff = 0;
  delayedAckAt = Infinity;
  waitUntil = Infinity;
  ringIdleAt = Infinity;
  lastSentAt = -Infinity;
  lastReceivedAt: number;
  lastChallengeAt = -Infinity;
  /** When the oldest outstanding data was first sent, or the last time that something was acknowledged. */
  progressAt: number;
  /** An ICMP error that did not end the connection, but explains a later timeout. */
  softError: TcpEnd | undefined;

  constructor(host: TcpHost, flow: Flow, local: SocketAddress, remote: SocketAddress, open: OpenParameters, now: number) {
    this.host = host;
    this.flow = flow;
    this.local = local;
    this.remote = remote;
    this.pseudo = open.pseudo;
    this.ipHeader = open.ipHeader;
    this.ownMss = open.mss;
    this.mss = open.mss;
    this.agreedMss = open.mss;
    this.isPassive = open.passive !== undefined;
    this.passive = open.passive;
    this.state = open.passive === undefined ? 'syn-sent' : 'syn-received';
    this.iss = open.iss;
    this.sndUna = open.iss;
    this.sndNxt = open.iss;
    this.sent.reset(open.iss);
    this.tsOffset = open.tsOffset;
    this.congestion = new Congestion(open.mss);
    this.lastReceivedAt = now;
    this.progressAt = now;
    this.growMeasuredAt = now;
  }

  /** Whether both sides know each other's sequence numbers. */
  get synchronized(): boolean {
    return this.state !== 'syn-sent' && this.state !== 'syn-received' && this.state !== 'closed';
  }

  /** Bytes (and FIN) sent and not acknowledged. */
  get flight(): number {
    return (this.sndNxt - this.sndUna) | 0;
  }

  /** Bytes believed to be in the network. Without SACK each duplicate ACK stands for a segment that left it. */
  get pipe(): number {
    const bytes = this.flight - this.sent.sackedBytes - this.sent.lostBytes;
    return this.sack ? bytes : Math.max(0, bytes - this.recovery.duplicateAcks * this.mss);
  }

  /** Bytes of the window that the other side knows and has not filled. */
  get rcvWindow(): number {
    return (this.rcvAdvertised - this.rcvNxt) | 0;
  }
}

export interface OpenParameters {
  readonly passive: PassiveOpen | undefined;
  readonly iss: number;
  readonly tsOffset: number;
  readonly mss: number;
  readonly pseudo: number;
  readonly ipHeader: number;
}

/** Our timestamp clock: milliseconds from a random origin for each connection (RFC 7323 §5.4). */
export function timestampOf(block: ControlBlock, now: number): number {
  return (Math.floor(now) + block.tsOffset) | 0;
}

/** Ends the connection, tells its owner, and forgets it. Does nothing on a closed block. */
export function finish(block: ControlBlock, reason: TcpEnd, now: number): void {
  if (block.state === 'closed') return;
  discard(block);
  const { handler } = block;
  block.handler = undefined;
  handler?.closed(reason, now);
}

/** Forgets the connection without telling anybody. */
export function discard(block: ControlBlock): void {
  block.state = 'closed';
  block.passive = undefined;
  releaseBuffers(block);
  block.host.forget(block);
}

/** Both sides have finished: the owner is told now, only the four-tuple stays reserved (RFC 9293 §3.6.1). */
export function enterTimeWait(block: ControlBlock, until: number, now: number): void {
  block.state = 'time-wait';
  block.waitUntil = until;
  block.retransmitAt = Infinity;
  block.persistAt = Infinity;
  block.tailProbeAt = Infinity;
  block.rack.dueAt = Infinity;
  block.delayedAckAt = Infinity;
  releaseBuffers(block);
  block.host.waiting(block);
  const { handler } = block;
  block.handler = undefined;
  handler?.closed('finished', now);
}

function releaseBuffers(block: ControlBlock): void {
  block.ring.clear();
  block.sent.clear();
  block.assembler.clear();
  block.ringIdleAt = Infinity;
}
