// `meshgate expose`: publishes something of this machine for as long as it is wanted, through the agent that runs here or as a peer of its own.
import { sleep } from '#lib/backoff.ts';
import { errorCode } from '#lib/errors.ts';
import { callAgent, findAgent, streamAgent } from '../agent-socket.ts';
import { openApi } from '../api-client.ts';
import { apiCommand, asRows, done, findIds } from '../api-command.ts';
import type { Command, Flags, Input } from '../command.ts';
import { agentAwayMs, agentRetryMs, joinMs } from '../constants.ts';
import { checkApiUrl, findCredentials } from '../credentials.ts';
import { cliError } from '../errors.ts';
import { readSecret, readText } from '../files.ts';
import type { Io } from '../io.ts';
import { clean, field, printRows } from '../output.ts';
import { closeInTime } from '../processes.ts';
import { stateDirectory } from '../state-dir.ts';

const agentFlags: Flags = {
  'state-dir': { kind: 'text', value: 'DIR', about: 'of the agent, or one above it (default: MESHGATE_STATE_DIR, else .meshgate)' },
  json: { kind: 'switch', about: 'print JSON' },
};

const protocols = ['https', 'tcp', 'udp', 'tls'] as const;

const exposeFlags: Flags = {
  https: { kind: 'switch', about: 'it speaks https, not http' },
  tcp: { kind: 'switch', about: 'publish a TCP port' },
  udp: { kind: 'switch', about: 'publish a UDP port' },
  tls: { kind: 'switch', about: 'it speaks TLS itself, and keeps its key' },
  name: { kind: 'text', value: 'NAME', about: 'the beginning of its random name' },
  below: { kind: 'text', value: 'DOMAIN', about: 'a domain that its random name is below' },
  domain: { kind: 'text', value: 'DOMAIN', about: 'its whole name, where the network lets peers choose names' },
  'listen-port': { kind: 'integer', value: 'N', about: 'its public port, for --tcp, --udp and --tls (default: one that is free)' },
  sso: { kind: 'switch', about: 'people sign in first; so it is too without any of these five flags' },
  group: { kind: 'many', value: 'GROUP', about: 'only members of this group may sign in; may be given more than once' },
  'password-file': { kind: 'text', value: 'FILE', about: 'whoever has the password in its first line may open it' },
  'pin-file': { kind: 'text', value: 'FILE', about: 'whoever has the PIN in its first line may open it' },
  public: { kind: 'switch', about: 'anybody may open it, where the network permits that' },
  expires: { kind: 'text', value: 'DURATION', about: 'it ends after this time, such as 2h' },
  background: { kind: 'switch', about: 'return when it is published; the agent keeps it, also over a restart, until meshgate expose stop' },
  'setup-key-file': { kind: 'text', value: 'FILE', about: 'join as a peer of its own with this key, instead of asking an agent; with --api' },
  api: { kind: 'text', value: 'URL', about: 'the server, where no agent runs here; else MESHGATE_API, else the one of meshgate setup' },
  ca: { kind: 'text', value: 'FILE', about: 'PEM file of its private certificate authority; else MESHGATE_CA' },
  ...agentFlags,
};

/** What is published becomes known while the command runs; this prints it and remembers what matters. */
class Reporter {
  readonly #io: Io;
  readonly #json: boolean;
  readonly #hint: string;
  #url = '';
  #said = '';
  name = '';
  resume: { readonly id: string; readonly port: number } | undefined;
  ended: string | undefined;

  constructor(io: Io, json: boolean, hint: string) {
    this.#io = io;
    this.#json = json;
    this.#hint = hint;
  }

