// What an acknowledgment changes: the send buffer, the peer's window, round trip and congestion window, and what counts as lost.
import type { TcpSegment } from '#wire/tcp.ts';
import { DUPLICATE_ACKS, SEND_LOW_WATER, SEND_RING_FIRST, SEND_RING_IDLE_MS, TAIL_PROBE_MIN_MS, TAIL_PROBE_SINGLE_MS } from '../constants.ts';
import { seqLess, seqLessEqual } from './seq.ts';
import type { ControlBlock } from './state.ts';
import { timestampOf } from './state.ts';

/**
 * Processes the acknowledgment of an acceptable segment, `sndUna <= ack <= sndNxt` or older (RFC 9293 §3.10.7.4, fifth step).
 * `segmentLength` is what the segment takes of the sequence space.
 */
export function acknowledge(block: ControlBlock, segment: TcpSegment, segmentLength: number, now: number): void {
  const { board } = block;
  const acked = (segment.ack - block.sndUna) | 0;
  const { flight, tailProbed } = block;
  let news = 0;
  if (block.sack && acked >= 0) {
    for (let i = 0; i < segment.sackBlocks; i++) {
      news += board.add(segment.sackEdges[2 * i] as number, segment.sackEdges[2 * i + 1] as number, segment.ack, block.sndNxt);
    }
  }
  const windowMoved = acked >= 0 && updateWindow(block, segment, now);
  if (acked > 0) advance(block, segment, acked, flight, now);
  else if (acked === 0 && flight > 0 && (block.sack ? news > 0 : segmentLength === 0 && !windowMoved)) board.duplicateAcks++;
  if (acked >= 0 && flight > 0) detectLoss(block, tailProbed && news > 0, now);
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
  const { board, congestion, roundTrip, ring } = block;
  takeSample(block, segment, flight, now);
  const wasFinAcked = block.finSent && segment.ack === block.sndNxt;
  ring.drop(Math.min(ring.length, wasFinAcked ? acked - 1 : acked));
  block.sndUna = segment.ack;
  block.progressAt = now;
  block.softError = undefined;
  afterTailProbe(block, segment, flight);
  board.advance(block.sndUna);
  if (block.mayUndo) {
    // Eifel (RFC 3522): this answers a segment from before the retransmission, so nothing had been lost.
    block.mayUndo = false;
    if (board.mode !== 'open' && segment.hasTimestamps && ((segment.tsEcho - block.undoStamp) | 0) < 0) {
      congestion.undo();
      board.finish();
    }
  }
  switch (board.mode) {
    case 'recovery':
      if (seqLessEqual(board.recoveryPoint, block.sndUna)) board.finish();
      else {
        board.partialAck(block.sndNxt);
        // Without SACK a partial ACK shows the next loss, and takes back what the duplicates had stood for (RFC 6582 §3.2).
        if (!block.sack) {
          board.forced = true;
          board.duplicateAcks = Math.max(0, board.duplicateAcks - Math.max(0, Math.floor(acked / block.mss) - 1));
        }
      }
      break;
    case 'timeout':
      if (seqLessEqual(board.recoveryPoint, block.sndUna)) board.finish();
      congestion.onAck(acked, now, roundTrip.smoothed);
      break;
    case 'open':
      board.duplicateAcks = 0;
      if (block.windowLimited || (congestion.slowStart && 2 * flight > congestion.window)) congestion.onAck(acked, now, roundTrip.smoothed);
      break;
  }
  roundTrip.resetBackoff();
  if (block.tailProbeAt !== Infinity)
    block.tailProbeAt = now + Math.max(TAIL_PROBE_MIN_MS, 2 * roundTrip.smoothed) + (block.flight < 2 * block.mss ? TAIL_PROBE_SINGLE_MS : 0);
  block.retransmitAt = block.flight > 0 ? now + roundTrip.timeout : Infinity;
  if (ring.length === 0 && ring.capacity > SEND_RING_FIRST) block.ringIdleAt = now + SEND_RING_IDLE_MS;
}

/** The probe's copy is what was acknowledged: the segment had been lost, which counts as congestion although it is repaired. */
function afterTailProbe(block: ControlBlock, segment: TcpSegment, flight: number): void {
  const repaired = block.tailProbed && block.tailProbeAgain && segment.hasTimestamps && seqLessEqual(block.tailProbeStamp, segment.tsEcho);
  if (repaired && segment.ack === block.sndNxt && block.board.mode === 'open') block.congestion.onLoss(flight);
  block.tailProbed = false;
  block.tailProbeAgain = false;
}

function takeSample(block: ControlBlock, segment: TcpSegment, flight: number, now: number): void {
  if (block.timestamps) {
    if (!segment.hasTimestamps) return;
    const rtt = (timestampOf(block, now) - segment.tsEcho) | 0;
    // An echo that we never sent, or that is older than any segment lives, is no sample.
    if (rtt >= 0 && rtt < 600_000) block.roundTrip.sample(rtt, Math.ceil(flight / (2 * block.mss)));
  } else if (block.timedAt >= 0 && seqLessEqual(block.timedSeq, segment.ack)) {
    block.roundTrip.sample(now - block.timedAt, 1);
    block.timedAt = -1;
  }
}

/** `tailSacked`: a tail probe arrived, so what it left unSACKed has been out for more than two round trips. */
function detectLoss(block: ControlBlock, tailSacked: boolean, now: number): void {
  const { board } = block;
  if (block.flight === 0) return;
  if (board.mode === 'recovery') {
    board.retransmissionLost(block.sndUna, block.sndNxt, block.mss);
    return;
  }
  if (board.mode !== 'open') return;
  const lost = block.sack
    ? board.ranges > 0 &&
      (tailSacked || board.duplicateAcks >= DUPLICATE_ACKS || seqLess(block.sndUna, board.lossEdge(block.sndUna, block.mss, true)))
    : board.duplicateAcks >= DUPLICATE_ACKS;
  if (!lost) return;
  block.tailProbeAt = Infinity;
  block.congestion.onLoss(block.flight);
  block.mayUndo = block.timestamps;
  block.undoStamp = timestampOf(block, now);
  board.enterRecovery(block.sndUna, block.sndNxt, tailSacked);
}

/** Tells a writer that was held back that there is room again. */
export function offerRoom(block: ControlBlock, now: number): void {
  if (!block.writeBlocked || block.ring.free < SEND_LOW_WATER || block.finQueued) return;
  block.writeBlocked = false;
  block.handler?.writable(now);
}
