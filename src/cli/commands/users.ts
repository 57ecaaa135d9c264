// The first set-up, users, and their tokens.
import { resolve } from 'node:path';
import { openApi } from '../api-client.ts';
import { apiCommand, apiFlags, deleteCommand, done, find, listCommand, printTable, asRows, type ApiSession } from '../api-command.ts';
import type { Command, Flags } from '../command.ts';
import { checkApiUrl, saveCredentials } from '../credentials.ts';
import { cliError } from '../errors.ts';
import { readSecret } from '../files.ts';
import { clean, field, printJson } from '../output.ts';

const users = '/api/users';
const names = ['email', 'name'];
const passwordFile: Flags = {
  'password-file': { kind: 'text', value: 'FILE', about: 'first line is the password; else it is asked for or read from standard input' },
};

const setup: Command = {
  name: 'setup',
  summary: 'make the owner of a new server and sign this machine in',
  flags: {
    email: { kind: 'text', value: 'EMAIL', about: 'of the owner', required: true },
    name: { kind: 'text', value: 'NAME', about: 'of the owner', required: true },
    'code-file': {
      kind: 'text',
      value: 'FILE',
      about: 'first line is the one-time code: setup-code in the server’s state directory; else it is asked for or read from standard input',
    },
    ...passwordFile,
    days: { kind: 'integer', value: 'N', about: 'how long this machine stays signed in, 1–365 (default 90)' },
    ...apiFlags,
  },
  async run(input, io) {
    const api = checkApiUrl(input.text('api') ?? io.env['MESHGATE_API'] ?? '');
    const caFile = input.text('ca') ?? (io.env['MESHGATE_CA'] || undefined);
    const ca = caFile === undefined ? undefined : resolve(caFile); // it is kept for later, wherever that is run
    const code = await readSecret(io, 'Set-up code', input.text('code-file'));
    const password = await readSecret(io, 'Password', input.text('password-file'));
    const client = await openApi({ api, token: undefined, ca }, io.stop);
    try {
      const request = {
        code,
        password,
        email: input.text('email'),
        name: input.text('name'),
        create_pat: true,
        pat_expire_in: input.integer('days') ?? 90,
      };
      const answer = await client.call('POST', '/api/setup', request);
      const token = field(answer, 'personal_access_token');
      if (token === '') throw cliError('CLI_API_REFUSED', 'the owner was made, but the answer has no token; make one with POST /api/users/ID/tokens');
      const path = await saveCredentials(io.env, { api, token, ca });
      if (input.on('json')) printJson(io, { user_id: field(answer, 'user_id'), email: field(answer, 'email'), credentials: path });
      else io.out(`${clean(field(answer, 'email'))} is the owner. This machine is signed in (${path}).`);
      return 0;
    } finally {
      await client.close();
    }
  },
};

const create = apiCommand({
  name: 'user create',
  summary: 'make a user; a generated password is printed once',
  positionals: ['EMAIL'],
  flags: {
    name: { kind: 'text', value: 'NAME', about: 'full name (default: the e-mail address)' },
    role: { kind: 'text', value: 'ROLE', about: 'owner, admin, network_admin, auditor or user (default user)' },
    group: { kind: 'many', value: 'GROUP', about: 'group by name or id; may be given more than once' },
    service: { kind: 'switch', about: 'a service user: no password, acts through tokens; EMAIL is its name then' },
    ...passwordFile,
  },
  async run(session) {
    const { api, input, io } = session;
    const [email = ''] = input.positionals;
    const service = input.on('service');
    const groups: string[] = [];
    for (const group of input.many('group')) groups.push((await find(api, '/api/groups', group, ['name'])).id);
    const file = input.text('password-file');
    const password = file === undefined ? {} : { password: await readSecret(io, 'Password', file) };
    const person = service ? { name: email } : { email, name: input.text('name') ?? email };
    const request = { ...person, ...password, role: input.text('role') ?? 'user', auto_groups: groups, is_service_user: service };
    const answer = await api.call('POST', users, request);
    const generated = field(answer, 'password');
    done(session, `made ${email} (${field(answer, 'id')})${generated === '' ? '' : `, password ${generated}`}`, answer);
  },
});

/** The fields of a PUT that stay as they are. */
async function setBlocked(session: ApiSession, blocked: boolean): Promise<void> {
  const { api, input } = session;
  const found = await find(api, users, input.positionals[0] ?? '', names);
  const row = found.row as { readonly role?: unknown; readonly auto_groups?: unknown };
  const answer = await api.call('PUT', `${users}/${encodeURIComponent(found.id)}`, {
    role: row.role,
    auto_groups: row.auto_groups,
    is_blocked: blocked,
  });
  done(session, `${found.name} is ${blocked ? 'blocked; every session has ended' : 'no longer blocked'}`, answer);
}

