// Where external issuers come from: the server's configuration and the store, as one list.
import { plainIssuerRules, type Issuer } from '#model/issuer.ts';
import type { IssuerUseCases } from '../domain/contract.ts';
import { connectorsMax } from './constants.ts';
import { idpError } from './errors.ts';
import type { ConnectorConfig, ConnectorSource } from './types.ts';

/** Issuers of the configuration as the others are told. Throws IDP_BAD_CONNECTOR. */
export function configuredIssuers(connectors: readonly Omit<ConnectorConfig, 'clientSecret'>[]): readonly Issuer[] {
  if (connectors.length > connectorsMax) throw idpError('IDP_BAD_CONNECTOR', `more than ${connectorsMax}`);
  const seen = new Set<string>(['local']);
  return connectors.map(({ id, name, issuer, clientId, clientAuth = 'basic', trustsEmail = false, ca }) => {
    if (!/^[a-z0-9][a-z0-9-]{0,31}$/.test(id) || seen.has(id)) throw idpError('IDP_BAD_CONNECTOR', id);
    if (URL.parse(issuer)?.protocol !== 'https:') throw idpError('IDP_BAD_CONNECTOR', `the issuer of ${id} is no https URL`);
    seen.add(id);
    return { ...plainIssuerRules, id, type: 'oidc', name, issuer, clientId, clientAuth, trustsEmail, ca, configured: true };
  });
}

export function connectorSource(connectors: readonly ConnectorConfig[], issuers: Pick<IssuerUseCases, 'list' | 'secret'>): ConnectorSource {
  const fixed = configuredIssuers(connectors);
  const list = async (): Promise<readonly Issuer[]> => [...fixed, ...(await issuers.list()).filter((issuer) => !issuer.configured)];
  return {
    list,
    async find(id) {
      const issuer = (await list()).find((known) => known.id === id);
      if (issuer === undefined) return undefined;
      const clientSecret = issuer.configured ? connectors.find((known) => known.id === id)?.clientSecret : await issuers.secret(id);
      return clientSecret === undefined ? undefined : { ...issuer, clientSecret };
    },
  };
}
