// What people and programs of this machine ask to have published, in the words of the command line, of files and of labels.
import { parseIp } from '#lib/ip.ts';
import { parseHostPort, type DialTarget } from '#lib/net.ts';
import { isLocalhostName } from '#lib/resolve.ts';
import { boolean, convert, duration, integer, list, object, oneOf, optional, string, union, type Infer, type Schema } from '#lib/schema.ts';
import { exposeProtocols, type ExposeRequest } from '#model/exposure.ts';
import type { ExposeWish } from './exposure.ts';

const ownHost = '127.0.0.1';

/** A port of this host, or host:port. */
const target = convert(
  union([string({ max: 260 }), integer({ min: 1, max: 65_535 })], { about: 'A port of this host, or host:port.', example: '8080' }),
  (value, refuse): DialTarget | undefined => {
    const text = String(value);
    const parsed = /^[0-9]+$/.test(text) ? parseHostPort(`${ownHost}:${text}`) : parseHostPort(text);
    return parsed === undefined || parsed.port === 0 ? refuse('must be a port or host:port') : parsed;
  },
  'port or host:port',
);

/** The fields that every way of asking has. */
export const wishFields = {
  target,
  protocol: oneOf(exposeProtocols, { about: 'What is spoken there.', default: 'http' }),
  name: string({ about: 'The beginning of its random name.', min: 0, max: 40, default: '' }),
  domain: optional(string({ about: 'Its whole name, where the network lets peers choose.', max: 253 })),
  below: optional(string({ about: 'A domain that its random name is below.', max: 253 })),
  listenPort: optional(integer({ about: 'Its public port, for TCP, UDP and TLS.', min: 1, max: 65_535 })),
  public: boolean({ about: 'Anybody can open it.', default: false }),
  sso: boolean({ about: 'People sign in first; so it is too where nothing else is said.', default: false }),
  groups: list(string({ max: 255 }), { about: 'Only members of these groups may sign in.', default: [], max: 100 }),
  expires: optional(duration({ about: 'It ends after this time.', minMs: 1_000 })),
};

const socketWish = object({
  ...wishFields,
  password: optional(string({ max: 1024, secret: true })),
  pin: optional(string({ max: 12, secret: true })),
});

export type WishFields = Infer<typeof socketWish>;

/** The wish in the words of the control plane. What contradicts itself is refused with the reason, as the command line says it. */
export const wishSchema: Schema<Omit<ExposeWish, 'patient'>> = convert(socketWish, wishFrom);

/** For `convert`. */
export function wishFrom(fields: WishFields, refuse: (problem: string) => undefined): Omit<ExposeWish, 'patient'> | undefined {
  const problem = problemOf(fields);
  return problem === undefined ? { target: fields.target, remote: !isOwnHost(fields.target.host), request: requestOf(fields) } : refuse(problem);
}

function problemOf({ protocol, domain, below, name, listenPort, public: isPublic, sso, groups, password, pin }: WishFields): string | undefined {
  const web = protocol === 'http' || protocol === 'https';
  if (isPublic && (sso || groups.length > 0 || password !== undefined || pin !== undefined)) return 'is public and asks for something at once';
  if (domain !== undefined && (below !== undefined || name !== '')) return 'has a whole name and the part of one at once';
  if (web && listenPort !== undefined) return 'has a public port, which http and https have not';
  if (!web && (password !== undefined || pin !== undefined)) return 'asks for a password or a PIN, which only http and https can';
  return undefined;
}

function requestOf({
  protocol,
  name,
  domain,
  below,
  listenPort,
  public: isPublic,
  sso,
  groups,
  password,
  pin,
  expires,
}: WishFields): ExposeWish['request'] {
  const signIn = sso || groups.length > 0 || (password === undefined && pin === undefined);
  const access: ExposeRequest['access'] = isPublic ? { kind: 'public' } : { kind: 'proof', signIn, groups, password, pin };
  return {
    protocol,
    place: domain === undefined ? { kind: 'random', name, ...(below === undefined ? {} : { below }) } : { kind: 'exact', domain },
    listenPort,
    access,
    endsAfterMs: expires,
  };
}

/** Loopback: what listens there is this host's, whatever policies say of networks. */
function isOwnHost(host: string): boolean {
  const ip = parseIp(host);
  if (ip === undefined) return isLocalhostName(host);
  return ip.family === 4 ? ip.bytes[0] === 127 : ip.bytes.every((byte, i) => byte === (i === 15 ? 1 : 0));
}
