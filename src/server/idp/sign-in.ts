// The sign-in page. The form belongs to the browser that asked for it: its address holds the sign-in's id, and the signed cookie with
// that id is sent to this address only, so no other site and no other browser can send it.
import { describeError, errorCode } from '#lib/errors.ts';
import type { Logger } from '#lib/log.ts';
import { asId, type UserId } from '#model/ids.ts';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Interaction, Provider } from 'oidc-provider';
import type { UserUseCases } from '../domain/contract.ts';
import { accountKey, addressKey, type FailedAttempts } from './attempts.ts';
import { idpError } from './errors.ts';
import { signInPage } from './pages/sign-in-pages.ts';
import { userGone } from './provider.ts';
import { readForm, sendPage, sendRedirect } from './respond.ts';
import { signInSeconds, type VaultRecords } from './vault-adapter.ts';

export interface SignInOptions {
  readonly issuer: URL;
  readonly users: Pick<UserUseCases, 'checkPassword' | 'setupRequired'>;
  readonly records: VaultRecords;
  readonly attempts: FailedAttempts;
  readonly connectors: readonly { readonly id: string; readonly name: string }[];
  readonly log: Logger;
}

/** What is wrong is said in one sentence for an unknown name, a wrong password and a blocked user: the page must not tell which exist. */
const wrong = 'The e-mail or the password is wrong, or this user is blocked. Ask your administrator if you are sure of both.';
const blocked = 'This user has been blocked or removed. Ask your administrator, or sign in as somebody else.';

export class SignIn {
  readonly #options: SignInOptions;

  constructor(options: SignInOptions) {
    this.#options = options;
  }

  /** GET shows the form, POST checks it. Throws IDP_SIGN_IN_GONE where the browser has no such sign-in. */
  async handle(provider: Provider, uid: string, req: IncomingMessage, res: ServerResponse): Promise<void> {
    const interaction = await interactionOf(provider, uid, req, res);
    if (req.method !== 'POST') {
      const hint = interaction.params['login_hint'];
      const problem = interaction.prompt.reasons.includes(userGone) ? blocked : undefined;
      return this.show(res, interaction, 200, { email: typeof hint === 'string' ? hint.slice(0, 320) : '', problem });
    }
    const form = await readForm(req, this.#options.issuer.origin);
    const email = form.get('email') ?? '';
    const { attempts, users, log } = this.#options;
    const address = addressKey(req.socket.remoteAddress);
    const keys = [address, accountKey(email)];
    const wait = attempts.waitMs(keys);
    if (wait > 0) {
      res.setHeader('retry-after', Math.ceil(wait / 1000));
      return this.show(res, interaction, 429, { email, problem: `Too many attempts. Wait ${inWords(wait)} and try again.` });
    }
    attempts.failed(keys);
    const user = await users.checkPassword(email, form.get('password') ?? '');
    if (user === undefined) {
      log.info('a sign-in failed', { address: req.socket.remoteAddress });
      return this.show(res, interaction, 401, { email, problem: wrong });
    }
    attempts.succeeded(accountKey(email), address);
    sendRedirect(res, await this.finish(provider, interaction, user.id, 'pwd'));
  }

  /** Records who signed in; returns where the browser goes on. A sign-in of somebody else in this browser ends first. */
  async finish(provider: Provider, interaction: Interaction, userId: UserId, method: string): Promise<string> {
    const { records } = this.#options;
    const before = interaction.session;
    if (before?.uid !== undefined && before.accountId !== userId) {
      await (await provider.Session.findByUid(before.uid))?.destroy();
      delete interaction.session;
    }
    const ts = signInSeconds(records.now(), await records.userRevokedAt(userId));
    interaction.result = { login: { accountId: asId<UserId>(userId), ts, amr: [method] } };
    await interaction.save(Math.max(1, interaction.exp - Math.floor(records.now() / 1000)));
    return interaction.returnTo;
  }

  async show(
    res: ServerResponse,
    interaction: Interaction,
    status: number,
    view: { readonly email: string; readonly problem: string | undefined },
  ): Promise<void> {
    const { issuer, connectors, users } = this.#options;
    const action = `${issuer.pathname}/interaction/${interaction.uid}`;
    const redirect = interaction.params['redirect_uri'];
    const target = typeof redirect === 'string' ? redirect : issuer.origin;
    const html = signInPage({
      action,
      target: URL.parse(target)?.host ?? issuer.host,
      email: view.email,
      problem: view.problem,
      connectors: connectors.map(({ id, name }) => ({ name, href: `${action}/${id}` })),
      setupHref: (await users.setupRequired()) ? `${issuer.pathname}/setup?continue=${interaction.uid}` : undefined,
    });
    sendPage(res, status, html, [target]);
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

function inWords(ms: number): string {
  const seconds = Math.ceil(ms / 1000);
  if (seconds < 90) return `${seconds} ${seconds === 1 ? 'second' : 'seconds'}`;
  return `${Math.ceil(seconds / 60)} minutes`;
}
