// Who may ask us to sign people in: the gateways, NetBird's CLI and the dashboard. There is no registration.
import { callbackPath } from './redirects.ts';

/** NetBird's command line, and ours: a public native client. */
export const cliClientId = 'netbird-cli';
const dashboardClientId = 'netbird-dashboard';
/** Our own account page, which wants the sign-in and no token. */
export const accountClientId = 'meshgate-account';

/** Where the CLI listens; stock clients use these two. RFC 8252 §7.3 lets a loopback redirect use any port. */
export const cliRedirects = ['http://localhost:53000/', 'http://localhost:54000/'];

const deviceGrant = 'urn:ietf:params:oauth:grant-type:device_code';

/** Clients whose access tokens are JWTs for the management service and the API. */
export const apiClientIds: readonly string[] = [cliClientId, dashboardClientId];

/** What the CLI asks for when it signs a person in. */
export const cliScope = 'openid profile email groups';

/** Metadata of our clients as OpenID Connect registration names it. `origin` is the server's own. */
export function clientMetadata(origin: string, gateway: { readonly id: string; readonly secret: string }): readonly object[] {
  // Each ID token says when its user signed in: a revocation in the same second must not hit the sign-in after it.
  return ownClients(origin, gateway).map((client) => ({ ...client, require_auth_time: true }));
}

function ownClients(origin: string, gateway: { readonly id: string; readonly secret: string }): readonly object[] {
  return [
    {
      client_id: gateway.id,
      client_secret: gateway.secret,
      client_name: 'Meshgate gateway',
      grant_types: ['authorization_code'],
      response_types: ['code'],
      // The library wants one; the real ones are checked per request, in redirects.ts.
      redirect_uris: [`https://gateway.invalid${callbackPath}`],
      token_endpoint_auth_method: 'client_secret_post',
    },
    {
      client_id: cliClientId,
      client_name: 'NetBird client',
      application_type: 'native',
      grant_types: ['authorization_code', 'refresh_token', deviceGrant],
      response_types: ['code'],
      redirect_uris: cliRedirects,
      token_endpoint_auth_method: 'none',
    },
    {
      client_id: accountClientId,
      client_name: 'Meshgate account',
      grant_types: ['authorization_code'],
      response_types: ['code'],
      redirect_uris: [`${origin}/oauth2/account`],
      token_endpoint_auth_method: 'none',
    },
    {
      client_id: dashboardClientId,
      client_name: 'Meshgate dashboard',
      grant_types: ['authorization_code', 'refresh_token'],
      response_types: ['code'],
      redirect_uris: [`${origin}/`, `${origin}/auth`, `${origin}/silent-auth`],
      post_logout_redirect_uris: [`${origin}/`],
      token_endpoint_auth_method: 'none',
    },
  ];
}
