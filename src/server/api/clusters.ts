// Where services are published: clusters of gateways, the domains they serve, and the tokens gateways sign in with.
import { integer, object, string } from '#lib/schema.ts';
import type { TokenId } from '#model/ids.ts';
import type { Cluster, Domain, ProxyToken } from '../domain/contract.ts';
import { deleted, idParam, ok, readBody, textParam, type Handler } from './call.ts';
import { present, time } from './fields.ts';

const domainRequest = object({ domain: string({ max: 253 }), target_cluster: string({ max: 259 }) });
/** `expires_in` in seconds; 0 never expires. Our own addition: the `cluster` that it is good for; without one, the first that it registers with. */
const tokenRequest = object({
  name: string({ max: 255 }),
  expires_in: integer({ max: 315_360_000, default: 0 }),
  cluster: string({ min: 0, max: 259, default: '' }),
});

function clusterShape(cluster: Cluster): Readonly<Record<string, unknown>> {
  return {
    id: cluster.id,
    address: cluster.address,
    type: 'account',
    online: cluster.online,
    connected_proxies: cluster.connectedProxies,
  };
}

function domainShape(domain: Domain): Readonly<Record<string, unknown>> {
  const { proof } = domain;
  const shape = { id: domain.id, domain: domain.domain, validated: domain.validated, type: domain.type, target_cluster: domain.cluster };
  // Our own addition: the record that proves the domain.
  return proof === undefined ? shape : { ...shape, txt_name: proof.name, txt_value: proof.value };
}

function tokenShape(token: ProxyToken): Readonly<Record<string, unknown>> {
  return present({
    id: token.id,
    name: token.name,
    expires_at: token.expiresAt === undefined ? undefined : time(token.expiresAt),
    created_at: time(token.createdAt),
    last_used: token.lastUsed === undefined ? undefined : time(token.lastUsed),
    revoked: token.revoked,
    cluster: token.cluster,
  });
}

export const listClusters: Handler = async ({ domain }) => ok((await domain.clusters.clusters()).map(clusterShape));

export const deleteCluster: Handler = async (call) => {
  await call.domain.clusters.deleteCluster(textParam(call, 'address').toLowerCase(), call.actor);
  return deleted;
};

export const listDomains: Handler = async ({ domain }) => ok((await domain.clusters.domains()).map(domainShape));

export const createDomain: Handler = async (call) => {
  const request = readBody(call, domainRequest);
  const name = request.domain.toLowerCase().replace(/\.$/, '');
  return ok(domainShape(await call.domain.clusters.createDomain(name, request.target_cluster.toLowerCase(), call.actor)));
};

export const deleteDomain: Handler = async (call) => {
  await call.domain.clusters.deleteDomain(textParam(call, 'id'), call.actor);
  return { status: 204, body: undefined };
};

/** The outcome is in the domain's `validated`; the shape answers before anybody needs to know. */
export const validateDomain: Handler = async (call) => {
  await call.domain.clusters.validateDomain(textParam(call, 'id'));
  return { status: 202, body: {} };
};

/** Our own addition: every certificate of every gateway that is connected. */
export const listCertificates: Handler = async ({ domain }) =>
  ok(
    (await domain.certificates.list()).map(({ proxyId, cluster, status }) =>
      present({
        names: status.names,
        cluster,
        proxy_id: proxyId,
        source: status.source,
        state: status.state,
        reason: status.reason,
        issuer: status.issuer,
        not_before: status.notBefore,
        not_after: status.notAfter,
        next_action: status.nextAction,
        next_at: status.nextAt,
      }),
    ),
  );

export const listProxyTokens: Handler = async ({ domain }) => ok((await domain.tokens.listProxy()).map(tokenShape));

export const createProxyToken: Handler = async (call) => {
  const request = readBody(call, tokenRequest);
  const cluster = request.cluster === '' ? undefined : request.cluster;
  const { token, plain } = await call.domain.tokens.createProxy({ name: request.name, expiresInSeconds: request.expires_in, cluster }, call.actor);
  return ok({ ...tokenShape(token), plain_token: plain });
};

export const revokeProxyToken: Handler = async (call) => {
  await call.domain.tokens.revokeProxy(idParam<TokenId>(call), call.actor);
  return deleted;
};
