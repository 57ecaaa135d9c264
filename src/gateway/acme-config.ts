// The settings `acme.*`: who issues certificates by itself, and how names are proven.
import { parseHostPort, type DialTarget } from '#lib/net.ts';
import { convert, duration, type Infer, list, object, oneOf, optional, string } from '#lib/schema.ts';
import { ownAcmeFields } from '#publish/certs/acme/settings.ts';

const name = string({
  about: 'Name.',
  pattern: /^(?:\*\.)?[a-z0-9-]+(?:\.[a-z0-9-]+)+$/,
  hint: 'must be a domain in lower case, or *. and one',
  example: '*.apps.example.com',
});

export const acmeSettings = object({
  ...ownAcmeFields,
  challenge: oneOf(['tls-alpn-01', 'http-01', 'dns-01'], {
    about: 'How names are proven: in a TLS handshake on port 443, over HTTP on port 80 (see httpListen), or in DNS. Wildcards always in DNS.',
    default: 'tls-alpn-01',
  }),
  together: list(object({ names: list(name, { min: 1, max: 100 }) }), {
    about:
      'Names that share one certificate: `{names: ["*.apps.example.com", "apps.example.com"]}`. A host that one of them covers has none of its own.',
    default: [],
    max: 1_000,
  }),
  dns: object({
    server: optional(
      convert(
        string({ about: 'Name server that takes dynamic updates (RFC 2136).', example: '192.0.2.53:53' }),
        (text, refuse): DialTarget | undefined => parseHostPort(text, 53) ?? refuse('must be host or host:port'),
        'host:port',
      ),
    ),
    zone: optional(string({ about: 'The zone that is updated; by default the one that the server has authority for.', example: 'example.com' })),
    keyName: optional(string({ about: 'Name of the TSIG key (RFC 8945).', example: 'meshgate' })),
    keyAlgorithm: oneOf(['hmac-sha256', 'hmac-sha384', 'hmac-sha512'], { about: 'Its algorithm.', default: 'hmac-sha256' }),
    keyFile: optional(string({ about: 'File with its secret, base64.' })),
    command: list(string(), {
      about:
        'Instead of a name server: a program and its arguments. It is run with MESHGATE_DNS_ACTION (add or remove), MESHGATE_DNS_NAME and MESHGATE_DNS_VALUE in its environment.',
      default: [],
      max: 50,
    }),
    commandEnv: list(string({ about: 'Variable.' }), {
      about: 'Variables of the gateway’s environment that the program gets; no others but PATH and HOME.',
      default: [],
      max: 50,
    }),
    wait: duration({
      about: 'How long after a record is set before the authority is told, for name servers that follow slowly.',
      default: '0s',
      maxMs: 600_000,
    }),
  }),
});

export type AcmeSettings = Infer<typeof acmeSettings>;
