// The STUN server's face.
export { createStunServer, type StunServer, type StunServerOptions } from './stun-server.ts';
