// The relay server's face.
export { createRelayServer, relayWebSocketOptions, type RelayServer } from './relay-server.ts';
