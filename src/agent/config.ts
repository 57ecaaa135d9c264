// Everything an agent can be told, with its defaults: the schema is also the reference and the example.
import { parseHostPort, type DialTarget } from '#lib/net.ts';
import { logLevels } from '#lib/log.ts';
import { boolean, convert, integer, list, object, oneOf, optional, string, type Infer } from '#lib/schema.ts';
import { controlSettings, wireguardSettings } from '#mesh/index.ts';
import { metricsSettings } from '#metrics/index.ts';
import { ownAcmeSettings } from '#publish/certs/acme/settings.ts';

const target = convert(
  string({ about: 'Internal host and port.', example: '10.0.0.5:8080' }),
  (text, refuse): DialTarget | undefined => {
    const parsed = parseHostPort(text);
    return parsed === undefined || parsed.port === 0 ? refuse('must be host:port') : parsed;
  },
  'host:port',
);

export const agentSchema = object({
  stateDir: string({ about: 'Where the key, the last network map and the status socket are kept.', default: '.meshgate/agent' }),
  logLevel: oneOf(logLevels, { about: 'The least serious event that is logged.', default: 'info' }),
  hostname: optional(string({ about: 'Name of this peer; the host name where left out.', max: 63, example: 'office' })),
  control: controlSettings('setup key'),
  setupKeyFile: optional(string({ about: 'File with the setup key; needed for the first start only.', example: 'setup-key' })),
  setupKey: optional(string({ about: 'The setup key itself; for the environment, not for files.', secret: true })),
  wireguard: wireguardSettings,
  metrics: metricsSettings,
  targets: list(object({ port: integer({ about: 'Overlay port.', min: 1, max: 65_535 }), target }), {
    about: 'Overlay ports that lead elsewhere than to the same port of defaultHost.',
    default: [],
    max: 1000,
  }),
  tlsHere: object({
    enabled: boolean({
      about: 'Ends TLS of services that are published with tls_at agent, and asks for the login: the gateway then sees neither requests nor keys.',
      default: false,
    }),
    certDir: string({ about: 'Directory of their certificates; see certs/README.md.', default: 'certs' }),
    acme: ownAcmeSettings,
  }),
  discovery: object({
    file: optional(
      string({
        about: 'YAML or JSON file of services that this agent publishes by itself, as `meshgate expose` does; changes are taken over.',
        example: 'services.yaml',
      }),
    ),
    docker: optional(
      string({
        about:
          'UNIX socket of Docker: containers with the label meshgate.enable=true are published, as their labels say. Whoever may set labels there may publish as this peer may.',
        example: '/var/run/docker.sock',
      }),
    ),
  }),
  carryRoutes: boolean({
    about: 'Carries the networks and names that the control plane makes this peer a router of, as its rules permit.',
    default: true,
  }),
  defaultHost: string({
    about: 'Host that granted ports without an entry in targets lead to; empty text forwards only what targets lists.',
    min: 0,
    default: '127.0.0.1',
  }),
});

export type AgentConfig = Infer<typeof agentSchema>;
