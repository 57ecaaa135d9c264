// The product in parts: each process started alone with a configuration of the test's own, peers of the test's own beside them.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import type { Test } from 'tap';
import { openApi, type ApiClient } from '#cli/api-client.ts';
import { systemClock } from '#lib/clock.ts';
import { silentLogger } from '#lib/log.ts';
import { createMeshNode, hostMeta, type MeshDeps, type MeshNode, type MeshNodeOptions } from '#mesh/index.ts';
import { freePort, readStatus } from './mesh.ts';
import { createTestCa, type TestCa } from './test-ca.ts';
import { until } from './until.ts';

export { until };

const main = resolve(import.meta.dirname, '../../src/cli/main.ts');
const startMs = 20_000;
/** The cluster that gateways of these tests serve. */
export const cluster = 'edge.localhost';

export type Json = Readonly<Record<string, unknown>>;

export interface Part {
  readonly pid: number;
  readonly stateDir: string;
  readonly logFile: string;
  status(): Promise<Json>;
  /** What it has written so far. */
  log(): string;
  /** Sends the signal and resolves with how the process ended. */
  end(signal: NodeJS.Signals): Promise<{ readonly code: number | null; readonly ms: number }>;
}

/** Starts one process and waits for its status socket; it is ended with the test. */
export async function startPart(
  t: Test,
  name: 'server' | 'agent' | 'gateway',
  stateDir: string,
  config: Json,
  env: NodeJS.ProcessEnv = {},
): Promise<Part> {
  await mkdir(stateDir, { recursive: true, mode: 0o700 });
  const configFile = join(stateDir, 'config.json');
  const logFile = join(stateDir, 'log');
  await writeFile(configFile, JSON.stringify({ stateDir, logLevel: 'debug', ...config }));
  const child = spawn(process.execPath, [main, name, '--config', configFile], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, ...env },
  });
  let log = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk: Buffer) => (log += chunk.toString('utf8')));
  const exited = once(child, 'exit') as Promise<[number | null]>;
  const end = async (signal: NodeJS.Signals): Promise<{ readonly code: number | null; readonly ms: number }> => {
    const begun = performance.now();
    if (child.exitCode === null && child.signalCode === null) child.kill(signal);
    const [code] = await exited;
    await writeFile(logFile, log);
    return { code, ms: performance.now() - begun };
  };
  t.teardown(() => end('SIGKILL'));
  const status = (): Promise<Json> => readStatus(join(stateDir, 'status.sock'));
  const answers = (): Promise<boolean> =>
    status().then(
      (answer) => answer['pid'] === child.pid,
      () => false,
    );
  await until(
    `${name} answers`,
    async () => {
      if (child.exitCode !== null) throw new Error(`${name} ended with ${child.exitCode}:\n${log.slice(-2_000)}`);
      return answers();
    },
    startMs,
  );
  return { pid: child.pid ?? 0, stateDir, logFile, status, log: () => log, end };
}

/** A control plane of the test's own, with its owner made. */
export interface Plane {
  readonly folder: string;
  readonly url: string;
  readonly port: number;
  readonly caPem: string;
  readonly caFile: string;
  /** Issues certificates, for gateways. */
  readonly ca: TestCa;
  readonly api: ApiClient;
  /** The owner's. */
  readonly token: string;
  /** The process that runs now. */
  readonly part: Part;
  /** Starts the server again after it ended, on the same port and state. */
  restart(): Promise<void>;
}

export interface PlaneOptions {
  readonly store?: string;
  /** More settings, as environment variables. */
  readonly env?: NodeJS.ProcessEnv;
  /** A second server of one deployment: same secrets, same owner. */
  readonly beside?: Plane;
  readonly ca?: TestCa;
}

/** Starts a server process on a free port and makes its owner, or uses the one that is there. */
export async function startPlane(t: Test, options: PlaneOptions = {}): Promise<Plane> {
  const folder = await mkdtemp(join(tmpdir(), 'mgp-'));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  const ca = options.ca ?? (await createTestCa());
  const port = await freePort();
  const caFile = join(folder, 'ca.pem');
  const [certFile, keyFile] = [join(folder, 'tls.crt'), join(folder, 'tls.key')];
  const cert = await ca.issue(['mesh.localhost', '127.0.0.1']);
  await Promise.all([writeFile(caFile, ca.caPem), writeFile(certFile, cert.certPem), writeFile(keyFile, cert.keyPem, { mode: 0o600 })]);
  const url = `https://mesh.localhost:${port}`;
  const config = { listen: `[::]:${port}`, publicUrl: url, tls: { certFile, keyFile }, stun: { listen: '127.0.0.1:0' } };
  const stateDir = join(folder, 'server');
  if (options.beside !== undefined) {
    await mkdir(stateDir, { mode: 0o700 });
    const secrets = await readFile(join(options.beside.part.stateDir, 'master.key'));
    await writeFile(join(stateDir, 'master.key'), secrets, { mode: 0o600 });
  }
  const env = { ...options.env, ...(options.store === undefined ? {} : { MESHGATE_SERVER_STORE: options.store }) };
  const start = (): Promise<Part> => startPart(t, 'server', stateDir, config, env);
  let part = await start();
  const stop = new AbortController();
  const token = options.beside === undefined ? await makeOwner(url, caFile, stateDir, stop.signal) : ownerToken.get(options.beside.url);
  if (token === undefined) throw new Error('the deployment has no owner');
  ownerToken.set(url, token);
  const api = await openApi({ api: url, ca: caFile, token }, stop.signal);
  t.teardown(() => api.close());
  return {
    folder,
    url,
    port,
    caPem: ca.caPem,
    caFile,
    ca,
    api,
    token,
    get part() {
      return part;
    },
    restart: async () => {
      part = await start();
    },
  };
}

