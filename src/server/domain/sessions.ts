// Sessions of people at published services, and tokens that stand in for one. What a session may do is decided anew at each look-up.
import { isToken, personalTokenPrefix, tokenDigest } from '#crypto/tokens.ts';
import { toBase64Url } from '#lib/bytes.ts';
import { type ProofAlternatives, type ProofKind, sufficient } from '#model/access.ts';
import { asId, type ServiceId, type SessionId, type UserId } from '#model/ids.ts';
import type { Identity, Session, User } from '#model/identity.ts';
import type { ServiceRecord } from '../store/service-table.ts';
import type { SessionRecord } from '../store/session-table.ts';
import type { Tables } from '../store/store.ts';
import { sessionClockToleranceMs, sessionsListed, sessionUseLagMs, unfinishedSessionMs } from './constants.ts';
import { write, type Context, type Write } from './context.ts';
import type { Actor, SessionOrigin, SessionUseCases } from './contract.ts';
import { domainError } from './errors.ts';
import { newId } from './ids.ts';
import { doorOf } from './tls-place.ts';
import { proofsOf } from './mappings.ts';
import { readSettings } from './saved-settings.ts';
import { sessionTimes, type SessionTimes } from './session-times.ts';
import { isStale, noted } from './tokens.ts';
import { distrustUser, groupNamesOf } from './users.ts';

const unknownOrigin: SessionOrigin = { signIn: '', methods: [], address: '', userAgent: '' };

export function sessionUseCases(context: Context): SessionUseCases {
  const { store, clock, limits, sessionTime: time } = context;
  return {
    async create(serviceId, userId, cluster, origin = unknownOrigin, previous) {
      return await write(context, async (write) => {
        const { tables } = write;
        const service = await enabledService(tables, serviceId, cluster);
        if (service === undefined) throw domainError('DOMAIN_SERVICE_UNKNOWN');
        if (!service.auth.oidc.enabled) throw domainError('DOMAIN_SERVICE_NO_SIGN_IN');
        const user = await tables.users.find(userId);
        if (user === undefined) throw domainError('DOMAIN_USER_BLOCKED');
        const problem = userProblem(service, user);
        if (problem !== undefined) throw domainError(problem);
        const session = await openSession(context, write, service, { userId, name: '' }, 'oidc', origin, previous);
        await endOldest(write, user, limits.sessionsPerUser);
        return session;
      });
    },

    async find(id, serviceId, cluster) {
      const now = Math.trunc(time.now());
      const found = await store.read(async (tables) => {
        const record = await tables.sessions.find(tokenDigest(id));
        if (record === undefined || record.serviceId !== serviceId) return { missing: 'unknown' } as const;
        if (!(await isAtDoor(tables, serviceId, cluster))) return { missing: 'unknown' } as const;
        if (record.revoked) return { missing: 'revoked' } as const;
        const service = await enabledService(tables, serviceId, cluster);
        if (service === undefined) return { missing: 'unknown' } as const;
        const times = sessionTimes(service, await readSettings(tables));
        if (isOver(record, times, now)) return { missing: 'expired' } as const;
        const identity = await holderOf(tables, service, record);
        if (identity === undefined) return { missing: 'revoked' } as const;
        return { record, session: sessionOf(id, record, times, identity) };
      });
      if ('missing' in found) return found;
      if (isStale(found.record.lastUsed, now)) await noted(store.tables.sessions.setUsed(found.record.digest, now));
      return { session: found.session };
    },

    async end(id, cluster) {
      await write(context, async (write) => {
        const { tables, audit } = write;
        const record = await tables.sessions.find(tokenDigest(id));
        if (record === undefined || !(await isAtDoor(tables, record.serviceId, cluster))) return;
        if (await endSession(write, record)) await audit('session.end', actorOf(record.userId), record.serviceId);
      });
    },

    async list(userId) {
      const now = Math.trunc(time.now());
      return await store.read(async (tables) => {
        const settings = await readSettings(tables);
        const services = new Map((await tables.services.list()).map((service) => [service.id, service]));
        return (await tables.sessions.listLive(now, userId, sessionsListed)).flatMap((record) => {
          const service = services.get(record.serviceId);
          const times = service === undefined ? undefined : sessionTimes(service, settings);
          if (times === undefined || isOver(record, times, now)) return [];
          const { digest: _digest, revoked: _revoked, ...view } = record;
          return [{ ...view, expiresAt: endOf(record, times) }];
        });
      });
    },

    async revoke(id, of, actor) {
      await write(context, async (write) => {
        const { tables, audit } = write;
        const record = await tables.sessions.findById(id);
        if (record === undefined || (of !== undefined && record.userId !== of)) throw domainError('DOMAIN_NOT_FOUND', 'session');
        if (await endSession(write, record)) await audit('session.revoke', actor, record.serviceId, { user_id: record.userId });
      });
    },

    async endOfSignIn(signIn, actor) {
      if (signIn === '') return;
      await write(context, async (write) => {
        const { tables, audit } = write;
        for (const digest of await tables.sessions.liveOfSignIn(signIn)) {
          const record = await tables.sessions.find(digest);
          if (record !== undefined && (await endSession(write, record))) await audit('session.end', actor, record.serviceId);
        }
      });
    },

    async endAllOf(userId, actor) {
      await write(context, async (write) => {
        if ((await write.tables.users.find(userId)) === undefined) throw domainError('DOMAIN_NOT_FOUND', 'user');
        await distrustUser(write, userId);
        await write.audit('user.sessions.end', actor, userId);
      });
    },

    async verifyServiceToken(plain, serviceId, cluster) {
      if (!isToken(plain, personalTokenPrefix)) return { denied: 'token_invalid' };
      const now = clock.wall();
      const found = await store.read(async (tables) => {
        const token = await tables.tokens.findByDigest(tokenDigest(plain));
        const user = token === undefined ? undefined : await tables.users.find(token.userId);
        const service = await enabledService(tables, serviceId, cluster);
        // a person's token opens the control plane too: what a service would get to see must not
        if (token === undefined || token.expiresAt <= now || user === undefined || user.blocked || !user.service) return undefined;
        return { token, user, service, identity: await identityOf(tables, user, 'token') };
      });
      if (found === undefined || found.service === undefined) return { denied: 'token_invalid' };
      // Service users sign in nowhere: which issuers people may come from is not about them.
      if (!inGroup(found.service, found.user)) return { denied: 'group_not_allowed' };
      if (isStale(found.token.lastUsed, now)) await noted(store.tables.tokens.setUsed(found.token.id, now));
      return { identity: found.identity };
    },
  };
}

