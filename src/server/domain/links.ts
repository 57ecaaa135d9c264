// Share links of services. A link is used up in one step of the database, so that of many who open it at once only as many get in as it allows.
import { generateToken, linkTokenPrefix, tokenDigest } from '#crypto/tokens.ts';
import { asId, type UserId } from '#model/ids.ts';
import type { LinkRecord } from '../store/link-table.ts';
import { canonicalHost, checkLimit, checkName } from './checks.ts';
import { linkMaxMs, linkMaxUses, linksPerService } from './constants.ts';
import { write, type Context } from './context.ts';
import type { LinkUseCases, ShareLink } from './proof-contract.ts';
import { domainError, invalid } from './errors.ts';
import { pageOrigin } from './expose-rules.ts';
import { newId } from './ids.ts';
import { endSession } from './sessions.ts';

/** Who is let in by a link, so that it can be told from others in logs. */
export function holderOfLink({ id, label }: LinkRecord): { readonly userId: UserId; readonly name: string } {
  return { userId: asId<UserId>(`link:${id}`), name: label };
}

export function linkUseCases(context: Context): LinkUseCases {
  const { store, random } = context;
  return {
    async list(serviceId) {
      return await store.read(async (tables) => {
        if ((await tables.services.find(serviceId)) === undefined) throw domainError('DOMAIN_SERVICE_UNKNOWN');
        return (await tables.links.list(serviceId)).map(viewOf);
      });
    },

    async create(serviceId, request, actor) {
      const label = checkName(request.label, 'The label');
      const { expiresInMs, uses } = request;
      if (!Number.isSafeInteger(expiresInMs) || expiresInMs < 60_000 || expiresInMs > linkMaxMs)
        throw invalid('A link lives from a minute to 90 days.');
      if (!Number.isInteger(uses) || uses < 1 || uses > linkMaxUses) throw invalid(`A link opens 1 to ${linkMaxUses} times.`);
      const plain = generateToken(linkTokenPrefix);
      return await write(context, async ({ tables, now, audit }) => {
        const service = await tables.services.find(serviceId);
        if (service === undefined) throw domainError('DOMAIN_SERVICE_UNKNOWN');
        if (service.auth.link?.enabled !== true) throw invalid('The service takes no links: switch link_auth on.');
        const host = hostOf(service.domain, request.host);
        checkLimit(await tables.links.count(serviceId), linksPerService);
        const createdBy = actor.kind === 'user' ? actor.id : asId<UserId>('');
        const times = { createdAt: now, expiresAt: now + expiresInMs };
        const record: LinkRecord = { id: newId(random), serviceId, label, createdBy, uses, used: 0, revoked: false, ...times };
        await tables.links.insert(record, tokenDigest(plain));
        await audit('service.link.create', actor, serviceId, { service: service.name, label, uses: String(uses) });
        return { link: viewOf(record), plain, origin: pageOrigin(host, (await tables.clusters.publicPort(service.cluster)) ?? 443) };
      });
    },

    async revoke(serviceId, id, actor) {
      await write(context, async (write) => {
        const { tables, audit } = write;
        const link = await tables.links.find(id);
        if (link === undefined || link.serviceId !== serviceId) throw domainError('DOMAIN_NOT_FOUND', 'link');
        if (!(await tables.links.revoke(id))) return;
        for (const session of await tables.sessions.listOfLink(serviceId, holderOfLink(link).userId)) await endSession(write, session);
        await audit('service.link.revoke', actor, serviceId, { label: link.label });
      });
    },
  };
}

/** Where visitors of the link go. A wildcard is no name that a browser could open. */
function hostOf(domain: string, asked: string | undefined): string {
  if (asked === undefined && domain.startsWith('*.')) throw invalid('The service stands for many names: say which one the link is to lead to.');
  const host = asked === undefined ? domain : canonicalHost(asked);
  if (host === undefined || (host !== domain && `*${host.slice(host.indexOf('.'))}` !== domain)) throw invalid('The host is not one of the service.');
  return host;
}

function viewOf({ serviceId: _serviceId, ...link }: LinkRecord): ShareLink {
  return link;
}