const block = apiCommand({
  name: 'user block',
  summary: 'block a user: every session and token stops at once',
  positionals: ['USER'],
  run: (session) => setBlocked(session, true),
});
const unblock = apiCommand({
  name: 'user unblock',
  summary: 'let a blocked user in again',
  positionals: ['USER'],
  run: (session) => setBlocked(session, false),
});

const logout = apiCommand({
  name: 'user logout',
  summary: 'end every session of a user',
  positionals: ['USER'],
  async run(session) {
    const found = await find(session.api, users, session.input.positionals[0] ?? '', names);
    done(session, `ended every session of ${found.name}`, await session.api.call('POST', `${users}/${encodeURIComponent(found.id)}/logout`, {}));
  },
});

const resetFactors = apiCommand({
  name: 'user reset-factors',
  summary: 'take second factors and passkeys away from a user who has lost them; every session ends',
  positionals: ['USER'],
  async run(session) {
    const found = await find(session.api, users, session.input.positionals[0] ?? '', names);
    done(
      session,
      `${found.name} has no second factor any more`,
      await session.api.call('DELETE', `${users}/${encodeURIComponent(found.id)}/factors`),
    );
  },
});

const password = apiCommand({
  name: 'user password',
  summary: 'set a user’s password; one’s own needs the old one first',
  positionals: ['USER'],
  flags: passwordFile,
  async run(session) {
    const { api, input, io } = session;
    const found = await find(api, users, input.positionals[0] ?? '', names);
    const own = field(found.row, 'is_current') === 'true';
    const old = own ? { old_password: await io.secret('Old password') } : {};
    const next = await readSecret(io, 'New password', input.text('password-file'));
    const answer = await api.call('PUT', `${users}/${encodeURIComponent(found.id)}/password`, { ...old, new_password: next });
    done(session, `the password of ${found.name} has changed`, answer);
  },
});

const ofUser: Flags = { user: { kind: 'text', value: 'USER', about: 'whose tokens, by id, e-mail or name (default: one’s own)' } };

async function tokensPath(session: ApiSession): Promise<string> {
  const wanted = session.input.text('user');
  const id =
    wanted === undefined ? field(await session.api.call('GET', `${users}/current`), 'id') : (await find(session.api, users, wanted, names)).id;
  return `${users}/${encodeURIComponent(id)}/tokens`;
}

const tokenList = apiCommand({
  name: 'token list',
  summary: 'list personal access tokens',
  flags: ofUser,
  async run(session) {
    const rows = asRows(await session.api.call('GET', await tokensPath(session)));
    printTable(session, rows, rows, { ID: 'id', NAME: 'name', EXPIRES: 'expiration_date', 'LAST USED': 'last_used' });
  },
});

const tokenCreate = apiCommand({
  name: 'token create',
  summary: 'make a personal access token; it is printed once',
  positionals: ['NAME'],
  flags: { days: { kind: 'integer', value: 'N', about: 'how long it lives, 1–365 (default 30)' }, ...ofUser },
  async run(session) {
    const days = session.input.integer('days') ?? 30;
    const answer = await session.api.call('POST', await tokensPath(session), { name: session.input.positionals[0], expires_in: days });
    if (!session.json) session.io.err(`valid for ${days} days; it is not shown again`);
    done(session, field(answer, 'plain_token'), answer);
  },
});

const tokenDelete = apiCommand({
  name: 'token delete',
  summary: 'delete a personal access token, by id or name',
  positionals: ['TOKEN'],
  flags: ofUser,
  async run(session) {
    const path = await tokensPath(session);
    const found = await find(session.api, path, session.input.positionals[0] ?? '', ['name']);
    done(session, `deleted ${found.name}`, await session.api.call('DELETE', `${path}/${encodeURIComponent(found.id)}`));
  },
});

export const userCommands: readonly Command[] = [
  setup,
  listCommand('user', 'list users', users, { ID: 'id', EMAIL: 'email', NAME: 'name', ROLE: 'role', STATUS: 'status', 'LAST LOGIN': 'last_login' }),
  create,
  block,
  unblock,
  logout,
  password,
  resetFactors,
  deleteCommand('user', users, 'email', 'name'),
  tokenList,
  tokenCreate,
  tokenDelete,
];
