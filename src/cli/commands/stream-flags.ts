// What `meshgate service create` takes for TCP, TLS and UDP services.
import { cliError } from '../errors.ts';
import { readText } from '../files.ts';
import type { Input } from '../command.ts';

export const streamFlags = {
  'listen-port': {
    kind: 'text',
    value: 'PORTS',
    about:
      'public ports, for the modes other than http: such as 5432, 5000-5099 or 80,443; the first ones lead to as many ports from --port on, others to the same',
  },
  'terminate-tls': { kind: 'switch', about: 'with --mode tls: TLS ends at the gateway, and what was inside goes to the port' },
  alpn: { kind: 'many', value: 'PROTOCOL', about: 'with --terminate-tls: agreed on with clients, and offered to targets that speak tls' },
  'client-ca': {
    kind: 'text',
    value: 'FILE',
    about: 'clients have to show a certificate of these authorities (PEM): http, and tls with --terminate-tls',
  },
  'account-certificates': {
    kind: 'text',
    value: 'HOW',
    about: 'required or optional: clients show certificates that `meshgate connect` gets for them; http, and tls with --terminate-tls',
  },
  'ssh-principal': { kind: 'many', value: 'USER', about: 'an SSH server: users get SSH certificates for it, as this user there' },
  'ssh-certificates': { kind: 'switch', about: 'likewise, each as the local part of the own e-mail address' },
  'proxy-protocol': { kind: 'switch', about: 'targets are told whose a connection or datagram is, in a PROXY header of version 2' },
  'tell-tls': { kind: 'switch', about: 'with --proxy-protocol and --terminate-tls: and of TLS, the name asked for, and the client certificate' },
  balancing: { kind: 'text', value: 'HOW', about: 'round_robin (default), random, and least_requests (http) or least_connections' },
  sticky: { kind: 'switch', about: 'each source address keeps its target' },
  'check-every': { kind: 'text', value: 'DURATION', about: 'with the modes tcp and tls: open a connection to each target so often, such as 10s' },
  'slow-start': { kind: 'text', value: 'DURATION', about: 'a target that is new or well again gets its full share after so long, such as 30s' },
  'retry-on': { kind: 'many', value: 'STATUS', about: 'with --mode http: 502, 503 or 504; another target is asked where nothing is done twice' },
  'max-connections': { kind: 'integer', value: 'N', about: 'for the modes other than http: connections or flows at once, in all' },
  'max-per-address': { kind: 'integer', value: 'N', about: 'and of one source address (IPv6: its /64)' },
  'max-per-identity': { kind: 'integer', value: 'N', about: 'and of one signed-in user' },
} as const;

/** The target's port where none is given: the first public one. */
export function firstPort(input: Input): number | undefined {
  return rangesOf(input)[0]?.start;
}

/** What a request says of ports, TLS and load. */
export async function streamFields(input: Input, mode: string): Promise<Readonly<Record<string, unknown>>> {
  const ranges = rangesOf(input);
  const [first] = ranges;
  const file = input.text('client-ca');
  const how = input.text('account-certificates');
  if (how !== undefined && !['required', 'optional'].includes(how)) throw cliError('CLI_USAGE', '--account-certificates is required or optional');
  if (how !== undefined && file !== undefined) throw cliError('CLI_USAGE', '--client-ca and --account-certificates exclude each other');
  const own = how === undefined ? undefined : { account: true, required: how === 'required' };
  const client_certificate = file === undefined ? own : { ca: (await readText(file)).text };
  const ssh_principals = input.many('ssh-principal');
  const ssh = input.on('ssh-certificates') || ssh_principals.length > 0;
  const balancing = { strategy: input.text('balancing') ?? 'round_robin', sticky: input.on('sticky') ? 'address' : 'off' };
  const slow = input.text('slow-start');
  const start = slow === undefined ? {} : { slow_start: slow };
  const retry_on = input.many('retry-on').map(Number);
  const limits = limitsOf(input);
  if (mode === 'http') {
    if (limits !== undefined) throw cliError('CLI_USAGE', 'limits of connections are not for --mode http');
    const certificate = client_certificate === undefined ? {} : { client_certificate };
    return { listen_port: first?.start ?? 0, web: { balancing, ...start, ...(retry_on.length === 0 ? {} : { retry_on }), ...certificate } };
  }
  if (retry_on.length > 0) throw cliError('CLI_USAGE', '--retry-on is for --mode http');
  if (client_certificate !== undefined && !input.on('terminate-tls')) throw cliError('CLI_USAGE', 'certificates of clients need --terminate-tls');
  const every = input.text('check-every');
  return {
    listen_port: first?.start ?? 0,
    stream: {
      balancing,
      ...(ssh ? { certificates: { ssh, ssh_principals } } : {}),
      ...start,
      ...(limits === undefined ? {} : { limits }),
      ...(ranges.some(({ start, end }) => start !== end) || ranges.length > 1 ? { port_ranges: ranges } : {}),
      ...(every === undefined ? {} : { health_check: { interval: every } }),
      ...(input.on('terminate-tls')
        ? {
            terminate: {
              alpn: input.many('alpn'),
              tell_target: input.on('tell-tls'),
              ...(client_certificate === undefined ? {} : { client_certificate }),
            },
          }
        : {}),
    },
  };
}

function limitsOf(input: Input): Readonly<Record<string, number>> | undefined {
  const [max_connections, max_per_address, max_per_identity] = [
    input.integer('max-connections'),
    input.integer('max-per-address'),
    input.integer('max-per-identity'),
  ];
  const given = {
    ...(max_connections === undefined ? {} : { max_connections }),
    ...(max_per_address === undefined ? {} : { max_per_address }),
    ...(max_per_identity === undefined ? {} : { max_per_identity }),
  };
  return Object.keys(given).length === 0 ? undefined : given;
}

/** Options of every target. */
export function targetOptions(input: Input): Readonly<Record<string, unknown>> {
  return input.on('proxy-protocol') ? { options: { proxy_protocol: true } } : {};
}

interface Range {
  readonly start: number;
  readonly end: number;
}

function rangesOf(input: Input): readonly Range[] {
  return (input.text('listen-port') ?? '').split(',').flatMap((part) => {
    if (part === '') return [];
    const [, start, end = start] = /^([0-9]{1,5})(?:-([0-9]{1,5}))?$/.exec(part.trim()) ?? [];
    if (start === undefined) throw cliError('CLI_USAGE', `--listen-port: ${part} is no port and no range such as 5000-5099`);
    return [{ start: Number(start), end: Number(end) }];
  });
}
