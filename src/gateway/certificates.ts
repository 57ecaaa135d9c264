// Where this gateway's certificates come from: its directory first, then automatic ones; both as one source, with one list for status and reports.
import { join } from 'node:path';
import type { Clock } from '#lib/clock.ts';
import type { Closable } from '#lib/lifecycle.ts';
import type { Logger } from '#lib/log.ts';
import type { CertificateExchange } from '#model/certificate-exchange.ts';
import type { CertificateStatus } from '#model/status.ts';
import type { AutomaticCertificates } from '#publish/certs/acme/automatic.ts';
import type { AuthoritySettings } from '#publish/certs/acme/types.ts';
import type { Certificate, CertificateDirectory } from '#publish/index.ts';
import type { AcmeSettings } from './acme-config.ts';
import { openDnsRecords } from './acme-dns.ts';
import { readConfigured } from './configured-file.ts';
import { gatewayError } from './errors.ts';

export interface GatewayCertificates extends Closable {
  find(host: string): Certificate | undefined;
  /** What answers challenges; undefined where certificates are not automatic. */
  readonly challenges: AutomaticCertificates['challenges'] | undefined;
  /** The hosts that are served now. */
  want(hosts: Iterable<string>): void;
  /** Of an automatic certificate for the host. */
  status(host: string): CertificateStatus | undefined;
  list(): readonly CertificateStatus[];
  /** What keeps certificates from being kept; empty where nothing does. */
  problem(): string;
}

export interface CertificateDeps {
  /** What the gateways of the cluster share. */
  readonly exchange: CertificateExchange;
  readonly clock: Clock;
  readonly log: Logger;
}

/** `dns` undefined proves no name in DNS. */
export type CertificateSettings = Omit<AcmeSettings, 'dns'> & { readonly dns: AcmeSettings['dns'] | undefined };

/** GATEWAY_ACME_TERMS, GATEWAY_ACME_DNS, GATEWAY_FILE_UNREADABLE. */
export async function openCertificates(
  settings: CertificateSettings,
  stateDir: string,
  directory: CertificateDirectory,
  deps: CertificateDeps,
): Promise<GatewayCertificates> {
  const automatic = settings.authorities.length === 0 ? undefined : await openAutomatic(settings, stateDir, deps);
  let hosts: readonly string[] = [];
  // A host that the directory has a certificate for has no other.
  const order = (): void => automatic?.want(hosts.filter((host) => directory.find(host) === undefined));
  const unfollow = directory.onChange(order);
  return {
    find: (host) => directory.find(host) ?? automatic?.find(host),
    challenges: automatic?.challenges,
    want(next) {
      hosts = [...next];
      order();
    },
    status: (host) => automatic?.status(host),
    list: () => [...ownCertificates(directory, deps.clock.wall()), ...(automatic?.list() ?? [])],
    problem: () => automatic?.problem() ?? '',
    async close() {
      unfollow();
      await automatic?.close();
    },
  };
}

async function openAutomatic(settings: CertificateSettings, stateDir: string, deps: CertificateDeps): Promise<AutomaticCertificates> {
  if (!settings.termsAgreed) throw gatewayError('GATEWAY_ACME_TERMS');
  const together = settings.together.map(({ names }) => [...new Set(names)].sort());
  const dns = settings.dns && (await openDnsRecords(settings.dns));
  const needsDns = settings.challenge === 'dns-01' || together.some((names) => names.some((name) => name.startsWith('*.')));
  if (dns === undefined && needsDns) throw gatewayError('GATEWAY_ACME_DNS');
  const authorities = await Promise.all(settings.authorities.map((authority) => readAuthority(authority)));
  // Loaded only here: who brings certificates along pays nothing for it.
  const { openAutomaticCertificates } = await import('#publish/certs/acme/automatic.ts');
  const { openSharedStore } = await import('#publish/certs/acme/shared-store.ts');
  const folder = join(stateDir, 'acme');
  const store = await openSharedStore(join(folder, 'seal-key'), deps.exchange, deps);
  return await openAutomaticCertificates(
    { ...settings, folder, authorities, together },
    { ...deps, store, dns, random: Math.random, changed: () => undefined },
  );
}

async function readAuthority({ directory, caFile, eab }: AcmeSettings['authorities'][number]): Promise<AuthoritySettings> {
  return {
    directory,
    ca: caFile === undefined ? undefined : await readConfigured(caFile),
    binding: eab === undefined ? undefined : { keyId: eab.keyId, hmacKey: (await readConfigured(eab.hmacKeyFile)).trim() },
  };
}

function ownCertificates(directory: CertificateDirectory, now: number): readonly CertificateStatus[] {
  const none = { nextAction: '', nextAt: undefined, issuer: '' } as const;
  const usable = directory.certificates().map((certificate) => {
    const expired = certificate.notAfter <= now;
    return {
      names: certificate.names,
      source: certificate.source,
      state: expired ? ('expired' as const) : ('valid' as const),
      reason: expired ? 'it has expired: replace its files' : '',
      notBefore: new Date(certificate.notBefore).toISOString(),
      notAfter: new Date(certificate.notAfter).toISOString(),
      ...none,
    };
  });
  const unusable = directory.problems().map(({ source, problem }) => ({
    names: [],
    source,
    state: 'unusable' as const,
    reason: problem,
    notBefore: undefined,
    notAfter: undefined,
    ...none,
  }));
  return [...usable, ...unusable];
}
