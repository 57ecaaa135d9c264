// From ACKs and the passing of time to what is lost, and from there into recovery.
import { DUPLICATE_ACKS } from '../constants.ts';
import type { ControlBlock } from './state.ts';
import { timestampOf } from './state.ts';

/**
 * Marks what is lost by now and slows down for it. `delivered` is what the ACK brought that is being processed, in bytes (0 where a
 * timer asks), `progress` whether it acknowledged anything new.
 */
export function detectLoss(block: ControlBlock, delivered: number, progress: boolean, now: number): void {
  const { sent, rack, recovery, congestion } = block;
  const { flight } = block;
  if (flight === 0) {
    rack.dueAt = Infinity;
    return;
  }
  const before = sent.lostBytes;
  if (!block.sack) detectWithoutSack(block, progress);
  else if (sent.sackedBytes > 0 || recovery.mode !== 'open') rack.detect(sent, recovery.mode !== 'open', block.mss, block.roundTrip.smoothed, now);
  else rack.dueAt = Infinity;
  const found = sent.lostBytes > before;
  if (recovery.mode === 'open' && sent.lostBytes > 0) {
    block.tailProbeAt = Infinity;
    congestion.onLoss(flight + delivered);
    block.mayUndo = block.timestamps;
    block.undoStamp = timestampOf(block, now);
    block.undoBytes = 0;
    recovery.enter(block.sndNxt, flight + delivered);
  }
  if (recovery.mode === 'recovery' && (delivered > 0 || found)) {
    congestion.window = recovery.window(delivered, block.pipe, congestion.threshold, progress && !found, block.mss);
    // RFC 6582 §3.2: a partial ACK is answered with the next segment at once.
    if (!block.sack && found) congestion.window = Math.max(congestion.window, block.pipe + block.mss);
  }
}

/** NewReno (RFC 6582): three duplicate ACKs, and within a recovery each partial ACK, mean that the first segment is lost. */
function detectWithoutSack(block: ControlBlock, progress: boolean): void {
  const { sent, recovery } = block;
  if (recovery.mode === 'open' ? recovery.duplicateAcks >= DUPLICATE_ACKS : recovery.mode === 'recovery' && progress) sent.markHead(block.mss);
}
