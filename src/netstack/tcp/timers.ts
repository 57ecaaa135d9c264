// When a connection is due and what then happens: retransmission, window probes, delayed ACK, keep-alive, TIME-WAIT, memory given back.
import {
  BLACK_HOLE_TIMEOUTS,
  FALLBACK_MTUS,
  KEEPALIVE_IDLE_MS,
  KEEPALIVE_INTERVAL_MS,
  KEEPALIVE_PROBES,
  RTO_MAX_MS,
  SEND_BUFFER,
  SYN_TIMEOUT_MS,
  USER_TIMEOUT_MS,
} from '../constants.ts';
import { lowerMss } from './options.ts';
import { detectLoss } from './loss.ts';
import type { ControlBlock } from './state.ts';
import { discard, finish, timestampOf } from './state.ts';

/** The earliest time at which `runTimers` has something to do; Infinity for never. */
export function deadlineOf(block: ControlBlock): number {
  switch (block.state) {
    case 'closed':
      return Infinity;
    case 'time-wait':
      return block.waitUntil;
    case 'syn-sent':
    case 'syn-received':
      return block.retransmitAt;
    case 'established':
    case 'fin-wait-1':
    case 'fin-wait-2':
    case 'close-wait':
    case 'closing':
    case 'last-ack':
      return Math.min(
        block.retransmitAt,
        block.persistAt,
        block.tailProbeAt,
        block.rack.dueAt,
        block.delayedAckAt,
        block.corkedUntil,
        block.ringIdleAt,
        keepAliveAt(block),
      );
  }
}

/** Bytes that are out ask for themselves. */
function keepAliveAt(block: ControlBlock): number {
  if (block.flight > 0) return Infinity;
  return block.lastReceivedAt + KEEPALIVE_IDLE_MS + block.probes * KEEPALIVE_INTERVAL_MS;
}

/** Does what is due; what has to be sent is left to `transmit`. */
export function runTimers(block: ControlBlock, now: number): void {
  switch (block.state) {
    case 'closed':
      return;
    case 'time-wait':
      if (now >= block.waitUntil) discard(block);
      return;
    case 'syn-sent':
    case 'syn-received':
      if (now >= block.retransmitAt) repeatSyn(block, now);
      return;
    case 'established':
    case 'fin-wait-1':
    case 'fin-wait-2':
    case 'close-wait':
    case 'closing':
    case 'last-ack':
      break;
  }
  if (now >= block.delayedAckAt) {
    block.delayedAckAt = Infinity;
    block.ackNow = true;
  }
  if (now >= block.corkedUntil) {
    block.corkedUntil = Infinity;
    block.uncorked = true;
  }
  if (now >= block.ringIdleAt) {
    block.ringIdleAt = Infinity;
    if (block.ring.length === 0) releaseSendBuffer(block);
  }
  if (now >= block.retransmitAt) timeOut(block, now);
  else if (now >= block.rack.dueAt) detectLoss(block, 0, false, now);
  else if (now >= block.tailProbeAt) probeTail(block);
  else if (now >= block.persistAt) probeWindow(block, now);
  else if (now >= keepAliveAt(block)) keepAlive(block, now);
}

function repeatSyn(block: ControlBlock, now: number): void {
  if (now - block.progressAt >= SYN_TIMEOUT_MS) {
    if (block.isPassive) discard(block);
    else finish(block, block.softError ?? 'ETIMEDOUT', now);
    return;
  }
  block.roundTrip.backOff();
  block.synPending = true;
  block.synRepeated = true;
  block.retransmitAt = Infinity; // set when the SYN goes out
}

/** RFC 6298 §5.4 to 5.6. */
function timeOut(block: ControlBlock, now: number): void {
  if (now - block.progressAt >= USER_TIMEOUT_MS) {
    finish(block, block.softError ?? 'ETIMEDOUT', now);
    return;
  }
  const { sent, recovery, roundTrip, congestion } = block;
  const first = roundTrip.backoff === 0;
  congestion.onTimeout(block.flight, first);
  block.mayUndo = first && block.timestamps;
  if (first) block.undoStamp = timestampOf(block, now);
  roundTrip.backOff();
  if (roundTrip.backoff >= BLACK_HOLE_TIMEOUTS) fitBlackHole(block, now);
  // The peer keeps what it has SACKed, unless a second timeout or its own ACKs make that doubtful (RFC 2018 §8).
  sent.markAll(!first || sent.headSacked);
  recovery.enterTimeout(block.sndNxt);
  block.undoBytes = 0;
  block.tailProbeAt = Infinity;
  block.rack.dueAt = Infinity;
  block.retransmitAt = now + roundTrip.timeout;
}

/** Full segments that vanish again and again may be too big for a path that does not say so: the next smaller size is tried. */
function fitBlackHole(block: ControlBlock, now: number): void {
  if (block.flight < block.mss) return;
  for (const mtu of FALLBACK_MTUS[block.flow.family]) if (lowerMss(block, mtu, now)) return;
}

/** Back to what a fresh connection has. */
function releaseSendBuffer(block: ControlBlock): void {
  const { ring } = block;
  ring.clear();
  block.host.reserve(block, SEND_BUFFER - ring.limit);
  ring.limit = SEND_BUFFER;
}

/** Nothing came back for two round trips: one segment shows what the end of the flight has lost, sooner than the timeout would. */
function probeTail(block: ControlBlock): void {
  block.tailProbeAt = Infinity;
  if (block.recovery.mode !== 'open' || block.flight === 0) return;
  block.tailProbed = true;
  block.tailProbePending = true;
}

/** RFC 9293 §3.8.6.1: asks for the window, less and less often, as long as the peer answers at all. */
function probeWindow(block: ControlBlock, now: number): void {
  if (now - block.persistSince >= USER_TIMEOUT_MS) {
    finish(block, block.softError ?? 'ETIMEDOUT', now);
    return;
  }
  block.probePending = true;
  block.persistBackoff = Math.min(16, block.persistBackoff + 1);
  block.persistAt = now + Math.min(RTO_MAX_MS, block.roundTrip.timeout * 2 ** block.persistBackoff);
}

/** RFC 9293 §3.8.4. */
function keepAlive(block: ControlBlock, now: number): void {
  if (block.probes >= KEEPALIVE_PROBES) {
    block.resetPending = true;
    finish(block, block.softError ?? 'ETIMEDOUT', now);
    return;
  }
  block.probes++;
  block.probePending = true;
}