/** Somebody without an account has an id that begins with what was proven first, and a colon. */
export function isNameless(userId: UserId): boolean {
  return userId.includes(':');
}

/** Who the session stands for, as of now; undefined where it stands for nobody any more. */
async function holderOf(tables: Tables, service: ServiceRecord, record: SessionRecord): Promise<Identity | undefined> {
  const { userId, name, proofs } = record;
  const [method = 'oidc'] = proofs;
  if (isNameless(userId)) return { userId, email: '', name, groups: [], method };
  const user = await tables.users.find(userId);
  return user === undefined || user.blocked || !mayUse(service, user) ? undefined : await identityOf(tables, user, method);
}

/**
 * Opens a session of somebody who has just proven something. What the same browser's `previous` session has proven counts on, unless it is another
 * user's; its id is worth nothing from here on, as with each step (attack row C-3). With an account on one side, the session is the account's.
 */
export async function openSession(
  { random, sessionTime }: Context,
  write: Write,
  service: ServiceRecord,
  holder: { readonly userId: UserId; readonly name: string },
  proof: ProofKind,
  origin: SessionOrigin,
  previous: SessionId | undefined,
): Promise<Session> {
  const { tables, audit } = write;
  const now = Math.trunc(sessionTime.now());
  const times = sessionTimes(service, await readSettings(tables));
  const before = previous === undefined ? undefined : await tables.sessions.find(tokenDigest(previous));
  const live = before?.serviceId === service.id && !before.revoked && !isOver(before, times, now) ? before : undefined;
  const known = live === undefined ? undefined : await holderOf(tables, service, live);
  const same = live !== undefined && known !== undefined && (isNameless(holder.userId) || isNameless(live.userId) || live.userId === holder.userId);
  const proofs = same ? [...new Set([...live.proofs, proof])] : [proof];
  // Of two links the one that counts is the later: it ends with that.
  const { userId, name } =
    same && isNameless(holder.userId) && !(proof === 'link' && live.proofs[0] === 'link' && isNameless(live.userId)) ? live : holder;
  // What counts on is as old as it is: else who proves something cheap now and then would never have to sign in again.
  const began = same && live.proofs.some((kept) => kept !== proof) ? live.createdAt : now;
  const id = asId<SessionId>(toBase64Url(random(32)));
  const record: SessionRecord = {
    digest: tokenDigest(id),
    id: newId(random),
    serviceId: service.id,
    userId,
    name,
    createdAt: began,
    expiresAt: Math.min(began + times.maxAgeMs, sufficient(waysIn(service), proofs) ? Number.POSITIVE_INFINITY : now + unfinishedSessionMs),
    revoked: false,
    ...origin,
    // Signing out at the identity provider ends a session that it opened, whatever was proven after it.
    signIn: origin.signIn === '' && same ? live.signIn : origin.signIn,
    methods: origin.methods.length === 0 && same ? live.methods : origin.methods,
    lastUsed: now,
    proofs,
  };
  const identity = await holderOf(tables, service, record);
  if (identity === undefined) throw domainError('DOMAIN_USER_BLOCKED');
  await tables.sessions.insert(record);
  await audit('session.create', actorOf(userId), service.id, { service: service.name, proofs: proofs.join('+') });
  if (live !== undefined) await endSession(write, live);
  return sessionOf(id, record, times, identity);
}

