// The account page, for whoever is signed in here. What changes how somebody signs in is done only soon after a sign-in; a browser that is too
// late, or half signed in, is sent to sign in and comes back.
import { createHash, randomBytes } from 'node:crypto';
import { encodeBase32, totpUri } from '#crypto/totp.ts';
import { MeshgateError } from '#lib/errors.ts';
import type { User } from '#model/identity.ts';
import { asId, type UserId } from '#model/ids.ts';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Provider, Session } from 'oidc-provider';
import type { Actor, FactorUseCases, SessionUseCases, UserUseCases } from '../domain/contract.ts';
import { activeUser } from './accounts.ts';
import { accountClientId } from './clients.ts';
import { accountFreshMs } from './constants.ts';
import { accountPage, when } from './pages/account-page.ts';
import { recoveryPage, totpPage } from './pages/factor-pages.ts';
import { failurePage, signedOutPage } from './pages/sign-in-pages.ts';
import type { Passkeys } from './passkeys.ts';
import { readForm, sendPage, sendPasskeyPage, sendRedirect } from './respond.ts';
import { manyFactors, type SecondFactor } from './second-factor.ts';
import type { VaultRecords } from './vault-adapter.ts';

export interface AccountOptions {
  readonly issuer: URL;
  readonly users: Pick<UserUseCases, 'get'>;
  readonly factors: FactorUseCases;
  readonly sessions: Pick<SessionUseCases, 'list' | 'revoke' | 'endAllOf'>;
  readonly passkeys: Passkeys;
  readonly second: SecondFactor;
  readonly records: VaultRecords;
}

/** The steps that change how somebody signs in. */
const delicate: ReadonlySet<string> = new Set(['totp', 'totp-confirm', 'totp-remove', 'recovery', 'passkey-add', 'passkey-rename', 'passkey-delete']);

interface Caller {
  readonly user: User;
  readonly session: Session;
  /** Where challenges of this page are kept. */
  readonly place: string;
}

export class Account {
  readonly #options: AccountOptions;
  readonly #path: string;

  constructor(options: AccountOptions) {
    this.#options = options;
    this.#path = `${options.issuer.pathname}/account`;
  }

  async handle(provider: Provider, query: URLSearchParams, req: IncomingMessage, res: ServerResponse): Promise<void> {
    if (query.has('error')) return sendPage(res, 403, failurePage('You are not signed in.'));
    // Back from the sign-in: the session counts, the code is for nobody.
    if (query.has('code')) return sendRedirect(res, this.#path);
    const caller = await this.#caller(provider, req, res);
    if (caller === undefined) return sendRedirect(res, this.#signIn(false));
    if (req.method !== 'POST') return this.#show(res, caller, 200);
    const form = await readForm(req, this.#options.issuer.origin);
    const step = form.get('step') ?? '';
    if (delicate.has(step) && !this.#isFresh(caller.session)) return sendRedirect(res, this.#signIn(true));
    try {
      await this.#step(step, form, caller, res);
    } catch (error) {
      if (!(error instanceof MeshgateError) || error.row.origin === 'internal') throw error;
      await this.#show(res, caller, error.row.status, error.message);
    }
  }

  async #step(step: string, form: ReadonlyMap<string, string>, caller: Caller, res: ServerResponse): Promise<void> {
    const { factors, passkeys, sessions } = this.#options;
    const { user, place } = caller;
    const id = form.get('id') ?? '';
    const actor: Actor = { kind: 'user', id: user.id };
    switch (step) {
      case 'totp':
        return this.#showTotp(res, user);
      case 'totp-confirm': {
        const made = await factors.confirmTotp(user.id, (form.get('code') ?? '').trim());
        return made === undefined ? this.#showTotp(res, user, 'The code is wrong. Here is a new secret.') : this.#showRecovery(res, made.recovery);
      }
      case 'totp-remove':
        await factors.removeTotp(user.id);
        break;
      case 'recovery':
        return this.#showRecovery(res, await factors.newRecovery(user.id));
      case 'passkey-add': {
        const made = await passkeys.add(place, form.get('credential') ?? '', user, form.get('name') ?? '');
        return made === undefined ? this.#show(res, caller, 400, 'This passkey could not be added.') : this.#showRecovery(res, made.recovery);
      }
      case 'passkey-rename':
        await factors.renamePasskey(user.id, id, form.get('name') ?? '');
        break;
      case 'passkey-delete':
        await factors.removePasskey(user.id, id);
        break;
      case 'end-session':
        await sessions.revoke(id, user.id, actor);
        break;
      case 'sign-out':
        await sessions.endAllOf(user.id, actor);
        await this.#options.records.revokeUser(user.id);
        return sendPage(res, 200, signedOutPage());
      default:
        break;
    }
    sendRedirect(res, this.#path);
  }

  async #show(res: ServerResponse, { user, place }: Caller, status: number, problem?: string): Promise<void> {
    const { factors, passkeys, sessions } = this.#options;
    const state = user.connector === 'local' ? await factors.state(user.id) : undefined;
    const html = accountPage({
      action: this.#path,
      email: user.email,
      factors: state && {
        totp: state.totp,
        recoveryLeft: state.recoveryLeft,
        passkeys: state.passkeys.map(({ id, name, lastUsed }) => ({ id, name, used: lastUsed === undefined ? 'never used' : when(lastUsed) })),
        creationOptions: await passkeys.creationOptions(place, user),
      },
      sessions: await sessions.list(user.id),
      problem,
    });
    sendPasskeyPage(res, status, html);
  }

  async #showTotp(res: ServerResponse, user: User, problem?: string): Promise<void> {
    const secret = await this.#options.factors.beginTotp(user.id);
    const uri = totpUri(this.#options.issuer.hostname, user.email, secret);
    const status = problem === undefined ? 200 : 401;
    sendPage(res, status, totpPage({ action: this.#path, step: 'totp-confirm', secret: encodeBase32(secret), uri, problem, back: this.#path }));
  }

  #showRecovery(res: ServerResponse, codes: readonly string[]): void {
    if (codes.length === 0) sendRedirect(res, this.#path);
    else sendPage(res, 200, recoveryPage(codes, { action: this.#path, step: 'done' }));
  }

  /** Undefined where nobody is signed in here, or with less than is asked of him. */
  async #caller(provider: Provider, req: IncomingMessage, res: ServerResponse): Promise<Caller | undefined> {
    const session = await provider.Session.get({ req, res, secure: true });
    const user = session.accountId === undefined ? undefined : await activeUser(this.#options.users, asId<UserId>(session.accountId));
    if (user === undefined) return undefined;
    // Who sets his first factor up signed in with one; from the end of that on he is asked for both.
    const enough = session.amr?.includes(manyFactors) === true || (await this.#options.second.needed(user)) === 'none';
    return enough ? { user, session, place: `account ${session.uid}` } : undefined;
  }

  #isFresh({ loginTs }: Session): boolean {
    return loginTs !== undefined && this.#options.records.now() - loginTs * 1000 < accountFreshMs;
  }

  /** A sign-in that leads back here. Its code is traded by nobody: the verifier is not kept. */
  #signIn(anew: boolean): string {
    const { issuer } = this.#options;
    const url = new URL(`${issuer.href}/auth`);
    url.search = new URLSearchParams({
      client_id: accountClientId,
      redirect_uri: issuer.origin + this.#path,
      response_type: 'code',
      scope: 'openid',
      code_challenge: createHash('sha256').update(randomBytes(32)).digest('base64url'),
      code_challenge_method: 'S256',
      ...(anew ? { prompt: 'login' } : {}),
    }).toString();
    return url.href;
  }
}
