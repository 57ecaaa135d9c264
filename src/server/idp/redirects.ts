// Where a gateway's sign-in may return to. Services come and go, so the library's fixed list of redirect URIs does not fit:
// the question is asked for each request before the library starts, and its answer holds for that request only.
import type { Context, Provider } from 'oidc-provider';

/** The only path of a service's host that receives codes. */
export const callbackPath = '/.meshgate/callback';

/** Longest redirect URI that is looked at. */
const uriLength = 2048;

/** Redirects that the current request may use, by the exact text that came. */
const allowedHere = Symbol('redirects');

type State = Record<string | symbol, unknown>;

/** The host's callback where the text is exactly an https URL with the callback path and nothing else; else undefined. */
export function parseCallback(text: string): URL | undefined {
  if (text.length > uriLength) return undefined;
  const url = URL.parse(text);
  if (url === null || url.protocol !== 'https:' || url.pathname !== callbackPath) return undefined;
  // What a parser had to repair (user info, backslashes, upper case, a default port) is not what a gateway sends.
  return url.href === text && url.username === '' && url.password === '' && url.search === '' && url.hash === '' ? url : undefined;
}

/** Teaches the provider to ask `allowed` about redirects of the gateway client. */
export function useGatewayRedirects(
  provider: Provider,
  ProviderClass: typeof Provider,
  gatewayId: string,
  allowed: (uri: string) => Promise<boolean>,
): void {
  provider.use(async (ctx, next) => {
    const found = new Set<string>();
    const { client_id: clientId, redirect_uri: redirect, post_logout_redirect_uri: afterLogout } = ctx.query;
    if (clientId === gatewayId && typeof redirect === 'string' && parseCallback(redirect) !== undefined && (await allowed(redirect))) {
      found.add(redirect);
    }
    if (typeof afterLogout === 'string') {
      // After a logout the browser may return to the front page of a service.
      const callback = frontPageCallback(afterLogout);
      if (callback !== undefined && (await allowed(callback))) found.add(afterLogout);
    }
    (ctx.state as State)[allowedHere] = found;
    await next();
  });

  const { prototype } = provider.Client;
  const { redirectUriAllowed, postLogoutRedirectUriAllowed } = prototype;
  Object.assign(prototype, {
    redirectUriAllowed(this: typeof prototype, uri: string): boolean {
      return this.clientId === gatewayId ? allowedRedirects(ProviderClass.ctx).has(uri) : redirectUriAllowed.call(this, uri);
    },
    postLogoutRedirectUriAllowed(this: typeof prototype, uri: string): boolean {
      return this.clientId === gatewayId ? allowedRedirects(ProviderClass.ctx).has(uri) : postLogoutRedirectUriAllowed.call(this, uri);
    },
  });
}

/** What the gateway client may use in this request. */
export function allowedRedirects(ctx: Context | undefined): ReadonlySet<string> {
  const found = (ctx?.state as State | undefined)?.[allowedHere];
  return found instanceof Set ? found : new Set();
}

function frontPageCallback(text: string): string | undefined {
  if (text.length > uriLength) return undefined;
  const url = URL.parse(text);
  if (url === null || url.href !== text || url.protocol !== 'https:' || url.pathname !== '/' || url.search !== '' || url.hash !== '')
    return undefined;
  return url.username === '' && url.password === '' ? `${url.origin}${callbackPath}` : undefined;
}
