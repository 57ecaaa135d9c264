// The built-in identity provider: the OpenID library behind a small front that owns the pages, the limits and the keys.
import { MeshgateError, describeError } from '#lib/errors.ts';
import { Scope, startScoped } from '#lib/lifecycle.ts';
import type { Logger } from '#lib/log.ts';
import type { UserId } from '#model/ids.ts';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Provider } from 'oidc-provider';
import { Account } from './account.ts';
import { FailedAttempts, StartLimit, addressKey } from './attempts.ts';
import { cliClientId, cliRedirects, cliScope } from './clients.ts';
import { connectorSource } from './connector-source.ts';
import { Connectors } from './connectors.ts';
import { closeMs, keyCheckMs, keyReloadMs, requestUrlLength } from './constants.ts';
import { idpError } from './errors.ts';
import { KeyStore, type KeySet } from './keys.ts';
import { failurePage } from './pages/sign-in-pages.ts';
import { KnownBrowsers } from './known-browsers.ts';
import { Passkeys } from './passkeys.ts';
import { createProvider } from './provider.ts';
import { sendPage, setCommonHeaders } from './respond.ts';
import { handleSetup } from './setup.ts';
import { SecondFactor } from './second-factor.ts';
import { SignIn } from './sign-in.ts';
import { TokenChecker } from './tokens.ts';
import type { CliSignIn, IdentityProvider, IdentityProviderOptions } from './types.ts';
import { VaultRecords } from './vault-adapter.ts';

/** Starts the provider. Throws IDP_BAD_ISSUER, IDP_BAD_CLIENT, IDP_BAD_CONNECTOR, and what the vault throws. */
export function createIdentityProvider(options: IdentityProviderOptions): Promise<IdentityProvider> {
  return startScoped(async (scope) => {
    const issuer = checkedIssuer(options.issuer);
    if (options.gatewayClient.id === '' || options.gatewayClient.secret.length < 32) throw idpError('IDP_BAD_CLIENT');
    const records = new VaultRecords(options.domain.vault, options.clock);
    const store = new KeyStore(options.domain.vault, options.clock);
    const keys = await store.current();
    const front = new Front(options, issuer, records, store, keys);
    scope.defer(() => front.stop());
    front.watchKeys();
    return {
      handle: (req, res) => front.handle(req, res),
      verifyAccessToken: (jwt) => front.checker.accessToken(jwt),
      verifyLoginToken: (jwt) => front.checker.loginToken(jwt),
      cliSignIn: cliSignIn(options.issuer),
      verifyIdToken: (idToken, nonce, clientId) => front.checker.idToken(idToken, nonce, clientId),
      endSessionsOf: (userId: UserId) => records.revokeUser(userId),
      close: () => scope.close(),
    };
  });
}

/** The endpoints by their absolute addresses: a command line knows nothing else of us. */
function cliSignIn(issuer: string): CliSignIn {
  return {
    clientId: cliClientId,
    audience: cliClientId,
    scope: cliScope,
    authorizationEndpoint: `${issuer}/auth`,
    tokenEndpoint: `${issuer}/token`,
    deviceAuthEndpoint: `${issuer}/device/code`,
    redirectUrls: cliRedirects,
  };
}

function checkedIssuer(text: string): URL {
  const issuer = URL.parse(text);
  if (issuer === null || issuer.protocol !== 'https:' || issuer.pathname !== '/oauth2' || issuer.href !== text)
    throw idpError('IDP_BAD_ISSUER', text);
  return issuer;
}

/** Requests whose answer leaves a record in the vault, or that may guess a device's code, by path below the issuer. */
const starts: ReadonlySet<string> = new Set(['/auth', '/device/code', '/device', '/logout']);

