// Share links of a service, and the devices that users have paired.
import { apiCommand, asRows, done, find, printTable, type ApiSession } from '../api-command.ts';
import type { Command } from '../command.ts';
import { field } from '../output.ts';
import { seconds } from './network.ts';

const services = '/api/reverse-proxies/services';
const devices = '/api/devices';

async function linksOf({ api, input }: ApiSession): Promise<string> {
  const { id } = await find(api, services, input.positionals[0] ?? '', ['name', 'domain']);
  return `${services}/${encodeURIComponent(id)}/links`;
}

const share = apiCommand({
  name: 'service share',
  summary: 'make a link that opens it; it is printed once, and sending it is up to you: there is no mailer',
  positionals: ['SERVICE'],
  flags: {
    expires: { kind: 'text', value: 'DURATION', about: 'how long it opens, such as 24h (default), at most 90d' },
    uses: { kind: 'integer', value: 'N', about: 'how many times it opens (default 1)' },
    label: { kind: 'text', value: 'TEXT', about: 'for whom it is: stands in lists and logs' },
    host: { kind: 'text', value: 'NAME', about: 'the name that it leads to, of a service whose domain is a wildcard' },
  },
  async run(session) {
    const { api, input } = session;
    const host = input.text('host');
    const request = {
      label: input.text('label') ?? 'share link',
      expires_in: `${seconds('expires', input.text('expires') ?? '24h')}s`,
      uses: input.integer('uses') ?? 1,
      ...(host === undefined ? {} : { host }),
    };
    const answer = await api.call('POST', await linksOf(session), request);
    if (!session.json) session.io.err('the link is not shown again');
    done(session, field(answer, 'url'), answer);
  },
});

const list = apiCommand({
  name: 'service links',
  summary: 'list its share links',
  positionals: ['SERVICE'],
  async run(session) {
    const rows = asRows(await session.api.call('GET', await linksOf(session)));
    printTable(session, rows, rows, { ID: 'id', LABEL: 'label', USED: 'used', OF: 'uses', EXPIRES: 'expires_at', REVOKED: 'revoked' });
  },
});

const unshare = apiCommand({
  name: 'service unshare',
  summary: 'end a share link, and the sessions that it has opened',
  positionals: ['SERVICE', 'LINK'],
  async run(session) {
    const id = session.input.positionals[1] ?? '';
    done(session, `ended ${id}`, await session.api.call('DELETE', `${await linksOf(session)}/${encodeURIComponent(id)}`));
  },
});

const deviceList = apiCommand({
  name: 'device list',
  summary: 'list paired devices',
  flags: {
    user: { kind: 'text', value: 'USER', about: 'only of this user, by id, e-mail or name' },
    own: { kind: 'switch', about: 'only one’s own' },
  },
  async run(session) {
    const { api, input } = session;
    const user = input.text('user');
    const query = new URLSearchParams(input.on('own') ? { scope: 'own' } : {});
    if (user !== undefined) query.set('user', (await find(api, '/api/users', user, ['email', 'name'])).id);
    const rows = asRows(await api.call('GET', `${devices}?${query.toString()}`));
    printTable(session, rows, rows, {
      ID: 'id',
      NAME: 'name',
      USER: 'user_email',
      SERVICE: 'domain',
      PAIRED: 'created_at',
      'LAST USED': 'last_used',
    });
  },
});

const deviceRevoke = apiCommand({
  name: 'device revoke',
  summary: 'end the credential of a paired device, and close what it has open',
  positionals: ['DEVICE'],
  async run(session) {
    const id = session.input.positionals[0] ?? '';
    done(session, `ended ${id}`, await session.api.call('DELETE', `${devices}/${encodeURIComponent(id)}`));
  },
});

export const sharingCommands: readonly Command[] = [share, list, unshare, deviceList, deviceRevoke];
