// Sending: what may go out now, in which order, and how a segment is built. `transmit` is the only place that sends for a connection,
// and it runs when the stack is done with whatever caused it, so callbacks never see half a change.
//
// Nagle's algorithm is off: we carry other people's connections, whose ends have already decided what belongs together, and holding
// a small piece for an ACK adds a round trip to every request. Writes made within one callback still share segments.
import { FLAG, TCP_HEADER, sackOptionLength, sealTcp, writeSack, writeSynOptions, writeTcp, writeTimestamps } from '#wire/tcp.ts';
import { PROTOCOL, writeIpv4 } from '#wire/ipv4.ts';
import { writeIpv6 } from '#wire/ipv6.ts';
import {
  EASY_EXTRA_BUFFERS,
  MAX_SUPER_PAYLOAD,
  SEND_BUFFER_EASY,
  SEND_BUFFER_MAX,
  SEND_BUFFER_QUEUE_MS,
  TAIL_PROBE_MIN_MS,
  TAIL_PROBE_SINGLE_MS,
  WINDOW_SCALE,
} from '../constants.ts';
import { seqLess } from './seq.ts';
import type { ControlBlock } from './state.ts';
import { timestampOf } from './state.ts';

const sackEdges = new Int32Array(8);

/** Sends everything that the block may send now: SYN, reset, lost data, new data, FIN, probes, a pure ACK. */
export function transmit(block: ControlBlock, now: number): void {
  if (block.resetPending) {
    block.resetPending = false;
    // Before anything was heard there is nothing to acknowledge.
    const unheard = !block.isPassive && block.sndUna === block.iss;
    sendSegment(block, block.sndNxt, 0, unheard ? FLAG.rst : FLAG.rst | FLAG.ack, now);
  }
  switch (block.state) {
    case 'closed':
      return;
    case 'syn-sent':
      if (block.synPending) sendSyn(block, FLAG.syn, now);
      return;
    case 'syn-received':
      if (block.synPending) sendSyn(block, FLAG.syn | FLAG.ack, now);
      else if (block.ackNow) sendSegment(block, block.sndNxt, 0, FLAG.ack, now);
      return;
    case 'established':
    case 'fin-wait-1':
    case 'close-wait':
    case 'closing':
    case 'last-ack':
      sendData(block, now);
      break;
    case 'fin-wait-2':
    case 'time-wait':
      break;
  }
  if (block.probePending) {
    // One below what is acknowledged: not acceptable, so it must be answered, and carries nothing that a full receiver had to drop.
    block.probePending = false;
    sendSegment(block, (block.sndUna - 1) | 0, 0, FLAG.ack, now);
  }
  if (block.ackNow) sendSegment(block, block.sndNxt, 0, FLAG.ack, now);
}

function sendSyn(block: ControlBlock, flags: number, now: number): void {
  block.synPending = false;
  block.ackNow = false;
  const end = buildSyn(block, flags, timestampOf(block, now));
  block.sndNxt = (block.iss + 1) | 0;
  block.retransmitAt = now + block.roundTrip.timeout;
  block.synSentAt = block.synRepeated ? -1 : now;
  block.lastSentAt = now;
  finishPacket(block, end, 0);
}

/** Answers a SYN for a block that nobody keeps; `stamp` is the timestamp to send. */
export function sendCookie(block: ControlBlock, stamp: number): void {
  finishPacket(block, buildSyn(block, FLAG.syn | FLAG.ack, stamp), 0);
}

function buildSyn(block: ControlBlock, flags: number, stamp: number): number {
  const { scratch } = block.host;
  const start = block.ipHeader;
  const answer = (flags & FLAG.ack) !== 0;
  const scale = answer && block.rcvScale === 0 ? -1 : WINDOW_SCALE;
  const end = writeSynOptions(
    scratch,
    start + TCP_HEADER,
    block.ownMss,
    scale,
    !answer || block.sack,
    !answer || block.timestamps,
    stamp,
    block.tsRecent,
  );
  const window = Math.min(block.rcvBuffer, 65_535); // never scaled in a SYN (RFC 7323 §2.2)
  if (answer) {
    block.rcvAdvertised = (block.rcvNxt + window) | 0;
    block.lastAckSent = block.rcvNxt;
  }
  writeTcp(scratch, start, end - start, block.local.port, block.remote.port, block.iss, answer ? block.rcvNxt : 0, flags, window);
  return end;
}

