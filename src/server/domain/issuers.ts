// External issuers that are kept here. Their client secrets are sealed.
import { utf8 } from '#lib/bytes.ts';
import { issuerTypes, type Issuer } from '#model/issuer.ts';
import type { IssuerRecord } from '../store/issuer-table.ts';
import type { Tables } from '../store/store.ts';
import { canonicalHost, checkGroups, checkLimit, checkName } from './checks.ts';
import { claimsPerIssuer, groupsPerIssuer, issuersMax } from './constants.ts';
import { write, type Context } from './context.ts';
import { domainError, domainErrorNaming, invalid } from './errors.ts';
import { newId } from './ids.ts';
import type { IssuerInput, IssuerUseCases } from './issuers-contract.ts';
import { revokeUser } from './users.ts';

export function issuerUseCases(context: Context): IssuerUseCases {
  const { store, random, sealer, configuredIssuers } = context;

  function mayChange(id: string): void {
    if (configuredIssuers.some((known) => known.id === id)) throw domainError('DOMAIN_ISSUER_CONFIGURED');
  }

  return {
    async list() {
      return [...configuredIssuers, ...(await store.tables.issuers.list()).map(shown)];
    },

    async get(id) {
      return configuredIssuers.find((known) => known.id === id) ?? shown(found(await store.tables.issuers.find(id)));
    },

    async create(request, actor) {
      const id = newId(random);
      const { clientSecret, ...issuer } = checkIssuer(request);
      if (clientSecret === undefined) throw invalid('The client secret is missing.');
      return await write(context, async ({ tables, audit }) => {
        checkLimit(await tables.issuers.count(), issuersMax);
        const groups = await checkMappedGroups(tables, issuer.groups);
        const record: IssuerRecord = { ...issuer, groups, id, secret: sealer.seal(secretPlace(id), utf8(clientSecret)) };
        await tables.issuers.insert(record);
        await audit('issuer.create', actor, id, { name: record.name, issuer: record.issuer });
        return shown(record);
      });
    },

    async update(id, request, actor) {
      mayChange(id);
      const { clientSecret, ...issuer } = checkIssuer(request);
      return await write(context, async ({ tables, audit }) => {
        const old = found(await tables.issuers.find(id));
        if (old.issuer !== issuer.issuer && (await tables.users.countOfConnector(id)) > 0) throw domainError('DOMAIN_ISSUER_FIXED');
        const groups = await checkMappedGroups(tables, issuer.groups);
        const secret = clientSecret === undefined ? old.secret : sealer.seal(secretPlace(id), utf8(clientSecret));
        const record: IssuerRecord = { ...issuer, groups, id, secret };
        await tables.issuers.update(record);
        await audit('issuer.update', actor, id, { name: record.name, issuer: record.issuer });
        return shown(record);
      });
    },

    async delete(id, actor) {
      mayChange(id);
      await write(context, async (write) => {
        const { tables, audit } = write;
        const old = found(await tables.issuers.find(id));
        const user = (await tables.services.listNaming([id])).find((service) => service.issuers.includes(id));
        if (user !== undefined) throw domainErrorNaming('DOMAIN_ISSUER_IN_USE', `The service ${user.name} asks for it.`);
        for (const userId of await tables.users.idsOfConnector(id)) await revokeUser(write, userId);
        await tables.issuers.delete(id);
        await audit('issuer.delete', actor, id, { name: old.name, issuer: old.issuer });
      });
    },

    async secret(id) {
      const record = await store.tables.issuers.find(id);
      return record === undefined ? undefined : Buffer.from(sealer.open(secretPlace(id), record.secret)).toString('utf8');
    },
  };
}

function secretPlace(id: string): string {
  return `issuer ${id}`;
}

function shown({ secret: _secret, ...issuer }: IssuerRecord): Issuer {
  return { ...issuer, configured: false };
}

function found(record: IssuerRecord | undefined): IssuerRecord {
  if (record === undefined) throw domainError('DOMAIN_NOT_FOUND', 'issuer');
  return record;
}

function checkIssuer(request: IssuerInput): IssuerInput {
  if (!issuerTypes.includes(request.type)) throw invalid(`The type must be one of ${issuerTypes.join(', ')}.`);
  const url = URL.parse(request.issuer);
  if (url === null || url.protocol !== 'https:' || url.username !== '' || url.search !== '' || url.hash !== '')
    throw invalid('The issuer must be an https URL without user, query and fragment.');
  if (request.clientId.trim() === '') throw invalid('The client id is missing.');
  if (request.clientSecret === '') throw invalid('The client secret is empty.');
  if (request.claims.length > claimsPerIssuer || request.groups.length > groupsPerIssuer) throw invalid('There are too many claims or groups.');
  if (request.groups.length > 0 && request.groupsClaim === undefined) throw invalid('Groups are mapped, but no claim is named that has them.');
  return {
    ...request,
    name: checkName(request.name, 'The name'),
    emailDomains: request.emailDomains.map((text) => canonicalHost(text) ?? refuseDomain(text)),
  };
}

function refuseDomain(text: string): never {
  throw invalid(`"${text}" is not a domain.`);
}

async function checkMappedGroups(tables: Tables, groups: Issuer['groups']): Promise<Issuer['groups']> {
  await checkGroups(
    tables,
    groups.map(({ group }) => group),
    true,
  );
  return groups;
}
