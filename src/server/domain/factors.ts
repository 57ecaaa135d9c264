// What users prove besides their passwords: codes of an app, recovery codes, passkeys. Secrets are sealed, recovery codes are digests, and
// whatever may count once is used up in the transaction that checks it.
import { createHash } from 'node:crypto';
import { encodeBase32, totpCode, totpSecretBytes, totpStep } from '#crypto/totp.ts';
import { equalBytes, toBase64, utf8 } from '#lib/bytes.ts';
import type { UserId } from '#model/ids.ts';
import type { User } from '#model/identity.ts';
import type { FactorRecord } from '../store/factor-tables.ts';
import type { Tables } from '../store/store.ts';
import { checkLimit, checkName } from './checks.ts';
import { passkeysPerUser, recoveryCodes, totpDriftSteps, totpEnrolmentMs, totpLockAfter } from './constants.ts';
import { write, type Context, type Write } from './context.ts';
import type { Actor } from './actor.ts';
import { domainError } from './errors.ts';
import type { FactorUseCases } from './factors-contract.ts';
import { readSettings } from './saved-settings.ts';
import { distrustUser } from './users.ts';

export function factorUseCases(context: Context): FactorUseCases {
  const { store, clock, random, sealer } = context;

  const begin = (userId: UserId): string => sealer.seal(totpPlace(userId), random(totpSecretBytes));
  const open = (userId: UserId, sealed: string): Uint8Array => sealer.open(totpPlace(userId), sealed);

  /** The step of a right code that has not been used, or undefined. Looks at all of them, whichever is right. */
  function stepOf(secret: Uint8Array, code: string, after: number): number | undefined {
    const now = totpStep(clock.wall());
    let found: number | undefined;
    for (let step = now - totpDriftSteps; step <= now + totpDriftSteps; step++) {
      if (equalBytes(utf8(totpCode(secret, step)), utf8(code)) && step > after) found ??= step;
    }
    return found;
  }

  function freshRecovery(userId: UserId): { readonly plain: readonly string[]; readonly digests: readonly string[] } {
    const plain = Array.from({ length: recoveryCodes }, () => (encodeBase32(random(10)).match(/.{4}/g) ?? []).join('-'));
    return { plain, digests: plain.map((code) => recoveryDigest(userId, code)) };
  }

  return {
    async state(userId) {
      return await store.read(async (tables) => {
        const record = await tables.factors.find(userId);
        return {
          totp: record?.totp !== undefined,
          totpLocked: record?.totp !== undefined && record.totp.failures >= totpLockAfter,
          recoveryLeft: record?.recovery.length ?? 0,
          passkeys: await passkeysOf(tables, userId),
        };
      });
    },

    async beginTotp(userId) {
      const sealed = begin(userId);
      await write(context, async ({ tables, now }) => {
        await localUser(tables, userId);
        await save(tables, { ...(await recordOf(tables, userId)), pending: { secret: sealed, at: now } });
      });
      return open(userId, sealed);
    },

    async confirmTotp(userId, code) {
      return await write(context, async (write) => {
        const { tables, now, audit } = write;
        await localUser(tables, userId);
        const record = await recordOf(tables, userId);
        const { pending } = record;
        if (pending === undefined || now - pending.at > totpEnrolmentMs) return undefined;
        const step = stepOf(open(userId, pending.secret), code, 0);
        if (step === undefined) return undefined;
        const recovery = record.recovery.length === 0 ? freshRecovery(userId) : { plain: [], digests: record.recovery };
        const totp = { secret: pending.secret, lastStep: step, failures: 0 };
        await save(tables, { ...record, totp, pending: undefined, recovery: recovery.digests });
        await audit('user.totp.enable', self(userId), userId);
        return { recovery: recovery.plain };
      });
    },

    async checkTotp(userId, code) {
      if (!/^[0-9]{6}$/.test(code)) return false;
      const right = await write(context, async ({ tables }) => {
        const record = await tables.factors.find(userId);
        const totp = record?.totp;
        if (record === undefined || totp === undefined) return false;
        if (totp.failures >= totpLockAfter) return 'locked';
        const step = stepOf(open(userId, totp.secret), code, totp.lastStep);
        const next = step === undefined ? { ...totp, failures: totp.failures + 1 } : { ...totp, lastStep: step, failures: 0 };
        await save(tables, { ...record, totp: next });
        return step !== undefined;
      });
      if (right === 'locked') throw domainError('DOMAIN_FACTOR_LOCKED');
      return right;
    },

    async checkRecovery(userId, code) {
      const digest = recoveryDigest(userId, code);
      return await write(context, async ({ tables, audit }) => {
        const record = await tables.factors.find(userId);
        const left = record?.recovery.filter((known) => !equalBytes(utf8(known), utf8(digest)));
        if (record === undefined || left === undefined || left.length === record.recovery.length) return false;
        await save(tables, { ...record, recovery: left, totp: record.totp === undefined ? undefined : { ...record.totp, failures: 0 } });
        await audit('user.recovery.use', self(userId), userId, { left: String(left.length) });
        return true;
      });
    },

    async newRecovery(userId) {
      const { plain, digests } = freshRecovery(userId);
      await write(context, async ({ tables, audit }) => {
        const record = await recordOf(tables, userId);
        if ((await factorCount(tables, record)) === 0) throw domainError('DOMAIN_FACTOR_NONE');
        await save(tables, { ...record, recovery: digests });
        await audit('user.recovery.create', self(userId), userId);
      });
      return plain;
    },

    async removeTotp(userId) {
      await write(context, async (write) => {
        const record = await recordOf(write.tables, userId);
        if (record.totp === undefined) return;
        await mayLoseOne(write.tables, record);
        await save(write.tables, { ...record, totp: undefined });
        await dropRecoveryWithLast(write.tables, userId);
        await write.audit('user.totp.disable', self(userId), userId);
      });
    },

    async passkey(id) {
      return await store.tables.passkeys.find(id);
    },

    async addPasskey(passkey) {
      const name = checkName(passkey.name, 'The name');
      return await write(context, async ({ tables, now, audit }) => {
        const { userId } = passkey;
        await localUser(tables, userId);
        if ((await tables.passkeys.find(passkey.id)) !== undefined) throw domainError('DOMAIN_PASSKEY_TAKEN');
        checkLimit((await passkeysOf(tables, userId)).length, passkeysPerUser);
        const record = await recordOf(tables, userId);
        const recovery = record.recovery.length === 0 ? freshRecovery(userId) : { plain: [], digests: record.recovery };
        await tables.passkeys.insert({ ...passkey, name, createdAt: now, lastUsed: undefined });
        await save(tables, { ...record, recovery: recovery.digests });
        await audit('user.passkey.add', self(userId), userId, { name });
        return { recovery: recovery.plain };
      });
    },

    async usePasskey(id, counter) {
      return await write(context, async ({ tables, now, audit }) => {
        const passkey = await tables.passkeys.find(id);
        if (passkey === undefined) return false;
        if ((counter !== 0 || passkey.counter !== 0) && counter <= passkey.counter) {
          await audit('user.passkey.cloned', self(passkey.userId), passkey.userId, { name: passkey.name });
          return false;
        }
        await tables.passkeys.update({ ...passkey, counter, lastUsed: now });
        return true;
      });
    },

    async renamePasskey(userId, id, name) {
      const checked = checkName(name, 'The name');
      await write(context, async ({ tables }) => {
        const passkey = await tables.passkeys.find(id);
        if (passkey?.userId !== userId) throw domainError('DOMAIN_NOT_FOUND', 'passkey');
        await tables.passkeys.update({ ...passkey, name: checked });
      });
    },

    async removePasskey(userId, id) {
      await write(context, async ({ tables, audit }) => {
        const passkey = await tables.passkeys.find(id);
        if (passkey?.userId !== userId) throw domainError('DOMAIN_NOT_FOUND', 'passkey');
        await mayLoseOne(tables, await recordOf(tables, userId));
        await tables.passkeys.delete(id);
        await dropRecoveryWithLast(tables, userId);
        await audit('user.passkey.delete', self(userId), userId, { name: passkey.name });
      });
    },

    async reset(userId, actor) {
      await write(context, async (write: Write) => {
        const { tables } = write;
        await localUser(tables, userId);
        for (const { id } of await passkeysOf(tables, userId)) await tables.passkeys.delete(id);
        await tables.factors.delete(userId);
        await write.audit('user.factors.reset', actor, userId);
        await distrustUser(write, userId);
      });
    },
  };
}

