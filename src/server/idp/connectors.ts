// Signing in through external OpenID providers. The browser carries the sealed state of each attempt; who comes back is a user of ours. Each
// issuer has a redirect URI of its own and the state names the issuer, so the answer of one is never taken for another's (attack row A-6).
import type { Clock } from '#lib/clock.ts';
import { MeshgateError, errorCode } from '#lib/errors.ts';
import { type Closable, Scope } from '#lib/lifecycle.ts';
import type { Logger } from '#lib/log.ts';
import { LoginStates } from '#identity/login-state.ts';
import { createOidcClient, type OidcClient } from '#identity/oidc-client.ts';
import type { Issuer } from '#model/issuer.ts';
import { randomBytes } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Interaction, Provider } from 'oidc-provider';
import type { SessionUseCases, UserUseCases, VaultUseCases } from '../domain/contract.ts';
import { connectorMs, logoutRememberedSeconds, sessionMaxSeconds } from './constants.ts';
import { idpError } from './errors.ts';
import { externalSignIn } from './external-claims.ts';
import { userIdOf } from './passkeys.ts';
import { addCookies, readForm, sendRedirect } from './respond.ts';
import { interactionOf, type SignIn } from './sign-in.ts';
import type { ConnectorSource } from './types.ts';
import type { VaultRecords } from './vault-adapter.ts';

export interface ConnectorsOptions {
  readonly issuer: URL;
  readonly users: Pick<UserUseCases, 'fromConnector' | 'ofSubject'>;
  readonly sessions: Pick<SessionUseCases, 'endAllOf'>;
  readonly vault: VaultUseCases;
  readonly records: VaultRecords;
  readonly source: ConnectorSource;
  readonly clock: Clock;
  readonly log: Logger;
  readonly signIn: SignIn;
}

const stateVaultKey = 'idp/connector-state-key';
const sidKind = 'ExternalSession';
const logoutKind = 'LogoutToken';

interface Known {
  readonly issuer: Issuer;
  readonly client: OidcClient;
}

export class Connectors implements Closable {
  readonly #options: ConnectorsOptions;
  /** By issuer, with what they were made from: a changed issuer gets a new client. */
  readonly #clients = new Map<string, { readonly from: string; readonly client: OidcClient }>();
  readonly #scope = new Scope();
  #states: Promise<LoginStates> | undefined;

  constructor(options: ConnectorsOptions) {
    this.#options = options;
  }

