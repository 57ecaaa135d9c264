// Everything the control plane can be told, with its defaults: the schema is also the reference and the example.
import { logLevels } from '#lib/log.ts';
import { parseHostPort, type DialTarget } from '#lib/net.ts';
import { convert, duration, list, object, oneOf, optional, string, boolean, type Infer } from '#lib/schema.ts';
import { metricsSettings } from '#metrics/index.ts';

function hostPort(about: string, fallback: string) {
  return convert(
    string({ about, default: fallback }),
    (text, refuse): DialTarget | undefined => parseHostPort(text) ?? refuse('must be host:port, such as 0.0.0.0:443 or [::]:443'),
    'host:port',
  );
}

export const serverSchema = object({
  stateDir: string({ about: 'Where the database, the master key and the status socket are kept.', default: '.meshgate/server' }),
  logLevel: oneOf(logLevels, { about: 'The least serious event that is logged.', default: 'info' }),
  listen: hostPort('The one port for peers, gateways, browsers and tools.', '[::]:443'),
  publicUrl: convert(
    string({ about: 'How everybody reaches that port; sign-in pages and peers are sent there.', example: 'https://mesh.example.com' }),
    (text, refuse): URL | undefined => {
      const url = URL.canParse(text) ? new URL(text) : undefined;
      const plain = url !== undefined && /^https?:$/.test(url.protocol) && url.pathname === '/' && url.search === '' && url.username === '';
      return plain ? url : refuse('must be https://host[:port] and nothing behind it');
    },
    'URL',
  ),
  tls: object({
    certFile: optional(string({ about: 'PEM certificate chain of publicUrl.', example: 'server.crt' })),
    keyFile: optional(string({ about: 'PEM private key.', example: 'server.key' })),
    insecure: boolean({ about: 'Serve without TLS, behind a proxy that does it. Never on a public port.', default: false }),
  }),
  store: optional(
    string({
      about:
        'Database: sqlite:PATH (default: server.db in stateDir) or postgres://user@host/name. A URL with a password belongs into the environment.',
      pattern: /^(?:sqlite:.+|postgres(?:ql)?:\/\/.+)$/,
      hint: 'must begin with sqlite: or postgres://',
      secret: true,
    }),
  ),
  metrics: metricsSettings,
  exposeTtl: duration({
    about: 'A service that a peer exposes by itself is gone when the peer has not renewed it for so long. Peers renew three times in it.',
    default: '90s',
    minMs: 3_000,
    maxMs: 3_600_000,
  }),
  dnsDomain: string({
    about: 'Domain of the peers’ names inside the mesh.',
    default: 'mesh.internal',
    pattern: /^[a-z0-9-]+(?:\.[a-z0-9-]+)*$/,
    hint: 'must be a domain in lower case',
  }),
  stun: object({
    listen: hostPort('UDP address of the STUN server.', '0.0.0.0:3478'),
    publicAddress: optional(string({ about: 'host:port that peers are told; the host of publicUrl and the port of stun.listen where left out.' })),
  }),
  turn: object({
    urls: list(
      string({ about: 'turn:host:port; UDP only.', pattern: /^turn:[^?\s]+(?:\?transport=udp)?$/, hint: 'must be turn:host:port', max: 256 }),
      { about: 'TURN servers for peers that find no direct path. They must share the secret below (coturn: use-auth-secret).', default: [], max: 8 },
    ),
    secret: optional(string({ about: 'The shared secret; peers are given names and passwords made from it for a limited time.', secret: true })),
  }),
  connectors: list(
    object({
      id: string({
        about: 'Part of the redirect URL: publicUrl/oauth2/connectors/ID/callback.',
        pattern: /^[a-z0-9-]{1,32}$/,
        hint: 'must be 1–32 of a–z, 0–9, -',
      }),
      name: string({ about: 'On the button of the sign-in page.', max: 64 }),
      issuer: string({ about: 'OIDC issuer URL.', pattern: /^https?:\/\//, hint: 'must be a URL' }),
      clientId: string({ about: 'Our client id there.' }),
      clientSecret: string({ about: 'Our client secret there.', secret: true }),
      clientAuth: oneOf(['basic', 'post'], {
        about: 'How the secret is sent where the issuer takes it both ways: in the Authorization header or in the body.',
        default: 'basic',
      }),
      caFile: optional(string({ about: 'PEM file with a private CA of the issuer.' })),
      trustsEmail: boolean({
        about: 'Believe addresses of which the issuer does not say that it has verified them. Only for issuers whose users cannot choose them.',
        default: false,
      }),
    }),
    { about: 'External OpenID Connect providers that people may sign in with.', default: [], max: 16 },
  ),
});

export type ServerConfig = Infer<typeof serverSchema>;