function totpPlace(userId: UserId): string {
  return `totp ${userId}`;
}

function self(id: UserId): Actor {
  return { kind: 'user', id };
}

/** As people type it: any case, with or without hyphens and blanks. 80 bits, so a plain digest is enough. */
function recoveryDigest(userId: UserId, code: string): string {
  const canonical = code.toUpperCase().replaceAll(/[\s-]/g, '');
  return toBase64(createHash('sha256').update(`${userId} ${canonical}`).digest());
}

async function localUser(tables: Tables, id: UserId): Promise<User> {
  const user = await tables.users.find(id);
  if (user === undefined) throw domainError('DOMAIN_NOT_FOUND', 'user');
  if (user.service || user.connector !== 'local') throw domainError('DOMAIN_USER_NO_PASSWORD');
  return user;
}

async function recordOf(tables: Tables, id: UserId): Promise<FactorRecord> {
  return (await tables.factors.find(id)) ?? { id, totp: undefined, pending: undefined, recovery: [] };
}

async function save(tables: Tables, record: FactorRecord): Promise<void> {
  if (!(await tables.factors.update(record))) await tables.factors.insert(record);
}

function passkeysOf(tables: Tables, userId: UserId): ReturnType<Tables['passkeys']['list']> {
  return tables.passkeys.list({ column: 'user_id', value: userId });
}

async function factorCount(tables: Tables, record: FactorRecord): Promise<number> {
  return (record.totp === undefined ? 0 : 1) + (await passkeysOf(tables, record.id)).length;
}

async function mayLoseOne(tables: Tables, record: FactorRecord): Promise<void> {
  const { secondFactorRequired } = await readSettings(tables);
  if (secondFactorRequired && (await factorCount(tables, record)) <= 1) throw domainError('DOMAIN_FACTOR_NEEDED');
}

/** Recovery codes stand in for a factor: where there is none, they would be one of their own. */
async function dropRecoveryWithLast(tables: Tables, userId: UserId): Promise<void> {
  const record = await recordOf(tables, userId);
  if ((await factorCount(tables, record)) === 0) await tables.factors.delete(userId);
}
