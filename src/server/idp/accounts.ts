// A user as the OpenID library sees one: an account with the claims sub, email, name and groups.
import { errorCode } from '#lib/errors.ts';
import { asId, type UserId } from '#model/ids.ts';
import type { User } from '#model/identity.ts';
import type { Account } from 'oidc-provider';
import type { UserUseCases } from '../domain/contract.ts';

/** Scope → the claims that it opens. All of them are in the ID token too. */
export const claimsOfScopes: Readonly<Record<string, readonly string[]>> = {
  // Which sign-in it was, and how the person proved who he is: gateways bring it to the session that they open.
  openid: ['sub', 'sign_in', 'methods'],
  profile: ['name'],
  email: ['email', 'email_verified'],
  groups: ['groups'],
};

/** Every scope that a client may ask for. */
export const scopes = ['openid', 'profile', 'email', 'groups', 'offline_access'] as const;

/** The user where he may sign in: known, not blocked, not a service user. */
export async function activeUser(users: Pick<UserUseCases, 'get'>, id: UserId): Promise<User | undefined> {
  try {
    const user = await users.get(id);
    return user.blocked || user.service ? undefined : user;
  } catch (error) {
    if (errorCode(error) === 'DOMAIN_NOT_FOUND') return undefined;
    throw error;
  }
}

/** The account of a user id, or undefined where its user may not sign in. `token` is what it is asked for: a code knows its sign-in. */
export async function findAccount(
  users: Pick<UserUseCases, 'get' | 'groupNames'>,
  id: string,
  token: { readonly sessionUid?: string; readonly amr?: readonly string[] } | undefined,
): Promise<Account | undefined> {
  const user = await activeUser(users, asId<UserId>(id));
  if (user === undefined) return undefined;
  return {
    accountId: user.id,
    async claims() {
      const groups = await users.groupNames(user.id);
      const origin = { sign_in: token?.sessionUid ?? '', methods: token?.amr ?? [] };
      return { sub: user.id, email: user.email, email_verified: true, name: user.name, groups, ...origin };
    },
  };
}
