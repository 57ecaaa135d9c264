// What is published and where: services, domains, clusters, the gateways' tokens, and what happened.
import { apiCommand, asRows, deleteCommand, done, find, findIds, listCommand, printTable, type ApiSession } from '../api-command.ts';
import type { Command } from '../command.ts';
import { cliError } from '../errors.ts';
import { readJsonFile } from '../files.ts';
import { field, printJson } from '../output.ts';
import { seconds } from './network.ts';
import { accessFlags, accessFromFlags } from './service-access.ts';
import { firstPort, streamFields, streamFlags, targetOptions } from './stream-flags.ts';

const services = '/api/reverse-proxies/services';
const domains = '/api/reverse-proxies/domains';
const proxyTokens = '/api/reverse-proxies/proxy-tokens';

const serviceCreate = apiCommand({
  name: 'service create',
  summary: 'publish something that a peer runs',
  positionals: ['NAME'],
  flags: {
    file: { kind: 'text', value: 'FILE', about: 'the whole service as JSON, as the API takes it; instead of the flags below' },
    domain: { kind: 'text', value: 'DOMAIN', about: 'its public name' },
    peer: { kind: 'many', value: 'PEER', about: 'the peer that runs it, by name or id; several share the load' },
    'peer-group': { kind: 'text', value: 'GROUP', about: 'instead of --peer: every peer of this group runs it' },
    port: { kind: 'integer', value: 'N', about: 'the port at that peer' },
    protocol: { kind: 'text', value: 'P', about: 'spoken at that port: http, https, tcp, tls or udp (default http)' },
    mode: { kind: 'text', value: 'MODE', about: 'http, tcp, udp or tls (default http)' },
    ...streamFlags,
    path: { kind: 'text', value: 'PATH', about: 'only requests below this path (default /)' },
    sso: { kind: 'switch', about: 'visitors sign in first' },
    group: { kind: 'many', value: 'GROUP', about: 'with --sso: only members of this group; with --private: the peers; may be given more than once' },
    issuer: {
      kind: 'many',
      value: 'ISSUER',
      about: 'with --sso: only users of this issuer, or local; may be given more than once, in the order of the sign-in page',
    },
    public: { kind: 'switch', about: 'everybody may use it without signing in' },
    ...accessFlags,
    private: { kind: 'switch', about: 'only peers of --group may use it, over the mesh; they do not sign in, and nobody else finds it' },
    'tls-at': {
      kind: 'text',
      value: 'PLACE',
      about: 'where TLS ends: gateway (the default), or agent, where the gateway sees neither requests nor the key',
    },
    'pass-host-header': { kind: 'switch', about: 'the service sees the public host name' },
    disabled: { kind: 'switch', about: 'do not serve it yet' },
  },
  async run(session) {
    const file = session.input.text('file');
    const request =
      file === undefined ? await serviceFromFlags(session) : { ...asObject(await readJsonFile(file)), name: session.input.positionals[0] };
    const answer = await session.api.call('POST', services, request);
    done(session, `made ${field(answer, 'name')} (${field(answer, 'id')}) at ${field(answer, 'domain')}`, answer);
  },
});

async function serviceFromFlags(session: ApiSession): Promise<unknown> {
  const { api, input } = session;
  const [domain, group] = [input.text('domain'), input.text('peer-group')];
  const port = input.integer('port') ?? (input.text('mode') === 'http' ? undefined : firstPort(input));
  const names = input.many('peer');
  if (domain === undefined || port === undefined || (names.length === 0) === (group === undefined))
    throw cliError('CLI_USAGE', '--domain, --port and either --peer or --peer-group are needed, or --file');
  // Nobody publishes something to the whole world by leaving a flag out.
  const mode = input.text('mode') ?? 'http';
  const own = await accessFromFlags(session, {});
  const ways = ['sso', 'public', 'private'].filter((flag) => input.on(flag)).length;
  // Secrets may stand beside sign-in, or alone.
  if (ways > 1 || (ways === 0 && own?.['auth'] === undefined) || (own !== undefined && !input.on('sso') && ways === 1)) {
    throw cliError('CLI_USAGE', 'say who may use it: one of --sso, --public and --private, or secrets such as --password-file, also beside --sso');
  }
  const groups = await findIds(api, '/api/groups', input.many('group'));
  const ids = group === undefined ? await findIds(api, '/api/peers', names, ['name', 'ip']) : await findIds(api, '/api/groups', [group]);
  const protocol = input.text('protocol') ?? (mode === 'http' ? 'http' : mode === 'udp' ? 'udp' : 'tcp');
  const service = {
    name: input.positionals[0],
    domain,
    mode,
    ...(await streamFields(input, mode)),
    targets: ids.map((id) => ({
      target_id: id,
      target_type: group === undefined ? 'peer' : 'group',
      path: input.text('path') ?? '/',
      protocol,
      port,
      enabled: true,
      ...targetOptions(input),
    })),
    enabled: !input.on('disabled'),
    pass_host_header: input.on('pass-host-header'),
    rewrite_redirects: false,
    ...(input.text('tls-at') === undefined ? {} : { tls_at: input.text('tls-at') }),
    ...(input.on('private') ? { private: true, access_groups: groups } : {}),
    auth: {
      bearer_auth: {
        enabled: input.on('sso'),
        distribution_groups: input.on('private') ? [] : groups,
        ...(await issuersOf(api, input.many('issuer'))),
      },
    },
  };
  return { ...service, ...own, auth: { ...asObject(own?.['auth'] ?? {}), ...service.auth } };
}

