// The OpenID library, set up: what it may do, for whom, for how long, and with which pages. A new set of keys makes a new one.
import { describeError } from '#lib/errors.ts';
import type { Logger } from '#lib/log.ts';
import { Provider, errors, interactionPolicy, type Context, type Grant } from 'oidc-provider';
import { asId, type UserId } from '#model/ids.ts';
import type { Actor } from '../domain/contract.ts';
import { activeUser, claimsOfScopes, findAccount, scopes } from './accounts.ts';
import { apiClientIds, clientMetadata } from './clients.ts';
import {
  accessTokenSeconds,
  clockToleranceSeconds,
  codeSeconds,
  deviceCodeSeconds,
  devicePollSeconds,
  grantSeconds,
  idTokenSeconds,
  interactionSeconds,
  refreshTokenSeconds,
  sessionIdleSeconds,
} from './constants.ts';
import type { KeySet } from './keys.ts';
import { deviceCodePage, deviceConfirmPage, deviceDonePage, errorPage, loggedOutPage, logoutPage } from './pages/provider-pages.ts';
import { allowedRedirects, useGatewayRedirects } from './redirects.ts';
import { contentPolicy } from './respond.ts';
import { manyFactors, type SecondFactor } from './second-factor.ts';
import type { IdentityProviderOptions } from './types.ts';
import type { VaultRecords } from './vault-adapter.ts';

/** The resource that access tokens of the CLI and the dashboard are for. */
const apiResource = 'urn:meshgate:api';

/** Cookie names; `__Host-` cannot be set by another host or a plain http page, `__Secure-` where the path must be narrower. */
const cookieNames = { session: '__Host-meshgate-idp', interaction: '__Secure-meshgate-signin', resume: '__Secure-meshgate-resume' } as const;

