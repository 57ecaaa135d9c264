// What peers may publish by themselves, and what a service looks like that they ask for.
import { plainAccess } from '#model/access.ts';
import type { ExposeRequest } from '#model/exposure.ts';
import type { GroupId } from '#model/ids.ts';
import type { Peer } from '#model/network.ts';
import { defaultTargetOptions, noRestrictions, type ServiceTarget } from '#model/service.ts';
import { defaultStream } from '#model/stream.ts';
import { defaultWeb } from '#model/web.ts';
import type { Tables } from '../store/store.ts';
import { canonicalDomain, canonicalHost, checkGroups, isAtOrBelow } from './checks.ts';
import { exposureMaxMs, maxExposeDomains, maxExposuresPerPeer } from './constants.ts';
import type { ServiceInput } from './contract.ts';
import type { ExposeSettings } from './expose-contract.ts';
import { domainError, domainErrorNaming, invalid } from './errors.ts';
import { randomBelow, randomText, type RandomBytes } from './ids.ts';

/** Characters of a random name, and of the random part behind a name that somebody chose (netbird-features A14). */
const randomLength = 12;
const suffixLength = 4;
const letters = 'abcdefghijklmnopqrstuvwxyz234567';

/** Throws where this peer may not publish anything. */
export async function checkMayExpose(tables: Tables, { enabled, groups }: ExposeSettings, peer: Peer): Promise<void> {
  if (!enabled) throw domainError('DOMAIN_EXPOSE_OFF');
  const own = peer.proxyCluster === undefined ? await tables.groups.groupsOf(peer.id) : [];
  if (!own.some((id) => groups.includes(id))) throw domainError('DOMAIN_EXPOSE_NOT_ALLOWED');
}

/** The settings in their canonical form. */
export async function checkExposeSettings(tables: Tables, settings: ExposeSettings): Promise<ExposeSettings> {
  const { domains, perPeer } = settings;
  if (domains.length > maxExposeDomains) throw invalid(`Peers choose names below at most ${maxExposeDomains} domains.`);
  if (!Number.isInteger(perPeer) || perPeer < 1 || perPeer > maxExposuresPerPeer)
    throw invalid(`A peer publishes 1 to ${maxExposuresPerPeer} services.`);
  const canonical = domains.map((domain) => canonicalHost(domain) ?? refuseDomain(domain));
  return { ...settings, groups: await checkGroups(tables, settings.groups), domains: [...new Set(canonical)] };
}

function refuseDomain(domain: string): never {
  throw invalid(`"${domain}" is not a domain name.`);
}

