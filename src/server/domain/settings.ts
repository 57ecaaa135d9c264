// Settings of the account: what holds for all of its peers.
import { maxLoginExpirationMs, minLoginExpirationMs } from './constants.ts';
import { write, type Context } from './context.ts';
import type { AccountSettings, SettingsUseCases } from './contract.ts';
import { invalid } from './errors.ts';
import { checkExposeSettings } from './expose-rules.ts';
import { endForbidden } from './exposures.ts';
import { markExpiredLogins } from './login-expiry.ts';
import { readSettings, saveSettings } from './saved-settings.ts';
import { checkSessionTimes } from './session-times.ts';

export function settingsUseCases(context: Context): SettingsUseCases {
  return {
    async get() {
      return await readSettings(context.store.tables);
    },

    async update(change, actor) {
      return await write(context, async (write) => {
        const { tables, audit } = write;
        const old = await readSettings(tables);
        const expose = await checkExposeSettings(tables, { ...old.expose, ...change.expose });
        const settings = { ...old, ...change, expose };
        check(settings);
        await saveSettings(tables, settings);
        await audit('account.settings.update', actor, context.account.id);
        await markExpiredLogins(write, settings);
        await endForbidden(write, expose);
        write.changed({ kind: 'network', peers: undefined });
        return settings;
      });
    },
  };
}

function check({ loginExpirationMs, sessionMaxAgeMs, sessionIdleMs }: AccountSettings): void {
  checkSessionTimes(sessionMaxAgeMs, sessionIdleMs);
  if (!Number.isSafeInteger(loginExpirationMs) || loginExpirationMs < minLoginExpirationMs || loginExpirationMs > maxLoginExpirationMs)
    throw invalid('A login of a peer lasts from an hour to 180 days.');
}
