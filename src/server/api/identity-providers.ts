// External issuers whose users may sign in, in NetBird's shape and with our own rules beside it. The client secret is taken, never told.
import { boolean, convert, list, object, oneOf, optional, record, type Schema, string } from '#lib/schema.ts';
import { asId, type GroupId } from '#model/ids.ts';
import { issuerTypes, type Issuer } from '#model/issuer.ts';
import type { IssuerInput } from '../domain/contract.ts';
import { deleted, idParam, ok, readBody, type Handler } from './call.ts';
import { answerOnly, present } from './fields.ts';

/** Where an issuer is always the same, nobody has to know its URL. */
const usualIssuers: Readonly<Partial<Record<(typeof issuerTypes)[number], string>>> = { google: 'https://accounts.google.com' };

const issuerRequest: Schema<IssuerInput> = convert(
  object({
    type: oneOf(issuerTypes, { default: 'oidc' }),
    name: string({ max: 255 }),
    issuer: string({ min: 0, max: 2048, default: '' }),
    client_id: string({ max: 512 }),
    /** Empty keeps the old one. */
    client_secret: string({ min: 0, max: 1024, default: '', secret: true }),
    // Our own additions.
    client_auth: oneOf(['basic', 'post'], { default: 'basic' }),
    ca: optional(string({ min: 0, max: 65_536 })),
    email_domains: list(string({ max: 253 }), { default: [], max: 50 }),
    trust_email: boolean({ default: false }),
    groups_claim: optional(string({ min: 0, max: 128 })),
    group_mapping: record(string({ max: 200 }), { default: {}, max: 500 }),
    claims: list(string({ max: 128 }), { default: [], max: 16 }),
    id: answerOnly(),
    redirect_url: answerOnly(),
    configured: answerOnly(),
  }),
  (fields) => ({
    type: fields.type,
    name: fields.name,
    issuer: fields.issuer === '' ? (usualIssuers[fields.type] ?? '') : fields.issuer,
    clientId: fields.client_id,
    clientSecret: fields.client_secret === '' ? undefined : fields.client_secret,
    clientAuth: fields.client_auth,
    ca: fields.ca === '' ? undefined : fields.ca,
    emailDomains: fields.email_domains,
    trustsEmail: fields.trust_email,
    groupsClaim: fields.groups_claim === '' ? undefined : fields.groups_claim,
    groups: Object.entries(fields.group_mapping).map(([value, group]) => ({ value, group: asId<GroupId>(group) })),
    claims: fields.claims,
  }),
);

function issuerShape(issuer: Issuer): Readonly<Record<string, unknown>> {
  return present({
    id: issuer.id,
    type: issuer.type,
    name: issuer.name,
    issuer: issuer.issuer,
    client_id: issuer.clientId,
    client_auth: issuer.clientAuth,
    ca: issuer.ca,
    email_domains: issuer.emailDomains,
    trust_email: issuer.trustsEmail,
    groups_claim: issuer.groupsClaim,
    group_mapping: Object.fromEntries(issuer.groups.map(({ value, group }) => [value, group])),
    claims: issuer.claims,
    /** What has to be registered at the issuer. */
    redirect_url: `/oauth2/connectors/${issuer.id}/callback`,
    configured: issuer.configured ? true : undefined,
  });
}

export const listIssuers: Handler = async ({ domain }) => ok((await domain.issuers.list()).map(issuerShape));
export const getIssuer: Handler = async (call) => ok(issuerShape(await call.domain.issuers.get(idParam(call))));
export const createIssuer: Handler = async (call) => ok(issuerShape(await call.domain.issuers.create(readBody(call, issuerRequest), call.actor)));
export const updateIssuer: Handler = async (call) =>
  ok(issuerShape(await call.domain.issuers.update(idParam(call), readBody(call, issuerRequest), call.actor)));

export const deleteIssuer: Handler = async (call) => {
  await call.domain.issuers.delete(idParam(call), call.actor);
  return deleted;
};
