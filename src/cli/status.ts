// `meshgate status`: asks every process of a state directory over its status socket and says what is not well.
import { readdir } from 'node:fs/promises';
import { request } from 'node:http';
import { basename, dirname, join } from 'node:path';
import { describeError, errorCode } from '#lib/errors.ts';
import type { Command } from './command.ts';
import { maxAnswerBytes, maxStatusSockets, statusTimeoutMs } from './constants.ts';
import { cliError } from './errors.ts';
import type { Io } from './io.ts';
import { clean, field, printJson, tableLines, type Column } from './output.ts';
import { stateDirectory } from './state-dir.ts';

export const statusCommand: Command = {
  name: 'status',
  summary: 'what the processes of this machine say of themselves; exit code 1 where something is not well',
  flags: {
    'state-dir': { kind: 'text', value: 'DIR', about: 'of one process or of several (default: MESHGATE_STATE_DIR, else .meshgate)' },
    json: { kind: 'switch', about: 'print JSON' },
  },
  async run(input, io) {
    const stateDir = input.text('state-dir') ?? stateDirectory(io.env);
    const sockets = await findSockets(stateDir);
    if (sockets.length === 0) {
      io.err(`meshgate: nothing runs from ${stateDir}`);
      return 1;
    }
    const reports = await Promise.all(sockets.map((socket) => ask(socket, io.stop)));
    if (input.on('json')) printJson(io, reports);
    else for (const report of reports) print(io, report);
    return reports.every((report) => report.problems.length === 0) ? 0 : 1;
  },
};

export interface Report {
  /** The name of the process: as it says, else that of its directory. */
  readonly process: string;
  readonly socket: string;
  readonly status: unknown;
  /** What is not well, in words; empty is well. Peers that are away are not counted: machines may sleep. */
  readonly problems: readonly string[];
}

/** Sockets in the directory and one level below, in order. A directory that is not there has none. */
export async function findSockets(stateDir: string): Promise<readonly string[]> {
  const found: string[] = [];
  for (const entry of await entriesOf(stateDir)) {
    if (entry.name.endsWith('.sock')) found.push(join(stateDir, entry.name));
    else if (entry.isDirectory()) {
      const below = await entriesOf(join(stateDir, entry.name));
      if (below.some((file) => file.name === 'status.sock')) found.push(join(stateDir, entry.name, 'status.sock'));
    }
  }
  return found.sort().slice(0, maxStatusSockets);
}

async function entriesOf(directory: string): ReturnType<typeof readdirTyped> {
  try {
    return await readdirTyped(directory);
  } catch (error) {
    if (errorCode(error) === 'ENOENT' || errorCode(error) === 'ENOTDIR') return [];
    throw cliError('CLI_FILE', `${directory}: ${errorCode(error) ?? ''}`, error);
  }
}

function readdirTyped(directory: string): Promise<import('node:fs').Dirent[]> {
  return readdir(directory, { withFileTypes: true });
}

async function ask(socket: string, stop: AbortSignal): Promise<Report> {
  const name = basename(socket) === 'status.sock' ? basename(dirname(socket)) : basename(socket, '.sock');
  try {
    const status = await fetchStatus(socket, AbortSignal.any([stop, AbortSignal.timeout(statusTimeoutMs)]));
    return { process: field(status, 'process') || name, socket, status, problems: problemsOf(status) };
  } catch (error) {
    const gone = errorCode(error) === 'ECONNREFUSED' || errorCode(error) === 'ENOENT';
    return { process: name, socket, status: null, problems: [gone ? 'it does not run' : `it does not answer: ${describeError(error)}`] };
  }
}

