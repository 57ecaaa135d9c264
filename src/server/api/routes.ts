// Every endpoint of the API on one screen: method, path below /api, who may call it, who answers.
import type { Access } from './access.ts';
import * as accounts from './accounts.ts';
import type { Handler, OpenHandler } from './call.ts';
import * as clusters from './clusters.ts';
import * as events from './events.ts';
import * as groups from './groups.ts';
import * as instance from './instance.ts';
import * as peers from './peers.ts';
import * as policies from './policies.ts';
import * as services from './services.ts';
import * as setupKeys from './setup-keys.ts';
import * as tokens from './tokens.ts';
import * as users from './users.ts';

export type Method = 'GET' | 'POST' | 'PUT' | 'DELETE';

export type Route = { readonly method: Method; readonly path: string } & (
  | { readonly access: 'anyone'; readonly handle: OpenHandler }
  | { readonly access: Exclude<Access, 'anyone'>; readonly handle: Handler }
);

function open(method: Method, path: string, handle: OpenHandler): Route {
  return { method, path, access: 'anyone', handle };
}

function route(method: Method, path: string, access: Exclude<Access, 'anyone'>, handle: Handler): Route {
  return { method, path, access, handle };
}

/** A literal part wins over a parameter in the same place, whatever the order here. */
export const routes: readonly Route[] = [
  open('GET', '/instance', instance.getInstance),
  open('POST', '/setup', instance.postSetup),
  route('GET', '/instance/version', 'member', instance.getVersion),
  route('GET', '/accounts', 'network:read', accounts.listAccounts),
  route('PUT', '/accounts/:id', 'users:write', accounts.updateAccount),

  route('GET', '/users', 'member', users.listUsers),
  route('POST', '/users', 'users:write', users.createUser),
  route('GET', '/users/current', 'member', users.currentUser),
  route('PUT', '/users/:id', 'users:write', users.updateUser),
  route('DELETE', '/users/:id', 'users:write', users.deleteUser),
  route('PUT', '/users/:id/password', 'member', users.changePassword),
  route('POST', '/users/:id/logout', 'member', users.endSessions),
  route('GET', '/users/:id/tokens', 'member', tokens.listTokens),
  route('POST', '/users/:id/tokens', 'member', tokens.createToken),
  route('GET', '/users/:id/tokens/:tokenId', 'member', tokens.getToken),
  route('DELETE', '/users/:id/tokens/:tokenId', 'member', tokens.deleteToken),

  route('GET', '/peers', 'member', peers.listPeers),
  route('GET', '/peers/:id', 'member', peers.getPeer),
  route('PUT', '/peers/:id', 'network:write', peers.updatePeer),
  route('DELETE', '/peers/:id', 'member', peers.deletePeer),

  route('GET', '/setup-keys', 'network:read', setupKeys.listSetupKeys),
  route('POST', '/setup-keys', 'network:write', setupKeys.createSetupKey),
  route('GET', '/setup-keys/:id', 'network:read', setupKeys.getSetupKey),
  route('PUT', '/setup-keys/:id', 'network:write', setupKeys.updateSetupKey),
  route('DELETE', '/setup-keys/:id', 'network:write', setupKeys.deleteSetupKey),

  route('GET', '/groups', 'network:read', groups.listGroups),
  route('POST', '/groups', 'network:write', groups.createGroup),
  route('GET', '/groups/:id', 'network:read', groups.getGroup),
  route('PUT', '/groups/:id', 'network:write', groups.updateGroup),
  route('DELETE', '/groups/:id', 'network:write', groups.deleteGroup),

  route('GET', '/policies', 'network:read', policies.listPolicies),
  route('POST', '/policies', 'network:write', policies.createPolicy),
  route('GET', '/policies/:id', 'network:read', policies.getPolicy),
  route('PUT', '/policies/:id', 'network:write', policies.updatePolicy),
  route('DELETE', '/policies/:id', 'network:write', policies.deletePolicy),

  route('GET', '/reverse-proxies/services', 'services:read', services.listServices),
  route('POST', '/reverse-proxies/services', 'services:write', services.createService),
  route('GET', '/reverse-proxies/services/:id', 'services:read', services.getService),
  route('PUT', '/reverse-proxies/services/:id', 'services:write', services.updateService),
  route('DELETE', '/reverse-proxies/services/:id', 'services:write', services.deleteService),
  route('GET', '/reverse-proxies/domains', 'services:read', clusters.listDomains),
  route('POST', '/reverse-proxies/domains', 'services:write', clusters.createDomain),
  route('DELETE', '/reverse-proxies/domains/:id', 'services:write', clusters.deleteDomain),
  route('GET', '/reverse-proxies/domains/:id/validate', 'services:write', clusters.validateDomain),
  route('GET', '/reverse-proxies/clusters', 'services:read', clusters.listClusters),
  route('DELETE', '/reverse-proxies/clusters/:address', 'services:write', clusters.deleteCluster),
  route('GET', '/reverse-proxies/proxy-tokens', 'services:read', clusters.listProxyTokens),
  route('POST', '/reverse-proxies/proxy-tokens', 'services:write', clusters.createProxyToken),
  route('DELETE', '/reverse-proxies/proxy-tokens/:id', 'services:write', clusters.revokeProxyToken),

  route('GET', '/events', 'audit:read', events.listAuditEvents),
  route('GET', '/events/audit', 'audit:read', events.listAuditEvents),
  route('GET', '/events/proxy', 'services:read', events.listProxyEvents),
];
