// Users: people and service users, their roles, passwords and sessions.
import { boolean, object, oneOf, optional, string } from '#lib/schema.ts';
import type { Role, User } from '#model/identity.ts';
import type { UserId } from '#model/ids.ts';
import { mayGrant, mayManage, seesOthers } from './access.ts';
import { deleted, idParam, ok, readBody, readQuery, type Call, type Handler } from './call.ts';
import { apiError } from './errors.ts';
import { groupIds, present, time } from './fields.ts';
import { emailField, passwordField } from './instance.ts';

const roles = ['owner', 'admin', 'network_admin', 'auditor', 'user'] as const satisfies readonly Role[];

const createRequest = object({
  email: optional(emailField()),
  name: string({ min: 0, max: 255, default: '' }),
  role: oneOf(roles),
  auto_groups: groupIds(),
  is_service_user: boolean({ default: false }),
  /** Our own addition; without it a password is made and shown once. */
  password: optional(passwordField()),
});

const updateRequest = object({ role: oneOf(roles), auto_groups: groupIds(), is_blocked: boolean({ default: false }) });

const passwordRequest = object({ old_password: string({ min: 0, max: 256, default: '' }), new_password: passwordField() });

const listQuery = object({ service_user: optional(boolean()) });

function userShape(user: User, caller: User): Readonly<Record<string, unknown>> {
  return present({
    id: user.id,
    email: user.email,
    name: user.name,
    role: user.role,
    status: user.blocked ? 'blocked' : 'active',
    last_login: user.lastLogin === undefined ? undefined : time(user.lastLogin),
    auto_groups: user.autoGroups,
    is_current: user.id === caller.id,
    is_service_user: user.service,
    is_blocked: user.blocked,
    pending_approval: false,
    issued: 'api',
    idp_id: user.connector === 'local' ? undefined : user.connector,
  });
}

/** The user of the path, where the caller may know of it. */
export async function visibleUser(call: Call, id: UserId): Promise<User> {
  if (id !== call.caller.id && !seesOthers(call.caller)) throw apiError('API_RESOURCE_NOT_FOUND', `user ${id}`);
  return call.domain.users.get(id);
}

/** The user of the path, where the caller may change it. */
async function managedUser(call: Call): Promise<User> {
  const user = await call.domain.users.get(idParam<UserId>(call));
  if (!mayManage(call.caller, user)) throw apiError('API_FORBIDDEN', `${call.caller.id} may not change ${user.id}`);
  return user;
}

export const listUsers: Handler = async (call) => {
  const { service_user: service } = readQuery(call, listQuery);
  const all = await call.domain.users.list();
  const visible = seesOthers(call.caller) ? all : all.filter((user) => user.id === call.caller.id);
  return ok(visible.filter((user) => service === undefined || user.service === service).map((user) => userShape(user, call.caller)));
};

export const currentUser: Handler = async (call) => ok(userShape(call.caller, call.caller));

export const createUser: Handler = async (call) => {
  const request = readBody(call, createRequest);
  if (!mayGrant(call.caller, request.role)) throw apiError('API_FORBIDDEN', `${call.caller.id} may not give the role ${request.role}`);
  const { user, password } = await call.domain.users.create(
    {
      email: request.email ?? '',
      name: request.name,
      role: request.role,
      autoGroups: request.auto_groups,
      service: request.is_service_user,
      password: request.password,
    },
    call.actor,
  );
  // A password that the caller chose is not sent back.
  return ok({ ...userShape(user, call.caller), ...(password === undefined || request.password !== undefined ? {} : { password }) });
};

export const updateUser: Handler = async (call) => {
  const user = await managedUser(call);
  const request = readBody(call, updateRequest);
  if (user.id === call.caller.id && (request.is_blocked || request.role !== user.role)) throw apiError('API_OWN_ACCOUNT');
  if (request.role !== user.role && !mayGrant(call.caller, request.role)) throw apiError('API_FORBIDDEN', `role ${request.role}`);
  const change = { role: request.role, autoGroups: request.auto_groups, blocked: request.is_blocked };
  return ok(userShape(await call.domain.users.update(user.id, change, call.actor), call.caller));
};

export const deleteUser: Handler = async (call) => {
  const user = await managedUser(call);
  if (user.id === call.caller.id) throw apiError('API_OWN_ACCOUNT');
  await call.domain.users.delete(user.id, call.actor);
  return deleted;
};

/** One's own with the old password, another one's by whoever manages the user. */
export const changePassword: Handler = async (call) => {
  const id = idParam<UserId>(call);
  const user = id === call.caller.id ? call.caller : await managedUser(call);
  const request = readBody(call, passwordRequest);
  if (user.service || user.connector !== 'local') throw apiError('API_NO_PASSWORD');
  if (user.id === call.caller.id) await checkOldPassword(call, request.old_password);
  await call.domain.users.setPassword(user.id, request.new_password, call.actor);
  return deleted;
};

async function checkOldPassword(call: Call, password: string): Promise<void> {
  if (!call.passwordLimiter.take(call.caller.id, call.clock.now())) throw apiError('API_LIMITED', 'old password');
  const proven = await call.domain.users.checkPassword(call.caller.email, password);
  if (proven?.id !== call.caller.id) throw apiError('API_OLD_PASSWORD');
}

/** Takes second factors and passkeys away from a user who has lost them, and ends every session. One's own are on the account page. */
export const resetFactors: Handler = async (call) => {
  const user = await managedUser(call);
  await call.domain.factors.reset(user.id, call.actor);
  return deleted;
};

/** Ends every session of the user at every gateway: one's own, or by whoever manages the user. */
export const endSessions: Handler = async (call) => {
  const id = idParam<UserId>(call);
  const user = id === call.caller.id ? call.caller : await managedUser(call);
  await call.domain.sessions.endAllOf(user.id, call.actor);
  return deleted;
};
