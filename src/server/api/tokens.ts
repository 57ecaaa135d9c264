// Personal access tokens of a user. The plain text is in the answer to the creation and nowhere else.
import { integer, object, string } from '#lib/schema.ts';
import type { TokenId, UserId } from '#model/ids.ts';
import type { User } from '#model/identity.ts';
import type { ApiToken } from '../domain/contract.ts';
import { mayManage, mayMintToken } from './access.ts';
import { deleted, idParam, ok, readBody, type Call, type Handler } from './call.ts';
import { apiError } from './errors.ts';
import { present, time } from './fields.ts';
import { visibleUser } from './users.ts';

const createRequest = object({ name: string({ max: 255 }), expires_in: integer({ min: 1, max: 365 }) });

function tokenShape(token: ApiToken): Readonly<Record<string, unknown>> {
  return present({
    id: token.id,
    name: token.name,
    expiration_date: time(token.expiresAt),
    created_by: token.createdBy,
    created_at: time(token.createdAt),
    last_used: token.lastUsed === undefined ? undefined : time(token.lastUsed),
  });
}

/** The owner of the tokens in the path: oneself, or a user one manages. */
async function tokenOwner(call: Call): Promise<User> {
  const owner = await visibleUser(call, idParam<UserId>(call));
  if (owner.id !== call.caller.id && !mayManage(call.caller, owner)) throw apiError('API_FORBIDDEN', `tokens of ${owner.id}`);
  return owner;
}

export const listTokens: Handler = async (call) => {
  const owner = await tokenOwner(call);
  return ok((await call.domain.tokens.list(owner.id)).map(tokenShape));
};

export const getToken: Handler = async (call) => {
  const owner = await tokenOwner(call);
  return ok(tokenShape(await call.domain.tokens.get(owner.id, idParam<TokenId>(call, 'tokenId'))));
};

export const createToken: Handler = async (call) => {
  const owner = await tokenOwner(call);
  if (!mayMintToken(call.caller, owner)) throw apiError('API_FORBIDDEN', `a token for ${owner.id}`);
  const request = readBody(call, createRequest);
  const { token, plain } = await call.domain.tokens.create(owner.id, request.name, request.expires_in, call.actor);
  return ok({ plain_token: plain, personal_access_token: tokenShape(token) });
};

export const deleteToken: Handler = async (call) => {
  const owner = await tokenOwner(call);
  await call.domain.tokens.delete(owner.id, idParam<TokenId>(call, 'tokenId'), call.actor);
  return deleted;
};
