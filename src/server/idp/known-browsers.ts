// Browsers in which somebody has signed in before carry a sealed note of it. Their wrong passwords are counted apart from those of strangers,
// so that nobody can keep a user out of the own browser by failing in his name (OWASP's device cookies). The note opens nothing by itself.
import { randomBytes } from 'node:crypto';
import { seal, unseal } from '#identity/seal.ts';
import type { Clock } from '#lib/clock.ts';
import type { VaultUseCases } from '../domain/contract.ts';
import { knownBrowserSeconds } from './constants.ts';

export interface KnownBrowsersOptions {
  readonly issuer: URL;
  readonly vault: VaultUseCases;
  readonly clock: Clock;
}

const vaultKey = 'idp/known-browsers-key';
const cookieName = '__Secure-meshgate-known';
const purpose = 'meshgate known browser';

/** Characters of a note that is looked at. */
const noteLength = 512;

export class KnownBrowsers {
  readonly #options: KnownBrowsersOptions;
  #key: Uint8Array | undefined;

  constructor(options: KnownBrowsersOptions) {
    this.#options = options;
  }

  /** The Set-Cookie value of a browser in which the account has just signed in. */
  async remember(account: string): Promise<string> {
    const until = this.#options.clock.wall() + knownBrowserSeconds * 1000;
    const note = JSON.stringify({ account, id: randomBytes(16).toString('base64url'), until });
    const value = seal(await this.#keyBytes(), purpose, note);
    return `${cookieName}=${value}; Path=${this.#options.issuer.pathname}/; Max-Age=${knownBrowserSeconds}; Secure; HttpOnly; SameSite=Lax`;
  }

  /** What the browser is counted by for this account; undefined where the account never signed in in it. */
  async keyOf(cookieHeader: string | undefined, account: string): Promise<string | undefined> {
    const value = new RegExp(`(?:^|; *)${cookieName}=([\\w-]{1,${noteLength}})(?:;|$)`).exec(cookieHeader ?? '')?.[1];
    const text = value === undefined ? undefined : unseal(await this.#keyBytes(), purpose, value);
    if (text === undefined) return undefined;
    const note = JSON.parse(text) as { readonly account: string; readonly id: string; readonly until: number }; // sealed by us, so of our shape
    return note.account === account && note.until > this.#options.clock.wall() ? `browser:${note.id}` : undefined;
  }

  async #keyBytes(): Promise<Uint8Array> {
    if (this.#key !== undefined) return this.#key;
    const { vault } = this.#options;
    if ((await vault.get(vaultKey)) === undefined) await vault.set(vaultKey, randomBytes(32));
    this.#key = (await vault.get(vaultKey)) ?? randomBytes(32);
    return this.#key;
  }
}
