// The settings of the account as they are kept, with the defaults of what was never said.
import type { Tables } from '../store/store.ts';
import { defaultExposuresPerPeer, defaultLoginExpirationMs, defaultSessionMaxAgeMs } from './constants.ts';
import type { AccountSettings } from './contract.ts';

const place = 'account';

const defaults: AccountSettings = {
  loginExpirationEnabled: true,
  loginExpirationMs: defaultLoginExpirationMs,
  routingPeerDns: true,
  lazyConnections: false,
  expose: { enabled: false, groups: [], public: false, domains: [], perPeer: defaultExposuresPerPeer },
  sessionMaxAgeMs: defaultSessionMaxAgeMs,
  sessionIdleMs: 0,
  secondFactorRequired: false,
};

export async function readSettings(tables: Tables): Promise<AccountSettings> {
  return { ...defaults, ...(await tables.account.settings(place)) };
}

export async function saveSettings(tables: Tables, settings: AccountSettings): Promise<void> {
  await tables.account.saveSettings(place, settings);
}
