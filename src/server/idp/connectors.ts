// Signing in through external OpenID providers. The browser carries the sealed state of each attempt; who comes back is a user of ours.
import type { Clock } from '#lib/clock.ts';
import { MeshgateError, errorCode } from '#lib/errors.ts';
import { type Closable, Scope } from '#lib/lifecycle.ts';
import type { Logger } from '#lib/log.ts';
import { LoginStates } from '#identity/login-state.ts';
import { createOidcClient, type OidcClient } from '#identity/oidc-client.ts';
import { randomBytes } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Provider } from 'oidc-provider';
import type { UserUseCases, VaultUseCases } from '../domain/contract.ts';
import { connectorMs, connectorsMax } from './constants.ts';
import { idpError } from './errors.ts';
import { addCookies, sendRedirect } from './respond.ts';
import { interactionOf, type SignIn } from './sign-in.ts';
import type { ConnectorConfig } from './types.ts';

export interface ConnectorsOptions {
  readonly issuer: URL;
  readonly users: Pick<UserUseCases, 'fromConnector'>;
  readonly vault: VaultUseCases;
  readonly connectors: readonly ConnectorConfig[];
  readonly clock: Clock;
  readonly log: Logger;
  readonly signIn: SignIn;
}

const stateVaultKey = 'idp/connector-state-key';

export class Connectors implements Closable {
  readonly #options: ConnectorsOptions;
  readonly #clients = new Map<string, OidcClient>();
  readonly #scope = new Scope();
  #states: Promise<LoginStates> | undefined;

  /** Throws IDP_BAD_CONNECTOR. Asks no issuer yet: one that is away must not keep the others from working. */
  constructor(options: ConnectorsOptions) {
    this.#options = options;
    if (options.connectors.length > connectorsMax) throw idpError('IDP_BAD_CONNECTOR', `more than ${connectorsMax}`);
    for (const { id, issuer, clientId, clientSecret, clientAuth = 'basic', ca } of options.connectors) {
      if (!/^[a-z0-9][a-z0-9-]{0,31}$/.test(id) || id === 'local' || this.#clients.has(id)) throw idpError('IDP_BAD_CONNECTOR', id);
      const log = options.log.with({ connector: id });
      this.#clients.set(id, this.#scope.use(createOidcClient({ issuer, clientId, clientSecret, clientAuth, ca, log })));
    }
  }

  /** Sends the browser to the external provider. Throws IDP_SIGN_IN_GONE, IDP_CONNECTOR_FAILED. */
  async begin(provider: Provider, id: string, uid: string, req: IncomingMessage, res: ServerResponse): Promise<void> {
    const client = this.#clients.get(id);
    if (client === undefined) throw idpError('IDP_SIGN_IN_GONE', 'no such connector');
    const interaction = await interactionOf(provider, uid, req, res);
    const states = await this.#loginStates();
    const begun = states.begin(`${id} ${interaction.uid}`, req.headers.cookie);
    const { state, nonce, codeVerifier } = begun;
    let url: URL;
    try {
      const signal = AbortSignal.timeout(connectorMs);
      url = await client.authorizationUrl({ redirectUri: this.#callback(id), state, nonce, codeVerifier, scope: 'openid email profile' }, signal);
    } catch (error) {
      return this.#failed(res, interaction, id, error);
    }
    addCookies(res, begun.setCookies);
    sendRedirect(res, url.href);
  }

  /** Takes the answer of the external provider and lets the sign-in go on. Throws IDP_SIGN_IN_GONE. */
  async finish(provider: Provider, id: string, url: string, req: IncomingMessage, res: ServerResponse): Promise<void> {
    const client = this.#clients.get(id);
    const callbackUrl = new URL(url, this.#options.issuer.origin);
    const found = (await this.#loginStates()).finish(callbackUrl.searchParams.get('state') ?? '', req.headers.cookie);
    if (client === undefined || found === undefined) throw idpError('IDP_SIGN_IN_GONE', 'the state is unknown');
    addCookies(res, found.setCookies);
    const [connector, uid = ''] = found.target.split(' ');
    const interaction = connector === id ? await provider.Interaction.find(uid) : undefined;
    if (interaction === undefined) throw idpError('IDP_SIGN_IN_GONE', 'the sign-in is over');
    try {
      const { state, nonce, codeVerifier } = found;
      const { claims } = await client.exchange(
        { callbackUrl, redirectUri: this.#callback(id), state, nonce, codeVerifier, wanted: ['email', 'name'] },
        AbortSignal.timeout(connectorMs),
      );
      const email = claims['email'];
      // An address that the other side has not verified could be anybody's.
      if (typeof email !== 'string' || email === '' || claims['email_verified'] === false) throw idpError('IDP_CONNECTOR_EMAIL');
      const name = typeof claims['name'] === 'string' && claims['name'] !== '' ? claims['name'] : email;
      const user = await this.#options.users.fromConnector({ connector: id, subject: claims.sub, email, name });
      sendRedirect(res, await this.#options.signIn.finish(provider, interaction, user.id, ['ext']));
    } catch (error) {
      await this.#failed(res, interaction, id, error);
    }
  }

  close(): Promise<void> {
    return this.#scope.close();
  }

  /** Back to the sign-in page with a sentence that says what to do; what the other side said goes to the log. */
  async #failed(res: ServerResponse, interaction: Parameters<SignIn['show']>[1], id: string, error: unknown): Promise<void> {
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

/** What the person is told: what he or the administrator can do something about, in our own words. */
function shown(error: unknown): MeshgateError {
  const code = errorCode(error);
  if (code === 'IDENTITY_PROVIDER_UNREACHABLE') return idpError('IDP_CONNECTOR_AWAY');
  if (code === 'IDENTITY_CLIENT_REFUSED') return idpError('IDP_CONNECTOR_CLIENT');
  if (code === 'IDENTITY_SIGN_IN_REFUSED') return idpError('IDP_CONNECTOR_DENIED');
  const own = code === 'IDP_CONNECTOR_EMAIL' || code === 'DOMAIN_USER_BLOCKED';
  return own && error instanceof MeshgateError ? error : idpError('IDP_CONNECTOR_FAILED');
}
