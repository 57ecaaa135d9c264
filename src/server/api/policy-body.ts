// The access policy in a service's body, as a gateway gets it: with its proofs worked out from what the body switches on.
import { object, oneOf, optional, parseOrThrow } from '#lib/schema.ts';
import { type AccessPolicy, plainAccess } from '#model/access.ts';
import { type ServiceMode, serviceModes } from '#model/service.ts';
import { checkAccess } from '../domain/access-rules.ts';
import { proofsOf } from '../domain/mappings.ts';
import { defaultStream } from '#model/stream.ts';
import { defaultWeb } from '#model/web.ts';
import { accessRequest } from './access-request.ts';
import { authInput, authRequest } from './service-request.ts';
import { streamRequest } from './stream-request.ts';
import { webRequest } from './web-request.ts';

const policyFields = object({
  mode: oneOf(serviceModes, { default: 'http' }),
  auth: authRequest,
  access: optional(accessRequest),
  stream: optional(streamRequest),
  web: optional(webRequest),
});

/** Of a whole service, or of its parts `mode`, `auth` and `access`. LIB_INPUT_INVALID, DOMAIN_INVALID. */
export function policyOf(body: Readonly<Record<string, unknown>>): { readonly mode: ServiceMode; readonly policy: AccessPolicy } {
  const parts = { mode: body['mode'], auth: body['auth'], access: body['access'], stream: body['stream'], web: body['web'] };
  const { mode, auth, access = plainAccess, stream = defaultStream, web = defaultWeb } = parseOrThrow(policyFields, parts);
  return { mode, policy: { ...checkAccess(mode, access), proofs: proofsOf({ access, auth: authInput(auth), private: false, stream, web }) } };
}