function actorOf(userId: UserId): Actor {
  return isNameless(userId) ? { kind: 'system' } : { kind: 'user', id: userId };
}

/** Everything that some request of the service may be let in with. */
export function waysIn(service: ServiceRecord): ProofAlternatives {
  return [...proofsOf(service), ...service.access.rules.flatMap(({ proofs }) => proofs)];
}

/** Where the cluster's gateways see its requests. */
export async function enabledService(tables: Tables, id: ServiceId, cluster: string): Promise<ServiceRecord | undefined> {
  const service = await tables.services.find(id);
  return service?.enabled === true && doorOf(service) === cluster ? service : undefined;
}

async function isAtDoor(tables: Tables, id: ServiceId, cluster: string): Promise<boolean> {
  const service = await tables.services.find(id);
  return service !== undefined && doorOf(service) === cluster;
}

/** When a session ends at the latest: as was meant when it began, or as is meant now, whichever is sooner. */
function endOf(record: SessionRecord, { maxAgeMs }: SessionTimes): number {
  return Math.min(record.expiresAt, record.createdAt + maxAgeMs);
}

/** Gateways measure the time without requests to the second; here it is held for sessions that no gateway knows any more. */
function isOver(record: SessionRecord, times: SessionTimes, now: number): boolean {
  if (endOf(record, times) <= now || record.createdAt > now + sessionClockToleranceMs) return true;
  return times.idleMs !== undefined && now - record.lastUsed > times.idleMs + sessionUseLagMs;
}

/** Why the user may not use the service; undefined where he may. */
export function userProblem(
  service: ServiceRecord,
  user: User,
): 'DOMAIN_USER_BLOCKED' | 'DOMAIN_ISSUER_NOT_ALLOWED' | 'DOMAIN_GROUP_NOT_ALLOWED' | undefined {
  if (user.blocked) return 'DOMAIN_USER_BLOCKED';
  if (!comesFrom(service, user)) return 'DOMAIN_ISSUER_NOT_ALLOWED';
  return inGroup(service, user) ? undefined : 'DOMAIN_GROUP_NOT_ALLOWED';
}

export function mayUse(service: ServiceRecord, user: User): boolean {
  return comesFrom(service, user) && inGroup(service, user);
}

/** A user belongs to the one issuer that he was made by; no issuers on the service let the users of all of them pass. */
function comesFrom({ issuers }: ServiceRecord, user: User): boolean {
  return issuers.length === 0 || issuers.includes(user.connector);
}

/** No groups on the service let every user of the account pass. */
function inGroup(service: ServiceRecord, user: User): boolean {
  const { groups } = service.auth.oidc;
  return groups.length === 0 || groups.some((group) => user.autoGroups.includes(group));
}

export async function identityOf(tables: Tables, user: User, method: Identity['method']): Promise<Identity> {
  const groups = await groupNamesOf(tables, user);
  const administrator = user.role === 'owner' || user.role === 'admin';
  return {
    userId: user.id,
    email: user.email,
    name: user.name,
    groups,
    groupIds: user.autoGroups,
    administrator,
    method,
    ...(user.claims && { claims: user.claims }),
  };
}

function sessionOf(id: SessionId, record: SessionRecord, times: SessionTimes, identity: Identity): Session {
  const { serviceId, proofs, createdAt } = record;
  return { id, serviceId, identity, proofs, createdAt, expiresAt: endOf(record, times), idleMs: times.idleMs };
}

async function endOldest(write: Write, user: User, limit: number): Promise<void> {
  const live = (await write.tables.sessions.listOfUser(user.id)).filter((record) => !record.revoked && record.expiresAt > write.now);
  for (const record of live.slice(limit)) await endSession(write, record);
}

/** Tells the gateways of the service's cluster. False where it had ended before. */
export async function endSession({ tables, changed }: Write, { digest, serviceId }: SessionRecord): Promise<boolean> {
  if (!(await tables.sessions.revoke(digest))) return false;
  const service = await tables.services.find(serviceId);
  changed({ kind: 'revocation', revocation: { kind: 'session', digest }, cluster: service && doorOf(service) });
  return true;
}
