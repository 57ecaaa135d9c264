// The overlay's face.
export { chooseHostUdp } from './accelerators.ts';
export type { OverlayDeps, OverlayOptions } from './options.ts';
export { createOverlay } from './overlay.ts';
export type { Carrier, LastEndpoint, OpenPort, Overlay, OverlayConnection, OverlayUdpSocket, SignalPort } from './types.ts';
export type { OpenDatagramPortAt } from './udp/port.ts';
