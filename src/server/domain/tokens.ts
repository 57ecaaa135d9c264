// Tokens of people and service users, and tokens of gateways. What is kept is a digest.
import { generateToken, isToken, personalTokenPrefix, proxyTokenPrefix, tokenDigest } from '#crypto/tokens.ts';
import { errorCode } from '#lib/errors.ts';
import type { TokenId } from '#model/ids.ts';
import { canonicalCluster, checkLimit, checkName } from './checks.ts';
import { lastUsedPrecisionMs, tokenMaxDays } from './constants.ts';
import { write, type Context } from './context.ts';
import type { ApiToken, ProxyToken, TokenUseCases } from './contract.ts';
import { domainError, invalid } from './errors.ts';
import { newId } from './ids.ts';
import { isIssuer } from './issuer-choice.ts';
import { isAgentCluster } from './tls-place.ts';

const dayMs = 24 * 60 * 60_000;

export function tokenUseCases(context: Context): TokenUseCases {
  const { store, random, limits, clock } = context;
  return {
    async list(userId) {
      return await store.tables.tokens.listOfUser(userId);
    },

    async get(userId, id) {
      const record = await store.tables.tokens.find(id);
      if (record === undefined || record.token.userId !== userId) throw domainError('DOMAIN_NOT_FOUND', 'token');
      return record.token;
    },

    async create(userId, name, expiresInDays, actor) {
      const checked = checkName(name, 'The name');
      if (!Number.isInteger(expiresInDays) || expiresInDays < 1 || expiresInDays > tokenMaxDays) {
        throw invalid(`A token lives 1 to ${tokenMaxDays} days.`);
      }
      const plain = generateToken(personalTokenPrefix);
      return await write(context, async ({ tables, now, audit }) => {
        if ((await tables.users.find(userId)) === undefined) throw domainError('DOMAIN_NOT_FOUND', 'user');
        checkLimit((await tables.tokens.listOfUser(userId)).length, limits.tokensPerUser);
        const token: ApiToken = {
          id: newId<TokenId>(random),
          userId,
          name: checked,
          createdAt: now,
          expiresAt: now + expiresInDays * dayMs,
          lastUsed: undefined,
          createdBy: actor.kind === 'user' ? actor.id : userId,
        };
        await tables.tokens.insert(token, tokenDigest(plain));
        await audit('token.create', actor, token.id, { name: checked, user_id: userId });
        return { token, plain };
      });
    },

    async delete(userId, id, actor) {
      await write(context, async ({ tables, audit, changed }) => {
        const record = await tables.tokens.find(id);
        if (record === undefined || record.token.userId !== userId) throw domainError('DOMAIN_NOT_FOUND', 'token');
        await tables.tokens.delete(id);
        await audit('token.delete', actor, id, { name: record.token.name, user_id: userId });
        changed({ kind: 'revocation', revocation: { kind: 'token', digest: record.digest }, cluster: undefined });
      });
    },

    async verify(plain) {
      if (!isToken(plain, personalTokenPrefix)) return undefined;
      const token = await store.tables.tokens.findByDigest(tokenDigest(plain));
      const now = clock.wall();
      if (token === undefined || token.expiresAt <= now) return undefined;
      const user = await store.tables.users.find(token.userId);
      if (user === undefined || user.blocked || !(await isIssuer(context, store.tables, user.connector))) return undefined;
      if (isStale(token.lastUsed, now)) await noted(store.tables.tokens.setUsed(token.id, now));
      return user;
    },

    async listProxy() {
      return await store.tables.tokens.listProxy();
    },

    async createProxy({ name, expiresInSeconds, ...request }, actor) {
      const checked = checkName(name, 'The name');
      const cluster = request.cluster === undefined ? undefined : canonicalCluster(request.cluster);
      if (request.cluster !== undefined && (cluster === undefined || isAgentCluster(cluster)))
        throw invalid('The address of a cluster is a domain name or an IP address.');
      if (!Number.isSafeInteger(expiresInSeconds) || expiresInSeconds < 0)
        throw invalid('The lifetime must be a whole number of seconds, 0 for ever.');
      const plain = generateToken(proxyTokenPrefix);
      return await write(context, async ({ tables, now, audit }) => {
        checkLimit(await tables.tokens.countProxy(), limits.proxyTokens);
        const expiresAt = expiresInSeconds === 0 ? undefined : now + expiresInSeconds * 1_000;
        const token: ProxyToken = {
          id: newId<TokenId>(random),
          name: checked,
          createdAt: now,
          expiresAt,
          lastUsed: undefined,
          revoked: false,
          cluster,
        };
        await tables.tokens.insertProxy(token, tokenDigest(plain));
        await audit('proxy.token.create', actor, token.id, { name: checked, ...(cluster === undefined ? {} : { cluster }) });
        return { token, plain };
      });
    },

    async revokeProxy(id, actor) {
      await write(context, async ({ tables, audit, changed }) => {
        const token = await tables.tokens.findProxy(id);
        if (token === undefined) throw domainError('DOMAIN_NOT_FOUND', 'gateway token');
        // It would ask for another at once: its peer has to go.
        if (isAgentCluster(token.cluster ?? '')) throw invalid('This is the token of an agent. It ends with its peer: delete that.');
        if (token.revoked) return;
        await tables.tokens.revokeProxy(id);
        await audit('proxy.token.revoke', actor, id, { name: token.name });
        changed({ kind: 'proxy-token-revoked', tokenId: id });
      });
    },

    async verifyProxy(plain) {
      if (!isToken(plain, proxyTokenPrefix)) return undefined;
      const token = await store.tables.tokens.findProxyByDigest(tokenDigest(plain));
      const now = clock.wall();
      if (token === undefined || token.revoked || (token.expiresAt !== undefined && token.expiresAt <= now)) return undefined;
      if (isStale(token.lastUsed, now)) await noted(store.tables.tokens.setProxyUsed(token.id, now));
      return token;
    },
  };
}

/** Waits until it is written that something was used. A full disk takes no notes, but nobody is locked out for it (attack row D-15). */
export async function noted(writing: Promise<void>): Promise<void> {
  await writing.catch((error: unknown) => {
    if (errorCode(error) !== 'STORE_FULL') throw error;
  });
}

/** Whether "last used" should be written again. */
export function isStale(lastUsed: number | undefined, now: number): boolean {
  return lastUsed === undefined || now - lastUsed >= lastUsedPrecisionMs;
}
