// What an acknowledgment changes: the send buffer, the peer's window, round trip and congestion window, and what counts as lost.
import type { TcpSegment } from '#wire/tcp.ts';
import { RTO_MIN_MS, SEND_RING_IDLE_MS, TAIL_PROBE_MIN_MS, TAIL_PROBE_SINGLE_MS } from '../constants.ts';
import { detectLoss } from './loss.ts';
import { raiseMss } from './options.ts';
import { seqLess, seqLessEqual } from './seq.ts';
import type { ControlBlock } from './state.ts';
import { timestampOf } from './state.ts';

/**
 * Processes the acknowledgment of an acceptable segment, `sndUna <= ack <= sndNxt` or older (RFC 9293 §3.10.7.4, fifth step).
 * `segmentLength` is what the segment takes of the sequence space.
 */
export function acknowledge(block: ControlBlock, segment: TcpSegment, segmentLength: number, now: number): void {
  const acked = (segment.ack - block.sndUna) | 0;
  if (acked < 0) return;
  const { sent, recovery } = block;
  const { flight } = block;
  const { backoff } = block.roundTrip;
  sent.begin();
  if (block.sack && segment.sackBlocks > 0) takeSack(block, segment);
  const windowMoved = updateWindow(block, segment, now);
  if (acked > 0) advance(block, segment, acked, flight, now);
  else if (!block.sack && flight > 0 && segmentLength === 0 && !windowMoved) recovery.duplicateAcks++;
  if (flight === 0) return;
  const { delivered } = sent;
  if (delivered > 0) measure(block, segment, flight, backoff, now);
  // Without SACK an ACK in a recovery, duplicate or partial, stands for one segment that left the network.
  detectLoss(block, block.sack || recovery.mode === 'open' ? delivered : block.mss, acked > 0, now);
}

/** SACK blocks, and a D-SACK before them: bytes that the peer got twice (RFC 2883). */
function takeSack(block: ControlBlock, segment: TcpSegment): void {
  const { sent } = block;
  const edges = segment.sackEdges;
  for (let i = 0; i < segment.sackBlocks; i++) {
    const left = edges[2 * i] as number;
    const right = edges[2 * i + 1] as number;
    if (i === 0 && isDuplicate(segment, left, right)) takeDuplicate(block, (right - left) | 0);
    else sent.sack(left, right, segment.ack, block.sndNxt);
  }
}

/** Whether the ACK says that something came twice (RFC 2883). */
function answersDuplicate(segment: TcpSegment): boolean {
  return segment.sackBlocks > 0 && isDuplicate(segment, segment.sackEdges[0] as number, segment.sackEdges[1] as number);
}

function isDuplicate(segment: TcpSegment, left: number, right: number): boolean {
  if (!seqLess(left, right)) return false;
  if (seqLessEqual(right, segment.ack)) return true;
  return segment.sackBlocks > 1 && seqLessEqual(segment.sackEdges[2] as number, left) && seqLessEqual(right, segment.sackEdges[3] as number);
}

/** What was sent again had only been late: more patience, and where all of it was, the window comes back (RFC 4015, RFC 8985 §6.2). */
function takeDuplicate(block: ControlBlock, bytes: number): void {
  const { recovery } = block;
  // Nothing that we sent twice: the network copies packets.
  if (block.undoBytes === 0) return;
  block.rack.onDuplicate(block.sndUna, block.sndNxt);
  block.undoBytes = Math.max(0, block.undoBytes - bytes);
  if (block.undoBytes > 0 || recovery.mode === 'timeout') return;
  block.congestion.undo();
  if (recovery.mode === 'recovery' && block.sent.lostBytes === 0) endRecovery(block);
}

/** The peer's window (RFC 9293 §3.10.7.4); older segments do not count. Returns whether it changed. */
function updateWindow(block: ControlBlock, segment: TcpSegment, now: number): boolean {
  const newer = seqLess(block.sndWl1, segment.seq) || (block.sndWl1 === segment.seq && seqLessEqual(block.sndWl2, segment.ack));
  if (!newer) return false;
  const window = segment.window << block.sndScale;
  const changed = window !== block.sndWnd;
  block.sndWnd = window;
  block.sndWl1 = segment.seq;
  block.sndWl2 = segment.ack;
  if (window > block.maxSndWnd) block.maxSndWnd = window;
  if (window > 0 && changed) block.persistAt = Infinity;
  else if (window === 0) block.persistSince = now; // an answer to a probe: the peer lives, it is only slow
  return changed;
}