async function issuersOf(api: ApiSession['api'], names: readonly string[]): Promise<{ readonly issuers?: readonly string[] }> {
  if (names.length === 0) return {};
  const ids: string[] = [];
  for (const name of names) ids.push(name === 'local' ? name : (await find(api, '/api/identity-providers', name, ['name'])).id);
  return { issuers: ids };
}

function asObject(json: unknown): Readonly<Record<string, unknown>> {
  if (typeof json !== 'object' || json === null || Array.isArray(json)) throw cliError('CLI_FILE', 'the file must hold one JSON object');
  return json as Readonly<Record<string, unknown>>;
}

/** Puts the service as it is, with what `changed` says in place of what it was. Blank secrets mean that they stay. */
async function change(session: ApiSession, changed: Readonly<Record<string, unknown>>, what: string): Promise<void> {
  const found = await find(session.api, services, session.input.positionals[0] ?? '', ['name', 'domain']);
  const answer = await session.api.call('PUT', `${services}/${encodeURIComponent(found.id)}`, { ...asObject(found.row), ...changed });
  done(session, `${found.name} is ${what}`, answer);
}

const serviceShow = apiCommand({
  name: 'service show',
  summary: 'all of it as JSON, as service update and the API take it back',
  positionals: ['SERVICE'],
  async run({ api, io, input }) {
    const { id } = await find(api, services, input.positionals[0] ?? '', ['name', 'domain']);
    printJson(io, await api.call('GET', `${services}/${encodeURIComponent(id)}`));
  },
});

const serviceUpdate = apiCommand({
  name: 'service update',
  summary: 'change parts of it',
  positionals: ['SERVICE'],
  flags: { file: { kind: 'text', value: 'FILE', about: 'a JSON object with the parts to change, as the API takes them' }, ...accessFlags },
  async run(session) {
    const file = session.input.text('file');
    if (file !== undefined) return await change(session, asObject(await readJsonFile(file)), 'changed');
    const { row } = await find(session.api, services, session.input.positionals[0] ?? '', ['name', 'domain']);
    const named = await accessFromFlags(session, asObject(row));
    if (named === undefined) throw cliError('CLI_USAGE', 'say what to change: --file, or a flag');
    await change(session, named, 'changed');
  },
});

const serviceEnable = apiCommand({
  name: 'service enable',
  summary: 'serve it',
  positionals: ['SERVICE'],
  run: (session) => change(session, { enabled: true }, 'enabled'),
});
const serviceDisable = apiCommand({
  name: 'service disable',
  summary: 'stop serving it',
  positionals: ['SERVICE'],
  run: (session) => change(session, { enabled: false }, 'disabled'),
});

/** What to put into DNS to prove a domain. */
function recordFor(row: unknown): string {
  const name = field(row, 'txt_name');
  const cname = `a CNAME validation.${field(row, 'domain')} to ${field(row, 'target_cluster')}`;
  return name === '' ? `put ${cname} into DNS` : `put a TXT record ${name} with ${field(row, 'txt_value')} into DNS, or ${cname}`;
}

const domainCreate = apiCommand({
  name: 'domain create',
  summary: 'serve a domain of one’s own at a cluster',
  positionals: ['DOMAIN', 'CLUSTER'],
  async run(session) {
    const [domain, cluster] = session.input.positionals;
    const answer = await session.api.call('POST', domains, { domain, target_cluster: cluster });
    done(session, `added ${domain} (${field(answer, 'id')}); ${recordFor(answer)}, then: meshgate domain validate ${domain}`, answer);
  },
});

const domainValidate = apiCommand({
  name: 'domain validate',
  summary: 'look whether a DNS record proves that the domain is ours',
  positionals: ['DOMAIN'],
  async run(session) {
    const { api, input } = session;
    const found = await find(api, domains, input.positionals[0] ?? '', ['domain']);
    await api.call('GET', `${domains}/${encodeURIComponent(found.id)}/validate`);
    const { row } = await find(api, domains, found.id, ['domain']);
    const valid = field(row, 'validated') === 'true';
    done(session, `${found.name} is ${valid ? 'validated' : `not validated: ${recordFor(row)}`}`, row);
  },
});