/** That the request makes sense by itself, as far as it is not a service's. */
export function checkExposeRequest({ endsAfterMs, place, access }: ExposeRequest): void {
  if (endsAfterMs !== undefined && !(endsAfterMs > 0 && endsAfterMs <= exposureMaxMs)) throw invalid('An exposed service lasts at most a year.');
  if (place.kind === 'random' && !/^(?:[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?)?$/.test(place.name))
    throw invalid('A name is 1 to 40 letters a to z, digits and hyphens.');
  if (access.kind !== 'proof' || access.signIn || access.password !== undefined || access.pin !== undefined) return;
  throw invalid('A service that is not public needs sign-in, a password or a PIN.');
}

/** Who gets in: never more than the settings permit. */
export async function accessOf(tables: Tables, settings: ExposeSettings, { access }: ExposeRequest): Promise<ServiceInput['auth']> {
  const secrets = { password: undefined, pin: undefined, headers: [] };
  if (access.kind !== 'proof') {
    if (access.kind === 'public' && !settings.public) throw domainError('DOMAIN_EXPOSE_PUBLIC');
    return { ...secrets, oidc: { enabled: !settings.public, groups: [] } };
  }
  const { signIn, password, pin } = access;
  return {
    headers: [],
    oidc: { enabled: signIn, groups: signIn ? await groupsNamed(tables, access.groups) : [] },
    password: password === undefined ? undefined : { enabled: true, password },
    pin: pin === undefined ? undefined : { enabled: true, pin },
  };
}

/** A name that fits nothing must not open the service to everybody. */
async function groupsNamed(tables: Tables, wanted: readonly string[]): Promise<readonly GroupId[]> {
  const known = [...(await tables.groups.names())];
  return wanted.map((text) => {
    const found = known.find(([id]) => id === text) ?? known.find(([, { name }]) => name === text);
    if (found === undefined) throw domainErrorNaming('DOMAIN_GROUP_UNKNOWN', text);
    return found[0];
  });
}

/** The parent of a random name where the request names none: the address of a cluster with a gateway that is connected, by chance. */
export async function parentOf(tables: Tables, below: string | undefined, liveSince: number, random: RandomBytes): Promise<string> {
  if (below !== undefined) return canonicalHost(below) ?? refuseDomain(below);
  // A cluster that is reached at a bare IP address has no names below it.
  const addresses = [...(await tables.clusters.countLive(liveSince)).keys()].filter((address) => canonicalHost(address) !== undefined);
  const address = addresses.length === 0 ? undefined : addresses[randomBelow(random, addresses.length)];
  if (address === undefined) throw domainError('DOMAIN_EXPOSE_NO_CLUSTER');
  return address;
}

/** A name that has not been given out: random, with what somebody chose before it. */
export function randomLabel(name: string, random: RandomBytes): string {
  return name === '' ? randomText(random, letters, randomLength) : `${name}-${randomText(random, letters, suffixLength)}`;
}

/** Whether the peer may have exactly this name; in its canonical form. */
export function checkExactName({ domains }: ExposeSettings, domain: string): string {
  const name = canonicalDomain(domain);
  if (name === undefined || name.startsWith('*')) return refuseDomain(domain);
  if (!domains.some((parent) => name !== parent && isAtOrBelow(name, parent))) throw domainErrorNaming('DOMAIN_EXPOSE_NAME', name);
  return name;
}

/** The public port of TLS services that ask for none. */
const tlsPort = 443;

/** The service itself; `target` says where its one target is. */
export function exposedService(
  { protocol, port, listenPort }: ExposeRequest,
  target: Pick<ServiceTarget, 'targetId' | 'targetType' | 'host'>,
  domain: string,
  auth: ServiceInput['auth'],
): ServiceInput {
  const web = protocol === 'http' || protocol === 'https';
  return {
    name: domain,
    domain,
    mode: web ? 'http' : protocol,
    listenPort: protocol === 'tls' ? (listenPort ?? tlsPort) : listenPort,
    targets: [
      {
        ...target,
        path: '/',
        protocol: protocol === 'tls' ? 'tcp' : protocol,
        port,
        enabled: true,
        // The peer is known by its WireGuard key, and what programs on it show as a certificate for 127.0.0.1 says nothing more.
        options: { ...defaultTargetOptions, skipTlsVerify: protocol === 'https' && target.targetType === 'peer' },
      },
    ],
    enabled: true,
    passHostHeader: false,
    rewriteRedirects: web,
    auth,
    restrictions: noRestrictions,
    access: plainAccess,
    private: false,
    tlsAt: 'gateway',
    accessGroups: [],
    issuers: [],
    web: defaultWeb,
    stream: defaultStream,
  };
}

/** How people reach it. `publicPort` is that of HTTPS. */
export function exposedUrl({ mode, domain, listenPort }: Pick<ServiceInput, 'mode' | 'domain' | 'listenPort'>, publicPort: number): string {
  return mode === 'http' ? pageOrigin(domain, publicPort) : `${mode}://${domain}:${listenPort ?? 0}`;
}

/** Of a host's pages. */
export function pageOrigin(host: string, publicPort: number): string {
  return `https://${host}${publicPort === 443 ? '' : `:${publicPort}`}`;
}
