// A published service as a JSON body asks for it, read into the domain's words.
import { boolean, convert, duration, integer, list, object, oneOf, optional, record, type Infer, type Schema, string } from '#lib/schema.ts';
import { noRestrictions, serviceModes, targetProtocols, targetTypes, tlsPlaces, type ServiceTarget } from '#model/service.ts';
import { plainAccess } from '#model/access.ts';
import { defaultStream } from '#model/stream.ts';
import { defaultWeb } from '#model/web.ts';
import type { ServiceInput } from '../domain/contract.ts';
import { accessRequest } from './access-request.ts';
import { answerOnly, groupIds } from './fields.ts';
import { streamRequest } from './stream-request.ts';
import { targetWebFields, targetWebOf, webRequest } from './web-request.ts';

const targetOptions = object({
  skip_tls_verify: boolean({ default: false }),
  request_timeout: optional(duration({ minMs: 1 })),
  ...targetWebFields,
  custom_headers: record(string({ min: 0 }), { default: {}, max: 16 }),
  proxy_protocol: boolean({ default: false }),
  session_idle_timeout: optional(duration({ minMs: 1 })),
  direct_upstream: boolean({ default: false }),
});

const target: Schema<ServiceTarget> = convert(
  object({
    target_id: string({ max: 255 }),
    target_type: oneOf(targetTypes),
    path: string({ default: '/', max: 1024, pattern: /^\//, hint: 'must begin with /' }),
    protocol: oneOf(targetProtocols),
    host: string({ min: 0, max: 253, default: '' }),
    port: integer({ min: 1, max: 65_535 }),
    enabled: boolean({ default: true }),
    options: targetOptions,
  }),
  ({ target_id, target_type, options, ...rest }) => ({
    targetId: target_id,
    targetType: target_type,
    ...rest,
    options: {
      skipTlsVerify: options.skip_tls_verify,
      requestTimeoutMs: options.request_timeout,
      ...targetWebOf(options),
      customHeaders: options.custom_headers,
      proxyProtocol: options.proxy_protocol,
      sessionIdleTimeoutMs: options.session_idle_timeout,
      directUpstream: options.direct_upstream,
    },
  }),
);

/** An empty secret means the old one on an update, and is the domain's to refuse on a creation. */
const secret = convert(string({ min: 0, max: 1024, default: '', secret: true }), (text) => ({ text: text === '' ? undefined : text }));

const userName = convert(string({ max: 512 }), (name) => name.normalize('NFC'));

export const authRequest = object({
  password_auth: optional(object({ enabled: boolean(), password: secret })),
  pin_auth: optional(object({ enabled: boolean(), pin: secret })),
  bearer_auth: optional(
    object({
      enabled: boolean(),
      distribution_groups: groupIds(),
      // Our own addition.
      issuers: list(string({ max: 64 }), { default: [], max: 32 }),
    }),
  ),
  link_auth: optional(object({ enabled: boolean({ default: false }) })),
  header_auths: list(object({ enabled: boolean(), header: string({ max: 128 }), value: secret, keep: boolean({ default: false }) }), {
    default: [],
    max: 16,
  }),
  /** Our own addition. */
  basic_auth: optional(object({ enabled: boolean(), users: list(object({ name: userName, password: secret }), { default: [], max: 100 }) })),
});

const cidrs = (): Schema<readonly string[]> => list(string({ max: 49 }), { default: [], max: 200 });
const countries = (): Schema<readonly string[]> =>
  list(string({ pattern: /^[A-Za-z]{2}$/, hint: 'must be a country code of two letters' }), { default: [], max: 50 });

const restrictions = object({
  allowed_cidrs: cidrs(),
  blocked_cidrs: cidrs(),
  allowed_countries: countries(),
  blocked_countries: countries(),
  crowdsec_mode: optional(oneOf(['off', 'enforce', 'observe'])),
});

const serviceFields = object({
  name: string({ max: 255 }),
  domain: string({ max: 253 }),
  mode: oneOf(serviceModes, { default: 'http' }),
  /** 0 is how the shape says "none" or "choose one". */
  listen_port: integer({ max: 65_535, default: 0 }),
  targets: list(target, { default: [], max: 100 }),
  enabled: boolean({ default: true }),
  pass_host_header: boolean({ default: false }),
  rewrite_redirects: boolean({ default: false }),
  auth: authRequest,
  access_restrictions: optional(restrictions),
  private: boolean({ default: false }),
  access_groups: groupIds(),
  /** Our own addition. */
  tls_at: oneOf(tlsPlaces, { default: 'gateway' }),
  access: optional(accessRequest),
  web: optional(webRequest),
  stream: optional(streamRequest),
  // What a GET tells can be put as it is.
  id: answerOnly(),
  port_auto_assigned: answerOnly(),
  proxy_cluster: answerOnly(),
  terminated: answerOnly(),
  meta: answerOnly(),
  exposure: answerOnly(),
});

/** ServiceRequest, as the domain's input. What spans several fields is the domain's to check. */
export const serviceRequest: Schema<ServiceInput> = convert(serviceFields, (fields) => ({
  name: fields.name,
  domain: fields.domain.toLowerCase().replace(/\.$/, ''),
  mode: fields.mode,
  listenPort: fields.listen_port === 0 ? undefined : fields.listen_port,
  targets: fields.targets,
  enabled: fields.enabled,
  passHostHeader: fields.pass_host_header,
  rewriteRedirects: fields.rewrite_redirects,
  auth: authInput(fields.auth),
  issuers: fields.auth.bearer_auth?.issuers ?? [],
  restrictions: restrictionsInput(fields.access_restrictions),
  private: fields.private,
  tlsAt: fields.tls_at,
  accessGroups: fields.access_groups,
  access: fields.access ?? plainAccess,
  web: fields.web ?? defaultWeb,
  stream: fields.stream ?? defaultStream,
}));

export function authInput(fields: Infer<typeof authRequest>): ServiceInput['auth'] {
  const { password_auth: password, pin_auth: pin, bearer_auth: bearer, header_auths: headers, basic_auth: basic, link_auth: link } = fields;
  return {
    oidc: { enabled: bearer?.enabled ?? false, groups: bearer?.distribution_groups ?? [] },
    password: password === undefined ? undefined : { enabled: password.enabled, password: password.password.text },
    pin: pin === undefined ? undefined : { enabled: pin.enabled, pin: pin.pin.text },
    headers: headers.map(({ enabled, header, value, keep }) => ({ enabled, header, value: value.text, keep })),
    ...(link === undefined ? {} : { link }),
    basic: basic && { enabled: basic.enabled, users: basic.users.map(({ name, password: given }) => ({ name, password: given.text })) },
  };
}

function restrictionsInput(fields: Infer<typeof restrictions> | undefined): ServiceInput['restrictions'] {
  if (fields === undefined) return noRestrictions;
  return {
    allowedCidrs: fields.allowed_cidrs,
    blockedCidrs: fields.blocked_cidrs,
    allowedCountries: fields.allowed_countries.map((code) => code.toUpperCase()),
    blockedCountries: fields.blocked_countries.map((code) => code.toUpperCase()),
    crowdsecMode: fields.crowdsec_mode ?? 'off',
  };
}
