// "Be a peer": what agents and gateways share.
export type { ControlAddress, ExposeControl } from '#control/types.ts';
export { hostMeta } from './host-meta.ts';
export { createMeshNode, type MeshDeps, type MeshNode, type MeshNodeOptions } from './node.ts';
export { overlayOptions } from './overlay-options.ts';
export { controlSettings, wireguardSettings } from './settings.ts';
export type { MeshState } from './state.ts';
export { chooseHostUdp, type OpenDatagramPortAt } from '#overlay/index.ts';
export type { OpenPort, Overlay, OverlayConnection, OverlayUdpSocket } from '#overlay/index.ts';