function sendData(block: ControlBlock, now: number): void {
  const { sent, congestion } = block;
  const fullSize = block.mss - pendingSackLength(block);
  if (block.flight === 0) {
    if (now - block.lastSentAt > block.roundTrip.timeout) congestion.onIdle();
    else congestion.onUnused(now);
    block.progressAt = now;
  }
  const step = block.host.superPackets ? wholeSegments(MAX_SUPER_PAYLOAD, fullSize) : fullSize;
  let room = congestion.window - block.pipe;
  block.windowLimited = false;
  if (block.tailProbePending) room -= sendTailProbe(block, fullSize, now);
  // A callback of `emit` may close the block.
  while (block.synchronized) {
    if (sent.findLost(step)) {
      let length = Math.min(step, (sent.lostEnd - sent.lostStart) | 0);
      if (room < length) {
        length = wholeSegments(room, fullSize);
        if (length === 0) {
          block.windowLimited = true;
          break;
        }
      }
      retransmit(block, sent.lostStart, length, fullSize, now);
      room -= length;
      continue;
    }
    let length = newDataLength(block, fullSize, step);
    if (length < 0) {
      if (room >= fullSize) growSendBuffer(block);
      break;
    }
    if (waitsForMore(block, length, step)) {
      block.corkedUntil = now;
      break;
    }
    if (room < length) {
      length = wholeSegments(room, fullSize);
      if (length === 0) {
        block.windowLimited = true;
        break;
      }
    }
    sendNew(block, length, fullSize, now);
    room -= length;
  }
  block.uncorked = false;
  armTimers(block, now);
}

/**
 * A short rest behind super-packets that are still out is left for the end of the turn, where `poll` sends it with whatever was written
 * meanwhile: half as many packets for a writer whose pieces are a little larger than one super-packet.
 */
function waitsForMore(block: ControlBlock, length: number, step: number): boolean {
  if (!block.host.superPackets || block.uncorked || block.finQueued || block.flight < step) return false;
  return length < step / 2 && length === block.ring.length - block.flight;
}

/**
 * More could be sent and the writer has more, but all that fits the buffer is out. It grows while the round trip says that this is the
 * length of the path, and not a queue that more would only lengthen.
 */
function growSendBuffer(block: ControlBlock): void {
  const { ring } = block;
  if (!block.writeBlocked || ring.length < ring.limit / 2 || block.flight < ring.length || ring.limit >= SEND_BUFFER_MAX) return;
  if (((block.sndUna + block.sndWnd - block.sndNxt) | 0) <= 0) return;
  const { smoothed } = block.roundTrip;
  const easy = smoothed > 2 * block.rack.minRtt;
  if (easy && (smoothed > SEND_BUFFER_QUEUE_MS || ring.limit >= SEND_BUFFER_EASY)) return;
  if (block.host.reserve(block, ring.limit, easy ? EASY_EXTRA_BUFFERS : undefined)) ring.limit *= 2;
}

/** New data where there is some, whatever the congestion window says, else the last segment again. Returns how many bytes went out. */
function sendTailProbe(block: ControlBlock, fullSize: number, now: number): number {
  block.tailProbePending = false;
  block.tailProbeStamp = timestampOf(block, now);
  block.retransmitAt = now + block.roundTrip.timeout;
  const fresh = newDataLength(block, fullSize, fullSize);
  block.tailProbeAgain = fresh <= 0;
  if (fresh > 0) {
    sendNew(block, fresh, fullSize, now);
    return fresh;
  }
  const length = Math.min(fullSize, block.flight);
  retransmit(block, (block.sndNxt - length) | 0, length, fullSize, now);
  return length;
}

