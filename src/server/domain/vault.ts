// Secrets and state of other parts of the server, encrypted under the master key and bound to their key.
import { vaultKeyLength, vaultValueBytes } from './constants.ts';
import type { Context } from './context.ts';
import type { VaultUseCases } from './contract.ts';
import { invalid } from './errors.ts';

export function vaultUseCases({ store, sealer, clock }: Context): VaultUseCases {
  const { vault } = store.tables;
  const place = (key: string): string => {
    if (key === '' || key.length > vaultKeyLength) throw invalid(`A vault key has 1 to ${vaultKeyLength} characters.`);
    return `vault ${key}`;
  };
  return {
    async get(key) {
      const entry = await vault.find(key);
      if (entry === undefined || (entry.expiresAt !== undefined && entry.expiresAt <= clock.wall())) return undefined;
      return sealer.open(place(key), entry.value);
    },

    async set(key, value, expiresAt) {
      if (value.length > vaultValueBytes) throw invalid(`A vault value has at most ${vaultValueBytes} bytes.`);
      await vault.set(key, sealer.seal(place(key), value), expiresAt);
    },

    async take(key) {
      const entry = await store.write(async (tables) => {
        const found = await tables.vault.find(key);
        if (found !== undefined) await tables.vault.delete(key);
        return found;
      });
      if (entry === undefined || (entry.expiresAt !== undefined && entry.expiresAt <= clock.wall())) return undefined;
      return sealer.open(place(key), entry.value);
    },

    async delete(key) {
      await vault.delete(key);
    },

    async deletePrefix(prefix) {
      place(prefix); // an empty prefix would be everything
      await vault.deletePrefix(prefix);
    },
  };
}
