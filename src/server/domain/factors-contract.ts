// Second factors and passkeys of local users, as the identity provider and the API ask for them.
import type { UserId } from '#model/ids.ts';
import type { Passkey } from '#model/passkey.ts';
import type { Actor } from './actor.ts';

export interface FactorState {
  readonly totp: boolean;
  /** Wrong codes in a row have locked the codes; a recovery code or an administrator opens them again. */
  readonly totpLocked: boolean;
  readonly recoveryLeft: number;
  readonly passkeys: readonly Passkey[];
}

export interface FactorUseCases {
  state(userId: UserId): Promise<FactorState>;
  /** Makes a secret, which counts once a code of it was shown. DOMAIN_USER_NO_PASSWORD where the user is not local. */
  beginTotp(userId: UserId): Promise<Uint8Array>;
  /** The user shows a code of the new secret. Undefined where it is wrong; the recovery codes, told once, where they are the user's first. */
  confirmTotp(userId: UserId, code: string): Promise<{ readonly recovery: readonly string[] } | undefined>;
  /** Each code counts once. DOMAIN_FACTOR_LOCKED after too many wrong ones in a row. */
  checkTotp(userId: UserId, code: string): Promise<boolean>;
  /** Each recovery code counts once; the right one unlocks codes of the app. */
  checkRecovery(userId: UserId, code: string): Promise<boolean>;
  /** Makes new recovery codes in place of the old ones. DOMAIN_FACTOR_NONE where there is no factor to recover from. */
  newRecovery(userId: UserId): Promise<readonly string[]>;
  /** DOMAIN_FACTOR_NEEDED where the account asks for a second factor and this is the last one. */
  removeTotp(userId: UserId): Promise<void>;
  passkey(id: string): Promise<Passkey | undefined>;
  /** DOMAIN_PASSKEY_TAKEN, DOMAIN_LIMIT. Recovery codes as for `confirmTotp`. */
  addPasskey(passkey: Omit<Passkey, 'createdAt' | 'lastUsed'>): Promise<{ readonly recovery: readonly string[] }>;
  /**
   * Notes a verified use. False where the counter has not grown (WebAuthn L2 §7.2, step 21): there may be two of the authenticator, and the
   * credential counts no more.
   */
  usePasskey(id: string, counter: number): Promise<boolean>;
  renamePasskey(userId: UserId, id: string, name: string): Promise<void>;
  /** DOMAIN_FACTOR_NEEDED as for `removeTotp`. */
  removePasskey(userId: UserId, id: string): Promise<void>;
  /** Takes all factors from a user who has lost them, and ends all that is signed in. */
  reset(userId: UserId, actor: Actor): Promise<void>;
}
