// What the server's composition root uses of the identity provider.
export { configuredIssuers } from './connector-source.ts';
export { createIdentityProvider } from './identity-provider.ts';
export type { ConnectorConfig, IdentityProvider } from './types.ts';
