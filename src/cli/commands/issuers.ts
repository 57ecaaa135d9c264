// External OpenID Connect issuers whose users may sign in.
import { readFile } from 'node:fs/promises';
import { apiCommand, deleteCommand, done, find, listCommand, type ApiSession } from '../api-command.ts';
import type { Command, Flags } from '../command.ts';
import { cliError } from '../errors.ts';
import { readSecret } from '../files.ts';
import { field } from '../output.ts';

const issuers = '/api/identity-providers';

const common: Flags = {
  type: { kind: 'text', value: 'TYPE', about: 'oidc, zitadel, entra, google, okta, pocketid, microsoft or adfs (default oidc)' },
  issuer: { kind: 'text', value: 'URL', about: 'its issuer URL' },
  'client-id': { kind: 'text', value: 'ID', about: 'our client id there' },
  'client-auth': { kind: 'text', value: 'HOW', about: 'how the secret is sent where both are taken: basic or post (default basic)' },
  'ca-file': { kind: 'text', value: 'FILE', about: 'PEM file with a private authority of its certificate' },
  'email-domain': { kind: 'many', value: 'DOMAIN', about: 'only addresses of this domain; may be given more than once' },
  'trust-email': { kind: 'switch', about: 'believe addresses of which the issuer does not say that it has verified them' },
  'groups-claim': { kind: 'text', value: 'CLAIM', about: 'the claim that lists a person’s groups there' },
  'map-group': {
    kind: 'many',
    value: 'VALUE=GROUP',
    about: 'a value of that claim and the group here that it stands for; may be given more than once',
  },
  claim: { kind: 'many', value: 'CLAIM', about: 'keep this claim for access rules; may be given more than once' },
};

const secretFlags: Flags = {
  'secret-file': { kind: 'text', value: 'FILE', about: 'first line is our client secret there; else it is asked for or read from standard input' },
};

/** What the flags say, and nothing of what they leave out. */
async function fromFlags({ api, input }: ApiSession): Promise<Readonly<Record<string, unknown>>> {
  const mapping: Record<string, string> = {};
  for (const pair of input.many('map-group')) {
    const at = pair.lastIndexOf('=');
    if (at < 1) throw cliError('CLI_USAGE', '--map-group takes VALUE=GROUP');
    mapping[pair.slice(0, at)] = (await find(api, '/api/groups', pair.slice(at + 1), ['name'])).id;
  }
  const caFile = input.text('ca-file');
  const said = {
    type: input.text('type'),
    issuer: input.text('issuer'),
    client_id: input.text('client-id'),
    client_auth: input.text('client-auth'),
    ca: caFile === undefined ? undefined : await readFile(caFile, 'utf8'),
    email_domains: some(input.many('email-domain')),
    trust_email: input.on('trust-email') ? true : undefined,
    groups_claim: input.text('groups-claim'),
    group_mapping: Object.keys(mapping).length === 0 ? undefined : mapping,
    claims: some(input.many('claim')),
  };
  return Object.fromEntries(Object.entries(said).filter(([, value]) => value !== undefined));
}

function some(texts: readonly string[]): readonly string[] | undefined {
  return texts.length === 0 ? undefined : texts;
}

const create = apiCommand({
  name: 'issuer create',
  summary: 'let the users of another OpenID Connect issuer sign in',
  positionals: ['NAME'],
  flags: { ...common, ...secretFlags },
  async run(session) {
    const { api, input, io } = session;
    const request = { ...(await fromFlags(session)), name: input.positionals[0] };
    const secret = await readSecret(io, 'Client secret', input.text('secret-file'));
    const answer = await api.call('POST', issuers, { ...request, client_secret: secret });
    const redirect = field(answer, 'redirect_url');
    done(
      session,
      `made ${input.positionals[0]} (${field(answer, 'id')}); register the redirect URL there: the server’s address and ${redirect}`,
      answer,
    );
  },
});

const update = apiCommand({
  name: 'issuer update',
  summary: 'change an issuer; what is not named stays',
  positionals: ['ISSUER'],
  flags: { ...common, name: { kind: 'text', value: 'NAME', about: 'on the button of the sign-in page' }, ...secretFlags },
  async run(session) {
    const { api, input, io } = session;
    const found = await find(api, issuers, input.positionals[0] ?? '', ['name']);
    const [name, file] = [input.text('name'), input.text('secret-file')];
    const request = {
      ...(found.row as object),
      ...(await fromFlags(session)),
      ...(name === undefined ? {} : { name }),
      ...(file === undefined ? {} : { client_secret: await readSecret(io, 'Client secret', file) }),
    };
    done(session, `changed ${found.name}`, await api.call('PUT', `${issuers}/${encodeURIComponent(found.id)}`, request));
  },
});

export const issuerCommands: readonly Command[] = [
  listCommand('issuer', 'list the issuers whose users may sign in', issuers, {
    ID: 'id',
    NAME: 'name',
    TYPE: 'type',
    ISSUER: 'issuer',
    'CLIENT ID': 'client_id',
    DOMAINS: 'email_domains',
    CONFIGURED: 'configured',
  }),
  create,
  update,
  deleteCommand('issuer', issuers, 'name'),
];
