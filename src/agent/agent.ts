// The composition root of the agent: the only file that knows all of its parts. Only the CLI may import it, through index.ts.
import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { systemClock } from '#lib/clock.ts';
import { hostDial } from '#lib/host-dial.ts';
import { startScoped, type Closable, type Scope } from '#lib/lifecycle.ts';
import type { Logger } from '#lib/log.ts';
import { readFileIfThere } from '#lib/files.ts';
import type { Dial } from '#lib/net.ts';
import { serveStatus } from '#lib/status-socket.ts';
import { type ControlAddress, chooseHostUdp, createMeshNode, hostMeta, overlayOptions } from '#mesh/index.ts';
import { serveMetrics } from '#metrics/index.ts';
import { agentTlsPort } from '#model/tls-grant.ts';
import type { AgentConfig } from './config.ts';
import { DockerDiscovery } from './discovery/docker.ts';
import { type Discovery, FileDiscovery } from './discovery/file.ts';
import { Wanted } from './discovery/wanted.ts';
import { agentError } from './errors.ts';
import { exposeHandler } from './expose-api.ts';
import { Exposures } from './exposures.ts';
import { Forwarder } from './forward.ts';
import { resolveForPeers } from './host-names.ts';
import { exposeWhenJoined } from './joined.ts';
import { agentFamilies } from './metrics.ts';
import { type OpenTlsDoor, TlsHere, type TlsHereDeps } from './tls-here.ts';
import { UdpForwarder } from './udp-forward.ts';

export interface RunningAgent extends Closable {
  describe(): readonly string[];
}

/**
 * Starts the agent. It is up when it has joined the mesh, or at once where the control plane is away: it goes on trying and its status
 * says why. AGENT_SETUP_KEY_UNREADABLE, AGENT_CA_UNREADABLE, and what the mesh node rejects with.
 */
export function startAgent(config: AgentConfig, deps: { readonly log: Logger; readonly openTlsDoor: OpenTlsDoor }): Promise<RunningAgent> {
  return startScoped(async (scope) => {
    const { log } = deps;
    if (config.control.url.startsWith('http:') && !config.control.allowInsecure) throw agentError('AGENT_CONTROL_INSECURE', config.control.url);
    const control = { url: config.control.url, ca: await readCa(config.control.caFile) };
    const node = await createMeshNode(
      {
        control,
        stateFolder: config.stateDir,
        meta: hostMeta(config.hostname),
        setupKey: await readSetupKey(config, log),
        overlay: await overlayOptions(config.wireguard, log),
      },
      { log: log.with({ part: 'mesh' }), clock: systemClock },
    );
    scope.use(node);
    const targets = new Map(config.targets.map(({ port, target }) => [port, target]));
    const defaultHost = config.defaultHost === '' ? undefined : config.defaultHost;
    const forwarder = new Forwarder(targets, defaultHost, { dial: hostDial, log: log.with({ part: 'forward' }) });
    scope.defer(() => forwarder.close());
    const tlsHere = await openTlsHere(config, {
      control,
      grant: (current, signal) => node.tlsGrant(current, signal),
      open: deps.openTlsDoor,
      forwarder,
      log,
    });
    if (tlsHere !== undefined) scope.use(tlsHere);
    const endsTls = (port: number): boolean => tlsHere !== undefined && port === agentTlsPort;
    node.overlay.accept(
      (port) => endsTls(port) || forwarder.wants(port),
      (connection, way) => {
        if (tlsHere === undefined || !endsTls(connection.local.port)) return void forwarder.handle(connection, way);
        way?.destroy();
        void tlsHere.accept(connection);
      },
      // Nothing has to be reached before TLS begins: the way is none.
      (port, signal) => (endsTls(port) ? Promise.resolve(new PassThrough()) : forwarder.open(port, signal)),
    );
    const openUdp = chooseHostUdp(config.wireguard.accelerators).open;
    const udp = new UdpForwarder({
      overlay: node.overlay,
      open: openUdp,
      targetOf: (port) => forwarder.targetOf(port),
      clock: systemClock,
      log: log.with({ part: 'forward' }),
      random: Math.random,
    });
    scope.defer(() => udp.close());
    scope.defer(node.onFilter((filter) => void udp.apply(filter)));
    const exposures = new Exposures({
      control: exposeWhenJoined(node),
      forwarder,
      udpLed: (port) => udp.led(port),
      stateDir: config.stateDir,
      clock: systemClock,
      random: Math.random,
      log: log.with({ part: 'expose' }),
    });
    scope.use(exposures);
    const discoveries = startDiscovery(scope, config.discovery, exposures, log);
    if (config.carryRoutes) {
      node.overlay.carry({
        dial: forwarder.dialCarried,
        connection: (connection, upstream) => void forwarder.carry(connection, upstream),
        openUdp,
        resolve: resolveForPeers,
      });
    }
    const status = (): unknown => ({
      process: 'agent',
      pid: process.pid,
      state: node.state(),
      mesh: node.status(),
      targets: forwarder.status(),
      udpFlows: udp.open,
      tlsHere: tlsHere?.status(),
      problems: tlsHere?.problems() ?? [],
      exposures: exposures.rows(),
      discovery: discoveries.map((discovery) => discovery.status()),
    });
    const socket = await serveStatus(config.stateDir, status, exposeHandler(exposures));
    if (socket === undefined) log.warn('the path of stateDir is too long for a status socket; `meshgate status` cannot ask this process');
    else scope.use(socket);
    if (config.metrics.listen !== undefined) {
      const families = agentFamilies(node, forwarder, systemClock);
      // A map from disk will do: what it grants is forwarded.
      const ready = (): string => (node.state().kind === 'running' ? '' : 'this peer is not in the network yet');
      scope.use(await serveMetrics(config.metrics.listen, { families, ready }, { log: log.with({ part: 'metrics' }), clock: systemClock }));
    }
    node.onState((state) => log.info('mesh state', { state: state.kind, ...('reason' in state ? { reason: state.reason } : {}) }));
    const stop = new AbortController();
    scope.defer(() => stop.abort());
    // Being refused or late is no reason to end: the node goes on, and the state says what to do.
    void node.start(stop.signal).catch(() => undefined);
    tlsHere?.start();
    await exposures.restore();
    return {
      describe: () => [`Agent ${node.publicKey}, control plane ${config.control.url}`],
      close: () => scope.close(),
    };
  });
}

