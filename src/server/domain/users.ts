// Users: who may sign in, and what ends when they change.
import type { GroupId, PeerId, UserId } from '#model/ids.ts';
import type { Role, User } from '#model/identity.ts';
import type { Tables } from '../store/store.ts';
import { Attempts } from './attempts.ts';
import { checkGroups, checkLimit, checkName } from './checks.ts';
import { passwordDeadlineMs } from './constants.ts';
import { write, type Context, type Write } from './context.ts';
import type { ExternalSignIn, UserUseCases } from './contract.ts';
import { domainError, invalid } from './errors.ts';
import { firstRunUseCases } from './first-run.ts';
import { newId } from './ids.ts';
import { checkEmail, generatePassword, hashPassword } from './passwords.ts';
import { removePeer } from './peers.ts';
import { announceTargetsChanged } from './service-announce.ts';

export function userUseCases(context: Context): UserUseCases {
  const { store, random, limits, hasher, clock } = context;
  const attempts = new Attempts(clock, limits.attemptNames);
  return {
    ...firstRunUseCases(context, attempts),

    async list() {
      return await store.tables.users.list();
    },

    async get(id) {
      return found(await store.tables.users.find(id));
    },

    async create(request, actor) {
      const name = checkName(request.name, 'The name');
      if (request.service && request.password !== undefined) throw domainError('DOMAIN_USER_NO_PASSWORD');
      const email = request.service && request.email.trim() === '' ? '' : checkEmail(request.email);
      const plain = request.service ? undefined : (request.password ?? generatePassword(context));
      const password = plain === undefined ? undefined : await hashPassword(context, plain);
      return await write(context, async ({ tables, now, audit }) => {
        checkLimit(await tables.users.count(), limits.users);
        const id = newId<UserId>(random);
        const subject = request.service ? id : email;
        if ((await tables.users.findBySubject('local', subject)) !== undefined) throw domainError('DOMAIN_USER_EMAIL_TAKEN');
        const user: User = {
          id,
          email,
          name,
          role: request.role,
          blocked: false,
          service: request.service,
          autoGroups: await checkGroups(tables, request.autoGroups, true),
          connector: 'local',
          createdAt: now,
          lastLogin: undefined,
        };
        await tables.users.insert(user, subject, password);
        await audit('user.create', actor, id, { email, name, role: request.role });
        return { user, password: request.password === undefined ? plain : undefined };
      });
    },

    async update(id, change, actor) {
      return await write(context, async (write) => {
        const { tables, audit } = write;
        const old = found(await tables.users.find(id));
        const user: User = {
          ...old,
          role: change.role ?? old.role,
          blocked: change.blocked ?? old.blocked,
          autoGroups: change.autoGroups === undefined ? old.autoGroups : await checkGroups(tables, change.autoGroups, true),
        };
        await keepAnOwner(tables, old, user);
        await tables.users.update(user);
        const regrouped = await moveGroups(write, old, user);
        if (user.blocked !== old.blocked) {
          await audit(user.blocked ? 'user.block' : 'user.unblock', actor, id, { email: user.email });
          write.changed({ kind: 'network', peers: undefined });
        }
        if (user.role !== old.role || regrouped) await audit('user.update', actor, id, { email: user.email, role: user.role });
        if (regrouped || (user.blocked && !old.blocked)) await revokeUser(write, id);
        return user;
      });
    },

    async setPassword(id, password, actor) {
      const hash = await hashPassword(context, password);
      await write(context, async (write) => {
        const user = found(await write.tables.users.find(id));
        if (user.service || user.connector !== 'local') throw domainError('DOMAIN_USER_NO_PASSWORD');
        await write.tables.users.setPassword(id, hash);
        await write.audit('user.password.change', actor, id, { email: user.email });
        await distrustUser(write, id);
      });
    },

    async delete(id, actor) {
      await write(context, async (write) => {
        const user = found(await write.tables.users.find(id));
        await keepAnOwner(write.tables, user, undefined);
        for (const peer of await write.tables.peers.listOfUser(id)) await removePeer(write, peer, 'peer.delete', actor);
        for (const digest of await write.tables.tokens.digestsOfUser(id)) {
          write.changed({ kind: 'revocation', revocation: { kind: 'token', digest }, cluster: undefined });
        }
        await revokeUser(write, id);
        await write.audit('user.delete', actor, id, { email: user.email, name: user.name });
        await write.tables.users.delete(id);
      });
    },

    async checkPassword(email, password, countedAs) {
      const canonical = email.trim().toLowerCase();
      const counted = countedAs ?? canonical;
      attempts.begin(counted);
      // The row of a user that there is takes no more work than none, until the password is known to be right (attack row L-1).
      const found = await store.tables.users.findPassword('local', canonical);
      const verifying = hasher.verify(password, found?.password, AbortSignal.timeout(passwordDeadlineMs));
      const right = await verifying.catch((error: unknown) => {
        attempts.withdraw(counted); // too busy to look
        throw error;
      });
      if (!right || found?.password === undefined) return undefined;
      attempts.succeeded(counted);
      const user = await store.tables.users.find(found.id);
      if (user === undefined || user.blocked) return undefined;
      const now = clock.wall();
      await store.tables.users.setLastLogin(user.id, now);
      return { ...user, lastLogin: now };
    },

    async fromConnector(request) {
      const { connector, subject, groups, claims = {} } = request;
      if (connector === 'local' || connector === '' || subject === '') throw invalid('A connector and its subject are needed.');
      const email = request.email.trim() === '' ? '' : checkEmail(request.email);
      const name = checkName(request.name.trim() === '' ? email || subject : request.name, 'The name');
      return await write(context, async (write) => {
        const { tables, now, audit } = write;
        const known = (await tables.users.findBySubject(connector, subject))?.user;
        if (known?.blocked === true) throw domainError('DOMAIN_USER_BLOCKED');
        if (known !== undefined) {
          const user = { ...known, email, name, autoGroups: groupsAfter(known.autoGroups, groups) };
          if (known.email !== email || known.name !== name || user.autoGroups !== known.autoGroups) await tables.users.update(user);
          const regrouped = user.autoGroups !== known.autoGroups;
          if (regrouped) {
            await moveGroups(write, known, user);
            await audit('user.update', { kind: 'user', id: known.id }, known.id, { email, connector });
            await revokeUser(write, known.id);
          }
          await tables.users.setClaims(known.id, claims);
          await tables.users.setLastLogin(known.id, now);
          return { user: { ...user, lastLogin: now }, regrouped };
        }
        checkLimit(await tables.users.count(), limits.users);
        const role: Role = 'user';
        const base = { email, name, role, blocked: false, service: false, autoGroups: groupsAfter([], groups), connector };
        const user: User = { id: newId<UserId>(random), ...base, createdAt: now, lastLogin: now };
        await tables.users.insert(user, subject, undefined);
        await tables.users.setClaims(user.id, claims);
        await audit('user.join', { kind: 'user', id: user.id }, user.id, { email, connector });
        return { user, regrouped: false };
      });
    },

    async ofSubject(connector, subject) {
      return (await store.tables.users.findBySubject(connector, subject))?.user.id;
    },

    async groupNames(id) {
      return await store.read(async (tables) => await groupNamesOf(tables, found(await tables.users.find(id))));
    },
  };
}

