// Share links of a service, our own addition. The secret is in the answer to the creation and nowhere else.
import { duration, integer, object, optional, string } from '#lib/schema.ts';
import type { ServiceId } from '#model/ids.ts';
import type { ShareLink } from '../domain/proof-contract.ts';
import { deleted, idParam, ok, readBody, textParam, type Handler } from './call.ts';
import { time } from './fields.ts';

const createRequest = object({
  label: string({ max: 255 }),
  expires_in: duration({ minMs: 60_000 }),
  uses: integer({ min: 1, max: 10_000, default: 1 }),
  host: optional(string({ max: 253 })),
});

function linkShape(link: ShareLink): Readonly<Record<string, unknown>> {
  const { id, label, uses, used, revoked } = link;
  return { id, label, uses, used, revoked, created_by: link.createdBy, created_at: time(link.createdAt), expires_at: time(link.expiresAt) };
}

export const listLinks: Handler = async (call) => ok((await call.domain.links.list(idParam<ServiceId>(call))).map(linkShape));

export const createLink: Handler = async (call) => {
  const { label, expires_in: expiresInMs, uses, host } = readBody(call, createRequest);
  const { link, plain, origin } = await call.domain.links.create(idParam<ServiceId>(call), { label, expiresInMs, uses, host }, call.actor);
  // What is behind the # stays in the browser: no log and no referer has it.
  return ok({ ...linkShape(link), code: plain, url: `${origin}/.meshgate/link#${plain}` });
};

export const revokeLink: Handler = async (call) => {
  await call.domain.links.revoke(idParam<ServiceId>(call), textParam(call, 'linkId'), call.actor);
  return deleted;
};
