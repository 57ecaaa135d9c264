// Setup keys, peers, groups and policies.
import { parseDuration } from '#lib/schema.ts';
import { apiCommand, deleteCommand, done, find, findIds, listCommand, printTable } from '../api-command.ts';
import type { Command, Flags } from '../command.ts';
import { cliError } from '../errors.ts';
import { clean, field, printJson } from '../output.ts';

const groups = '/api/groups';
const peers = '/api/peers';
const keys = '/api/setup-keys';
const groupFlag: Flags = { group: { kind: 'many', value: 'GROUP', about: 'group by name or id; may be given more than once' } };
const peerFlag: Flags = { peer: { kind: 'many', value: 'PEER', about: 'peer by name or id; may be given more than once' } };

/** Seconds of a duration flag; `0` is never. */
export function seconds(flag: string, text: string): number {
  const ms = parseDuration(text);
  if (ms === undefined) throw cliError('CLI_USAGE', `--${flag} takes a duration such as 24h or 30d, or 0 for no end`);
  return Math.ceil(ms / 1000);
}

const keyCreate = apiCommand({
  name: 'setup-key create',
  summary: 'make a key that machines join with; it is printed once',
  positionals: ['NAME'],
  flags: {
    reusable: { kind: 'switch', about: 'more than one machine may use it' },
    limit: { kind: 'integer', value: 'N', about: 'with --reusable: how many machines (default: no limit)' },
    expires: { kind: 'text', value: 'DURATION', about: 'such as 24h or 30d, 0 for no end (default 24h)' },
    ephemeral: { kind: 'switch', about: 'machines that joined with it are removed when they have been away for long' },
    ...groupFlag,
  },
  async run(session) {
    const { api, input } = session;
    const answer = await api.call('POST', keys, {
      name: input.positionals[0],
      type: input.on('reusable') ? 'reusable' : 'one-off',
      expires_in: seconds('expires', input.text('expires') ?? '24h'),
      usage_limit: input.integer('limit') ?? 0,
      ephemeral: input.on('ephemeral'),
      auto_groups: await findIds(api, groups, input.many('group')),
    });
    if (!session.json) session.io.err('the key is not shown again');
    done(session, field(answer, 'key'), answer);
  },
});

const keyRevoke = apiCommand({
  name: 'setup-key revoke',
  summary: 'no further machine may join with this key',
  positionals: ['SETUP-KEY'],
  async run(session) {
    const found = await find(session.api, keys, session.input.positionals[0] ?? '', ['name']);
    const row = found.row as { readonly auto_groups?: unknown };
    const answer = await session.api.call('PUT', `${keys}/${encodeURIComponent(found.id)}`, { revoked: true, auto_groups: row.auto_groups });
    done(session, `revoked ${found.name}`, answer);
  },
});

const peerRename = apiCommand({
  name: 'peer rename',
  summary: 'give a peer another name',
  positionals: ['PEER', 'NAME'],
  async run(session) {
    const [peer = '', name = ''] = session.input.positionals;
    const found = await find(session.api, peers, peer, ['name', 'ip']);
    done(session, `${found.name} is now ${name}`, await session.api.call('PUT', `${peers}/${encodeURIComponent(found.id)}`, { name }));
  },
});

const peerShow = apiCommand({
  name: 'peer show',
  summary: 'one peer, and how it reaches the others: path, latency, last switch and why',
  positionals: ['PEER'],
  async run(session) {
    const { api, io, json } = session;
    const found = await find(api, peers, session.input.positionals[0] ?? '', ['name', 'ip']);
    const peer = await api.call('GET', `${peers}/${encodeURIComponent(found.id)}`);
    if (json) return printJson(io, peer);
    for (const name of ['name', 'id', 'ip', 'ipv6', 'dns_label', 'connected', 'last_seen', 'connection_ip', 'os', 'version', 'groups'])
      if (field(peer, name) !== '') io.out(`${name.replaceAll('_', ' ')}: ${clean(field(peer, name))}`);
    const reportedAt = field(peer, 'meshgate', 'reported_at');
    if (reportedAt === '') return io.out('paths: this peer has told none; only connected peers of Meshgate do');
    io.out(`paths, as of ${clean(reportedAt)}:`);
    printTable(session, peer, pathsOf(peer), {
      PEER: 'peer_name',
      PATH: 'kind',
      'LATENCY MS': 'latency_ms',
      SINCE: 'since',
      RECEIVED: 'bytes_received',
      SENT: 'bytes_sent',
      SWITCHES: 'switches',
      SWITCHED: 'last_switch_at',
      REASON: 'last_switch_reason',
    });
    const omitted = field(peer, 'meshgate', 'summary', 'omitted');
    if (omitted !== '0') io.out(`and ${clean(omitted)} more`);
  },
});

