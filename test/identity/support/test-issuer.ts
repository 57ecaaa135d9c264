// An OpenID issuer over TLS whose every answer a test can bend. It signs in one user without asking.
import type { Test } from 'tap';
import { createHash, randomBytes } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { text as readText } from 'node:stream/consumers';
import { SignJWT, UnsecuredJWT, exportJWK, generateKeyPair, type CryptoKey, type JWTPayload } from 'jose';
import type { TestCa } from '../../support/test-ca.ts';

export const issuerClient = { id: 'meshgate', secret: 'secret-of-the-test-client' };

export interface TestIssuer {
  readonly issuer: string;
  /** Signs what is given, as its ID tokens are signed. */
  signed(claims: JWTPayload, typ?: string): Promise<string>;
  readonly bend: {
    /** Changes the claims of the next ID tokens. */
    claims: (claims: JWTPayload) => JWTPayload;
    /** What the userinfo endpoint says besides `sub`. */
    info: JWTPayload;
    /** Signs in another way. */
    sign: ((claims: JWTPayload, key: CryptoKey) => Promise<string>) | undefined;
    /** Answers a path in place of the issuer; true where it did. */
    answer: (path: string, res: ServerResponse) => boolean;
    /** Parameters of the redirect back. */
    back: (query: URLSearchParams) => void;
  };
  /** Bodies of the token requests so far. */
  readonly tokenRequests: URLSearchParams[];
  /** How clients may send their secret to the token endpoint; not told where undefined. */
  tokenMethods: readonly string[] | undefined;
  /** Discovery requests so far. */
  discoveries: number;
}

export async function startTestIssuer(t: Test, ca: TestCa, host = 'corp.localhost'): Promise<TestIssuer> {
  const { certPem, keyPem } = await ca.issue([host]);
  const { privateKey, publicKey } = await generateKeyPair('RS256');
  const jwk = { ...(await exportJWK(publicKey)), kid: 'k1', alg: 'RS256', use: 'sig' };
  const codes = new Map<string, URLSearchParams>();
  const server = createServer({ cert: certPem, key: keyPem }, (req, res) => {
    serve(req, res).catch(() => res.destroy());
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.teardown(async () => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  });
  const issuer = `https://${host}:${(server.address() as AddressInfo).port}`;
  const self: TestIssuer = {
    issuer,
    signed: (claims, typ = 'logout+jwt') => new SignJWT(claims).setProtectedHeader({ alg: 'RS256', kid: 'k1', typ }).sign(privateKey),
    bend: { claims: (claims) => claims, info: {}, sign: undefined, answer: () => false, back: () => undefined },
    tokenRequests: [],
    tokenMethods: undefined,
    discoveries: 0,
  };
  return self;

  async function serve(req: IncomingMessage, res: ServerResponse): Promise<void> {
    const url = new URL(req.url ?? '', issuer);
    if (url.pathname === '/.well-known/openid-configuration') self.discoveries++;
    if (self.bend.answer(url.pathname, res)) return;
    switch (url.pathname) {
      case '/.well-known/openid-configuration':
        return json(res, 200, {
          issuer,
          authorization_endpoint: `${issuer}/auth`,
          token_endpoint: `${issuer}/token`,
          jwks_uri: `${issuer}/keys`,
          userinfo_endpoint: `${issuer}/userinfo`,
          end_session_endpoint: `${issuer}/logout`,
          token_endpoint_auth_methods_supported: self.tokenMethods,
          response_types_supported: ['code'],
          subject_types_supported: ['public'],
          id_token_signing_alg_values_supported: ['RS256'],
          authorization_response_iss_parameter_supported: true,
        });
      case '/userinfo':
        return req.headers.authorization === 'Bearer opaque' ? json(res, 200, { sub: 'carol', ...self.bend.info }) : json(res, 401, {});
      case '/keys':
        return json(res, 200, { keys: [jwk] });
      case '/auth': {
        const code = randomBytes(8).toString('hex');
        codes.set(code, url.searchParams);
        const back = new URL(url.searchParams.get('redirect_uri') ?? '');
        for (const [name, value] of Object.entries({ code, state: url.searchParams.get('state') ?? '', iss: issuer }))
          back.searchParams.set(name, value);
        self.bend.back(back.searchParams);
        return void res.writeHead(303, { location: back.href }).end();
      }
      case '/token': {
        const form = new URLSearchParams(await readText(req));
        self.tokenRequests.push(form);
        const asked = codes.get(form.get('code') ?? '');
        codes.delete(form.get('code') ?? '');
        const challenge = createHash('sha256')
          .update(form.get('code_verifier') ?? '')
          .digest('base64url');
        const fits =
          asked?.get('code_challenge') === challenge &&
          asked.get('redirect_uri') === form.get('redirect_uri') &&
          (byHeader(req.headers.authorization) || (form.get('client_id') === issuerClient.id && form.get('client_secret') === issuerClient.secret));
        if (!fits || asked === undefined) return json(res, 400, { error: 'invalid_grant' });
        const now = Math.floor(Date.now() / 1000);
        const claims = self.bend.claims({
          iss: issuer,
          aud: issuerClient.id,
          sub: 'carol',
          email: 'carol@corp.test',
          email_verified: true,
          name: 'Carol',
          nonce: asked.get('nonce') ?? '',
          iat: now,
          exp: now + 300,
        });
        const sign = self.bend.sign ?? ((payload, key) => new SignJWT(payload).setProtectedHeader({ alg: 'RS256', kid: 'k1' }).sign(key));
        return json(res, 200, { access_token: 'opaque', token_type: 'Bearer', id_token: await sign(claims, privateKey) });
      }
      default:
        return json(res, 404, {});
    }
  }
}

function byHeader(authorization: string | undefined): boolean {
  const [id = '', secret = ''] = Buffer.from(authorization?.slice('Basic '.length) ?? '', 'base64')
    .toString()
    .split(':')
    .map(decodeURIComponent);
  return id === issuerClient.id && secret === issuerClient.secret;
}

function json(res: ServerResponse, status: number, body: object): void {
  res.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
}

export const unsigned = async (claims: JWTPayload): Promise<string> => new UnsecuredJWT(claims).encode();
