// Who is signed in where, and what the account asks of sign-ins.
import { apiCommand, asRows, done, find, printTable, type ApiSession } from '../api-command.ts';
import type { Command } from '../command.ts';
import { cliError } from '../errors.ts';
import { field, printJson } from '../output.ts';
import { seconds } from './network.ts';

const sessions = '/api/sessions';
const accounts = '/api/accounts';

const sessionList = apiCommand({
  name: 'session list',
  summary: 'list who is signed in at which service, from where, and how he proved who he is',
  flags: {
    user: { kind: 'text', value: 'USER', about: 'only of this user, by id, e-mail or name' },
    own: { kind: 'switch', about: 'only one’s own' },
  },
  async run(session) {
    const { api, input } = session;
    const user = input.text('user');
    const query = new URLSearchParams(input.on('own') ? { scope: 'own' } : {});
    if (user !== undefined) query.set('user', (await find(api, '/api/users', user, ['email', 'name'])).id);
    const rows = asRows(await api.call('GET', `${sessions}?${query.toString()}`));
    printTable(session, rows, rows, {
      ID: 'id',
      USER: 'user_email',
      SERVICE: 'domain',
      FROM: 'address',
      'SIGNED IN': 'created_at',
      'LAST USED': 'last_used',
      ENDS: 'expires_at',
      PROOF: 'methods',
      BROWSER: 'user_agent',
    });
  },
});

const sessionRevoke = apiCommand({
  name: 'session revoke',
  summary: 'end a session: the next request has to sign in, and what is open is closed',
  positionals: ['SESSION'],
  async run(session) {
    const id = session.input.positionals[0] ?? '';
    done(session, `ended ${id}`, await session.api.call('DELETE', `${sessions}/${encodeURIComponent(id)}`));
  },
});

async function accountOf({ api }: ApiSession): Promise<{ readonly id: string; readonly settings: unknown }> {
  const [account] = asRows(await api.call('GET', accounts));
  if (typeof account !== 'object' || account === null || !('settings' in account)) throw cliError('CLI_API_REFUSED', 'the answer has no account');
  return { id: field(account, 'id'), settings: account.settings };
}

const settingsShow = apiCommand({
  name: 'settings show',
  summary: 'the settings of the account as JSON',
  async run(session) {
    printJson(session.io, (await accountOf(session)).settings);
  },
});

function onOff(flag: string, text: string): boolean {
  if (text !== 'on' && text !== 'off') throw cliError('CLI_USAGE', `--${flag} is on or off`);
  return text === 'on';
}

const settingsSet = apiCommand({
  name: 'settings set',
  summary: 'change settings of the account',
  flags: {
    'session-lifetime': { kind: 'text', value: 'DURATION', about: 'how long a session at a service lasts, such as 12h; services may say otherwise' },
    'session-idle': { kind: 'text', value: 'DURATION', about: 'how long a session may be without a request, such as 30m; 0 for any' },
    'second-factor': { kind: 'text', value: 'on|off', about: 'whether users with a password need a second factor' },
  },
  async run(session) {
    const { api, input } = session;
    const [lifetime, idle, factor] = [input.text('session-lifetime'), input.text('session-idle'), input.text('second-factor')];
    const settings = {
      ...(lifetime === undefined ? {} : { session_lifetime: seconds('session-lifetime', lifetime) }),
      ...(idle === undefined ? {} : { session_idle_timeout: seconds('session-idle', idle) }),
      ...(factor === undefined ? {} : { local_mfa_enabled: onOff('second-factor', factor) }),
    };
    if (Object.keys(settings).length === 0) throw cliError('CLI_USAGE', 'say what to change');
    const { id } = await accountOf(session);
    done(session, 'changed', await api.call('PUT', `${accounts}/${encodeURIComponent(id)}`, { settings }));
  },
});

export const sessionCommands: readonly Command[] = [sessionList, sessionRevoke, settingsShow, settingsSet];
