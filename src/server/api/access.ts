// Who may call what: one word per route, and the rules between two users. The whole meaning of the roles is in this file.
import type { Role, User } from '#model/identity.ts';

/**
 * The word that a route carries.
 * `anyone` needs no sign-in; `member` is every user, and the handler shows each one only the own part.
 */
export type Access = 'anyone' | 'member' | 'network:read' | 'network:write' | 'services:read' | 'services:write' | 'users:write' | 'audit:read';

const roles: Readonly<Record<Exclude<Access, 'anyone'>, readonly Role[]>> = {
  member: ['owner', 'admin', 'network_admin', 'auditor', 'user'],
  'network:read': ['owner', 'admin', 'network_admin', 'auditor'],
  'network:write': ['owner', 'admin', 'network_admin'],
  'services:read': ['owner', 'admin', 'auditor'],
  'services:write': ['owner', 'admin'],
  'users:write': ['owner', 'admin'],
  'audit:read': ['owner', 'admin', 'network_admin', 'auditor'],
};

/** Whether a role has what a route asks for. */
export function roleAllows(role: Role, access: Exclude<Access, 'anyone'>): boolean {
  return roles[access].includes(role);
}

/** Sees the users and peers of the others too. */
export function seesOthers(caller: User): boolean {
  return roleAllows(caller.role, 'network:read');
}

/** May change this user: admins everybody but owners, owners everybody. */
export function mayManage(caller: User, target: User): boolean {
  return roleAllows(caller.role, 'users:write') && (target.role !== 'owner' || caller.role === 'owner');
}

/** May give this role: nobody hands out more than the own. */
export function mayGrant(caller: User, role: Role): boolean {
  return roleAllows(caller.role, 'users:write') && (role !== 'owner' || caller.role === 'owner');
}

/** May make a token that acts as the target: for oneself, or for a service user one manages. The role `user` has no tokens of its own. */
export function mayMintToken(caller: User, target: User): boolean {
  if (caller.id === target.id) return caller.role !== 'user' || caller.service;
  return target.service && mayManage(caller, target);
}