  told(event: unknown): void {
    if (this.#json) this.#io.out(JSON.stringify(event));
    const reason = field(event, 'reason');
    const kind = field(event, 'event');
    if (kind === 'ended') this.ended = reason;
    else if (kind === 'open') this.#opened(event, reason);
    else if (reason !== '') this.#say(`not published yet: ${reason}`);
  }

  #opened(event: unknown, reason: string): void {
    this.name = field(event, 'name');
    this.resume = { id: field(event, 'id'), port: Number(field(event, 'port')) };
    const url = field(event, 'url');
    if (url !== this.#url) {
      if (field(event, 'again') === 'true') this.#say('the service had lapsed and was published anew, under a new address:');
      if (!this.#json) this.#io.out(clean(url));
      const until = field(event, 'expires_at');
      this.#say(`open to ${field(event, 'open_to')}${until === '' ? '' : `, until ${until}`}${this.#hint}`);
      this.#url = url;
    }
    const [away, state] = [field(event, 'away'), field(event, 'state')];
    if (away !== '') this.#say(`it cannot be renewed, which is tried again: ${away}`);
    else if (state === 'active') this.#say('the gateways serve it');
    else if (reason !== '') this.#say(`the gateways do not serve it yet: ${reason}`);
  }

  /** On standard error, each once in a row. */
  #say(text: string): void {
    if (this.#json || text === this.#said) return;
    this.#said = text;
    this.#io.err(clean(text));
  }
}

const expose: Command = {
  name: 'expose',
  summary: 'publish a port of this machine (or HOST:PORT, where policies let it reach that) until Ctrl-C',
  positionals: ['TARGET'],
  flags: exposeFlags,
  async run(input, io) {
    const wish = await wishOf(input, io);
    const background = input.on('background');
    const keyFile = input.text('setup-key-file');
    const stateDir = input.text('state-dir') ?? stateDirectory(io.env);
    const socket = keyFile === undefined ? await findAgent(stateDir, io.stop) : undefined;
    const report = new Reporter(io, input.on('json'), background ? '; meshgate expose stop ends it' : '; Ctrl-C ends it');
    if (socket !== undefined) return throughAgent(socket, { wish, background }, report, io);
    if (background) throw cliError('CLI_USAGE', `--background needs an agent, and none runs from ${stateDir}`);
    return keyFile === undefined ? asSignedIn(input, wish, report, io) : withKey(input, keyFile, wish, report, io);
  },
};

async function wishOf(input: Input, io: Io): Promise<Readonly<Record<string, unknown>>> {
  const chosen = protocols.filter((name) => input.on(name));
  if (chosen.length > 1) throw cliError('CLI_USAGE', `choose one of ${chosen.map((name) => `--${name}`).join(', ')}`);
  const secret = async (label: string, flag: string): Promise<string | undefined> => {
    const file = input.text(flag);
    return file === undefined ? undefined : await readSecret(io, label, file);
  };
  const fields = {
    target: input.positionals[0],
    protocol: chosen[0] ?? 'http',
    name: input.text('name')?.toLowerCase(),
    below: input.text('below'),
    domain: input.text('domain'),
    listenPort: input.integer('listen-port'),
    public: input.on('public'),
    sso: input.on('sso'),
    groups: input.many('group'),
    password: await secret('Password', 'password-file'),
    pin: await secret('PIN', 'pin-file'),
    expires: input.text('expires'),
  };
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined));
}

/** Where the agent is started anew meanwhile, what it had published for this terminal goes on. */
async function throughAgent(
  socket: string,
  request: { readonly wish: unknown; readonly background: boolean },
  report: Reporter,
  io: Io,
): Promise<number> {
  const leaving = new AbortController();
  const onStop = (): void => void stopAtAgent(socket, report).finally(() => leaving.abort());
  io.stop.addEventListener('abort', onStop, { once: true });
  let awaySince: number | undefined;
  while (!io.stop.aborted) {
    try {
      const body = { ...request, ...(report.resume === undefined ? {} : { resume: report.resume }) };
      await streamAgent(
        socket,
        '/expose',
        body,
        (event) => {
          awaySince = undefined;
          report.told(event);
        },
        leaving.signal,
      );
    } catch (error) {
      const known = report.resume !== undefined && errorCode(error) === 'CLI_AGENT_AWAY';
      if (!known && !io.stop.aborted) throw error;
    }
    if (report.ended !== undefined || (request.background && report.resume !== undefined)) break;
    if (io.stop.aborted) break;
    awaySince ??= performance.now();
    if (performance.now() - awaySince > agentAwayMs) throw cliError('CLI_AGENT_AWAY', 'it went away and did not come back');
    await sleep(agentRetryMs, io.stop);
  }
  if (io.stop.aborted) await aborted(leaving.signal);
  return ending(report, io);
}

/** The agent hears of it and has taken it away before the command ends. */
async function stopAtAgent(socket: string, report: Reporter): Promise<void> {
  if (report.name !== '') await callAgent(socket, 'POST', '/expose/stop', { name: report.name }).catch(() => undefined);
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => (signal.aborted ? resolve() : signal.addEventListener('abort', () => resolve(), { once: true })));
}

function ending({ ended }: Reporter, io: Io): number {
  if (io.stop.aborted || ended === undefined) return 0;
  io.err(`meshgate: ${clean(ended)}`);
  return ended === 'its time is over' ? 0 : 1;
}

async function withKey(input: Input, keyFile: string, wish: unknown, report: Reporter, io: Io): Promise<number> {
  const api = checkApiUrl(input.text('api') ?? io.env['MESHGATE_API'] ?? '');
  const ca = input.text('ca') ?? (io.env['MESHGATE_CA'] || undefined);
  return standalone(api, ca, await readSecret(io, 'Setup key', keyFile), wish, report, io);
}

/** Who is signed in here, and may make setup keys, joins with one that is made for this alone. */
async function asSignedIn(input: Input, wish: unknown, report: Reporter, io: Io): Promise<number> {
  const credentials = await findCredentials(io, input.text('api'), input.text('ca'));
  const api = await openApi(credentials, io.stop);
  try {
    const [account] = asRows(await api.call('GET', '/api/accounts'));
    const groups = (account as { readonly settings?: { readonly peer_expose_groups?: readonly string[] } }).settings?.peer_expose_groups ?? [];
    const request = { name: 'expose', type: 'one-off', expires_in: 86_400, usage_limit: 1, ephemeral: true, auto_groups: groups.slice(0, 1) };
    const key = await api.call('POST', '/api/setup-keys', request);
    try {
      return await standalone(credentials.api, credentials.ca, field(key, 'key'), wish, report, io);
    } finally {
      // The wish to stop has aborted the client's calls; the key is used up or ends within a day.
      await api.call('DELETE', `/api/setup-keys/${encodeURIComponent(field(key, 'id'))}`).catch(() => undefined);
    }
  } finally {
    await api.close();
  }
}

