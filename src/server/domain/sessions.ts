// Sessions of people at published services, and tokens that stand in for one. What a session may do is decided anew at each look-up.
import { isToken, personalTokenPrefix, tokenDigest } from '#crypto/tokens.ts';
import { toBase64Url } from '#lib/bytes.ts';
import { asId, type ServiceId, type SessionId } from '#model/ids.ts';
import type { Identity, Session, User } from '#model/identity.ts';
import type { ServiceRecord } from '../store/service-table.ts';
import type { SessionRecord } from '../store/session-table.ts';
import type { Tables } from '../store/store.ts';
import { sessionMaxAgeMs } from './constants.ts';
import { write, type Context, type Write } from './context.ts';
import type { SessionUseCases } from './contract.ts';
import { domainError } from './errors.ts';
import { isStale } from './tokens.ts';
import { groupNamesOf, revokeUser } from './users.ts';

export function sessionUseCases(context: Context): SessionUseCases {
  const { store, clock, random, limits } = context;
  return {
    async create(serviceId, userId) {
      const id = asId<SessionId>(toBase64Url(random(32)));
      return await write(context, async (write) => {
        const { tables, now, audit } = write;
        const service = await enabledService(tables, serviceId);
        if (service === undefined) throw domainError('DOMAIN_SERVICE_UNKNOWN');
        if (!service.auth.oidc.enabled) throw domainError('DOMAIN_SERVICE_NO_SIGN_IN');
        const user = await tables.users.find(userId);
        if (user === undefined || user.blocked) throw domainError('DOMAIN_USER_BLOCKED');
        if (!mayUse(service, user)) throw domainError('DOMAIN_GROUP_NOT_ALLOWED');
        const record = { digest: tokenDigest(id), serviceId, userId, createdAt: now, expiresAt: now + sessionMaxAgeMs, revoked: false };
        await tables.sessions.insert(record);
        await endOldest(write, user, limits.sessionsPerUser);
        await audit('session.create', { kind: 'user', id: userId }, serviceId, { service: service.name });
        return sessionOf(id, record, await identityOf(tables, user, 'oidc'));
      });
    },

    async find(id, serviceId) {
      return await store.read(async (tables) => {
        const record = await tables.sessions.find(tokenDigest(id));
        if (record === undefined || record.serviceId !== serviceId) return { missing: 'unknown' };
        if (record.revoked) return { missing: 'revoked' };
        if (record.expiresAt <= clock.wall()) return { missing: 'expired' };
        const service = await enabledService(tables, serviceId);
        if (service === undefined) return { missing: 'unknown' };
        const user = await tables.users.find(record.userId);
        if (user === undefined || user.blocked || !mayUse(service, user)) return { missing: 'revoked' };
        return { session: sessionOf(id, record, await identityOf(tables, user, 'oidc')) };
      });
    },

    async end(id) {
      await write(context, async ({ tables, audit, changed }) => {
        const digest = tokenDigest(id);
        const record = await tables.sessions.find(digest);
        if (record === undefined || !(await tables.sessions.revoke(digest))) return;
        await audit('session.end', { kind: 'user', id: record.userId }, record.serviceId);
        changed({ kind: 'revocation', revocation: { kind: 'session', sessionId: id } });
      });
    },

    async endAllOf(userId, actor) {
      await write(context, async (write) => {
        if ((await write.tables.users.find(userId)) === undefined) throw domainError('DOMAIN_NOT_FOUND', 'user');
        await revokeUser(write, userId);
        await write.audit('user.sessions.end', actor, userId);
      });
    },

    async verifyServiceToken(plain, serviceId) {
      if (!isToken(plain, personalTokenPrefix)) return { denied: 'token_invalid' };
      const now = clock.wall();
      const found = await store.read(async (tables) => {
        const token = await tables.tokens.findByDigest(tokenDigest(plain));
        const user = token === undefined ? undefined : await tables.users.find(token.userId);
        const service = await enabledService(tables, serviceId);
        // a person's token opens the control plane too: what a service would get to see must not
        if (token === undefined || token.expiresAt <= now || user === undefined || user.blocked || !user.service) return undefined;
        return { token, user, service, identity: await identityOf(tables, user, 'token') };
      });
      if (found === undefined || found.service === undefined) return { denied: 'token_invalid' };
      if (!mayUse(found.service, found.user)) return { denied: 'group_not_allowed' };
      if (isStale(found.token.lastUsed, now)) await store.tables.tokens.setUsed(found.token.id, now);
      return { identity: found.identity };
    },
  };
}

async function enabledService(tables: Tables, id: ServiceId): Promise<ServiceRecord | undefined> {
  const service = await tables.services.find(id);
  return service?.enabled === true ? service : undefined;
}

/** No groups on the service let every user of the account pass. */
function mayUse(service: ServiceRecord, user: User): boolean {
  const { groups } = service.auth.oidc;
  return groups.length === 0 || groups.some((group) => user.autoGroups.includes(group));
}

async function identityOf(tables: Tables, user: User, method: Identity['method']): Promise<Identity> {
  const groups = await groupNamesOf(tables, user);
  const administrator = user.role === 'owner' || user.role === 'admin';
  return { userId: user.id, email: user.email, name: user.name, groups, groupIds: user.autoGroups, administrator, method };
}

function sessionOf(id: SessionId, record: SessionRecord, identity: Identity): Session {
  return { id, serviceId: record.serviceId, identity, createdAt: record.createdAt, expiresAt: record.expiresAt };
}

/** Only digests are kept, so gateways cannot be told of these by id; they find out when they look next. */
async function endOldest({ tables, now }: Write, user: User, limit: number): Promise<void> {
  const live = (await tables.sessions.listOfUser(user.id)).filter((record) => !record.revoked && record.expiresAt > now);
  for (const record of live.slice(limit)) await tables.sessions.revoke(record.digest);
}
