// What the server's composition root uses of the identity provider.
export { createIdentityProvider } from './identity-provider.ts';
export type { IdentityProvider } from './types.ts';
