// Sessions of people at published services: everybody sees and ends the own ones, who manages users those of all. Our own addition.
import { object, optional, string } from '#lib/schema.ts';
import type { UserId } from '#model/ids.ts';
import type { SessionView } from '../domain/contract.ts';
import { roleAllows, seesOthers } from './access.ts';
import { deleted, idParam, ok, readQuery, type Handler } from './call.ts';
import { idField, time } from './fields.ts';

const listQuery = object({
  user: optional(idField<UserId>()),
  scope: optional(string({ max: 3, pattern: /^(?:own|all)$/, hint: 'must be own or all' })),
});

function sessionShape(session: SessionView): Readonly<Record<string, unknown>> {
  return {
    id: session.id,
    user_id: session.userId,
    user_email: session.email,
    service_id: session.serviceId,
    service_name: session.serviceName,
    domain: session.domain,
    address: session.address,
    user_agent: session.userAgent,
    methods: session.methods,
    created_at: time(session.createdAt),
    last_used: time(session.lastUsed),
    expires_at: time(session.expiresAt),
  };
}

export const listSessions: Handler = async (call) => {
  const { user, scope } = readQuery(call, listQuery);
  const wanted = user ?? (scope === 'own' ? call.caller.id : undefined);
  const shown = seesOthers(call.caller) ? wanted : call.caller.id;
  const sessions = wanted === undefined || wanted === shown ? await call.domain.sessions.list(shown) : [];
  return ok(sessions.map(sessionShape));
};

export const endSession: Handler = async (call) => {
  const of = roleAllows(call.caller.role, 'users:write') ? undefined : call.caller.id;
  await call.domain.sessions.revoke(idParam(call), of, call.actor);
  return deleted;
};
