// Where addresses are, by the data bases that the operator supplies: MaxMind's own, and those of others in its format.
import type { IpAddress } from '#lib/ip.ts';
import type { Scope } from '#lib/lifecycle.ts';
import type { GeoLookup } from '#publish/index.ts';
import { GeoDatabase, type GeoDatabaseDeps, type GeoRecord } from './geo-database.ts';

export interface GeoSettings {
  readonly countryFile: string | undefined;
  readonly asnFile: string | undefined;
}

export interface Geo extends GeoLookup {
  /** Grows with each file that was read. */
  version(): number;
}

export async function openGeo({ countryFile, asnFile }: GeoSettings, scope: Scope, deps: GeoDatabaseDeps): Promise<Geo> {
  const open = async (file: string | undefined): Promise<GeoDatabase | undefined> =>
    file === undefined ? undefined : scope.use(await GeoDatabase.open(file, deps));
  const [countries, networks] = [await open(countryFile), await open(asnFile)];
  return {
    country: (address) => countryOf(countries, address),
    network: (address) => networkOf(networks?.lookup(address)),
    problem(of) {
      const [database, setting] = of === 'countries' ? [countries, 'geo.countryFile'] : [networks, 'geo.asnFile'];
      const missing = database === undefined ? `${setting} is not set at this gateway` : database.problem;
      return missing === '' ? '' : `${of} cannot be told: ${missing}`;
    },
    version: () => (countries?.version ?? 0) + (networks?.version ?? 0),
  };
}

/** Where it is; not where whom it is registered to is. */
function countryOf(database: GeoDatabase | undefined, address: IpAddress): string | undefined {
  const country = database?.lookup(address)?.['country'];
  const code = typeof country === 'object' && country !== null && 'iso_code' in country ? country.iso_code : country;
  return typeof code === 'string' && /^[A-Za-z]{2}$/.test(code) ? code.toUpperCase() : undefined;
}

function networkOf(record: GeoRecord | undefined): number | undefined {
  const number = record?.['autonomous_system_number'];
  return typeof number === 'number' ? number : undefined;
}
