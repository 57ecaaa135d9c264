// An identity provider behind TLS on a free port, with a fake domain, a browser and a relying party.
import type { Test } from 'tap';
import { createHash, randomBytes } from 'node:crypto';
import { createServer, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import { systemClock, type Clock } from '#lib/clock.ts';
import { silentLogger } from '#lib/log.ts';
import { createIdentityProvider } from '#server/idp/identity-provider.ts';
import type { ConnectorConfig, IdentityProvider, IdentityProviderOptions } from '#server/idp/types.ts';
import { createTestCa, type TestCa } from '../../../support/test-ca.ts';
import { Browser, type Page } from './browser.ts';
import { createFakeDomain, type FakeDomain } from './fake-domain.ts';

export const gatewayClient = { id: 'gateway', secret: 'a-secret-of-the-gateways-0123456789' };
export const redirectUri = 'https://app.localhost:8443/.meshgate/callback';

export interface Harness {
  readonly ca: TestCa;
  readonly issuer: string;
  readonly domain: FakeDomain;
  readonly services: Set<string>;
  readonly provider: () => IdentityProvider;
  /** A new provider over the same vault, as after a restart of the process. */
  readonly restart: () => Promise<void>;
  readonly browser: () => Browser;
}

export interface HarnessOptions {
  readonly clock?: Clock;
  readonly connectors?: (ca: TestCa) => readonly ConnectorConfig[];
  readonly ca?: TestCa;
  readonly host?: string;
  /** The issuers that the service at a host asks for. */
  readonly issuersAt?: (host: string) => readonly string[];
  /** In place of the fake one. */
  readonly domain?: IdentityProviderOptions['domain'];
}

export async function startHarness(t: Test, options: HarnessOptions = {}): Promise<Harness> {
  const ca = options.ca ?? (await createTestCa());
  const host = options.host ?? 'mesh.localhost';
  const { certPem, keyPem } = await ca.issue([host]);
  const server: Server = createServer({ cert: certPem, key: keyPem }, (req, res) => provider.handle(req, res));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const issuer = `https://${host}:${(server.address() as AddressInfo).port}/oauth2`;
  const clock = options.clock ?? systemClock;
  const domain = createFakeDomain(clock);
  const services = new Set(['app.localhost:8443']);
  const create = (): Promise<IdentityProvider> =>
    createIdentityProvider({
      issuer,
      domain: options.domain ?? domain,
      issuersAt: async (uri) => options.issuersAt?.(new URL(uri).host) ?? [],
      gatewayRedirectAllowed: async (uri) => services.has(new URL(uri).host),
      gatewayClient,
      connectors: options.connectors?.(ca) ?? [],
      clock,
      log: silentLogger,
    });
  let provider: IdentityProvider = await create();
  const browsers: Browser[] = [];
  t.teardown(async () => {
    await provider.close();
    await Promise.all(browsers.map((browser) => browser.close()));
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  });
  return {
    ca,
    issuer,
    domain,
    services,
    provider: () => provider,
    restart: async () => {
      await provider.close();
      provider = await create();
    },
    browser: () => {
      const browser = new Browser(ca.caPem);
      browsers.push(browser);
      return browser;
    },
  };
}

export interface Attempt {
  readonly state: string;
  readonly nonce: string;
  readonly verifier: string;
  readonly url: URL;
}

/** An authorization request of the gateway; `change` overrides parameters, undefined removes one. */
export function authorize(issuer: string, change: Readonly<Record<string, string | undefined>> = {}): Attempt {
  const state = randomBytes(16).toString('base64url');
  const nonce = randomBytes(16).toString('base64url');
  const verifier = randomBytes(32).toString('base64url');
  const url = new URL(`${issuer}/auth`);
  const parameters = {
    client_id: gatewayClient.id,
    redirect_uri: redirectUri,
    response_type: 'code',
    scope: 'openid profile email groups',
    state,
    nonce,
    code_challenge: createHash('sha256').update(verifier).digest('base64url'),
    code_challenge_method: 'S256',
    ...change,
  };
  for (const [name, value] of Object.entries(parameters)) if (value !== undefined) url.searchParams.set(name, value);
  return { state, nonce, verifier, url };
}

export const credentials = { email: 'ada@example.com', password: 'correct horse' };

/** Signs in on the sign-in page; returns the page or the redirect to another host that ends it. */
export async function signIn(browser: Browser, url: URL, fields: Readonly<Record<string, string>> = credentials): Promise<Page> {
  const form = await browser.follow(browser.get(url));
  return browser.follow(browser.post(form, fields));
}

export interface TokenAnswer {
  readonly status: number;
  readonly id_token: string;
  readonly access_token: string;
  readonly refresh_token?: string;
  readonly error?: string;
}

/** Trades a code at the token endpoint. */
export async function trade(
  browser: Browser,
  issuer: string,
  page: Page,
  attempt: Attempt,
  change: Readonly<Record<string, string>> = {},
): Promise<TokenAnswer> {
  const answer = await browser.postTo(
    `${issuer}/token`,
    {
      grant_type: 'authorization_code',
      code: page.location?.searchParams.get('code') ?? '',
      redirect_uri: attempt.url.searchParams.get('redirect_uri') ?? '',
      code_verifier: attempt.verifier,
      client_id: gatewayClient.id,
      client_secret: gatewayClient.secret,
      ...change,
    },
    { accept: 'application/json' },
  );
  return { ...(JSON.parse(answer.text) as TokenAnswer), status: answer.status };
}

/** The payload of a JWT, unchecked. */
export function payloadOf(jwt: string): Record<string, unknown> {
  return JSON.parse(Buffer.from(jwt.split('.')[1] ?? '', 'base64url').toString()) as Record<string, unknown>;
}
