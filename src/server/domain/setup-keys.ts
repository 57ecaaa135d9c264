// Setup keys: how machines get in without a person.
import { randomUUID } from 'node:crypto';
import type { SetupKeyId } from '#model/ids.ts';
import type { SetupKey } from '#model/network.ts';
import { checkGroups, checkLimit, checkName } from './checks.ts';
import { write, type Context } from './context.ts';
import type { SetupKeyUseCases } from './contract.ts';
import { domainError, invalid } from './errors.ts';
import { newId } from './ids.ts';
import { setupKeyDigest } from './registration.ts';

/** Characters of the key that its hint shows. */
const shown = 5;

export function setupKeyUseCases(context: Context): SetupKeyUseCases {
  const { store, random, limits } = context;
  return {
    async list() {
      return await store.tables.setupKeys.list();
    },

    async get(id) {
      return found(await store.tables.setupKeys.find(id));
    },

    async create(request, actor) {
      const name = checkName(request.name, 'The name');
      const { expiresInSeconds, usageLimit } = request;
      if (!Number.isSafeInteger(expiresInSeconds) || expiresInSeconds < 0)
        throw invalid('The lifetime must be a whole number of seconds, 0 for ever.');
      if (!Number.isSafeInteger(usageLimit) || usageLimit < 0) throw invalid('The usage limit must be a whole number, 0 for none.');
      if (request.type === 'one-off' && usageLimit > 1) throw invalid('A one-off key is used once.');
      const plain = randomUUID().toUpperCase();
      return await write(context, async ({ tables, now, audit }) => {
        checkLimit(await tables.setupKeys.count(), limits.setupKeys);
        const key: SetupKey = {
          id: newId<SetupKeyId>(random),
          name,
          type: request.type,
          hint: plain.slice(0, shown) + '*'.repeat(plain.length - shown),
          expiresAt: expiresInSeconds === 0 ? undefined : now + expiresInSeconds * 1_000,
          revoked: false,
          usedTimes: 0,
          usageLimit: request.type === 'one-off' ? 1 : usageLimit,
          lastUsed: undefined,
          ephemeral: request.ephemeral,
          autoGroups: await checkGroups(tables, request.autoGroups, true),
          createdAt: now,
          updatedAt: now,
        };
        await tables.setupKeys.insert(key, setupKeyDigest(plain));
        await audit('setupkey.add', actor, key.id, { name, type: key.type, key: key.hint });
        return { key, plain };
      });
    },

    async update(id, change, actor) {
      return await write(context, async ({ tables, now, audit }) => {
        const old = found(await tables.setupKeys.find(id));
        if (old.revoked && !change.revoked) throw invalid('A revoked key stays revoked. Make a new one.');
        const autoGroups = await checkGroups(tables, change.autoGroups, true);
        await tables.setupKeys.update(id, change.revoked, autoGroups, now);
        await audit(change.revoked && !old.revoked ? 'setupkey.revoke' : 'setupkey.update', actor, id, { name: old.name });
        return { ...old, revoked: change.revoked, autoGroups, updatedAt: now };
      });
    },

    async delete(id, actor) {
      await write(context, async ({ tables, audit }) => {
        const old = found(await tables.setupKeys.find(id));
        await tables.setupKeys.delete(id);
        await audit('setupkey.delete', actor, id, { name: old.name });
      });
    },
  };
}

function found(key: SetupKey | undefined): SetupKey {
  if (key === undefined) throw domainError('DOMAIN_NOT_FOUND', 'setup key');
  return key;
}
