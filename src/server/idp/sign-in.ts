// The sign-in page. The form belongs to the browser that asked for it: its address holds the sign-in's id, and the signed cookie with
// that id is sent to this address only, so no other site and no other browser can send it.
import { describeError, errorCode, MeshgateError } from '#lib/errors.ts';
import type { Logger } from '#lib/log.ts';
import type { User } from '#model/identity.ts';
import { asId, type UserId } from '#model/ids.ts';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Interaction, Provider } from 'oidc-provider';
import type { UserUseCases } from '../domain/contract.ts';
import { activeUser } from './accounts.ts';
import { accountKey, addressKey, type FailedAttempts } from './attempts.ts';
import { idpError } from './errors.ts';
import { signInPage } from './pages/sign-in-pages.ts';
import { userGone } from './provider.ts';
import type { KnownBrowsers } from './known-browsers.ts';
import type { Passkeys } from './passkeys.ts';
import { addCookies, readForm, sendPage, sendPasskeyPage, sendRedirect } from './respond.ts';
import { isLocked, manyFactors, type Pending, type SecondFactor } from './second-factor.ts';
import type { ConnectorSource } from './types.ts';
import { signInSeconds, type VaultRecords } from './vault-adapter.ts';

export interface SignInOptions {
  readonly issuer: URL;
  readonly users: Pick<UserUseCases, 'checkPassword' | 'setupRequired' | 'get'>;
  readonly second: SecondFactor;
  readonly passkeys: Passkeys;
  readonly records: VaultRecords;
  readonly attempts: FailedAttempts;
  readonly browsers: KnownBrowsers;
  readonly source: Pick<ConnectorSource, 'list'>;
  readonly issuersAt: (uri: string) => Promise<readonly string[]>;
  readonly gatewayId: string;
  readonly log: Logger;
}

/** What is wrong is said in one sentence for an unknown name, a wrong password and a blocked user: the page must not tell which exist. */
const wrong = 'The e-mail or the password is wrong, or this user is blocked. Ask your administrator if you are sure of both.';
const wrongCode = 'The code is wrong, was used before, or has expired.';
const wrongPasskey = 'This passkey does not sign you in here.';
const blocked = 'This user has been blocked or removed. Ask your administrator, or sign in as somebody else.';

interface Attempt {
  readonly provider: Provider;
  readonly interaction: Interaction;
  readonly form: ReadonlyMap<string, string>;
  readonly res: ServerResponse;
  readonly address: string;
  readonly cookies: string | undefined;
}

export class SignIn {
  readonly #options: SignInOptions;

  constructor(options: SignInOptions) {
    this.#options = options;
  }

  /** GET shows the form of the step that is due, POST checks it. Throws IDP_SIGN_IN_GONE where the browser has no such sign-in. */
  async handle(provider: Provider, uid: string, req: IncomingMessage, res: ServerResponse): Promise<void> {
    const interaction = await interactionOf(provider, uid, req, res);
    const { second } = this.#options;
    const pending = await second.pending(uid);
    if (req.method !== 'POST') {
      if (pending !== undefined) return this.#showSecond(res, interaction, pending, 200);
      const hint = interaction.params['login_hint'];
      const problem = interaction.prompt.reasons.includes(userGone) ? blocked : undefined;
      const only = await this.#onlyWay(interaction);
      if (only !== undefined && problem === undefined) return sendRedirect(res, `${second.action(uid)}/${only}`);
      return this.show(res, interaction, 200, { email: typeof hint === 'string' ? hint.slice(0, 320) : '', problem });
    }
    const form = await readForm(req, this.#options.issuer.origin);
    const attempt = { provider, interaction, form, res, address: addressKey(req.socket.remoteAddress), cookies: req.headers.cookie };
    switch (form.get('step')) {
      case undefined:
        return this.#password(attempt);
      case 'restart':
        await second.end(uid);
        return sendRedirect(res, second.action(uid));
      case 'passkey':
        return pending === undefined ? this.#passkey(attempt) : this.#secondPasskey(attempt, pending);
      case 'code':
        return pending === undefined ? sendRedirect(res, second.action(uid)) : this.#code(attempt, pending);
      case 'enrol':
        return pending === undefined ? sendRedirect(res, second.action(uid)) : this.#enrol(attempt, pending);
      case 'enrolled':
        if (pending === undefined || !pending.methods.includes(manyFactors)) return sendRedirect(res, second.action(uid));
        return this.#admit(attempt, pending.user, pending.methods);
      default:
        throw idpError('IDP_FORM_INVALID', 'unknown step');
    }
  }

  async #password(attempt: Attempt): Promise<void> {
    const { form, res, interaction, address } = attempt;
    const email = form.get('email') ?? '';
    const { attempts, users, log } = this.#options;
    if (!(await this.allows(interaction, 'local'))) throw idpError('IDP_ISSUER_NOT_ALLOWED', 'local');
    const known = await this.#options.browsers.keyOf(attempt.cookies, accountKey(email));
    const account = known ?? accountKey(email);
    const keys = [address, account];
    const wait = this.#wait(res, keys);
    if (wait !== undefined) return this.show(res, interaction, 429, { email, problem: wait });
    attempts.failed(keys);
    const user = await users.checkPassword(email, form.get('password') ?? '', known);
    if (user === undefined) {
      log.info('a sign-in failed', { address });
      return this.show(res, interaction, 401, { email, problem: wrong });
    }
    attempts.succeeded(account, address);
    await this.#admit(attempt, user, ['pwd']);
  }

