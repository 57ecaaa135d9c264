// Data and FIN that arrive: delivery in order, keeping what comes early, and when to acknowledge.
import { FLAG } from '#wire/tcp.ts';
import type { TcpSegment } from '#wire/tcp.ts';
import {
  DELAYED_ACK_MS,
  GROWTH_MEASURE_MS,
  GROWTH_RTT_FACTOR,
  GROWTH_RTT_MIN_MS,
  GROWTH_SHARE,
  MAX_UNACKNOWLEDGED_SEGMENTS,
  RECEIVE_BUFFER_MAX,
} from '../constants.ts';
import { seqLess, seqMin } from './seq.ts';
import type { ControlBlock } from './state.ts';

/** Takes in the data and FIN of an acceptable segment (RFC 9293 §3.10.7.4, seventh and eighth step). Returns whether the FIN is now due. */
export function receiveData(block: ControlBlock, segment: TcpSegment, packet: Uint8Array, now: number): boolean {
  const fin = (segment.flags & FLAG.fin) !== 0;
  const length = segment.dataEnd - segment.dataStart;
  if (length === 0 && !fin) return false;
  if (block.finReceived) {
    block.ackNow = true; // our ACK of the FIN was lost
    return false;
  }
  const edge = (segment.seq + length) | 0;
  if (fin && !block.remoteFinKnown) {
    block.remoteFinKnown = true;
    block.remoteFinSeq = edge;
  }
  const skip = seqLess(segment.seq, block.rcvNxt) ? (block.rcvNxt - segment.seq) | 0 : 0;
  let limit = seqMin(edge, block.rcvAdvertised);
  if (block.remoteFinKnown) limit = seqMin(limit, block.remoteFinSeq); // nothing follows a FIN
  const fresh = ((limit - segment.seq) | 0) - skip;
  if (fresh > 0) {
    const start = segment.dataStart + skip;
    const bytes = packet.subarray(start, start + fresh);
    const seq = (segment.seq + skip) | 0;
    if (seq === block.rcvNxt) takeInOrder(block, bytes, segment.segments, now);
    else {
      if (block.assembler.holds(seq, (seq + fresh) | 0)) noteDuplicate(block, seq, (seq + fresh) | 0);
      block.assembler.insert(seq, bytes);
      block.ackNow = true;
    }
  } else if (length > 0) {
    block.ackNow = true; // all of it is old, or beyond the window
  }
  if (skip > 0) noteDuplicate(block, segment.seq, (segment.seq + Math.min(skip, length)) | 0);
  if (block.remoteFinKnown && block.rcvNxt === block.remoteFinSeq && block.synchronized) {
    block.finReceived = true;
    block.rcvNxt = (block.rcvNxt + 1) | 0;
    if (seqLess(block.rcvAdvertised, block.rcvNxt)) block.rcvAdvertised = block.rcvNxt;
    block.ackNow = true;
    return true;
  }
  if (fin) block.ackNow = true;
  return false;
}

/** A segment that lies before the window may be data that came twice. */
export function noteOld(block: ControlBlock, segment: TcpSegment): void {
  const end = (segment.seq + segment.dataEnd - segment.dataStart) | 0;
  if (segment.seq !== end && !seqLess(block.rcvNxt, end)) noteDuplicate(block, segment.seq, end);
}

/** What came twice is told, so that the sender learns that it had only been late (RFC 2883 §4). */
function noteDuplicate(block: ControlBlock, start: number, end: number): void {
  block.duplicateStart = start;
  block.duplicateEnd = end;
}

function takeInOrder(block: ControlBlock, bytes: Uint8Array, segments: number, now: number): void {
  const filling = !block.assembler.empty;
  deliver(block, bytes, now);
  if (filling) {
    let piece = block.assembler.take(block.rcvNxt);
    while (piece !== undefined && block.synchronized) {
      deliver(block, piece, now);
      piece = block.assembler.take(block.rcvNxt);
    }
    block.ackNow = true; // a gap was filled at least in part (RFC 5681 §4.2)
  }
  block.segmentsToAck += segments;
  if (block.segmentsToAck >= MAX_UNACKNOWLEDGED_SEGMENTS) block.ackNow = true;
  else if (hasTwoFullSegments(block)) block.delayedAckAt = now;
  else if (block.delayedAckAt === Infinity) block.delayedAckAt = now + DELAYED_ACK_MS;
}

/**
 * Two full segments are to be acknowledged without delay (RFC 9293 §3.8.6.3), which here is at the next `poll`: what arrives together is
 * acknowledged together, as a network card that joins segments would have it. A little more than one segment, such as a short answer
 * behind its header, is not two: what is said back carries the ACK.
 */
function hasTwoFullSegments(block: ControlBlock): boolean {
  return 2 * ((block.rcvNxt - block.lastAckSent) | 0) > 3 * block.ownMss;
}

function deliver(block: ControlBlock, bytes: Uint8Array, now: number): void {
  block.rcvNxt = (block.rcvNxt + bytes.length) | 0;
  block.unconsumed += bytes.length;
  block.handler?.data(bytes, now);
}

/**
 * The application has taken `count` bytes. Where it takes a quarter of the buffer within a round trip, the window would soon limit the
 * sender: it doubles up to the maximum. At once where so much was taken in less than a round trip, as a sender in slow start will bring
 * twice as much in the next. What is only received says nothing: a larger buffer does not help a slow reader.
 */
export function growBuffer(block: ControlBlock, count: number, now: number): void {
  block.grownBytes += count;
  const rtt = Math.max(Math.min(block.roundTrip.smoothed, GROWTH_RTT_FACTOR * block.rack.minRtt), GROWTH_RTT_MIN_MS);
  const elapsed = now - block.growMeasuredAt;
  const whole = elapsed >= Math.max(rtt, GROWTH_MEASURE_MS);
  if (!whole && elapsed > rtt) return;
  const inRoundTrip = whole ? (block.grownBytes / elapsed) * rtt : block.grownBytes;
  const more = Math.min(block.rcvBuffer, RECEIVE_BUFFER_MAX - block.rcvBuffer);
  const quick = inRoundTrip * GROWTH_SHARE >= block.rcvBuffer && block.unconsumed * 2 < block.rcvBuffer;
  if (quick && more > 0 && block.host.reserve(block, more)) block.rcvBuffer += more;
  if (!whole) return;
  block.grownBytes = 0;
  block.growMeasuredAt = now;
}

/** Whether a segment lies in the window (RFC 9293 §3.10.7.4, first step). */
export function acceptable(block: ControlBlock, seq: number, length: number): boolean {
  const window = block.rcvWindow;
  const offset = (seq - block.rcvNxt) | 0;
  // A pure ACK may stand right at the edge: its sender has filled the window, and what it sent before is lost or late.
  if (length === 0) return offset >= 0 && offset <= window;
  // What begins at the next byte is always looked at: with a full window its data is dropped, but its ACK counts.
  if (offset <= 0) return offset === 0 || seqLess(block.rcvNxt, (seq + length) | 0);
  return offset < window;
}
