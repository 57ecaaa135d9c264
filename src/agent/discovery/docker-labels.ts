// What a container's labels ask for. A label of ours that nobody knows is refused: a misspelled word must not mean less protection.
import { convert, object, optional, parse, string, type Schema } from '#lib/schema.ts';
import { wishFields, wishFrom } from '../wish.ts';
import type { DockerContainer } from './docker-api.ts';
import type { FoundWish } from './wanted.ts';

const prefix = 'meshgate.';

/** `true` or `false`, as labels are text. */
function flag(): Schema<boolean> {
  return convert(string({ default: 'false', max: 5 }), (text, refuse) =>
    text === 'true' ? true : text === 'false' ? false : refuse('must be true or false'),
  );
}

function number(): Schema<number> {
  return convert(string({ max: 5 }), (text, refuse) =>
    /^[0-9]+$/.test(text) && Number(text) >= 1 && Number(text) <= 65_535 ? Number(text) : refuse('must be a port'),
  );
}

/** Labels without their prefix. A secret in a label could be read by everybody who may look at containers, so there is none. */
const labels = object({
  enable: flag(),
  port: optional(number()),
  network: optional(string({ about: 'Of several networks, the one that it is reached in.', max: 255 })),
  mode: wishFields.protocol,
  domain: wishFields.domain,
  name: optional(string({ max: 40 })),
  below: wishFields.below,
  listenPort: optional(number()),
  sso: flag(),
  public: flag(),
  groups: convert(string({ min: 0, max: 4096, default: '' }), (text) =>
    text
      .split(',')
      .map((part) => part.trim())
      .filter((part) => part !== ''),
  ),
  expires: wishFields.expires,
});

export type LabelWish = { readonly ok: true; readonly wish: FoundWish } | { readonly ok: false; readonly problem: string };

export function wishOfContainer(container: DockerContainer): LabelWish {
  const own = Object.entries(container.Labels).filter(([name]) => name.startsWith(prefix));
  const parsed = parse(labels, Object.fromEntries(own.map(([name, value]) => [name.slice(prefix.length), value])));
  if (!parsed.ok) return { ok: false, problem: parsed.issues.map(({ path, message }) => `${prefix}${path} ${message}`).join('; ') };
  const { port, network, mode, enable: _, ...rest } = parsed.value;
  const place = placeOf(container, mode === 'udp' ? 'udp' : 'tcp', port, network);
  if ('problem' in place) return { ok: false, problem: place.problem };
  let problem = '';
  const name = rest.name ?? (rest.domain === undefined ? nameOf(container) : '');
  const wish = wishFrom({ ...rest, name, target: place, protocol: mode, password: undefined, pin: undefined }, (text) => void (problem = text));
  // A container of this host is this host's, wherever its network is.
  return wish === undefined ? { ok: false, problem } : { ok: true, wish: { ...wish, remote: false } };
}

/** A port that is published on this host, else the container's own address. */
function placeOf(
  { Ports, HostConfig, NetworkSettings }: DockerContainer,
  type: 'tcp' | 'udp',
  wanted: number | undefined,
  network: string | undefined,
): { readonly host: string; readonly port: number } | { readonly problem: string } {
  const ports = Ports.filter((entry) => entry.Type === type);
  const inside = [...new Set(ports.map(({ PrivatePort }) => PrivatePort))];
  const port = wanted ?? (inside.length === 1 ? inside[0] : undefined);
  if (port === undefined)
    return { problem: `${prefix}port is missing, and the container has ${inside.length === 0 ? 'no port' : `the ports ${inside.join(', ')}`}` };
  if (HostConfig.NetworkMode === 'host') return { host: '127.0.0.1', port };
  const published = ports.find((entry) => entry.PrivatePort === port && entry.PublicPort !== undefined && reachesLoopback(entry.IP));
  if (network === undefined && published?.PublicPort !== undefined) return { host: '127.0.0.1', port: published.PublicPort };
  const networks = Object.entries(NetworkSettings.Networks).filter(
    ([name, { IPAddress }]) => IPAddress !== '' && (network === undefined || network === name),
  );
  const [first] = networks.toSorted(([a], [b]) => (a < b ? -1 : 1));
  return first === undefined ? { problem: 'the container has no address in a network' } : { host: first[1].IPAddress, port };
}

function reachesLoopback(ip: string | undefined): boolean {
  return ip === undefined || ['', '0.0.0.0', '127.0.0.1'].includes(ip);
}

/** The container's name as the beginning of a random one; empty where nothing of it is left. */
function nameOf({ Names }: DockerContainer): string {
  return (Names[0] ?? '')
    .toLowerCase()
    .replaceAll(/[^a-z0-9]+/g, '-')
    .slice(0, 40)
    .replaceAll(/^-+|-+$/g, '');
}
