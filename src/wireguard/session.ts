// One session: the keys of one handshake in both directions, their counters and their age.
import type { AeadKey, AeadProvider } from '#crypto/aead.ts';
import { rejectAfterMs } from './constants.ts';
import type { SessionKeys } from './noise.ts';
import { ReplayWindow } from './replay.ts';

export class Session {
  /** Whether we began the handshake: the initiator is the one who renews by time. */
  readonly initiator: boolean;
  readonly localIndex: number;
  readonly remoteIndex: number;
  readonly created: number;
  readonly sendKey: AeadKey;
  readonly receiveKey: AeadKey;
  readonly window = new ReplayWindow();
  /** The next message's counter. */
  sendCounter = 0;
  /** Whether a renewal was already begun because a message was received late in the session's life. */
  renewedOnReceive = false;

  /** Takes the keys over: the arrays are erased. */
  constructor(provider: AeadProvider, keys: SessionKeys, initiator: boolean, localIndex: number, remoteIndex: number, now: number) {
    this.initiator = initiator;
    this.localIndex = localIndex;
    this.remoteIndex = remoteIndex;
    this.created = now;
    this.sendKey = provider(keys.send);
    this.receiveKey = provider(keys.receive);
    keys.send.fill(0);
    keys.receive.fill(0);
  }

  /** Whether the keys are too old for anything. */
  expired(now: number): boolean {
    return now - this.created >= rejectAfterMs;
  }

  destroy(): void {
    this.sendKey.destroy();
    this.receiveKey.destroy();
  }
}