/** The status behind a socket; rejects where nobody answers. */
export function fetchStatus(socketPath: string, signal: AbortSignal): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const asked = request({ socketPath, path: '/status', signal, agent: false }, (response) => {
      const chunks: Buffer[] = [];
      let size = 0;
      response.on('data', (chunk: Buffer) => {
        size += chunk.length;
        if (size > maxAnswerBytes) asked.destroy(cliError('CLI_FILE', 'the answer is too large'));
        else chunks.push(chunk);
      });
      response.on('error', reject);
      response.on('end', () => {
        try {
          resolve(JSON.parse(Buffer.concat(chunks).toString('utf8')));
        } catch (error) {
          reject(cliError('CLI_FILE', 'the answer is not JSON', error));
        }
      });
    });
    asked.on('error', reject).end();
  });
}

/** What a status holds, wherever the process puts it: at the top or under `mesh`. */
function rowsOf(status: unknown, name: string): readonly unknown[] {
  const at = (value: unknown): unknown =>
    typeof value === 'object' && value !== null && Object.hasOwn(value, name) ? (value as Record<string, unknown>)[name] : undefined;
  const mesh = typeof status === 'object' && status !== null && 'mesh' in status ? at(status.mesh) : undefined;
  return [at(status), mesh].flatMap((rows) => (Array.isArray(rows) ? (rows as unknown[]) : []));
}

/** Links that are down, services that are not served, certificates that cannot be used, and whatever the process itself lists under `problems`. */
export function problemsOf(status: unknown): readonly string[] {
  const links = rowsOf(status, 'links').filter((link) => field(link, 'connected') !== 'true');
  const services = rowsOf(status, 'services').filter((service) => field(service, 'state') !== 'active' && field(service, 'enabled') !== 'false');
  return [
    ...links.map((link) => `${field(link, 'name')} is not connected: ${field(link, 'reason') || 'no reason given'}`),
    ...services.map(
      (service) =>
        `${field(service, 'domain') || field(service, 'id')} is ${field(service, 'state')}: ${field(service, 'reason') || 'no reason given'}`,
    ),
    ...rowsOf(status, 'certificates').flatMap((row) =>
      wellCertificates.has(field(row, 'state'))
        ? []
        : [`certificate ${field(row, 'names') || field(row, 'source')} is ${field(row, 'state')}: ${field(row, 'reason')}`],
    ),
    ...rowsOf(status, 'problems').map((problem) => (typeof problem === 'string' ? problem : field(problem, 'reason'))),
  ];
}

/** A certificate that is being ordered shows at its service. */
const wellCertificates = new Set(['valid', 'renewing', 'pending']);

const certificateColumns: readonly Column<unknown>[] = [
  { title: 'CERTIFICATE', cell: (row) => field(row, 'names') || field(row, 'source') },
  { title: 'STATE', cell: (row) => field(row, 'state') },
  { title: 'EXPIRES', cell: (row) => field(row, 'notAfter') },
  { title: 'FROM', cell: (row) => field(row, 'issuer') || field(row, 'source') },
  { title: 'NEXT', cell: (row) => [field(row, 'nextAction'), field(row, 'nextAt')].filter((part) => part !== '').join(' ') },
  { title: 'REASON', cell: (row) => field(row, 'reason') },
];

const linkColumns: readonly Column<unknown>[] = [
  { title: 'LINK', cell: (row) => field(row, 'name') },
  { title: 'STATE', cell: (row) => (field(row, 'connected') === 'true' ? 'connected' : 'down') },
  { title: 'ADDRESS', cell: (row) => field(row, 'address') },
  { title: 'SINCE', cell: (row) => field(row, 'since') },
  { title: 'REASON', cell: (row) => field(row, 'reason') },
];

const peerColumns: readonly Column<unknown>[] = [
  { title: 'PEER', cell: (row) => field(row, 'fqdn') || field(row, 'publicKey') },
  { title: 'ADDRESSES', cell: (row) => field(row, 'addresses') },
  { title: 'PATH', cell: (row) => field(row, 'path', 'kind') || field(row, 'state') },
  { title: 'REMOTE', cell: (row) => field(row, 'path', 'remote') },
  { title: 'LATENCY', cell: latency },
  { title: 'RECEIVED', cell: (row) => field(row, 'receivedBytes') },
  { title: 'SENT', cell: (row) => field(row, 'sentBytes') },
  { title: 'SWITCHED', cell: (row) => field(row, 'lastSwitch', 'at') },
  { title: 'REASON', cell: (row) => field(row, 'reason') },
];