/** Undefined where it is switched off. What it serves is where a connection to the same port of this peer would lead. */
async function openTlsHere(
  { stateDir, tlsHere: { enabled, certDir, acme } }: AgentConfig,
  deps: Pick<TlsHereDeps, 'grant' | 'open' | 'log'> & { readonly control: ControlAddress; readonly forwarder: Forwarder },
): Promise<TlsHere | undefined> {
  if (!enabled) return undefined;
  const { control, grant, open, forwarder, log } = deps;
  const folder = join(stateDir, 'tls');
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const dial: Dial = async ({ port }, options) => {
    const target = forwarder.targetOf(port);
    if (target === undefined) throw agentError('AGENT_PORT_CLOSED', String(port));
    return await forwarder.dialCarried(target, options);
  };
  return new TlsHere({ grant, open, dial, settings: { control, stateDir: folder, certDir, acme }, log: log.with({ part: 'tls' }) });
}

/** Begins to look for services where the configuration says so. */
function startDiscovery(scope: Scope, { file, docker }: AgentConfig['discovery'], exposures: Exposures, log: Logger): readonly Discovery[] {
  const found: Discovery[] = [];
  const deps = { clock: systemClock, random: Math.random, log: log.with({ part: 'discovery' }) };
  if (file !== undefined) found.push(scope.use(new FileDiscovery(file, new Wanted(exposures, 'file', deps.log), deps)));
  if (docker !== undefined) found.push(scope.use(new DockerDiscovery(docker, new Wanted(exposures, 'docker', deps.log), deps)));
  return found;
}

async function readSetupKey(config: AgentConfig, log: Logger): Promise<string | undefined> {
  if (config.setupKey !== undefined) return config.setupKey;
  if (config.setupKeyFile === undefined) return undefined;
  const text = await readFileIfThere(config.setupKeyFile).catch((error: unknown) => {
    throw agentError('AGENT_SETUP_KEY_UNREADABLE', config.setupKeyFile, error);
  });
  // A used key is often removed: a peer that is known needs none, and one that is not is told so by the control plane.
  if (text === undefined) log.info('the setup key file is not there; only a peer that has joined before needs none', { file: config.setupKeyFile });
  return text?.trim();
}

async function readCa(path: string | undefined): Promise<string | undefined> {
  if (path === undefined) return undefined;
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    throw agentError('AGENT_CA_UNREADABLE', path, error);
  }
}
