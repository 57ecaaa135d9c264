// The relay server's face.
export { createRelayServer, relayWebSocketOptions, type RelayServer, type RelayServerOptions, type RelayStats } from './relay-server.ts';
export { createRelayTokens, type RelayTokens } from './tokens.ts';
