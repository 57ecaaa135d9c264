// Everything a gateway can be told, with its defaults: the schema is also the reference and the example.
import { parsePrefix, type IpPrefix } from '#lib/ip.ts';
import { logLevels } from '#lib/log.ts';
import { parseHostPort, type DialTarget } from '#lib/net.ts';
import { convert, integer, list, object, oneOf, optional, string, type Infer } from '#lib/schema.ts';
import { controlSettings, wireguardSettings } from '#mesh/index.ts';
import { metricsSettings } from '#metrics/index.ts';
import { lineFormats } from '#publish/index.ts';
import { acmeSettings } from './acme-config.ts';

export const gatewaySchema = object({
  stateDir: string({ about: 'Where the key, the last good configuration and the status socket are kept.', default: '.meshgate/gateway' }),
  logLevel: oneOf(logLevels, { about: 'The least serious event that is logged.', default: 'info' }),
  control: controlSettings('token'),
  tokenFile: optional(string({ about: 'File with the gateway’s token (nbx_…), from `meshgate proxy-token create`.', example: 'gateway-token' })),
  token: optional(string({ about: 'The token itself; for the environment, not for files.', secret: true })),
  publicPort: integer({
    about: 'Port at which visitors reach HTTPS, where it is not the one of `listen`: for the addresses that `meshgate expose` prints.',
    min: 1,
    max: 65_535,
    default: 443,
  }),
  cluster: string({
    about: 'The domain that this gateway serves: services are named below it. Its public DNS record leads here.',
    pattern: /^[a-z0-9-]+(?:\.[a-z0-9-]+)*$/,
    hint: 'must be a domain in lower case',
    example: 'apps.example.com',
  }),
  listen: convert(
    string({ about: 'Public TCP address for HTTPS.', default: '[::]:443' }),
    (text, refuse): DialTarget | undefined => parseHostPort(text) ?? refuse('must be host:port, such as 0.0.0.0:443 or [::]:443'),
    'host:port',
  ),
  httpListen: optional(
    convert(
      string({
        about:
          'Public TCP address for plain HTTP: answers HTTP-01 and sends known hosts to https. None unless set, or [::]:80 where acme.challenge is http-01.',
        example: '[::]:80',
      }),
      (text, refuse): DialTarget | undefined => parseHostPort(text) ?? refuse('must be host:port, such as 0.0.0.0:80 or [::]:80'),
      'host:port',
    ),
  ),
  certDir: string({ about: 'Directory of the certificates; see certs/README.md.', default: 'certs' }),
  acme: acmeSettings,
  trustedProxies: list(
    convert(
      string({ about: 'Prefix.', example: '10.0.0.0/8' }),
      (text, refuse): IpPrefix | undefined => parsePrefix(text) ?? refuse('must be an address or a prefix'),
      'CIDR',
    ),
    { about: 'Proxies in front of this gateway whose X-Forwarded-For counts. Empty trusts nobody.', default: [], max: 200 },
  ),
  proxyProtocol: object({
    trusted: list(
      convert(
        string({ about: 'Prefix.', example: '10.0.0.10/32' }),
        (text, refuse): IpPrefix | undefined => parsePrefix(text) ?? refuse('must be an address or a prefix'),
        'CIDR',
      ),
      {
        about:
          'Load balancers whose connections have to begin with a PROXY header (version 1 or 2), which says where they come from. From all others none is taken.',
        default: [],
        max: 200,
      },
    ),
  }),
  geo: object({
    countryFile: optional(
      string({
        about: 'MaxMind DB file that tells the country of an address (GeoLite2-Country, or another in its format). It is read again when it changes.',
      }),
    ),
    asnFile: optional(string({ about: 'MaxMind DB file that tells the network (AS number) of an address.' })),
  }),
  crowdsec: object({
    url: optional(
      convert(
        string({
          about:
            'URL of a CrowdSec LAPI, such as http://127.0.0.1:8080. Services that enforce its decisions deny everybody until they have come once.',
        }),
        (text, refuse): URL | undefined => {
          const url = URL.parse(text);
          const plain = url !== null && /^https?:$/.test(url.protocol) && url.username === '' && url.password === '';
          return plain ? url : refuse('must be an http or https URL without user and password');
        },
        'URL',
      ),
    ),
    keyFile: optional(string({ about: 'File with the key of this bouncer, from `cscli bouncers add`.' })),
  }),
  wireguard: wireguardSettings,
  metrics: metricsSettings,
  tracing: object({
    collector: optional(
      convert(
        string({
          about: 'URL of an OpenTelemetry collector that takes OTLP over HTTP as JSON; left out, there are no traces.',
          example: 'http://127.0.0.1:4318/v1/traces',
        }),
        (text, refuse): URL | undefined => {
          const url = URL.parse(text);
          const plain = url !== null && /^https?:$/.test(url.protocol) && url.username === '' && url.password === '';
          return plain ? url : refuse('must be an http or https URL without user and password');
        },
        'URL',
      ),
    ),
    authorization: optional(string({ about: 'The Authorization field for the collector.', secret: true })),
    percent: integer({
      about: 'Of the requests whose trace begins here, how many in a hundred are told; trusted proxies decide for theirs.',
      max: 100,
      default: 5,
    }),
  }),
  pages: object({
    name: string({ about: "Name above the gateway's own pages, such as the sign-in page; empty for none.", min: 0, max: 100, default: '' }),
    logoFile: optional(string({ about: 'Picture above them: a PNG, JPEG, WebP or GIF of at most 64 KB.' })),
    color: string({
      about: 'Colour of their buttons and links, #rrggbb.',
      default: '#2457c5',
      pattern: /^#[0-9a-fA-F]{6}$/,
      hint: 'must be #rrggbb',
    }),
    contact: string({ about: 'Whom to ask, below pages that tell of a failure; empty for none.', min: 0, max: 200, default: '' }),
  }),
  accessLog: string({ about: 'Where a line per request goes, besides the control plane: off, stdout, or a file.', default: 'off' }),
  accessLogFormat: oneOf(lineFormats, {
    about: 'Of those lines: JSON with every field, or the common or combined format that Apache and nginx write.',
    default: 'json',
  }),
  accessLogSpool: integer({
    about:
      'Megabytes on disk, below stateDir, for access log records while the control plane is away; the oldest go first. 0 keeps them in memory only.',
    max: 1_000_000,
    default: 64,
  }),
});

export type GatewayConfig = Infer<typeof gatewaySchema>;
