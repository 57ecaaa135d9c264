// The STUN server's face.
export { createStunServer } from './stun-server.ts';
