// A segment that arrived for a connection: the order of checks of RFC 9293 §3.10.7, with RFC 5961 against forged segments and
// PAWS (RFC 7323 §5) against old ones.
import { FLAG } from '#wire/tcp.ts';
import type { TcpSegment } from '#wire/tcp.ts';
import { CHALLENGE_ACK_MS, PAWS_IDLE_MS, TIME_WAIT_MS } from '../constants.ts';
import { acknowledge, offerRoom } from './acknowledge.ts';
import { completeHandshake, receiveInSynSent } from './handshake.ts';
import { acceptable, noteOld, receiveData } from './receive.ts';
import { seqLess, seqLessEqual } from './seq.ts';
import { discard, enterTimeWait, finish } from './state.ts';
import type { ControlBlock } from './state.ts';

/**
 * Processes one segment. Returns false where it asks for a reset in answer, which only the stack can send (the connection has no
 * sequence number for it).
 */
export function receiveSegment(block: ControlBlock, segment: TcpSegment, packet: Uint8Array, now: number): boolean {
  switch (block.state) {
    case 'closed':
      return true;
    case 'syn-sent':
      return receiveInSynSent(block, segment, now);
    case 'syn-received':
    case 'established':
    case 'fin-wait-1':
    case 'fin-wait-2':
    case 'close-wait':
    case 'closing':
    case 'last-ack':
    case 'time-wait':
      return receiveSynchronized(block, segment, packet, now);
  }
}

function receiveSynchronized(block: ControlBlock, segment: TcpSegment, packet: Uint8Array, now: number): boolean {
  const { flags } = segment;
  const length = segment.dataEnd - segment.dataStart + (flags & FLAG.syn ? 1 : 0) + (flags & FLAG.fin ? 1 : 0);
  if (block.state === 'syn-received' && (flags & FLAG.syn) !== 0 && (flags & FLAG.rst) === 0 && segment.seq === block.irs) {
    return receiveSynAgain(block, segment, now);
  }
  if (!passesPaws(block, segment, now)) {
    // Missing timestamps are dropped silently (RFC 7323 §3.2); old ones are answered, as by any segment out of the window.
    if (segment.hasTimestamps) answerOld(block, length, now);
    return true;
  }
  if (!acceptable(block, segment.seq, length)) {
    if ((flags & FLAG.rst) !== 0) return true;
    noteOld(block, segment);
    if (block.state === 'time-wait' && (flags & FLAG.fin) !== 0) block.waitUntil = now + TIME_WAIT_MS;
    answerOld(block, length, now);
    return true;
  }
  if (segment.hasTimestamps && block.timestamps && seqLessEqual(segment.seq, block.lastAckSent)) {
    block.tsRecent = segment.tsValue;
    block.tsRecentAt = now;
  }
  if ((flags & FLAG.rst) !== 0) {
    receiveReset(block, segment, now);
    return true;
  }
  if ((flags & FLAG.syn) !== 0) {
    challenge(block, now); // RFC 5961 §4.2
    return true;
  }
  if ((flags & FLAG.ack) === 0) return true;
  block.lastReceivedAt = now;
  block.probes = 0;
  if (block.state === 'syn-received') {
    if (!seqLess(block.sndUna, segment.ack) || !seqLessEqual(segment.ack, block.sndNxt)) return false;
    completeHandshake(block, segment, now);
    if (!isOpen(block)) return true;
  }
  if (!ackAcceptable(block, segment)) {
    challenge(block, now); // RFC 5961 §5.2
    return true;
  }
  acknowledge(block, segment, length, now);
  afterAcknowledgment(block, now);
  if (!isOpen(block)) return true;
  offerRoom(block, now);
  if (isOpen(block) && receiveData(block, segment, packet, now)) receiveFin(block, now);
  return true;
}

// A callback may have closed the block; the compiler cannot see that.
function isOpen(block: ControlBlock): boolean {
  return block.state !== 'closed';
}