const tokenCreate = apiCommand({
  name: 'proxy-token create',
  summary: 'make a token for a gateway; it is printed once',
  positionals: ['NAME'],
  flags: {
    cluster: { kind: 'text', value: 'CLUSTER', about: 'the only cluster that it is good for (default: the first that it registers with)' },
    expires: { kind: 'text', value: 'DURATION', about: 'such as 30d, 0 for no end (default 0)' },
  },
  async run(session) {
    const { input } = session;
    const request = {
      name: input.positionals[0],
      expires_in: seconds('expires', input.text('expires') ?? '0'),
      cluster: input.text('cluster') ?? '',
    };
    const answer = await session.api.call('POST', proxyTokens, request);
    if (!session.json) session.io.err('the token is not shown again');
    done(session, field(answer, 'plain_token'), answer);
  },
});

const audit = apiCommand({
  name: 'events audit',
  summary: 'what was changed, and by whom',
  async run(session) {
    const rows = asRows(await session.api.call('GET', '/api/events/audit'));
    printTable(session, rows, rows, { TIME: 'timestamp', ACTIVITY: 'activity', BY: 'initiator_email', TARGET: 'target_id', DETAILS: 'meta' });
  },
});

const proxyFilters = ['search', 'host', 'path', 'method', 'status', 'source-ip', 'user-email'] as const;

const proxyEvents = apiCommand({
  name: 'events proxy',
  summary: 'requests and flows at the gateways, newest first',
  flags: {
    page: { kind: 'integer', value: 'N', about: 'which page (default 1)' },
    size: { kind: 'integer', value: 'N', about: 'entries of a page, at most 100 (default 50)' },
    since: { kind: 'text', value: 'TIME', about: 'from this time on, such as 2026-01-31T12:00:00Z' },
    ...Object.fromEntries(
      proxyFilters.map((name) => [name, { kind: 'text', value: 'TEXT', about: `only with this ${name.replace('-', ' ')}` } as const]),
    ),
  },
  async run(session) {
    const { api, input } = session;
    const query = new URLSearchParams({ page: String(input.integer('page') ?? 1), page_size: String(input.integer('size') ?? 50) });
    for (const name of proxyFilters) {
      const text = input.text(name);
      if (text !== undefined) query.set(name.replace('-', '_'), text);
    }
    const since = input.text('since');
    if (since !== undefined) query.set('start_date', since);
    const answer = await api.call('GET', `/api/events/proxy?${query.toString()}`);
    const columns = {
      TIME: 'timestamp',
      STATUS: 'status_code',
      METHOD: 'method',
      HOST: 'host',
      PATH: 'path',
      FROM: 'source_ip',
      USER: 'user_id',
      MS: 'duration_ms',
      REASON: 'reason',
    };
    printTable(session, answer, asRows(asObject(answer)['data']), columns);
    if (!session.json) session.io.err(`page ${field(answer, 'page')} of ${field(answer, 'total_pages')}, ${field(answer, 'total_records')} entries`);
  },
});

export const publishCommands: readonly Command[] = [
  listCommand('service', 'list published services', services, {
    ID: 'id',
    NAME: 'name',
    DOMAIN: 'domain',
    MODE: 'mode',
    ENABLED: 'enabled',
    STATUS: ['meta', 'status'],
    'EXPOSED BY': ['exposure', 'peer_name'],
    EXPIRES: ['exposure', 'expires_at'],
    REASON: ['meta', 'status_reason'],
  }),
  serviceShow,
  serviceCreate,
  serviceUpdate,
  serviceEnable,
  serviceDisable,
  deleteCommand('service', services, 'name', 'domain'),
  listCommand('domain', 'list domains', domains, { ID: 'id', DOMAIN: 'domain', TYPE: 'type', CLUSTER: 'target_cluster', VALIDATED: 'validated' }),
  domainCreate,
  domainValidate,
  deleteCommand('domain', domains, 'domain'),
  listCommand('cluster', 'list clusters of gateways', '/api/reverse-proxies/clusters', {
    ADDRESS: 'address',
    ONLINE: 'online',
    GATEWAYS: 'connected_proxies',
  }),
  listCommand('certificate', 'list the gateways’ certificates', '/api/reverse-proxies/certificates', {
    NAMES: 'names',
    STATE: 'state',
    EXPIRES: 'not_after',
    FROM: 'issuer',
    SOURCE: 'source',
    NEXT: 'next_action',
    AT: 'next_at',
    CLUSTER: 'cluster',
    REASON: 'reason',
  }),
  listCommand('proxy-token', 'list the gateways’ tokens', proxyTokens, {
    ID: 'id',
    NAME: 'name',
    CLUSTER: 'cluster',
    EXPIRES: 'expires_at',
    'LAST USED': 'last_used',
    REVOKED: 'revoked',
  }),
  tokenCreate,
  deleteCommand('proxy-token', proxyTokens, 'name'),
  audit,
  proxyEvents,
];
