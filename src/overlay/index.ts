// The overlay's face.
export { createOverlay, type OverlayDeps, type OverlayOptions } from './overlay.ts';
export type { Overlay, OverlayConnection, SignalPort } from './types.ts';