/** Makes a provider for one set of keys. All of its state is in the vault, so that the next one goes on where this one stopped. */
export function createProvider(options: IdentityProviderOptions, records: VaultRecords, keys: KeySet, secondFactor: SecondFactor): Provider {
  const issuer = new URL(options.issuer);
  const provider = new Provider(options.issuer, {
    adapter: (model: string) => records.adapter(model),
    clients: clientMetadata(issuer.origin, options.gatewayClient),
    jwks: { keys: keys.keys },
    cookies: {
      names: cookieNames,
      keys: keys.cookieKeys,
      long: { httpOnly: true, secure: true, sameSite: 'lax', path: '/', signed: true },
      short: { httpOnly: true, secure: true, sameSite: 'lax', signed: true },
    },
    routes: {
      authorization: '/auth',
      token: '/token',
      userinfo: '/userinfo',
      jwks: '/keys',
      device_authorization: '/device/code',
      code_verification: '/device',
      end_session: '/logout',
      revocation: '/revoke',
    },
    scopes,
    claims: { ...claimsOfScopes, acr: null, auth_time: null, iss: null, sid: null },
    // Our relying parties read the ID token, not the userinfo endpoint.
    conformIdTokenClaims: false,
    responseTypes: ['code'],
    clientAuthMethods: ['client_secret_post', 'client_secret_basic', 'none'],
    pkce: { required: () => true },
    allowOmittingSingleRegisteredRedirectUri: false,
    clientBasedCORS: () => false,
    clockTolerance: clockToleranceSeconds,
    enabledJWA: { idTokenSigningAlgValues: ['RS256'], userinfoSigningAlgValues: ['RS256'] },
    findAccount: async (_ctx: Context, id: string, token: Parameters<typeof findAccount>[2]) => findAccount(options.domain.users, id, token),
    loadExistingGrant: (ctx: Context) => grantOf(provider, ctx),
    expiresWithSession: () => true,
    interactions: {
      policy: signInPolicy(secondFactor, options),
      url: (_ctx: Context, interaction: { uid: string }) => `${issuer.pathname}/interaction/${interaction.uid}`,
    },
    ttl: {
      AccessToken: accessTokenSeconds,
      AuthorizationCode: codeSeconds,
      DeviceCode: deviceCodeSeconds,
      Grant: grantSeconds,
      IdToken: idTokenSeconds,
      Interaction: interactionSeconds,
      RefreshToken: refreshTokenSeconds,
      Session: sessionIdleSeconds,
    },
    features: {
      devInteractions: { enabled: false },
      dPoP: { enabled: false },
      pushedAuthorizationRequests: { enabled: false },
      userinfo: { enabled: true },
      revocation: { enabled: true },
      deviceFlow: {
        enabled: true,
        deviceInfo: (): object => ({}),
        userCodeInputSource: async (ctx: Context, _form: string, _out: unknown, error: unknown) => deviceCodePage(ctx, error),
        userCodeConfirmSource: async (ctx: Context, _form: string, client: { clientName?: string }, _device: unknown, code: string) =>
          deviceConfirmPage(ctx, client.clientName ?? '', code),
        successSource: async (ctx: Context) => deviceDonePage(ctx),
      },
      rpInitiatedLogout: {
        enabled: true,
        logoutSource: async (ctx: Context) => logoutPage(ctx, allowedRedirects(ctx)),
        postLogoutSuccessSource: async (ctx: Context) => loggedOutPage(ctx),
      },
      resourceIndicators: {
        enabled: true,
        defaultResource: async (_ctx: Context, client: { clientId: string }) => (apiClientIds.includes(client.clientId) ? apiResource : undefined),
        useGrantedResource: async () => true,
        getResourceServerInfo: async (_ctx: Context, resource: string, client: { clientId: string }) => {
          if (resource !== apiResource || !apiClientIds.includes(client.clientId)) throw new errors.InvalidTarget();
          // Stock clients look for their own id among the audiences.
          return {
            scope: 'api',
            audience: client.clientId,
            accessTokenTTL: accessTokenSeconds,
            accessTokenFormat: 'jwt',
            jwt: { sign: { alg: 'RS256' } },
          };
        },
      },
    },
    formats: {
      customizers: {
        // The grant's id lets verifyAccessToken see a logout without a record of the token, the time of the sign-in a revocation.
        jwt: async (ctx: Context, token: { grantId?: string }, jwt: { payload: Record<string, unknown> }) => {
          const { authorizationCode, refreshToken, deviceCode } = ctx.oidc;
          jwt.payload['grant'] = token.grantId;
          jwt.payload['auth_time'] = (authorizationCode ?? refreshToken ?? deviceCode)?.authTime;
        },
      },
    },
    renderError: async (ctx: Context, out: { error: string; error_description?: string }) => errorPage(ctx, out.error, out.error_description ?? ''),
  });

  trustIssuer(provider, issuer);
  useGatewayRedirects(provider, Provider, options.gatewayClient.id, options.gatewayRedirectAllowed);
  provider.use(async (ctx, next) => {
    // The library's own page that submits itself needs a script, which it adds by its hash; everything else runs none.
    ctx.set('content-security-policy', contentPolicy([...allowedRedirects(ctx)], 'library'));
    await next();
    if (ctx.oidc?.route === 'end_session_confirm' && ctx.oidc.params?.['logout'] !== undefined) await endServices(ctx, options, records);
    if (ctx.oidc?.route === 'device_authorization' && ctx.status === 200) ctx.body = { ...(ctx.body as object), interval: devicePollSeconds };
  });
  logFailures(provider, options.log);
  return provider;
}

/** Who signs out here signs out of the services too: of those that this sign-in has opened, or of all. Gateways are told at once (attack row C-7). */
async function endServices(ctx: Context, { domain: { sessions } }: IdentityProviderOptions, records: VaultRecords): Promise<void> {
  const { session, params } = ctx.oidc;
  if (session.accountId === undefined) return;
  const userId = asId<UserId>(session.accountId);
  const actor: Actor = { kind: 'user', id: userId };
  if (params?.['logout'] !== 'everywhere') return sessions.endOfSignIn(session.uid, actor);
  await records.revokeUser(userId);
  await sessions.endAllOf(userId, actor);
}

