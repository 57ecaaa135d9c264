// What the two sides agree on in their SYNs: segment size, window scale, timestamps, SACK.
import { TIMESTAMP_OPTION } from '#wire/tcp.ts';
import type { TcpSegment } from '#wire/tcp.ts';
import { DEFAULT_MSS_V4, DEFAULT_MSS_V6, MIN_MSS, MSS_RAISE_MS, WINDOW_SCALE } from '../constants.ts';
import type { ControlBlock } from './state.ts';

/**
 * Takes over the options of the peer's SYN or SYN-ACK. We offer every option in our SYN, and repeat in a SYN-ACK only what was
 * offered, so an option is agreed exactly when the peer sent it.
 */
export function agreeOptions(block: ControlBlock, segment: TcpSegment, now: number): void {
  const offered = segment.mss >= 0 ? segment.mss : block.flow.family === 4 ? DEFAULT_MSS_V4 : DEFAULT_MSS_V6;
  block.timestamps = segment.hasTimestamps;
  block.tsRecent = segment.hasTimestamps ? segment.tsValue : 0;
  block.tsRecentAt = now;
  block.sack = segment.sackPermitted;
  block.sndScale = segment.windowScale >= 0 ? segment.windowScale : 0;
  block.rcvScale = segment.windowScale >= 0 ? WINDOW_SCALE : 0;
  // MSS counts no options, so those of every segment come off the payload (RFC 6691).
  block.mss = Math.min(Math.max(offered, MIN_MSS), block.ownMss) - (block.timestamps ? TIMESTAMP_OPTION : 0);
  block.agreedMss = block.mss;
  block.congestion.setMss(block.mss, true);
}

/** Paths change: what both sides agreed on is tried again. */
export function raiseMss(block: ControlBlock): void {
  block.mssRaiseAt = Infinity;
  block.mss = block.agreedMss;
  block.congestion.setMss(block.mss, false);
}

/** The path carries less than we thought: smaller segments for some time. Returns whether that changes anything. */
export function lowerMss(block: ControlBlock, mtu: number, now: number): boolean {
  const mss = Math.max(MIN_MSS, mtu - block.ipHeader - 20 - (block.timestamps ? TIMESTAMP_OPTION : 0));
  if (mss >= block.mss) return false;
  block.mss = mss;
  block.mssRaiseAt = now + MSS_RAISE_MS * 2 ** Math.min(block.mssLowered++, 6);
  block.congestion.setMss(mss, false);
  return true;
}