/** The largest number of full segments within `bytes`, in bytes. */
function wholeSegments(bytes: number, fullSize: number): number {
  return Math.max(0, Math.floor(bytes / fullSize)) * fullSize;
}

/** How many new bytes may go out in one step of up to `limit` bytes now (0 for a lone FIN), or -1 for none. */
function newDataLength(block: ControlBlock, fullSize: number, limit: number): number {
  if (block.finSent) return -1;
  const unsent = block.ring.length - block.flight;
  const window = (block.sndUna + block.sndWnd - block.sndNxt) | 0;
  if (window <= 0 || (unsent === 0 && !block.finQueued)) return -1;
  const length = Math.min(unsent, limit, window);
  // A step ends with a full segment, unless it is the last there is.
  if (length > fullSize && length < unsent) return wholeSegments(length, fullSize);
  // Silly window avoidance (RFC 9293 §3.8.6.2.1): a full segment, all there is, or half of the largest window ever seen.
  if (length < fullSize && length < unsent && length < block.maxSndWnd / 2 && !block.probePending) return -1;
  return length;
}

function sendNew(block: ControlBlock, length: number, fullSize: number, now: number): void {
  const seq = block.sndNxt;
  const last = length === block.ring.length - block.flight;
  let flags = FLAG.ack;
  if (last && length > 0) flags |= FLAG.psh;
  block.sndNxt = (seq + length) | 0;
  if (last && block.finQueued) {
    flags |= FLAG.fin;
    block.finSent = true;
    block.sndNxt = (block.sndNxt + 1) | 0;
  }
  block.probePending = false;
  block.recovery.out += length;
  block.sent.append(seq, block.sndNxt, now);
  sendSegment(block, seq, length, flags, now, length > fullSize ? fullSize : 0);
}

/** Sends `length` of the sequence space from `seq` on again, with the FIN where that reaches it. */
function retransmit(block: ControlBlock, seq: number, length: number, fullSize: number, now: number): void {
  const end = (seq + length) | 0;
  const withFin = block.finSent && seqLess(block.finSeq, end);
  const bytes = withFin ? (block.finSeq - seq) | 0 : length;
  block.recovery.out += length;
  block.undoBytes += length;
  block.sent.sentAgain(seq, end, now);
  sendSegment(block, seq, bytes, withFin ? FLAG.ack | FLAG.fin : FLAG.ack, now, bytes > fullSize ? fullSize : 0);
}

function armTimers(block: ControlBlock, now: number): void {
  if (block.flight > 0) {
    if (block.retransmitAt === Infinity) block.retransmitAt = now + block.roundTrip.timeout;
    if (block.sack && !block.tailProbed && block.recovery.mode === 'open' && block.roundTrip.smoothed > 0 && block.lastSentAt === now) {
      const wait = Math.max(TAIL_PROBE_MIN_MS, 2 * block.roundTrip.smoothed) + (block.flight < 2 * block.mss ? TAIL_PROBE_SINGLE_MS : 0);
      block.tailProbeAt = now + wait < block.retransmitAt ? now + wait : Infinity;
    }
    block.persistAt = Infinity;
    return;
  }
  block.retransmitAt = Infinity;
  block.tailProbeAt = Infinity;
  const waiting = !block.finSent && (block.ring.length > 0 || block.finQueued);
  if (!waiting) block.persistAt = Infinity;
  else if (block.persistAt === Infinity) {
    block.persistBackoff = 0;
    block.persistSince = now;
    block.persistAt = now + block.roundTrip.timeout;
  }
}

function pendingSackLength(block: ControlBlock): number {
  return block.sack ? sackOptionLength(gatherSack(block)) : 0;
}