  /** A passkey alone is enough where it has verified its user: possession, and a PIN or a finger. */
  async #passkey(attempt: Attempt): Promise<void> {
    const { form, res, interaction, address } = attempt;
    const { attempts, passkeys, users, log } = this.#options;
    if (!(await this.allows(interaction, 'local'))) throw idpError('IDP_ISSUER_NOT_ALLOWED', 'local');
    const wait = this.#wait(res, [address]);
    if (wait !== undefined) return this.show(res, interaction, 429, { email: '', problem: wait });
    attempts.failed([address]);
    const proof = await passkeys.check(interaction.uid, form.get('credential') ?? '', undefined);
    const user = proof === undefined ? undefined : await activeUser(users, proof.userId);
    if (proof === undefined || user === undefined) {
      log.info('a passkey was refused', { address });
      return this.show(res, interaction, 401, { email: '', problem: wrongPasskey });
    }
    attempts.succeeded(address, address);
    await this.#admit(attempt, user, [proof.method, 'user', manyFactors]);
  }

  /** The first factor is proven: on to the second where one is needed, else to the end. */
  async #admit({ provider, interaction, res }: Attempt, user: User, methods: readonly string[]): Promise<void> {
    const { second } = this.#options;
    if (!methods.includes(manyFactors) && (await second.needed(user)) !== 'none') {
      await second.begin(interaction.uid, { user, methods });
      return sendRedirect(res, second.action(interaction.uid));
    }
    await second.end(interaction.uid);
    addCookies(res, [await this.#options.browsers.remember(accountKey(user.email))]);
    sendRedirect(res, await this.finish(provider, interaction, user.id, methods));
  }

  async #code(attempt: Attempt, pending: Pending): Promise<void> {
    const { form, res, interaction, address } = attempt;
    const { attempts, second } = this.#options;
    const account = accountKey(`second factor of ${pending.user.id}`);
    const wait = this.#wait(res, [address, account]);
    if (wait !== undefined) return this.#showSecond(res, interaction, pending, 429, wait);
    attempts.failed([address, account]);
    let right: boolean;
    try {
      right = await second.checkCode(pending, form.get('code') ?? '');
    } catch (error) {
      if (!isLocked(error) || !(error instanceof MeshgateError)) throw error;
      return this.#showSecond(res, interaction, pending, error.row.status, error.message);
    }
    if (!right) return this.#showSecond(res, interaction, pending, 401, wrongCode);
    attempts.succeeded(account, address);
    await this.#admit(attempt, pending.user, [...pending.methods, 'otp', manyFactors]);
  }

  async #secondPasskey(attempt: Attempt, pending: Pending): Promise<void> {
    const { form, res, interaction } = attempt;
    const method = await this.#options.second.checkPasskey(interaction.uid, pending, form.get('credential') ?? '');
    if (method === undefined) return this.#showSecond(res, interaction, pending, 401, wrongPasskey);
    await this.#admit(attempt, pending.user, [...pending.methods, method, manyFactors]);
  }

  async #enrol({ form, res, interaction }: Attempt, pending: Pending): Promise<void> {
    const html = await this.#options.second.enrol(interaction.uid, pending, form.get('code') ?? '');
    if (html === undefined) return this.#showSecond(res, interaction, pending, 401, wrongCode);
    sendPage(res, 200, html, [targetOf(interaction, this.#options.issuer)]);
  }

  async #showSecond(res: ServerResponse, interaction: Interaction, pending: Pending, status: number, problem?: string): Promise<void> {
    const html = await this.#options.second.page(interaction.uid, pending, problem);
    sendPasskeyPage(res, status, html, [targetOf(interaction, this.#options.issuer)]);
  }

  /** A sentence where the keys have to wait. */
  #wait(res: ServerResponse, keys: readonly string[]): string | undefined {
    const wait = this.#options.attempts.waitMs(keys);
    if (wait <= 0) return undefined;
    res.setHeader('retry-after', Math.ceil(wait / 1000));
    return `Too many attempts. Wait ${inWords(wait)} and try again.`;
  }

  /** Records who signed in; returns where the browser goes on. A sign-in of somebody else in this browser ends first. */
  async finish(provider: Provider, interaction: Interaction, userId: UserId, methods: readonly string[]): Promise<string> {
    const { records } = this.#options;
    const before = interaction.session;
    if (before?.uid !== undefined && before.accountId !== userId) {
      await (await provider.Session.findByUid(before.uid))?.destroy();
      delete interaction.session;
    }
    const ts = signInSeconds(records.now(), await records.userRevokedAt(userId));
    interaction.result = { login: { accountId: asId<UserId>(userId), ts, amr: methods } };
    await interaction.save(Math.max(1, interaction.exp - Math.floor(records.now() / 1000)));
    return interaction.returnTo;
  }

  /** Whether users of this issuer (`local` for our own) may sign in for what the browser wants to open. */
  async allows(interaction: Interaction, issuer: string): Promise<boolean> {
    const wanted = await this.#wanted(interaction);
    return wanted.length === 0 || wanted.includes(issuer);
  }

  /** The issuers that the service asks for, in its order; empty for any. */
  async #wanted({ params }: Interaction): Promise<readonly string[]> {
    const redirect = params['redirect_uri'];
    if (params['client_id'] !== this.#options.gatewayId || typeof redirect !== 'string') return [];
    return this.#options.issuersAt(redirect);
  }

  /** The external issuer where the service leaves no choice: nobody has to press its button. */
  async #onlyWay(interaction: Interaction): Promise<string | undefined> {
    const wanted = await this.#wanted(interaction);
    if (wanted.length === 0 || wanted.includes('local')) return undefined;
    const known = (await this.#options.source.list()).filter(({ id }) => wanted.includes(id));
    return known.length === 1 ? known[0]?.id : undefined;
  }

  async show(
    res: ServerResponse,
    interaction: Interaction,
    status: number,
    view: { readonly email: string; readonly problem: string | undefined },
  ): Promise<void> {
    const { issuer, source, users, passkeys } = this.#options;
    const wanted = await this.#wanted(interaction);
    const all = await source.list();
    const connectors = wanted.length === 0 ? all : wanted.flatMap((id) => all.find((known) => known.id === id) ?? []);
    const local = wanted.length === 0 || wanted.includes('local');
    const action = `${issuer.pathname}/interaction/${interaction.uid}`;
    const target = targetOf(interaction, issuer);
    const html = signInPage({
      action,
      target: URL.parse(target)?.host ?? issuer.host,
      email: view.email,
      problem: view.problem,
      local,
      connectors: connectors.map(({ id, name }) => ({ name, href: `${action}/${id}` })),
      passkeyOptions: await passkeys.requestOptions(interaction.uid, undefined),
      setupHref: (await users.setupRequired()) ? `${issuer.pathname}/setup?continue=${interaction.uid}` : undefined,
    });
    sendPasskeyPage(res, status, html, [target]);
  }

  /** The log line of a failed external sign-in, without what the other side said in full. */
  logFailure(connector: string, error: unknown): void {
    this.#options.log.warn('an external sign-in failed', { connector, code: errorCode(error), error: describeError(error) });
  }
}

/** The sign-in that this browser has under way at this address; throws IDP_SIGN_IN_GONE. */
export async function interactionOf(provider: Provider, uid: string, req: IncomingMessage, res: ServerResponse): Promise<Interaction> {
  let interaction: Interaction;
  try {
    interaction = await provider.interactionDetails(req, res);
  } catch (cause) {
    throw idpError('IDP_SIGN_IN_GONE', 'no such sign-in', cause);
  }
  if (interaction.uid !== uid) throw idpError('IDP_SIGN_IN_GONE', 'the cookie is of another sign-in');
  return interaction;
}

/** Where the browser returns to, as far as it is said. */
function targetOf(interaction: Interaction, issuer: URL): string {
  const redirect = interaction.params['redirect_uri'];
  return typeof redirect === 'string' ? redirect : issuer.origin;
}

function inWords(ms: number): string {
  const seconds = Math.ceil(ms / 1000);
  if (seconds < 90) return `${seconds} ${seconds === 1 ? 'second' : 'seconds'}`;
  return `${Math.ceil(seconds / 60)} minutes`;
}
