// Certificates that users get for services: everybody has the own ones made, sees and revokes them; who manages users those of all. Our own addition.
import { integer, object, optional, string } from '#lib/schema.ts';
import type { UserId } from '#model/ids.ts';
import type { Minted, MintedView } from '../domain/minted-contract.ts';
import { roleAllows, seesOthers } from './access.ts';
import { deleted, ok, readBody, readQuery, textParam, type Handler } from './call.ts';
import { idField, present, time } from './fields.ts';

const mintRequest = object({
  service: string({ max: 255 }),
  port: optional(integer({ min: 1, max: 65_535 })),
  public_key: string({ max: 4_096 }),
});

const listQuery = object({
  user: optional(idField<UserId>()),
  scope: optional(string({ max: 3, pattern: /^(?:own|all)$/, hint: 'must be own or all' })),
});

function mintedShape(minted: Minted): Readonly<Record<string, unknown>> {
  const { id, certificate, domain, port, principals } = minted;
  return present({
    id,
    service_id: minted.serviceId,
    domain,
    port,
    certificate,
    principals: principals.length === 0 ? undefined : principals,
    expires_at: time(minted.expiresAt),
  });
}

function viewShape(view: MintedView): Readonly<Record<string, unknown>> {
  const { id, kind, email, domain } = view;
  return {
    id,
    kind,
    user_id: view.userId,
    user_email: email,
    service_id: view.serviceId,
    domain,
    created_at: time(view.createdAt),
    expires_at: time(view.expiresAt),
  };
}

export const mintClient: Handler = async (call) => {
  const { service, port, public_key: publicKey } = readBody(call, mintRequest);
  return ok(mintedShape(await call.domain.minted.mintTls(call.caller.id, { service, port, publicKey })));
};

export const mintSsh: Handler = async (call) => {
  const { service, port, public_key: publicKey } = readBody(call, mintRequest);
  return ok(mintedShape(await call.domain.minted.mintSsh(call.caller.id, { service, port, publicKey })));
};

export const getAuthorities: Handler = (call) => Promise.resolve(ok(call.domain.minted.authorities));

export const listCertificates: Handler = async (call) => {
  const { user, scope } = readQuery(call, listQuery);
  const wanted = user ?? (scope === 'own' ? call.caller.id : undefined);
  const shown = seesOthers(call.caller) ? wanted : call.caller.id;
  return ok(wanted === undefined || wanted === shown ? (await call.domain.minted.list(shown)).map(viewShape) : []);
};

export const revokeCertificate: Handler = async (call) => {
  const of = roleAllows(call.caller.role, 'users:write') ? undefined : call.caller.id;
  await call.domain.minted.revoke(textParam(call, 'id'), of, call.actor);
  return deleted;
};