/** Puts the blocks to report into `sackEdges`, a D-SACK first; returns how many. */
function gatherSack(block: ControlBlock): number {
  const limit = block.timestamps ? 3 : 4;
  const duplicate = block.duplicateStart === block.duplicateEnd ? 0 : 1;
  if (duplicate === 0) return block.assembler.empty ? 0 : block.assembler.blocks(sackEdges, limit);
  const count = block.assembler.blocks(sackEdges, limit - 1);
  sackEdges.copyWithin(2, 0, 2 * count);
  sackEdges[0] = block.duplicateStart;
  sackEdges[1] = block.duplicateEnd;
  return count + 1;
}

/**
 * Builds and sends one segment, or one super-packet where `segmentSize` is not 0; `length` bytes come from the ring at `seq`. Every
 * segment acknowledges all that has arrived.
 */
function sendSegment(block: ControlBlock, seq: number, length: number, flags: number, now: number, segmentSize = 0): void {
  const { scratch } = block.host;
  const start = block.ipHeader;
  let at = start + TCP_HEADER;
  if (block.timestamps) at = writeTimestamps(scratch, at, timestampOf(block, now), block.tsRecent);
  const blocks = block.sack ? gatherSack(block) : 0;
  if (blocks > 0) at = writeSack(scratch, at, sackEdges, blocks);
  block.duplicateStart = block.duplicateEnd;
  if (length > 0) block.ring.copyTo(scratch, at, (seq - block.sndUna) | 0, length);
  writeTcp(scratch, start, at - start, block.local.port, block.remote.port, seq, block.rcvNxt, flags, chooseWindow(block));
  block.ackNow = false;
  block.segmentsToAck = 0;
  block.delayedAckAt = Infinity;
  block.lastAckSent = block.rcvNxt;
  if (length > 0 || (flags & FLAG.fin) !== 0) block.lastSentAt = now;
  finishPacket(block, at + length, segmentSize);
}

/**
 * The window field. The edge moves by whole steps only (RFC 9293 §3.8.6.2.2) and never back; rounding up to the scale keeps it from
 * moving back by a few bytes (each ACK may add up to 31, so a buffer can be overfilled by a hundredth).
 */
function chooseWindow(block: ControlBlock): number {
  const wanted = (block.rcvNxt + Math.max(0, block.rcvBuffer - block.unconsumed)) | 0;
  const gain = (wanted - block.rcvAdvertised) | 0;
  const edge = gain >= Math.min(block.ownMss, block.rcvBuffer >> 1) ? wanted : block.rcvAdvertised;
  const open = Math.max(0, (edge - block.rcvNxt) | 0);
  const field = Math.min(65_535, (open + (1 << block.rcvScale) - 1) >> block.rcvScale);
  const advertised = (block.rcvNxt + (field << block.rcvScale)) | 0;
  if (seqLess(block.rcvAdvertised, advertised)) block.rcvAdvertised = advertised;
  return field;
}

/** Whether consuming has opened the window so far that the other side should be told without waiting for a segment to go out. */
export function windowUpdateDue(block: ControlBlock): boolean {
  // Without scaling the field cannot say what the buffer has room for.
  const room = Math.min(Math.max(0, block.rcvBuffer - block.unconsumed), 65_535 << block.rcvScale);
  const wanted = (block.rcvNxt + room) | 0;
  const gain = (wanted - block.rcvAdvertised) | 0;
  if (gain >= block.rcvBuffer >> 2) return true;
  return block.rcvWindow < 2 * block.ownMss && gain >= Math.min(2 * block.ownMss, block.rcvBuffer >> 1);
}

function finishPacket(block: ControlBlock, length: number, segmentSize: number): void {
  const { scratch } = block.host;
  // Each segment of a super-packet gets a checksum of its own from whoever cuts it.
  if (segmentSize === 0) sealTcp(scratch, block.ipHeader, length, block.pseudo);
  if (block.flow.family === 4) writeIpv4(scratch, length, PROTOCOL.tcp, block.local.ip.bytes, block.remote.ip.bytes);
  else writeIpv6(scratch, length, PROTOCOL.tcp, block.local.ip.bytes, block.remote.ip.bytes);
  block.host.emit(length, segmentSize);
}