/** Everything about the request that ends up in URLs and cookies is the configured issuer's, not the Host header's. */
function trustIssuer(provider: Provider, issuer: URL): void {
  const fixed = { protocol: 'https', secure: true, host: issuer.host, hostname: issuer.hostname, origin: issuer.origin };
  for (const [name, value] of Object.entries(fixed)) Object.defineProperty(provider.request, name, { get: () => value, configurable: true });
}

/**
 * Our own clients need no consent; people only sign in. A session whose user may no longer sign in counts as none, and one that was opened
 * with one proof does not count where two are needed now, or at a service that asks for another issuer.
 */
function signInPolicy(
  secondFactor: SecondFactor,
  { domain: { users }, issuersAt, gatewayClient }: IdentityProviderOptions,
): interactionPolicy.Policy {
  const policy = interactionPolicy.base();
  policy.remove('consent');
  policy
    .get('login')
    ?.checks.add(
      new interactionPolicy.Check(
        userGone,
        'the user may not sign in',
        (ctx) => ctx.oidc.session.accountId !== undefined && ctx.oidc.account === undefined,
      ),
    );
  policy.get('login')?.checks.add(
    new interactionPolicy.Check(factorMissing, 'a second factor is needed', async (ctx) => {
      const { accountId, amr } = ctx.oidc.session;
      if (accountId === undefined || amr?.includes(manyFactors) === true) return false;
      const user = await activeUser(users, asId<UserId>(accountId));
      return user !== undefined && (await secondFactor.needed(user)) !== 'none';
    }),
  );
  policy.get('login')?.checks.add(
    new interactionPolicy.Check(issuerWrong, 'the service asks for another issuer', async (ctx) => {
      const { session, client, params } = ctx.oidc;
      const redirect = params?.['redirect_uri'];
      if (session.accountId === undefined || client?.clientId !== gatewayClient.id || typeof redirect !== 'string') return false;
      const [user, wanted] = await Promise.all([activeUser(users, asId<UserId>(session.accountId)), issuersAt(redirect)]);
      return user !== undefined && wanted.length > 0 && !wanted.includes(user.connector);
    }),
  );
  return policy;
}

const issuerWrong = 'issuer_wrong';
const factorMissing = 'factor_missing';

/** The reason of a sign-in page for somebody whose session ended because of a block or a deletion. */
export const userGone = 'user_gone';

/** What the signed-in user grants the client: everything that we offer, once per session and client. */
async function grantOf(provider: Provider, ctx: Context): Promise<Grant | undefined> {
  const { client, account, session } = ctx.oidc;
  if (client === undefined || account === undefined) return undefined;
  const id = session.grantIdFor(client.clientId);
  const known = id === undefined ? undefined : await provider.Grant.find(id);
  if (known !== undefined) return known;
  const grant = new provider.Grant({ accountId: account.accountId, clientId: client.clientId });
  grant.addOIDCScope(scopes.join(' '));
  if (apiClientIds.includes(client.clientId)) grant.addResourceScope(apiResource, 'api');
  await grant.save();
  return grant;
}

function logFailures(provider: Provider, log: Logger): void {
  provider.silent = true;
  provider.on('server_error', (_ctx: Context, error: unknown) => log.error('the identity provider failed', { error: describeError(error) }));
  provider.on('error', (error: unknown) => log.warn('a request to the identity provider failed', { error: describeError(error) }));
  for (const event of ['authorization.error', 'grant.error'] as const) {
    provider.on(event, (ctx: Context, error: unknown) =>
      log.info('a sign-in was refused', { event, client: ctx.oidc.client?.clientId, error: describeError(error) }),
    );
  }
}