  /** Sends the browser to the external provider. Throws IDP_SIGN_IN_GONE, IDP_ISSUER_NOT_ALLOWED, IDP_CONNECTOR_FAILED. */
  async begin(provider: Provider, id: string, uid: string, req: IncomingMessage, res: ServerResponse): Promise<void> {
    const interaction = await interactionOf(provider, uid, req, res);
    const known = await this.#find(id);
    if (known === undefined) throw idpError('IDP_SIGN_IN_GONE', 'no such connector');
    if (!(await this.#options.signIn.allows(interaction, id))) throw idpError('IDP_ISSUER_NOT_ALLOWED', id);
    const states = await this.#loginStates();
    const begun = states.begin(`${id} ${interaction.uid}`, req.headers.cookie);
    const { state, nonce, codeVerifier } = begun;
    let url: URL;
    try {
      const signal = AbortSignal.timeout(connectorMs);
      const request = { redirectUri: this.#callback(id), state, nonce, codeVerifier, scope: 'openid email profile' };
      url = await known.client.authorizationUrl(request, signal);
    } catch (error) {
      return this.#failed(res, interaction, id, error);
    }
    addCookies(res, begun.setCookies);
    sendRedirect(res, url.href);
  }

  /** Takes the answer of the external provider and lets the sign-in go on. Throws IDP_SIGN_IN_GONE. */
  async finish(provider: Provider, id: string, url: string, req: IncomingMessage, res: ServerResponse): Promise<void> {
    const known = await this.#find(id);
    const callbackUrl = new URL(url, this.#options.issuer.origin);
    const found = (await this.#loginStates()).finish(callbackUrl.searchParams.get('state') ?? '', req.headers.cookie);
    if (known === undefined || found === undefined) throw idpError('IDP_SIGN_IN_GONE', 'the state is unknown');
    addCookies(res, found.setCookies);
    const [connector, uid = ''] = found.target.split(' ');
    const interaction = connector === id ? await provider.Interaction.find(uid) : undefined;
    if (interaction === undefined) throw idpError('IDP_SIGN_IN_GONE', 'the sign-in is over');
    try {
      const { users, records, signIn } = this.#options;
      if (!(await signIn.allows(interaction, id))) throw idpError('IDP_ISSUER_NOT_ALLOWED', id);
      const { state, nonce, codeVerifier } = found;
      const { groupsClaim, claims: wanted } = known.issuer;
      const { claims } = await known.client.exchange(
        {
          callbackUrl,
          redirectUri: this.#callback(id),
          state,
          nonce,
          codeVerifier,
          wanted: ['email', 'name', ...(groupsClaim === undefined ? [] : [groupsClaim]), ...wanted],
        },
        AbortSignal.timeout(connectorMs),
      );
      const external = externalSignIn(id, known.issuer, claims);
      const { user, regrouped } = await users.fromConnector(external);
      // Changed groups end what was signed in before. That is noted here, before the new sign-in is dated after it.
      if (regrouped) await records.revokeUser(user.id);
      const sid = claims['sid'];
      if (typeof sid === 'string' && sid !== '') await records.keep(sidKind, `${id} ${sid}`, { userId: user.id }, sessionMaxSeconds);
      sendRedirect(res, await signIn.finish(provider, interaction, user.id, ['ext']));
    } catch (error) {
      await this.#failed(res, interaction, id, error);
    }
  }

  /**
   * The issuer has signed somebody out (OpenID Connect Back-Channel Logout 1.0). Of a `sid` we know whose it is: all of the person's sessions
   * end, at every service and every gateway. 400 where the token is not good.
   */
  async logout(id: string, req: IncomingMessage, res: ServerResponse): Promise<void> {
    const known = await this.#find(id);
    const form = await readForm(req, this.#options.issuer.origin);
    const { records, users, sessions, log } = this.#options;
    const refuse = (description: string): void => {
      log.warn('a logout token was refused', { connector: id, reason: description });
      sendJson(res, 400, { error: 'invalid_request', error_description: description });
    };
    if (known === undefined) return refuse('unknown issuer');
    const token = await known.client.verifyLogoutToken(form.get('logout_token') ?? '', AbortSignal.timeout(connectorMs)).catch((error: unknown) => {
      if (errorCode(error) === 'IDENTITY_LOGOUT_INVALID') return undefined;
      throw error;
    });
    if (token === undefined) return refuse('the logout token is not valid');
    const seen = `${id} ${token.jti}`;
    if ((await records.kept(logoutKind, seen)) !== undefined) return refuse('the logout token was used before');
    const ofSid = token.sid === undefined ? undefined : userIdOf((await records.kept(sidKind, `${id} ${token.sid}`))?.['userId']);
    const userId = token.sub === undefined ? ofSid : await users.ofSubject(id, token.sub);
    if (userId !== undefined) {
      await records.revokeUser(userId);
      await sessions.endAllOf(userId, { kind: 'system' });
      log.info('an issuer has signed a user out', { connector: id, user: userId });
    }
    // Not before it is done: where that failed, the issuer sends it again.
    await records.keep(logoutKind, seen, {}, logoutRememberedSeconds);
    sendJson(res, 200, undefined);
  }

  close(): Promise<void> {
    return this.#scope.close();
  }

  async #find(id: string): Promise<Known | undefined> {
    const found = await this.#options.source.find(id);
    const held = this.#clients.get(id);
    if (found === undefined) {
      this.#clients.delete(id);
      void held?.client.close();
      return undefined;
    }
    const { clientSecret, ...issuer } = found;
    const { issuer: url, clientId, clientAuth, ca } = issuer;
    const from = JSON.stringify([url, clientId, clientSecret, clientAuth, ca]);
    if (held?.from === from) return { issuer, client: held.client };
    void held?.client.close();
    const client = this.#scope.use(
      createOidcClient({ issuer: url, clientId, clientSecret, clientAuth, ca, log: this.#options.log.with({ connector: id }) }),
    );
    this.#clients.set(id, { from, client });
    return { issuer, client };
  }

  /** Back to the sign-in page with a sentence that says what to do; what the other side said goes to the log. */
  async #failed(res: ServerResponse, interaction: Interaction, id: string, error: unknown): Promise<void> {
    this.#options.signIn.logFailure(id, error);
    const failure = shown(error);
    await this.#options.signIn.show(res, interaction, failure.row.status, { email: '', problem: failure.message });
  }

  #callback(id: string): string {
    return `${this.#options.issuer.href}/connectors/${id}/callback`;
  }

  #loginStates(): Promise<LoginStates> {
    this.#states ??= this.#openStates().catch((error: unknown) => {
      this.#states = undefined;
      throw error;
    });
    return this.#states;
  }

  async #openStates(): Promise<LoginStates> {
    const { vault, clock, issuer } = this.#options;
    let key = await vault.get(stateVaultKey);
    if (key === undefined) {
      await vault.set(stateVaultKey, randomBytes(32));
      key = (await vault.get(stateVaultKey)) ?? randomBytes(32);
    }
    return new LoginStates({ key, clock, cookie: { prefix: '__Secure-meshgate-ext-', path: `${issuer.pathname}/` } });
  }
}

function sendJson(res: ServerResponse, status: number, body: object | undefined): void {
  const text = body === undefined ? '' : JSON.stringify(body);
  res.statusCode = status;
  if (body !== undefined) res.setHeader('content-type', 'application/json');
  res.setHeader('content-length', Buffer.byteLength(text));
  res.end(text);
}

const ownFailures: ReadonlySet<string> = new Set(['IDP_CONNECTOR_EMAIL', 'IDP_CONNECTOR_DOMAIN', 'IDP_ISSUER_NOT_ALLOWED', 'DOMAIN_USER_BLOCKED']);

/** What the person is told: what he or the administrator can do something about, in our own words. */
function shown(error: unknown): MeshgateError {
  const code = errorCode(error);
  if (code === 'IDENTITY_PROVIDER_UNREACHABLE') return idpError('IDP_CONNECTOR_AWAY');
  if (code === 'IDENTITY_CLIENT_REFUSED') return idpError('IDP_CONNECTOR_CLIENT');
  if (code === 'IDENTITY_SIGN_IN_REFUSED') return idpError('IDP_CONNECTOR_DENIED');
  return ownFailures.has(String(code)) && error instanceof MeshgateError ? error : idpError('IDP_CONNECTOR_FAILED');
}