function advance(block: ControlBlock, segment: TcpSegment, acked: number, flight: number, now: number): void {
  const { sent, recovery, congestion, roundTrip, ring } = block;
  const wasFinAcked = block.finSent && segment.ack === block.sndNxt;
  ring.drop(Math.min(ring.length, wasFinAcked ? acked - 1 : acked));
  sent.advance(segment.ack);
  block.sndUna = segment.ack;
  block.progressAt = now;
  if (now >= block.mssRaiseAt) raiseMss(block);
  block.softError = undefined;
  afterTailProbe(block, segment, flight);
  if (block.mayUndo) {
    // Eifel (RFC 3522): this answers a segment from before the retransmission, so nothing had been lost.
    block.mayUndo = false;
    if (recovery.mode !== 'open' && segment.hasTimestamps && ((segment.tsEcho - block.undoStamp) | 0) < 0) {
      congestion.undo();
      sent.unmark();
      recovery.finish();
    }
  }
  switch (recovery.mode) {
    case 'recovery':
      // Without SACK a partial ACK takes back what the duplicates had stood for (RFC 6582 §3.2).
      if (!block.sack) recovery.duplicateAcks = Math.max(0, recovery.duplicateAcks - Math.max(0, Math.floor(acked / block.mss) - 1));
      if (seqLessEqual(recovery.point, block.sndUna)) {
        congestion.window = congestion.threshold;
        endRecovery(block);
      }
      break;
    case 'timeout':
      if (seqLessEqual(recovery.point, block.sndUna)) endRecovery(block);
      congestion.onAck(acked, now, roundTrip.smoothed);
      break;
    case 'open':
      recovery.duplicateAcks = 0;
      if (block.windowLimited || (congestion.slowStart && 2 * flight > congestion.window)) congestion.onAck(acked, now, roundTrip.smoothed);
      else congestion.onUnused(now);
      break;
  }
  roundTrip.resetBackoff();
  if (block.tailProbeAt !== Infinity)
    block.tailProbeAt = now + Math.max(TAIL_PROBE_MIN_MS, 2 * roundTrip.smoothed) + (block.flight < 2 * block.mss ? TAIL_PROBE_SINGLE_MS : 0);
  block.retransmitAt = block.flight > 0 ? now + roundTrip.timeout : Infinity;
  if (ring.length === 0 && ring.capacity > 0) block.ringIdleAt = now + SEND_RING_IDLE_MS;
}

function endRecovery(block: ControlBlock): void {
  block.recovery.finish();
  block.rack.onRecoveryEnd();
}

/** The probe's copy is what was acknowledged: the segment had been lost, which counts as congestion although it is repaired. */
function afterTailProbe(block: ControlBlock, segment: TcpSegment, flight: number): void {
  const { congestion } = block;
  const repaired = block.tailProbed && block.tailProbeAgain && segment.hasTimestamps && seqLessEqual(block.tailProbeStamp, segment.tsEcho);
  if (repaired && segment.ack === block.sndNxt && block.recovery.mode === 'open') {
    congestion.onLoss(flight);
    congestion.window = congestion.threshold;
  }
  block.tailProbed = false;
  block.tailProbeAgain = false;
}

/**
 * Round trips, from when the bytes that have arrived were sent. Where all of them were sent more than once, timestamps tell which copy
 * arrived first, and not whether this is the first answer to it: where that was lost, the time since then is no round trip. Taken as one
 * it would set the next timeout, which would be the next sample, and so on to a minute of silence on a path of milliseconds. So an answer
 * to a copy that came twice counts nothing, and any other after a timeout only so much: a path that really became longer is followed in
 * steps.
 */
function measure(block: ControlBlock, segment: TcpSegment, flight: number, backoff: number, now: number): void {
  const { sent, rack, roundTrip } = block;
  const samples = Math.ceil(flight / (2 * block.mss));
  const echoes = block.timestamps && segment.hasTimestamps;
  const echoedBefore = echoes && ((segment.tsEcho - timestampOf(block, sent.newestAt)) | 0) < 0;
  // After a timeout also what was sent once may have been answered before, and the answer lost.
  const most = backoff > 0 && roundTrip.smoothed > 0 ? 2 * roundTrip.smoothed + RTO_MIN_MS : Infinity;
  if (sent.onceFirstAt !== Infinity) roundTrip.sample(Math.min(now - sent.onceFirstAt, most), samples);
  else if (echoes && !(echoedBefore && answersDuplicate(segment))) {
    const rtt = (timestampOf(block, now) - segment.tsEcho) | 0;
    // An echo that we never sent, or that is older than any segment lives, is no sample.
    if (rtt >= 0 && rtt < 600_000) roundTrip.sample(Math.min(rtt, most), samples);
  }
  rack.update(sent, echoedBefore, now);
  block.congestion.onRoundTrip(block.sndUna, block.sndNxt, sent.onceLastAt === -Infinity ? undefined : now - sent.onceLastAt);
}

/** Tells a writer that was held back that there is room again. */
export function offerRoom(block: ControlBlock, now: number): void {
  if (!block.writeBlocked || block.ring.free < block.ring.lowWater || block.finQueued) return;
  block.writeBlocked = false;
  block.handler?.writable(now);
}
