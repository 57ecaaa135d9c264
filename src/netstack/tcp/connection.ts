// A connection as its owner sees it. Calls change the state and ask the stack to send; nothing goes out from inside a callback.
import { netstackError } from '../errors.ts';
import type { SocketAddress, TcpConnection, TcpHandler } from '../types.ts';
import { windowUpdateDue } from './output.ts';
import { growBuffer } from './receive.ts';
import type { ControlBlock, PassiveOpen } from './state.ts';
import { discard } from './state.ts';

class Connection implements TcpConnection {
  readonly #block: ControlBlock;

  constructor(block: ControlBlock) {
    this.#block = block;
  }

  get local(): SocketAddress {
    return this.#block.local;
  }

  get remote(): SocketAddress {
    return this.#block.remote;
  }

  get sendBufferFree(): number {
    return writableNow(this.#block) ? this.#block.ring.free : 0;
  }

  attach(handler: TcpHandler): void {
    if (this.#block.handler !== undefined) throw netstackError('NETSTACK_HANDLER');
    if (this.#block.state !== 'closed' && this.#block.state !== 'time-wait') this.#block.handler = handler;
  }

  write(bytes: Uint8Array, now: number): number {
    const block = this.#block;
    if (!writableNow(block)) return 0;
    const taken = block.ring.push(bytes);
    if (taken < bytes.length) block.writeBlocked = true;
    if (taken > 0) {
      block.ringIdleAt = Infinity;
      this.#act(now);
    }
    return taken;
  }

  consumed(count: number, now: number): void {
    const block = this.#block;
    if (block.state === 'closed' || block.state === 'time-wait') return;
    const taken = Math.min(block.unconsumed, Math.max(0, count));
    block.unconsumed -= taken;
    if (taken > 0) growBuffer(block, taken, now);
    if (block.synchronized && !block.finReceived && windowUpdateDue(block)) {
      block.ackNow = true;
      this.#act(now);
    }
  }

  end(now: number): void {
    const block = this.#block;
    if (block.finQueued) return;
    switch (block.state) {
      case 'syn-sent':
      case 'syn-received':
        block.finQueued = true;
        return;
      case 'established':
        block.state = 'fin-wait-1';
        break;
      case 'close-wait':
        block.state = 'last-ack';
        break;
      case 'fin-wait-1':
      case 'fin-wait-2':
      case 'closing':
      case 'last-ack':
      case 'time-wait':
      case 'closed':
        return;
    }
    block.finQueued = true;
    block.finSeq = (block.sndUna + block.ring.length) | 0;
    this.#act(now);
  }

  hurry(now: number): void {
    const block = this.#block;
    if (block.state === 'closed' || block.state === 'time-wait') return;
    if (block.retransmitAt !== Infinity && block.roundTrip.backoff > 0) {
      block.roundTrip.calm();
      block.retransmitAt = now;
    }
    if (block.persistAt !== Infinity) {
      block.persistBackoff = 0;
      block.persistAt = now;
    }
    if (block.probes > 0) block.probes = 0;
    this.#act(now);
  }

  abort(now: number): void {
    const block = this.#block;
    switch (block.state) {
      case 'closed':
      case 'time-wait':
        return;
      case 'syn-sent':
        // The other side may hold the SYN while it opens the way to its target: it need not go on.
        block.resetPending = block.sndNxt !== block.iss;
        break;
      case 'syn-received':
      case 'established':
      case 'fin-wait-1':
      case 'fin-wait-2':
      case 'close-wait':
      case 'closing':
      case 'last-ack':
        block.resetPending = true;
        break;
    }
    block.handler = undefined;
    discard(block);
    if (block.resetPending) this.#act(now);
  }

  describe(now: number): string {
    const block = this.#block;
    const due = (at: number): string => (at === Infinity ? '–' : `${Math.round(at - now)} ms`);
    return (
      `${block.state}; to send ${block.ring.length}, out ${block.flight}, lost ${block.sent.lostBytes}, SACKed ${block.sent.sackedBytes}, ` +
      `window of the peer ${block.sndWnd}, congestion window ${block.congestion.window}, ${block.recovery.mode}, ` +
      `RTO ${Math.round(block.roundTrip.timeout)} ms after ${block.roundTrip.backoff} timeouts; received and not taken ${block.unconsumed}, ` +
      `early ${block.assembler.bytes}, own window ${block.rcvWindow}; heard ${Math.round(now - block.lastReceivedAt)} ms ago; ` +
      `due: again ${due(block.retransmitAt)}, probe ${due(block.persistAt)}, tail ${due(block.tailProbeAt)}, FIN ${finOf(block)}`
    );
  }

  #act(now: number): void {
    this.#block.host.wantOutput(this.#block);
    this.#block.host.flush(now);
  }
}

function writableNow(block: ControlBlock): boolean {
  if (block.finQueued) return false;
  return block.state === 'established' || block.state === 'close-wait' || block.state === 'syn-sent' || block.state === 'syn-received';
}

function finOf(block: ControlBlock): string {
  return `${block.finSent ? 'sent' : block.finQueued ? 'waits' : 'not yet'}, of the peer ${block.finReceived ? 'received' : 'not yet'}`;
}

/** The owner's view of a block. */
export function connectionOf(block: ControlBlock): TcpConnection {
  return new Connection(block);
}

/** Hands an accepted connection over; without a handler afterwards nobody would ever read it, so it is reset. */
export function openConnection(block: ControlBlock, passive: PassiveOpen, now: number): void {
  const connection = connectionOf(block);
  passive.accept(connection, now);
  if (block.handler === undefined) connection.abort(now);
}
