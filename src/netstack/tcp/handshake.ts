// Opening: SYN-SENT, simultaneous open, and the last step of the handshake on both sides.
import { FLAG } from '#wire/tcp.ts';
import type { TcpSegment } from '#wire/tcp.ts';
import { openConnection } from './connection.ts';
import { agreeOptions } from './options.ts';
import { seqLess, seqLessEqual } from './seq.ts';
import type { ControlBlock } from './state.ts';
import { finish, timestampOf } from './state.ts';

/** RFC 9293 §3.10.7.3. Returns false where a reset is the answer. */
export function receiveInSynSent(block: ControlBlock, segment: TcpSegment, now: number): boolean {
  const { flags } = segment;
  const answers = (flags & FLAG.ack) !== 0;
  if (answers && (!seqLess(block.iss, segment.ack) || !seqLessEqual(segment.ack, block.sndNxt))) return (flags & FLAG.rst) !== 0;
  if ((flags & FLAG.rst) !== 0) {
    if (answers) finish(block, 'ECONNREFUSED', now);
    return true;
  }
  if ((flags & FLAG.syn) === 0) return true;
  block.lastReceivedAt = now;
  takeSyn(block, segment, now);
  if (answers) {
    completeHandshake(block, segment, now);
    block.ackNow = true;
  } else {
    // Simultaneous open: our SYN is out, theirs is here; answer theirs (RFC 9293 §3.5, figure 7).
    block.state = 'syn-received';
    block.synPending = true;
  }
  return true;
}

/** Takes over the peer's first sequence number and options. Data in a SYN is left for the peer to send again. */
export function takeSyn(block: ControlBlock, segment: TcpSegment, now: number): void {
  block.irs = segment.seq;
  block.rcvNxt = (segment.seq + 1) | 0;
  block.lastAckSent = block.rcvNxt;
  block.rcvAdvertised = (block.rcvNxt + Math.min(block.rcvBuffer, 65_535)) | 0;
  agreeOptions(block, segment, now);
}

/** Our SYN has been acknowledged: the connection is established, and what was written or ended before comes into force. */
export function completeHandshake(block: ControlBlock, segment: TcpSegment, now: number): void {
  if (block.synSentAt >= 0) {
    block.roundTrip.sample(now - block.synSentAt, 1);
    block.rack.takeRoundTrip(now - block.synSentAt, now);
  } else if (block.timestamps && segment.hasTimestamps) {
    block.roundTrip.sample(Math.max(0, (timestampOf(block, now) - segment.tsEcho) | 0), 1);
  }
  if (block.synRepeated) block.roundTrip.afterSynLoss();
  else block.roundTrip.resetBackoff();
  block.sndUna = segment.ack;
  // The window of a SYN is never scaled (RFC 7323 §2.2).
  block.sndWnd = (segment.flags & FLAG.syn) !== 0 ? segment.window : segment.window << block.sndScale;
  block.maxSndWnd = block.sndWnd;
  block.sndWl1 = segment.seq;
  block.sndWl2 = segment.ack;
  block.synPending = false;
  block.retransmitAt = Infinity;
  block.progressAt = now;
  block.lastSentAt = now;
  block.sent.reset(block.sndUna);
  block.state = 'established';
  if (block.finQueued) queueFin(block);
  block.host.handshakeDone(block);
  const { passive } = block;
  if (passive === undefined) {
    block.handler?.established(now);
    return;
  }
  block.passive = undefined;
  openConnection(block, passive, now);
}

/** `end` was called before: the FIN gets its place behind what was written. */
function queueFin(block: ControlBlock): void {
  block.state = 'fin-wait-1';
  block.finSeq = (block.sndUna + block.ring.length) | 0;
}