/** A SYN for a handshake in progress: the SYN-ACK was lost, or both sides opened at once and this is the other's SYN-ACK. */
function receiveSynAgain(block: ControlBlock, segment: TcpSegment, now: number): boolean {
  if ((segment.flags & FLAG.ack) === 0) {
    block.synPending = true;
    block.synRepeated = true;
    return true;
  }
  if (segment.ack !== block.sndNxt) return false;
  block.lastReceivedAt = now;
  completeHandshake(block, segment, now);
  block.ackNow = true;
  return true;
}

/** RFC 7323 §5.3: an old timestamp means an old segment. Resets are exempt. */
function passesPaws(block: ControlBlock, segment: TcpSegment, now: number): boolean {
  if (!block.timestamps || (segment.flags & FLAG.rst) !== 0) return true;
  if (!segment.hasTimestamps) return false;
  return !seqLess(segment.tsValue, block.tsRecent) || now - block.tsRecentAt > PAWS_IDLE_MS;
}

/** RFC 5961 §5.2: not ahead of what we sent, nor older than the largest window ever offered. */
function ackAcceptable(block: ControlBlock, segment: TcpSegment): boolean {
  const behind = (block.sndUna - segment.ack) | 0;
  return seqLessEqual(segment.ack, block.sndNxt) && behind <= block.maxSndWnd;
}

function receiveReset(block: ControlBlock, segment: TcpSegment, now: number): void {
  if (segment.seq !== block.rcvNxt) {
    challenge(block, now); // RFC 5961 §3.2
    return;
  }
  switch (block.state) {
    case 'syn-received':
      if (block.isPassive) discard(block);
      else finish(block, 'ECONNREFUSED', now);
      return;
    case 'last-ack':
    case 'closing':
      // The other side had sent its FIN; it is an error only where bytes of ours may not have arrived.
      finish(block, block.ring.length === 0 ? 'finished' : 'ECONNRESET', now);
      return;
    case 'time-wait':
      return; // RFC 1337: a reset must not cut TIME-WAIT short
    case 'established':
    case 'fin-wait-1':
    case 'fin-wait-2':
    case 'close-wait':
      finish(block, 'ECONNRESET', now);
      return;
    case 'syn-sent':
    case 'closed':
      return;
  }
}

/** Answers a segment out of the window: at once where it took sequence space, else at a bounded rate, so that two ends never storm. */
function answerOld(block: ControlBlock, length: number, now: number): void {
  if (length > 0) block.ackNow = true;
  else challenge(block, now);
}

function challenge(block: ControlBlock, now: number): void {
  if (now - block.lastChallengeAt < CHALLENGE_ACK_MS) return;
  block.lastChallengeAt = now;
  block.ackNow = true;
}

/** Our FIN may have been acknowledged. */
function afterAcknowledgment(block: ControlBlock, now: number): void {
  if (!block.finSent || block.sndUna !== block.sndNxt) return;
  switch (block.state) {
    case 'fin-wait-1':
      block.state = 'fin-wait-2';
      return;
    case 'closing':
      enterTimeWait(block, now + TIME_WAIT_MS, now);
      return;
    case 'last-ack':
      finish(block, 'finished', now);
      return;
    case 'syn-sent':
    case 'syn-received':
    case 'established':
    case 'fin-wait-2':
    case 'close-wait':
    case 'time-wait':
    case 'closed':
      return;
  }
}

/** The other side's FIN has its turn: all before it has been handed over. */
function receiveFin(block: ControlBlock, now: number): void {
  switch (block.state) {
    case 'established':
      block.state = 'close-wait';
      block.handler?.remoteEnded(now);
      return;
    case 'fin-wait-1':
      block.state = 'closing';
      block.handler?.remoteEnded(now);
      return;
    case 'fin-wait-2':
      block.handler?.remoteEnded(now);
      if (isOpen(block)) enterTimeWait(block, now + TIME_WAIT_MS, now);
      return;
    case 'syn-sent':
    case 'syn-received':
    case 'close-wait':
    case 'closing':
    case 'last-ack':
    case 'time-wait':
    case 'closed':
      return;
  }
}