const routeColumns: readonly Column<unknown>[] = [
  { title: 'NETWORK', cell: (row) => field(row, 'network') },
  { title: 'TO', cell: (row) => field(row, 'to') },
  { title: 'THROUGH', cell: (row) => field(row, 'routerName') || field(row, 'router') || 'nobody' },
];

const serviceColumns: readonly Column<unknown>[] = [
  { title: 'SERVICE', cell: (row) => field(row, 'domain') || field(row, 'id') },
  { title: 'STATE', cell: (row) => field(row, 'state') },
  { title: 'REASON', cell: (row) => field(row, 'reason') },
];

const targetColumns: readonly Column<unknown>[] = [
  { title: 'TARGET', cell: (row) => field(row, 'target') },
  { title: 'OPEN', cell: (row) => field(row, 'open') },
  { title: 'TOTAL', cell: (row) => field(row, 'total') },
  { title: 'REASON', cell: (row) => field(row, 'reason') },
];

function latency(row: unknown): string {
  const ms = Number(field(row, 'path', 'latencyMs') || Number.NaN);
  return Number.isNaN(ms) ? '' : `${ms.toFixed(1)} ms`;
}

/** What carries the peers, and what happened to this host's network. */
function overlayLines(status: unknown): readonly string[] {
  const figure = (...path: readonly string[]): string => field(status, 'mesh', 'overlay', ...path);
  const reports = (name: string): string => field(status, 'mesh', 'pathReports', name);
  if (figure('pathSwitches') === '') return [];
  const counts = ['direct', 'relay', 'seeking', 'idle'].map((kind) => `${figure('peers', kind)} ${kind}`).join(', ');
  const what = figure('lastNetworkChange', 'what');
  const dropped = figure('relayDroppedPackets');
  const lines = [
    `paths: ${counts}; switched ${figure('pathSwitches')} times`,
    ...(what === '' ? [] : [`network: changed ${figure('networkChanges')} times, last at ${figure('lastNetworkChange', 'at')}: ${what}`]),
    ...(reports('state') === 'unsupported' || reports('state') === 'failing' ? [`path reports: ${reports('state')}: ${reports('reason')}`] : []),
    ...(dropped === '' || dropped === '0' ? [] : [`relay: ${dropped} packets dropped`]),
  ];
  return lines.map((line) => clean(line));
}

function print(io: Io, report: Report): void {
  io.out(`${clean(report.process)}: ${report.problems.length === 0 ? 'well' : 'not well'}`);
  for (const [name, value] of Object.entries(report.status ?? {})) {
    if (name !== 'process' && value !== '' && (typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean'))
      io.out(`  ${clean(name)}: ${clean(String(value))}`);
  }
  for (const name of ['fqdn', 'address', 'publicKey', 'serial']) {
    const text = field(report.status, 'mesh', name);
    if (text !== '') io.out(`  ${name}: ${clean(text)}`);
  }
  for (const name of ['udp', 'cipher']) {
    const text = field(report.status, 'mesh', 'overlay', 'accelerators', name);
    if (text !== '') io.out(`  ${name}: ${clean(text)}`);
  }
  for (const line of overlayLines(report.status)) io.out(`  ${line}`);
  const tables = [
    ['links', linkColumns],
    ['peers', peerColumns],
    ['routes', routeColumns],
    ['services', serviceColumns],
    ['certificates', certificateColumns],
    ['targets', targetColumns],
  ] as const;
  for (const [name, columns] of tables) {
    const rows = rowsOf(report.status, name);
    if (rows.length > 0) for (const line of tableLines(rows, columns)) io.out(`  ${line}`);
  }
  for (const problem of report.problems) io.out(`  ! ${clean(problem)}`);
}
