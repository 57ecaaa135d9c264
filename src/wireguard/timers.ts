// The timers of one peer (whitepaper §6) as plain due times: what happened goes in, when to act comes out.
import { jitterMs, keepaliveMs, rekeyAttemptMs, rekeyTimeoutMs, zeroKeysAfterMs } from './constants.ts';

export class PeerTimers {
  /** Repeat the unanswered initiation, or send one that had to wait. */
  retransmitAt = Infinity;
  /** Answer received data with a keepalive. */
  keepaliveAt = Infinity;
  /** Data was sent and nothing came back: make new keys. */
  newHandshakeAt = Infinity;
  /** Erase all keys. */
  zeroKeysAt = Infinity;
  /** Send the configured keepalive. */
  persistentAt = Infinity;
  /** 0 where there is none. */
  persistentMs = 0;
  /** When the handshake under way is given up; Infinity where none is. */
  giveUpAt = Infinity;
  /** When we last sent a handshake message. */
  handshakeSentAt = -Infinity;
  #another = false;
  /** Changes with each handshake, not with each packet. */
  #jitter = 0;

  dueAt(): number {
    return Math.min(this.retransmitAt, this.keepaliveAt, this.newHandshakeAt, this.zeroKeysAt, this.persistentAt);
  }

  /** Begins the time in which a handshake has to succeed, or begins it again. */
  attempt(now: number): void {
    this.giveUpAt = now + rekeyAttemptMs;
  }

  /** An initiation was sent; `share` in [0, 1) makes the jitter. */
  initiationSent(now: number, share: number): void {
    this.#jitter = share * jitterMs;
    this.handshakeSentAt = now;
    this.retransmitAt = Math.min(now + rekeyTimeoutMs + this.#jitter, this.giveUpAt);
  }

  responseSent(now: number): void {
    this.handshakeSentAt = now;
  }

  /** When the next initiation may be sent at the earliest. */
  initiationAllowedAt(): number {
    return this.handshakeSentAt + rekeyTimeoutMs;
  }

  handshakeEnded(): void {
    this.retransmitAt = Infinity;
    this.giveUpAt = Infinity;
  }

  sessionMade(now: number): void {
    this.zeroKeysAt = now + zeroKeysAfterMs;
  }

  /** Nothing answers: no more keepalives on our own account. Older keys still end at their time. */
  gaveUp(): void {
    this.handshakeEnded();
    this.keepaliveAt = Infinity;
    this.newHandshakeAt = Infinity;
    this.#another = false;
  }

  /** Any genuine message was sent. */
  sent(now: number): void {
    this.keepaliveAt = Infinity;
    this.#another = false;
    this.#traversed(now);
  }

  /** Any genuine message was received. */
  received(now: number): void {
    this.newHandshakeAt = Infinity;
    this.#traversed(now);
  }

  /** A message with a packet was sent. */
  dataSent(now: number): void {
    if (this.newHandshakeAt === Infinity) this.newHandshakeAt = now + keepaliveMs + rekeyTimeoutMs + this.#jitter;
  }

  /** A message with a packet was received. */
  dataReceived(now: number): void {
    if (this.keepaliveAt === Infinity) this.keepaliveAt = now + keepaliveMs;
    else this.#another = true;
  }

  /** The keepalive is due and is sent by the caller now. Returns whether more data came while it was pending, so that another has to follow. */
  keepaliveDue(): boolean {
    const another = this.#another;
    this.keepaliveAt = Infinity;
    this.#another = false;
    return another;
  }

  /** Changes the configured keepalive; 0 ends it. */
  setPersistent(intervalMs: number, now: number): void {
    if (intervalMs === this.persistentMs) return;
    this.persistentMs = intervalMs;
    this.persistentAt = intervalMs > 0 ? now + intervalMs : Infinity;
  }

  #traversed(now: number): void {
    if (this.persistentMs > 0) this.persistentAt = now + this.persistentMs;
  }
}
