// What comes between a password and a sign-in: until a second factor is proven there is a note with the id of this very sign-in, and no
// session, code or token (attack row A-12). Only the browser that began the sign-in can go on with it.
import { errorCode } from '#lib/errors.ts';
import { encodeBase32, totpUri } from '#crypto/totp.ts';
import type { User } from '#model/identity.ts';
import type { FactorUseCases, SettingsUseCases, UserUseCases } from '../domain/contract.ts';
import { activeUser } from './accounts.ts';
import { pendingSeconds } from './constants.ts';
import { recoveryPage, secondFactorPage, totpPage } from './pages/factor-pages.ts';
import { userIdOf, type Passkeys } from './passkeys.ts';
import type { VaultRecords } from './vault-adapter.ts';

export interface SecondFactorOptions {
  readonly issuer: URL;
  readonly users: Pick<UserUseCases, 'get'>;
  readonly factors: FactorUseCases;
  readonly settings: Pick<SettingsUseCases, 'get'>;
  readonly records: VaultRecords;
  readonly passkeys: Passkeys;
}

/** Somebody who has proven one thing and has to prove another. */
export interface Pending {
  readonly user: User;
  readonly methods: readonly string[];
}

/** RFC 8176: more than one kind of proof. */
export const manyFactors = 'mfa';

const pendingKind = 'PendingFactor';

export class SecondFactor {
  readonly #options: SecondFactorOptions;

  constructor(options: SecondFactorOptions) {
    this.#options = options;
  }

  /** What is asked of a user who has proven one thing: nothing, one of his factors, or to set one up. Other issuers have their own rules. */
  async needed(user: User): Promise<'none' | 'ask' | 'enrol'> {
    if (user.connector !== 'local') return 'none';
    const { totp, passkeys } = await this.#options.factors.state(user.id);
    if (totp || passkeys.length > 0) return 'ask';
    return (await this.#options.settings.get()).secondFactorRequired ? 'enrol' : 'none';
  }

  async begin(uid: string, { user, methods }: Pending): Promise<void> {
    const { records } = this.#options;
    await records.keep(pendingKind, uid, { userId: user.id, methods, at: records.now() }, pendingSeconds);
  }

  /** Who is half signed in at this address. Nobody where his sign-ins were ended meanwhile. */
  async pending(uid: string): Promise<Pending | undefined> {
    const { records, users } = this.#options;
    const kept = await records.kept(pendingKind, uid);
    const userId = userIdOf(kept?.['userId']);
    const at = kept?.['at'];
    if (userId === undefined || typeof at !== 'number' || at <= (await records.userRevokedAt(userId))) return undefined;
    const user = await activeUser(users, userId);
    const methods = kept?.['methods'];
    return user === undefined ? undefined : { user, methods: Array.isArray(methods) ? methods.filter((one) => typeof one === 'string') : [] };
  }

  async end(uid: string): Promise<void> {
    await this.#options.records.drop(pendingKind, uid);
  }

  /** The page that asks for what is missing. */
  async page(uid: string, { user }: Pending, problem?: string): Promise<string> {
    const { factors, passkeys } = this.#options;
    const action = this.action(uid);
    if ((await this.needed(user)) === 'enrol') {
      const secret = await factors.beginTotp(user.id);
      const uri = totpUri(this.#options.issuer.hostname, user.email, secret);
      return totpPage({ action, step: 'enrol', secret: encodeBase32(secret), uri, problem });
    }
    const state = await factors.state(user.id);
    const passkeyOptions = state.passkeys.length === 0 ? undefined : await passkeys.requestOptions(uid, user.id);
    return secondFactorPage({ action, email: user.email, totp: state.totp, passkeyOptions, problem });
  }

  /** A code of the app, or a recovery code: which of them it is shows by its form. Throws DOMAIN_FACTOR_LOCKED. */
  async checkCode({ user }: Pending, code: string): Promise<boolean> {
    const { factors } = this.#options;
    const text = code.trim();
    return /^[0-9]{6}$/.test(text) ? factors.checkTotp(user.id, text) : factors.checkRecovery(user.id, text);
  }

  async checkPasskey(uid: string, { user }: Pending, credential: string): Promise<'hwk' | 'swk' | undefined> {
    return (await this.#options.passkeys.check(uid, credential, user.id))?.method;
  }

  /** The page of recovery codes, after which the sign-in goes on; undefined where the code is wrong. Only who has no factor may. */
  async enrol(uid: string, pending: Pending, code: string): Promise<string | undefined> {
    if ((await this.needed(pending.user)) !== 'enrol') return undefined;
    const made = await this.#options.factors.confirmTotp(pending.user.id, code.trim());
    if (made === undefined) return undefined;
    await this.begin(uid, { ...pending, methods: [...pending.methods, 'otp', manyFactors] });
    return recoveryPage(made.recovery, { action: this.action(uid), step: 'enrolled' });
  }

  action(uid: string): string {
    return `${this.#options.issuer.pathname}/interaction/${uid}`;
  }
}

export function isLocked(error: unknown): boolean {
  return errorCode(error) === 'DOMAIN_FACTOR_LOCKED';
}