/** What a path may be made of (RFC 3986 §3.3): with anything else the library could see another path than we do. */
const plainPath = /^[\w.~!$&'()*+,;=:@%/-]*$/;

/** The library takes a path in any case and with one slash behind it. */
function isStart(path: string): boolean {
  return starts.has(path.toLowerCase().replace(/\/$/, ''));
}

class Front {
  readonly checker: TokenChecker;
  readonly #options: IdentityProviderOptions;
  readonly #issuer: URL;
  readonly #records: VaultRecords;
  readonly #store: KeyStore;
  readonly #log: Logger;
  readonly #attempts: FailedAttempts;
  readonly #startLimit: StartLimit;
  readonly #second: SecondFactor;
  readonly #signIn: SignIn;
  readonly #account: Account;
  readonly #connectors: Connectors;
  readonly #scope = new Scope();
  readonly #running = new Set<Promise<void>>();
  #keys: KeySet;
  #provider: Provider;
  #answer: (req: IncomingMessage, res: ServerResponse) => Promise<void>;
  #reloadedAt = Number.NEGATIVE_INFINITY;
  #closed = false;

  constructor(options: IdentityProviderOptions, issuer: URL, records: VaultRecords, store: KeyStore, keys: KeySet) {
    const { clock, log, domain, issuersAt } = options;
    const source = connectorSource(options.connectors, domain.issuers);
    this.#options = options;
    this.#issuer = issuer;
    this.#records = records;
    this.#store = store;
    this.#log = log;
    this.#keys = keys;
    const passkeys = new Passkeys({ issuer, factors: domain.factors, records });
    const { users, factors, settings } = domain;
    this.#second = new SecondFactor({ issuer, users, factors, settings, records, passkeys });
    this.#provider = createProvider(options, records, keys, this.#second);
    this.#answer = this.#provider.callback();
    this.#attempts = new FailedAttempts(clock);
    this.#startLimit = new StartLimit(clock);
    this.checker = new TokenChecker({ issuer: options.issuer, users: domain.users, records, keys, reloadKeys: () => this.#reloadKeys() });
    this.#signIn = new SignIn({
      issuer,
      users,
      records,
      attempts: this.#attempts,
      browsers: new KnownBrowsers({ issuer, vault: domain.vault, clock }),
      source,
      issuersAt,
      gatewayId: options.gatewayClient.id,
      second: this.#second,
      passkeys,
      log,
    });
    const { sessions } = domain;
    this.#account = new Account({ issuer, users, factors, sessions, passkeys, second: this.#second, records });
    this.#connectors = new Connectors({ issuer, users, sessions, vault: domain.vault, records, source, clock, log, signIn: this.#signIn });
    this.#scope.use(this.#connectors);
  }

  handle(req: IncomingMessage, res: ServerResponse): void {
    const running = this.#serve(req, res).catch((error: unknown) => this.#fail(res, error));
    this.#running.add(running);
    void running.finally(() => this.#running.delete(running));
  }

  /** Looks at the keys now and then: rotates what is due, takes over what another process rotated. */
  watchKeys(): void {
    const next = (): void => {
      const timer = this.#options.clock.after(keyCheckMs, () => {
        this.#store
          .current()
          .then((keys) => this.#useKeys(keys))
          .catch((error: unknown) => this.#log.error('the keys of the identity provider could not be checked', { error: describeError(error) }))
          .finally(() => {
            if (!this.#closed) next();
          });
      });
      this.#stopTimer = () => timer.cancel();
    };
    next();
  }

  #stopTimer: () => void = () => undefined;

  async stop(): Promise<void> {
    this.#closed = true;
    this.#stopTimer();
    await this.#scope.close();
    const late = AbortSignal.timeout(closeMs);
    await Promise.race([Promise.all(this.#running), new Promise((resolve) => late.addEventListener('abort', resolve, { once: true }))]);
  }

  async #serve(req: IncomingMessage, res: ServerResponse): Promise<void> {
    setCommonHeaders(res);
    if (this.#closed) throw idpError('IDP_CLOSED');
    const url = req.url ?? '';
    if (url.length > requestUrlLength) throw idpError('IDP_REQUEST_TOO_LONG');
    const base = this.#issuer.pathname;
    const question = url.indexOf('?');
    const path = question < 0 ? url : url.slice(0, question);
    if (!path.startsWith(`${base}/`) || !plainPath.test(path)) return sendPage(res, 404, failurePage('There is no such page.'));
    const inside = path.slice(base.length);
    if (isStart(inside) && !this.#startLimit.take(addressKey(req.socket.remoteAddress))) throw idpError('IDP_TOO_MANY');

    const page =
      /^\/(?:(setup|account)|interaction\/([\w-]{10,64})(?:\/([a-z0-9-]{1,32}))?|connectors\/([a-z0-9-]{1,32})\/(callback|backchannel-logout))$/.exec(
        inside,
      );
    if (page === null) return this.#library(req, res, url, base);
    const [, own, uid, start, connector, end] = page;
    const logout = end === 'backchannel-logout';
    const mayPost = logout || (start === undefined && connector === undefined);
    if (req.method !== 'GET' && req.method !== 'HEAD' && !(req.method === 'POST' && mayPost)) {
      res.setHeader('allow', mayPost ? 'GET, HEAD, POST' : 'GET, HEAD');
      return sendPage(res, 405, failurePage('This cannot be asked for in this way.'));
    }
    const query = new URLSearchParams(question < 0 ? '' : url.slice(question + 1));
    if (own === 'account') return this.#account.handle(this.#provider, query, req, res);
    if (own === 'setup') return handleSetup({ issuer: this.#issuer, users: this.#options.domain.users, attempts: this.#attempts }, query, req, res);
    if (connector !== undefined && logout)
      return req.method === 'POST'
        ? this.#connectors.logout(connector, req, res)
        : sendPage(res, 405, failurePage('This cannot be asked for in this way.'));
    if (connector !== undefined) return this.#connectors.finish(this.#provider, connector, url, req, res);
    if (uid !== undefined && start !== undefined) return this.#connectors.begin(this.#provider, start, uid, req, res);
    if (uid !== undefined) return this.#signIn.handle(this.#provider, uid, req, res);
  }

  /** The library sees itself at the root; where it is mounted follows from `originalUrl`. */
  async #library(req: IncomingMessage, res: ServerResponse, url: string, base: string): Promise<void> {
    Object.assign(req, { originalUrl: url });
    req.url = url.slice(base.length);
    await this.#answer(req, res);
  }

  #fail(res: ServerResponse, error: unknown): void {
    const row = error instanceof MeshgateError ? error.row : undefined;
    if (row === undefined || row.origin === 'internal') this.#log.error('the identity provider failed', { error: describeError(error) });
    if (res.headersSent) {
      res.destroy();
      return;
    }
    if (row?.origin === 'peer' && row.status === 413) res.setHeader('connection', 'close');
    // What went wrong inside is nobody's business, except that it will be over soon.
    const speaks = row !== undefined && (row.origin !== 'internal' || row.retry);
    const text = speaks && error instanceof MeshgateError ? error.message : 'Something went wrong here. Try again later.';
    sendPage(res, row?.status ?? 500, failurePage(text));
  }

  #useKeys(keys: KeySet): void {
    if (keys.keys[0]?.kid === this.#keys.keys[0]?.kid) return;
    this.#keys = keys;
    this.#provider = createProvider(this.#options, this.#records, keys, this.#second);
    this.#answer = this.#provider.callback();
    this.checker.useKeys(keys);
    this.#log.info('the identity provider signs with a new key', { kid: keys.keys[0]?.kid });
  }

  async #reloadKeys(): Promise<KeySet | undefined> {
    const now = this.#options.clock.now();
    if (now - this.#reloadedAt < keyReloadMs) return undefined;
    this.#reloadedAt = now;
    const keys = await this.#store.stored();
    if (keys === undefined || keys.keys[0]?.kid === this.#keys.keys[0]?.kid) return undefined;
    this.#useKeys(keys);
    return keys;
  }
}