async function standalone(url: string, caFile: string | undefined, setupKey: string, wish: unknown, report: Reporter, io: Io): Promise<number> {
  const ca = caFile === undefined ? undefined : (await readText(caFile)).text;
  const { exposeStandalone } = await import('#agent/index.ts');
  const over = new AbortController();
  const told = (event: unknown): void => {
    report.told(event);
    if (report.ended !== undefined) over.abort();
  };
  const signal = AbortSignal.any([io.stop, AbortSignal.timeout(joinMs)]);
  const running = await exposeStandalone({ control: { url, ca }, setupKey, hostname: undefined, wish, told }, signal);
  await aborted(AbortSignal.any([io.stop, over.signal]));
  const code = await closeInTime(running, io);
  return code === 0 ? ending(report, io) : code;
}

async function needAgent(input: Input, io: Io): Promise<string> {
  const stateDir = input.text('state-dir') ?? stateDirectory(io.env);
  const socket = await findAgent(stateDir, io.stop);
  if (socket === undefined) throw cliError('CLI_AGENT_AWAY', `none runs from ${stateDir}`);
  return socket;
}

const exposeList: Command = {
  name: 'expose list',
  summary: 'what the agent of this machine publishes by itself',
  flags: agentFlags,
  async run(input, io) {
    const rows = asRows(await callAgent(await needAgent(input, io), 'GET', '/expose'));
    const columns = { URL: 'url', TARGET: 'target', STATE: 'state', 'OPEN TO': 'openTo', EXPIRES: 'expiresAt', BY: 'source', REASON: 'reason' };
    printRows(
      io,
      input.on('json'),
      rows,
      rows,
      Object.entries(columns).map(([title, name]) => ({ title, cell: (row) => field(row, name) })),
    );
    return 0;
  },
};

const exposeStop: Command = {
  name: 'expose stop',
  summary: 'end what the agent of this machine publishes: by its domain, URL, first label or target',
  positionals: ['NAME'],
  flags: agentFlags,
  async run(input, io) {
    const [name = ''] = input.positionals;
    const answer = await callAgent(await needAgent(input, io), 'POST', '/expose/stop', { name });
    if (input.on('json')) io.out(JSON.stringify(answer));
    else io.out(clean(`stopped ${name}`));
    return 0;
  },
};

const exposeAllow = apiCommand({
  name: 'expose allow',
  summary: 'say whose peers may publish services by themselves; without flags, what is so now',
  flags: {
    group: { kind: 'many', value: 'GROUP', about: 'peers of this group, by name or id; may be given more than once' },
    off: { kind: 'switch', about: 'nobody’s; what is published ends' },
    public: { kind: 'text', value: 'YES', about: 'yes or no: also what anybody can open' },
    domain: { kind: 'many', value: 'DOMAIN', about: 'below which they choose whole names; may be given more than once' },
    limit: { kind: 'integer', value: 'N', about: 'services of one peer at once' },
  },
  async run(session) {
    const { api, input } = session;
    const [account] = asRows(await api.call('GET', '/api/accounts'));
    const isPublic = input.text('public');
    if (isPublic !== undefined && !['yes', 'no'].includes(isPublic)) throw cliError('CLI_USAGE', '--public takes yes or no');
    const groups = await findIds(api, '/api/groups', input.many('group'));
    const change = {
      ...(groups.length === 0 ? {} : { peer_expose_enabled: true, peer_expose_groups: groups }),
      ...(input.on('off') ? { peer_expose_enabled: false } : {}),
      ...(isPublic === undefined ? {} : { peer_expose_public: isPublic === 'yes' }),
      ...(input.on('domain') ? { peer_expose_domains: input.many('domain') } : {}),
      ...(input.on('limit') ? { peer_expose_limit: input.integer('limit') } : {}),
    };
    const path = `/api/accounts/${encodeURIComponent(field(account, 'id'))}`;
    const answer = Object.keys(change).length === 0 ? account : await api.call('PUT', path, { settings: change });
    const setting = (name: string): string => field(answer, 'settings', `peer_expose_${name}`);
    const named = asRows(await api.call('GET', '/api/groups'));
    const names = setting('groups')
      .split(', ')
      .map(
        (id) =>
          field(
            named.find((group) => field(group, 'id') === id),
            'name',
          ) || id,
      );
    const line =
      setting('enabled') === 'true' && setting('groups') !== ''
        ? `peers of ${names.join(', ')} may publish ${setting('limit')} services each; ${setting('public') === 'true' ? 'also public ones' : 'none that are public'}; whole names ${setting('domains') === '' ? 'nowhere' : `below ${setting('domains')}`}`
        : 'no peer may publish anything by itself';
    done(session, line, answer);
  },
});

export const exposeCommands: readonly Command[] = [exposeList, exposeStop, exposeAllow, expose];