const ownerToken = new Map<string, string>();

async function makeOwner(url: string, caFile: string, stateDir: string, signal: AbortSignal): Promise<string> {
  const anonymous = await openApi({ api: url, ca: caFile, token: undefined }, signal);
  const code = (await readFile(join(stateDir, 'setup-code'), 'utf8')).trim();
  const body = { code, email: 'owner@example.com', password: 'a long enough one', name: 'Owner', create_pat: true, pat_expire_in: 1 };
  const answer = (await anonymous.call('POST', '/api/setup', body)) as Json;
  await anonymous.close();
  return String(answer['personal_access_token']);
}

/** Calls the API and returns the object that it answers with. */
export async function call(plane: Plane, method: 'GET' | 'POST' | 'PUT' | 'DELETE', path: string, body?: unknown): Promise<Json> {
  return ((await plane.api.call(method, path, body)) ?? {}) as Json;
}

export async function makeGroup(plane: Plane, name: string): Promise<string> {
  return String((await call(plane, 'POST', '/api/groups', { name }))['id']);
}

export async function makeSetupKey(plane: Plane, groups: readonly string[]): Promise<string> {
  const request = { name: 'test', type: 'reusable', expires_in: 3_600, usage_limit: 0, auto_groups: groups };
  return String((await call(plane, 'POST', '/api/setup-keys', request))['key']);
}

/** The peer of that name as the API tells it. */
export async function findPeer(plane: Plane, name: string): Promise<Json> {
  const peers = (await plane.api.call('GET', `/api/peers?name=${name}`)) as readonly Json[];
  const [peer] = peers;
  if (peer === undefined) throw new Error(`no peer ${name}`);
  return peer;
}

/** A policy with one rule from one group to another; `change` replaces fields of the rule. */
export function policyBody(source: string, destination: string, change: Json = {}, enabled = true): Json {
  const rule = {
    name: 'rule',
    enabled: true,
    action: 'accept',
    bidirectional: false,
    protocol: 'tcp',
    sources: [source],
    destinations: [destination],
    ...change,
  };
  return { name: `policy ${JSON.stringify(change).slice(0, 100)}`, enabled, rules: [rule] };
}

/** A peer in this process. */
export async function joinPeer(
  t: Test,
  plane: Plane,
  name: string,
  setupKey: string | undefined,
  options: { readonly overlay?: MeshNodeOptions['overlay']; readonly createOverlay?: MeshDeps['createOverlay']; readonly start?: boolean } = {},
): Promise<MeshNode> {
  const stateFolder = join(plane.folder, name);
  await mkdir(stateFolder, { recursive: true });
  const { createOverlay } = options;
  const node = await createMeshNode(
    { control: { url: plane.url, ca: plane.caPem }, stateFolder, meta: hostMeta(name), setupKey, overlay: options.overlay ?? { listenPort: 0 } },
    { log: silentLogger, clock: systemClock, ...(createOverlay === undefined ? {} : { createOverlay }) },
  );
  t.teardown(() => node.close());
  if (options.start !== false) await node.start(AbortSignal.timeout(startMs));
  return node;
}

/** Starts an agent process with the setup key. */
export async function startAgentPart(t: Test, plane: Plane, name: string, setupKey: string, config: Json): Promise<Part> {
  return startPart(
    t,
    'agent',
    join(plane.folder, name),
    { hostname: name, control: { url: plane.url, caFile: plane.caFile }, ...config },
    { MESHGATE_AGENT_SETUP_KEY: setupKey },
  );
}

/** Starts a gateway process for the cluster with a token of its own; it joins the mesh with its first service. */
export async function startGatewayPart(t: Test, plane: Plane, config: Json = {}): Promise<Part & { readonly publicPort: number }> {
  const token = await call(plane, 'POST', '/api/reverse-proxies/proxy-tokens', { name: 'test', expires_in: 0 });
  const publicPort = await freePort();
  const certDir = join(plane.folder, 'certs');
  await mkdir(certDir, { recursive: true });
  const settings = { control: { url: plane.url, caFile: plane.caFile }, cluster, listen: `127.0.0.1:${publicPort}`, certDir, ...config };
  const env = { MESHGATE_GATEWAY_TOKEN: String(token['plain_token']) };
  return { ...(await startPart(t, 'gateway', join(plane.folder, 'gateway-process'), settings, env)), publicPort };
}

/** An internal service that counts who comes, and echoes. */
export interface Upstream {
  readonly port: number;
  connections: number;
  readonly open: ReadonlySet<Socket>;
}

export async function startUpstream(t: Test, answer: (socket: Socket) => void = (socket) => void socket.pipe(socket)): Promise<Upstream> {
  const open = new Set<Socket>();
  const upstream = { port: 0, connections: 0, open };
  const server: Server = createServer((socket) => {
    upstream.connections += 1;
    open.add(socket);
    socket.on('error', () => undefined);
    socket.on('close', () => open.delete(socket));
    answer(socket);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  upstream.port = (server.address() as AddressInfo).port;
  t.teardown(() => {
    for (const socket of open) socket.destroy();
    server.close();
  });
  return upstream;
}
