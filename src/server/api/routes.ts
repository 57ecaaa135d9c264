// Every endpoint of the API on one screen: method, path below /api, who may call it, who answers.
import type { Access } from './access.ts';
import * as accounts from './accounts.ts';
import type { Handler, OpenHandler } from './call.ts';
import * as certificates from './minted.ts';
import * as clusters from './clusters.ts';
import * as devices from './devices.ts';
import * as events from './events.ts';
import * as links from './links.ts';
import * as groups from './groups.ts';
import * as identityProviders from './identity-providers.ts';
import * as instance from './instance.ts';
import * as nameservers from './nameservers.ts';
import * as resources from './network-resources.ts';
import * as routers from './network-routers.ts';
import * as networks from './networks.ts';
import * as peers from './peers.ts';
import * as plannedRoutes from './planned-routes.ts';
import * as policies from './policies.ts';
import * as postureChecks from './posture-checks.ts';
import * as services from './services.ts';
import * as sessions from './sessions.ts';
import * as setupKeys from './setup-keys.ts';
import * as tokens from './tokens.ts';
import * as users from './users.ts';
import * as zones from './zones.ts';

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
  route('DELETE', '/users/:id/factors', 'users:write', users.resetFactors),
  route('GET', '/identity-providers', 'users:write', identityProviders.listIssuers),
  route('POST', '/identity-providers', 'users:write', identityProviders.createIssuer),
  route('GET', '/identity-providers/:id', 'users:write', identityProviders.getIssuer),
  route('PUT', '/identity-providers/:id', 'users:write', identityProviders.updateIssuer),
  route('DELETE', '/identity-providers/:id', 'users:write', identityProviders.deleteIssuer),
  route('GET', '/devices', 'member', devices.listDevices),
  route('DELETE', '/devices/:id', 'member', devices.revokeDevice),
  route('GET', '/certificates', 'member', certificates.listCertificates),
  route('GET', '/certificates/authorities', 'member', certificates.getAuthorities),
  route('POST', '/certificates/client', 'member', certificates.mintClient),
  route('POST', '/certificates/ssh', 'member', certificates.mintSsh),
  route('DELETE', '/certificates/:id', 'member', certificates.revokeCertificate),
  route('GET', '/sessions', 'member', sessions.listSessions),
  route('DELETE', '/sessions/:id', 'member', sessions.endSession),
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

  route('GET', '/posture-checks', 'network:read', postureChecks.listPostureChecks),
  route('POST', '/posture-checks', 'network:write', postureChecks.createPostureCheck),
  route('GET', '/posture-checks/:id', 'network:read', postureChecks.getPostureCheck),
  route('PUT', '/posture-checks/:id', 'network:write', postureChecks.updatePostureCheck),
  route('DELETE', '/posture-checks/:id', 'network:write', postureChecks.deletePostureCheck),

  route('GET', '/networks', 'network:read', networks.listNetworks),
  route('POST', '/networks', 'network:write', networks.createNetwork),
  route('GET', '/networks/resources', 'network:read', resources.listAllResources),
  route('GET', '/networks/routers', 'network:read', routers.listAllRouters),
  route('GET', '/networks/:id', 'network:read', networks.getNetwork),
  route('PUT', '/networks/:id', 'network:write', networks.updateNetwork),
  route('DELETE', '/networks/:id', 'network:write', networks.deleteNetwork),
  route('GET', '/networks/:id/resources', 'network:read', resources.listResources),
  route('POST', '/networks/:id/resources', 'network:write', resources.createResource),
  route('GET', '/networks/:id/resources/:resourceId', 'network:read', resources.getResource),
  route('PUT', '/networks/:id/resources/:resourceId', 'network:write', resources.updateResource),
  route('DELETE', '/networks/:id/resources/:resourceId', 'network:write', resources.deleteResource),
  route('GET', '/networks/:id/routers', 'network:read', routers.listRouters),
  route('POST', '/networks/:id/routers', 'network:write', routers.createRouter),
  route('GET', '/networks/:id/routers/:routerId', 'network:read', routers.getRouter),
  route('PUT', '/networks/:id/routers/:routerId', 'network:write', routers.updateRouter),
  route('DELETE', '/networks/:id/routers/:routerId', 'network:write', routers.deleteRouter),

  route('GET', '/routes', 'network:read', plannedRoutes.listRoutes),
  route('POST', '/routes', 'network:write', plannedRoutes.createRoute),
  route('GET', '/routes/:id', 'network:read', plannedRoutes.getRoute),
  route('PUT', '/routes/:id', 'network:write', plannedRoutes.updateRoute),
  route('DELETE', '/routes/:id', 'network:write', plannedRoutes.deleteRoute),

  route('GET', '/dns/nameservers', 'network:read', nameservers.listNameservers),
  route('POST', '/dns/nameservers', 'network:write', nameservers.createNameservers),
  route('GET', '/dns/nameservers/:id', 'network:read', nameservers.getNameservers),
  route('PUT', '/dns/nameservers/:id', 'network:write', nameservers.updateNameservers),
  route('DELETE', '/dns/nameservers/:id', 'network:write', nameservers.deleteNameservers),
  route('GET', '/dns/settings', 'network:read', nameservers.getDnsSettings),
  route('PUT', '/dns/settings', 'network:write', nameservers.updateDnsSettings),
  route('GET', '/dns/zones', 'network:read', zones.listZones),
  route('POST', '/dns/zones', 'network:write', zones.createZone),
  route('GET', '/dns/zones/:id', 'network:read', zones.getZone),
  route('PUT', '/dns/zones/:id', 'network:write', zones.updateZone),
  route('DELETE', '/dns/zones/:id', 'network:write', zones.deleteZone),
  route('GET', '/dns/zones/:id/records', 'network:read', zones.listRecords),
  route('POST', '/dns/zones/:id/records', 'network:write', zones.createRecord),
  route('GET', '/dns/zones/:id/records/:recordId', 'network:read', zones.getRecord),
  route('PUT', '/dns/zones/:id/records/:recordId', 'network:write', zones.updateRecord),
  route('DELETE', '/dns/zones/:id/records/:recordId', 'network:write', zones.deleteRecord),

  route('GET', '/reverse-proxies/services', 'services:read', services.listServices),
  route('POST', '/reverse-proxies/services', 'services:write', services.createService),
  route('GET', '/reverse-proxies/services/:id', 'services:read', services.getService),
  route('PUT', '/reverse-proxies/services/:id', 'services:write', services.updateService),
  route('DELETE', '/reverse-proxies/services/:id', 'services:write', services.deleteService),
  route('POST', '/reverse-proxies/services/:id/diagnosis', 'services:write', services.diagnoseService),
  route('GET', '/reverse-proxies/services/:id/links', 'services:read', links.listLinks),
  route('POST', '/reverse-proxies/services/:id/links', 'services:write', links.createLink),
  route('DELETE', '/reverse-proxies/services/:id/links/:linkId', 'services:write', links.revokeLink),
  route('GET', '/reverse-proxies/domains', 'services:read', clusters.listDomains),
  route('POST', '/reverse-proxies/domains', 'services:write', clusters.createDomain),
  route('DELETE', '/reverse-proxies/domains/:id', 'services:write', clusters.deleteDomain),
  route('GET', '/reverse-proxies/domains/:id/validate', 'services:write', clusters.validateDomain),
  route('GET', '/reverse-proxies/clusters', 'services:read', clusters.listClusters),
  route('DELETE', '/reverse-proxies/clusters/:address', 'services:write', clusters.deleteCluster),
  route('GET', '/reverse-proxies/certificates', 'services:read', clusters.listCertificates),
  route('GET', '/reverse-proxies/proxy-tokens', 'services:read', clusters.listProxyTokens),
  route('POST', '/reverse-proxies/proxy-tokens', 'services:write', clusters.createProxyToken),
  route('DELETE', '/reverse-proxies/proxy-tokens/:id', 'services:write', clusters.revokeProxyToken),

  route('GET', '/events', 'audit:read', events.listAuditEvents),
  route('GET', '/events/audit', 'audit:read', events.listAuditEvents),
  route('GET', '/events/proxy', 'services:read', events.listProxyEvents),
];