/** The groups that an issuer decides as it says, the others as they were. The same list where nothing changes. */
function groupsAfter(before: readonly GroupId[], groups: ExternalSignIn['groups']): readonly GroupId[] {
  if (groups === undefined) return before;
  const after = [...new Set([...before.filter((id) => !groups.managed.includes(id)), ...groups.member])];
  return after.length === before.length && after.every((id) => before.includes(id)) ? before : after;
}

/** Names of the groups that the user's identity carries, sorted. */
export async function groupNamesOf(tables: Tables, user: User): Promise<readonly string[]> {
  if (user.autoGroups.length === 0) return [];
  const names = await tables.groups.names();
  return user.autoGroups.flatMap((id) => names.get(id)?.name ?? []).sort();
}

/** Ends the user's sessions at services. */
/**
 * As `revokeUser`, and what was made under the trust that is over: whoever had somebody's session for a while could have paired a device with it,
 * and stay.
 */
export async function distrustUser(write: Write, id: UserId): Promise<void> {
  await write.tables.devices.deleteOfUser(id);
  await revokeUser(write, id);
}

export async function revokeUser(write: Write, id: UserId): Promise<void> {
  await write.tables.sessions.revokeOfUser(id);
  write.changed({ kind: 'revocation', revocation: { kind: 'user', userId: id }, cluster: undefined });
}

function found(user: User | undefined): User {
  if (user === undefined) throw domainError('DOMAIN_NOT_FOUND', 'user');
  return user;
}

/** An account without an owner who can act could not be repaired. */
async function keepAnOwner(tables: Tables, old: User, next: User | undefined): Promise<void> {
  const active = (user: User | undefined): boolean => user?.role === 'owner' && !user.blocked;
  if (active(old) && !active(next) && (await tables.users.countActiveOwners()) <= 1) throw domainError('DOMAIN_USER_LAST_OWNER');
}

/** The user's peers follow the user's groups. Returns whether the groups changed. */
async function moveGroups(write: Write, old: User, next: User): Promise<boolean> {
  const { tables, changed } = write;
  const [before, after] = [new Set(old.autoGroups), new Set(next.autoGroups)];
  const left = [...before].filter((id) => !after.has(id));
  const joined = [...after].filter((id) => !before.has(id));
  if (left.length === 0 && joined.length === 0) return false;
  const peers: readonly PeerId[] = (await tables.peers.listOfUser(old.id)).map((peer) => peer.id);
  for (const peer of peers) {
    for (const group of left) await tables.groups.removeMember(group, peer);
    for (const group of joined) await tables.groups.addMember(group, peer);
  }
  if (peers.length > 0) {
    changed({ kind: 'network', peers: undefined });
    await announceTargetsChanged(write, [...left, ...joined]);
  }
  return true;
}