function pathsOf(peer: unknown): readonly unknown[] {
  const { meshgate } = peer as { readonly meshgate?: { readonly paths?: unknown } };
  return Array.isArray(meshgate?.paths) ? (meshgate.paths as unknown[]) : [];
}

const groupCreate = apiCommand({
  name: 'group create',
  summary: 'make a group of peers',
  positionals: ['NAME'],
  flags: peerFlag,
  async run(session) {
    const members = await findIds(session.api, peers, session.input.many('peer'));
    const answer = await session.api.call('POST', groups, { name: session.input.positionals[0], peers: members });
    done(session, `made ${field(answer, 'name')} (${field(answer, 'id')})`, answer);
  },
});

const groupSet = apiCommand({
  name: 'group set',
  summary: 'replace the members of a group, or its name',
  positionals: ['GROUP'],
  flags: {
    name: { kind: 'text', value: 'NAME', about: 'another name' },
    none: { kind: 'switch', about: 'no members' },
    peer: { kind: 'many', value: 'PEER', about: 'a member, by name or id; may be given more than once (default: the members it has)' },
  },
  async run(session) {
    const { api, input } = session;
    const found = await find(api, groups, input.positionals[0] ?? '', ['name']);
    const row = found.row as { readonly peers?: readonly { readonly id: string }[] };
    const wanted = input.many('peer');
    if (input.on('none') && wanted.length > 0) throw cliError('CLI_USAGE', '--none and --peer exclude each other');
    const keep = wanted.length === 0 && !input.on('none');
    const members = keep ? (row.peers ?? []).map((peer) => peer.id) : await findIds(api, peers, wanted);
    const answer = await api.call('PUT', `${groups}/${encodeURIComponent(found.id)}`, { name: input.text('name') ?? found.name, peers: members });
    done(session, `${field(answer, 'name')} has ${field(answer, 'peers_count')} peers`, answer);
  },
});

const policyCreate = apiCommand({
  name: 'policy create',
  summary: 'let peers of some groups talk to peers of others',
  positionals: ['NAME'],
  flags: {
    from: { kind: 'many', value: 'GROUP', about: 'source group by name or id; may be given more than once', required: true },
    to: { kind: 'many', value: 'GROUP', about: 'destination group; may be given more than once', required: true },
    protocol: { kind: 'text', value: 'P', about: 'all, tcp, udp or icmp (default all)' },
    port: { kind: 'many', value: 'N', about: 'port or range such as 8000-8100; may be given more than once' },
    bidirectional: { kind: 'switch', about: 'the destinations may begin, too' },
    drop: { kind: 'switch', about: 'forbid instead of allow' },
    description: { kind: 'text', value: 'TEXT', about: 'why it exists' },
  },
  async run(session) {
    const { api, input } = session;
    const name = input.positionals[0];
    const rule = {
      name,
      enabled: true,
      action: input.on('drop') ? 'drop' : 'accept',
      bidirectional: input.on('bidirectional'),
      protocol: input.text('protocol') ?? 'all',
      ports: input.many('port'),
      sources: await findIds(api, groups, input.many('from')),
      destinations: await findIds(api, groups, input.many('to')),
    };
    const answer = await api.call('POST', '/api/policies', { name, description: input.text('description') ?? '', enabled: true, rules: [rule] });
    done(session, `made ${field(answer, 'name')} (${field(answer, 'id')})`, answer);
  },
});

export const networkCommands: readonly Command[] = [
  listCommand('setup-key', 'list setup keys', keys, {
    ID: 'id',
    NAME: 'name',
    KEY: 'key',
    TYPE: 'type',
    STATE: 'state',
    USED: 'used_times',
    EXPIRES: 'expires',
  }),
  keyCreate,
  keyRevoke,
  deleteCommand('setup-key', keys, 'name'),
  listCommand('peer', 'list peers', peers, {
    ID: 'id',
    NAME: 'name',
    IP: 'ip',
    CONNECTED: 'connected',
    'LAST SEEN': 'last_seen',
    OS: 'os',
    VERSION: 'version',
    GROUPS: 'groups',
    DIRECT: ['meshgate', 'summary', 'direct'],
    RELAYED: ['meshgate', 'summary', 'relay'],
    'NO PATH': ['meshgate', 'summary', 'none'],
  }),
  peerShow,
  peerRename,
  deleteCommand('peer', peers, 'name', 'ip'),
  listCommand('group', 'list groups', groups, { ID: 'id', NAME: 'name', PEERS: 'peers' }),
  groupCreate,
  groupSet,
  deleteCommand('group', groups, 'name'),
  listCommand('policy', 'list policies', '/api/policies', {
    ID: 'id',
    NAME: 'name',
    ENABLED: 'enabled',
    FROM: ['rules', '0', 'sources'],
    TO: ['rules', '0', 'destinations'],
    PROTOCOL: ['rules', '0', 'protocol'],
  }),
  policyCreate,
  deleteCommand('policy', '/api/policies', 'name'),
];
