// The two ways in which a stock client has a person sign in (netbird-wire §2.12), up to what the person does.
import { createHash, randomBytes } from 'node:crypto';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Test } from 'tap';
import {
  DeviceAuthorizationFlowSchema,
  EmptySchema,
  ManagementService,
  PKCEAuthorizationFlowSchema,
  type ProviderConfig,
} from '#wire/proto/gen/management_pb.ts';
import type { StockClient } from './management/stock-client.ts';
import type { Json, Plane } from './stock-plane.ts';

const api = ManagementService.method;
const deviceGrant = 'urn:ietf:params:oauth:grant-type:device_code';

/** A loopback listener on a port of its own, as RFC 8252 §7.3 lets a native client have; resolves with the query that came. */
async function listenForCode(t: Test): Promise<{ readonly redirect: string; readonly query: Promise<URLSearchParams> }> {
  const came = Promise.withResolvers<URLSearchParams>();
  const server = createServer((req, res) => {
    came.resolve(new URL(req.url ?? '/', 'http://localhost').searchParams);
    res.end('You can close this page.');
  });
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  t.teardown(() => new Promise((done) => void server.close(done)));
  return { redirect: `http://localhost:${(server.address() as AddressInfo).port}/`, query: came.promise };
}

export interface PkceAttempt {
  /** Where the browser is sent. */
  readonly url: URL;
  readonly redirect: string;
  /** What came to the listener. */
  readonly query: Promise<URLSearchParams>;
  /** Trades the code for an access token, as Go's library does. */
  readonly trade: (t: Test, query: URLSearchParams) => Promise<string>;
}

/** The PKCE flow as a stock client starts it; `redirect` is one of the registered ones, whose port is not listened at here. */
export async function startPkce(t: Test, plane: Plane, config: ProviderConfig, redirect?: string): Promise<PkceAttempt> {
  const listener = await listenForCode(t);
  const redirectUri = redirect ?? listener.redirect;
  const [state, verifier] = [randomBytes(24).toString('hex'), randomBytes(64).toString('hex')];
  const url = new URL(config.AuthorizationEndpoint);
  const parameters = {
    client_id: config.ClientID,
    redirect_uri: redirectUri,
    response_type: 'code',
    scope: config.Scope,
    state,
    code_challenge_method: 'S256',
    code_challenge: createHash('sha256').update(verifier).digest('base64url'),
    audience: config.Audience,
    prompt: 'login',
  };
  for (const [name, value] of Object.entries(parameters)) url.searchParams.set(name, value);
  const trade = async (t: Test, query: URLSearchParams): Promise<string> => {
    t.equal(query.get('state'), state);
    const form = { grant_type: 'authorization_code', code: query.get('code') ?? '', redirect_uri: redirectUri, code_verifier: verifier };
    // HTTP Basic with an empty secret first, then the body: the code must survive that.
    const basic = { authorization: `Basic ${Buffer.from(`${config.ClientID}:`).toString('base64')}` };
    const first = await plane.post(config.TokenEndpoint, form, basic);
    const tokens = first.status === 200 ? first : await plane.post(config.TokenEndpoint, { ...form, client_id: config.ClientID });
    t.match(tokens, { status: 200, body: { access_token: String, id_token: String, token_type: 'Bearer' } });
    const token = String(tokens.body['access_token']);
    const audience = [(JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString()) as Json)['aud']].flat();
    t.ok(audience.includes(config.Audience), 'the audience is what the client looks for');
    return token;
  };
  return { url, redirect: redirectUri, query: listener.query, trade };
}

export async function pkceConfig(client: StockClient): Promise<ProviderConfig> {
  const { ProviderConfig: config } = await client.call(api.getPKCEAuthorizationFlow, EmptySchema, {}, PKCEAuthorizationFlowSchema);
  if (config === undefined) throw new TypeError('no configuration');
  return config;
}

/** A device that shows a code and polls. */
export interface Device {
  readonly poll: () => Promise<{ readonly status: number; readonly body: Json }>;
  readonly userCode: string;
  readonly link: string;
}

export async function startDevice(t: Test, plane: Plane, client: StockClient): Promise<Device> {
  const { ProviderConfig: config } = await client.call(api.getDeviceAuthorizationFlow, EmptySchema, {}, DeviceAuthorizationFlowSchema);
  if (config === undefined) throw new TypeError('no configuration');
  for (const field of ['ClientID', 'Audience', 'TokenEndpoint', 'DeviceAuthEndpoint', 'Scope'] as const)
    t.not(config[field], '', `${field} is not empty`);
  const started = await plane.post(config.DeviceAuthEndpoint, { client_id: config.ClientID, audience: config.Audience, scope: config.Scope });
  t.match(started, { status: 200, body: { device_code: String, user_code: String, verification_uri: String, expires_in: 600 } });
  t.ok(Number(started.body['interval']) > 0, 'a stock client crashes at 0');
  const grant = { client_id: config.ClientID, grant_type: deviceGrant, device_code: String(started.body['device_code']) };
  return {
    poll: () => plane.post(config.TokenEndpoint, grant),
    userCode: String(started.body['user_code']),
    link: String(started.body['verification_uri_complete']),
  };
}
