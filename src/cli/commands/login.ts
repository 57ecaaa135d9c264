// `meshgate login`: a person signs this machine in with a browser, here or elsewhere, by the device flow of OAuth 2.0 (RFC 8628).
import { resolve } from 'node:path';
import { setTimeout as after } from 'node:timers/promises';
import { type ApiTarget, openApi, postForm } from '../api-client.ts';
import { apiFlags } from '../api-command.ts';
import type { Command } from '../command.ts';
import { checkApiUrl, saveCredentials } from '../credentials.ts';
import { cliError } from '../errors.ts';
import type { Io } from '../io.ts';
import { clean, field, printJson } from '../output.ts';

const clientId = 'netbird-cli';
const grant = 'urn:ietf:params:oauth:grant-type:device_code';
/** Where the server does not say how often to ask, seconds. */
const pollSeconds = 5;

const login: Command = {
  name: 'login',
  summary: 'sign this machine in for an hour: prints an address to open in a browser, here or on another device',
  flags: apiFlags,
  async run(input, io) {
    const api = checkApiUrl(input.text('api') ?? io.env['MESHGATE_API'] ?? '');
    const caFile = input.text('ca') ?? (io.env['MESHGATE_CA'] || undefined);
    const ca = caFile === undefined ? undefined : resolve(caFile); // it is kept for later, wherever that is run
    const token = await signIn({ api, ca, token: undefined }, io);
    const client = await openApi({ api, ca, token }, io.stop);
    try {
      const user = await client.call('GET', '/api/users/current');
      const path = await saveCredentials(io.env, { api, token, ca });
      if (input.on('json')) printJson(io, { user_id: field(user, 'id'), email: field(user, 'email'), credentials: path });
      else io.out(`${clean(field(user, 'email'))} is signed in on this machine (${path}).`);
      return 0;
    } finally {
      await client.close();
    }
  },
};

/** The access token. CLI_API_REFUSED where the person or the server says no. */
async function signIn(target: ApiTarget, io: Io): Promise<string> {
  const started = await postForm(target, '/oauth2/device/code', { client_id: clientId, scope: 'openid profile email groups' }, io.stop);
  const [code, link] = [field(started, 'device_code'), field(started, 'verification_uri_complete') || field(started, 'verification_uri')];
  if (code === '' || link === '') throw cliError('CLI_API_REFUSED', refusal(started));
  io.err(`open ${clean(link)} and compare the code: ${clean(field(started, 'user_code'))}`);
  let everyMs = (Number(field(started, 'interval')) || pollSeconds) * 1_000;
  const until = performance.now() + (Number(field(started, 'expires_in')) || 600) * 1_000;
  while (performance.now() < until) {
    await after(everyMs, undefined, { signal: io.stop });
    const answer = await postForm(target, '/oauth2/token', { client_id: clientId, grant_type: grant, device_code: code }, io.stop);
    const token = field(answer, 'access_token');
    if (token !== '') return token;
    const error = field(answer, 'error');
    if (error === 'slow_down') everyMs += 5_000;
    else if (error !== 'authorization_pending') throw cliError('CLI_API_REFUSED', refusal(answer));
  }
  throw cliError('CLI_API_REFUSED', 'nobody has signed in in time');
}

function refusal(answer: unknown): string {
  return clean(field(answer, 'error_description') || field(answer, 'error') || 'the server knows no sign-in for machines');
}

export const loginCommands: readonly Command[] = [login];
