// Published services. Answers tell which proofs are asked for, never the secrets themselves, hashed or not.
import type { ServiceId } from '#model/ids.ts';
import type { Service, ServiceTarget } from '#model/service.ts';
import { accessShape } from './access-shape.ts';
import { deleted, idParam, ok, readBody, type Handler } from './call.ts';
import { present, time } from './fields.ts';
import { serviceRequest } from './service-request.ts';
import { streamShape } from './stream-shape.ts';
import { durationText, targetWebShape, webShape } from './web-shape.ts';

function targetShape(target: ServiceTarget): Readonly<Record<string, unknown>> {
  const { options } = target;
  return {
    target_id: target.targetId,
    target_type: target.targetType,
    path: target.path,
    protocol: target.protocol,
    host: target.host,
    port: target.port,
    enabled: target.enabled,
    options: present({
      skip_tls_verify: options.skipTlsVerify,
      request_timeout: durationText(options.requestTimeoutMs),
      custom_headers: options.customHeaders,
      proxy_protocol: options.proxyProtocol,
      session_idle_timeout: durationText(options.sessionIdleTimeoutMs),
      direct_upstream: options.directUpstream,
      ...targetWebShape(options),
    }),
  };
}

function authShape({ auth, issuers }: Service): Readonly<Record<string, unknown>> {
  return present({
    password_auth: auth.password === undefined ? undefined : { enabled: auth.password.enabled, password: '' },
    pin_auth: auth.pin === undefined ? undefined : { enabled: auth.pin.enabled, pin: '' },
    bearer_auth: present({
      enabled: auth.oidc.enabled,
      distribution_groups: auth.oidc.groups,
      issuers: issuers.length === 0 ? undefined : issuers,
    }),
    header_auths: auth.headers.map(({ enabled, header, keep }) => ({ enabled, header, value: '', ...(keep === true ? { keep } : {}) })),
    link_auth: auth.link,
    basic_auth:
      auth.basic === undefined ? undefined : { enabled: auth.basic.enabled, users: auth.basic.users.map(({ name }) => ({ name, password: '' })) },
  });
}

function serviceShape(service: Service): Readonly<Record<string, unknown>> {
  return present({
    id: service.id,
    name: service.name,
    domain: service.domain,
    mode: service.mode,
    listen_port: service.listenPort,
    port_auto_assigned: service.portAutoAssigned,
    proxy_cluster: service.cluster,
    targets: service.targets.map(targetShape),
    enabled: service.enabled,
    terminated: service.stream.termination !== undefined,
    pass_host_header: service.passHostHeader,
    rewrite_redirects: service.rewriteRedirects,
    auth: authShape(service),
    access_restrictions: {
      allowed_cidrs: service.restrictions.allowedCidrs,
      blocked_cidrs: service.restrictions.blockedCidrs,
      allowed_countries: service.restrictions.allowedCountries,
      blocked_countries: service.restrictions.blockedCountries,
      crowdsec_mode: service.restrictions.crowdsecMode,
    },
    meta: present({
      created_at: time(service.createdAt),
      certificate_issued_at: service.certificateIssuedAt === undefined ? undefined : time(service.certificateIssuedAt),
      status: service.status.state,
      /** Our own addition: why it is not active. */
      status_reason: service.status.reason === '' ? undefined : service.status.reason,
    }),
    /** Our own addition: the peer that publishes it by itself. */
    exposure:
      service.exposure === undefined
        ? undefined
        : present({
            peer: service.exposure.peerId,
            peer_name: service.exposure.peerName,
            renew_before: time(service.exposure.leaseUntil),
            expires_at: service.exposure.endsAt === undefined ? undefined : time(service.exposure.endsAt),
          }),
    private: service.private,
    access_groups: service.accessGroups,
    /** Our own additions. */
    tls_at: service.mode === 'http' ? service.tlsAt : undefined,
    access: accessShape(service.access),
    web: service.mode === 'http' ? webShape(service.web) : undefined,
    stream: service.mode === 'http' ? undefined : streamShape(service.stream),
  });
}

export const listServices: Handler = async ({ domain }) => ok((await domain.services.list()).map(serviceShape));

export const getService: Handler = async (call) => ok(serviceShape(await call.domain.services.get(idParam<ServiceId>(call))));

export const createService: Handler = async (call) => ok(serviceShape(await call.domain.services.create(readBody(call, serviceRequest), call.actor)));

export const updateService: Handler = async (call) =>
  ok(serviceShape(await call.domain.services.update(idParam<ServiceId>(call), readBody(call, serviceRequest), call.actor)));

/** A token to ask the service's gateways with: see `meshgate doctor`. */
export const diagnoseService: Handler = async (call) => {
  const { token, seconds } = await call.domain.diagnoses.issue(idParam<ServiceId>(call), call.actor);
  return ok({ token, expires_in: seconds });
};

export const deleteService: Handler = async (call) => {
  await call.domain.services.delete(idParam<ServiceId>(call), call.actor);
  return deleted;
};
