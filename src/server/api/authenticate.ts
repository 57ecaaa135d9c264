// Who calls: a personal access token or the identity provider's access token, in the Authorization header and nowhere else.
import { MeshgateError } from '#lib/errors.ts';
import type { User } from '#model/identity.ts';
import type { UserId } from '#model/ids.ts';
import type { ControlDomain } from '../domain/contract.ts';
import { maxCredentialLength } from './constants.ts';
import { apiError } from './errors.ts';

/** The user of a verified access token (JWT), or undefined where it does not verify. */
export type VerifyAccessToken = (jwt: string) => Promise<UserId | undefined>;

/** The caller, never a blocked one. Throws API_UNAUTHENTICATED or API_USER_BLOCKED. Cookies do not count, so no foreign page can act for a browser. */
export async function authenticate(header: string | undefined, domain: ControlDomain, verifyAccessToken: VerifyAccessToken): Promise<User> {
  const match = /^(token|bearer) +([\x21-\x7e]+) *$/i.exec((header ?? '').slice(0, maxCredentialLength + 16));
  const scheme = match?.[1]?.toLowerCase();
  const credential = match?.[2] ?? '';
  if (scheme === undefined || credential.length > maxCredentialLength) throw apiError('API_UNAUTHENTICATED', 'no usable header');
  // Machines sometimes send a personal token as bearer: its prefix says what it is.
  const user = scheme === 'token' || credential.startsWith('nbp_') ? await domain.tokens.verify(credential) : await byJwt(credential);
  if (user === undefined) throw apiError('API_UNAUTHENTICATED', `unknown ${scheme}`);
  if (user.blocked) throw apiError('API_USER_BLOCKED', user.id);
  return user;

  async function byJwt(jwt: string): Promise<User | undefined> {
    const id = await verifyAccessToken(jwt);
    return id === undefined ? undefined : domain.users.get(id).catch(missing);
  }
}

/** A token may outlive its user: one who was deleted is nobody. */
function missing(error: unknown): undefined {
  if (error instanceof MeshgateError && error.row.status === 404) return undefined;
  throw error;
}
