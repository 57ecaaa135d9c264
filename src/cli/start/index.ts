// `meshgate start`: a whole mesh on one machine, as three processes and a sample app; nothing is left behind when it ends.
import { mkdir } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { MeshgateError } from '#lib/errors.ts';
import { writeFileAtomic } from '#lib/files.ts';
import { startScoped, type Scope } from '#lib/lifecycle.ts';
import { formatHostPort } from '#lib/net.ts';
import { Child, type ProcessName } from './children.ts';
import { loadKept, type Kept } from './kept.ts';
import { openLocalCa, type LocalCa } from './local-ca.ts';
import { parseStartOptions, startHelp, type StartOptions } from './options.ts';
import { checkTcpPort, checkUdpPort, takeStateDirectory } from './preflight.ts';
import { agentName, clusterOf, ensureKeys, ensureOwner, ensureService } from './provision.ts';
import { startSampleApp } from './sample-app.ts';
import { certifyServices } from './service-certs.ts';

/** From the first process to the first answer, milliseconds. */
const readyTimeoutMs = 60_000;

export interface StartIo {
  out(line: string): void;
  err(line: string): void;
  /** Aborted by Ctrl-C and SIGTERM. */
  readonly stop: AbortSignal;
}

/** Runs until `stop`; the exit code. A failure is one clear line, and everything that was started is ended. */
export async function runStart(args: readonly string[], io: StartIo): Promise<number> {
  try {
    const options = parseStartOptions(args);
    if (options === 'help') {
      io.out(startHelp);
      return 0;
    }
    const scope = await startScoped(async (started) => {
      await startMesh(options, io, started);
      return started;
    });
    await untilAborted(io.stop);
    io.out('Stopping.');
    await scope.close();
    return 0;
  } catch (error) {
    if (io.stop.aborted) return 0;
    if (!(error instanceof MeshgateError)) throw error;
    io.err(`meshgate: ${error.message}${error.detail === '' ? '' : ` (${error.detail})`}`);
    return error.code === 'START_FLAG_INVALID' ? 2 : 1;
  }
}

async function startMesh(options: StartOptions, io: StartIo, scope: Scope): Promise<void> {
  const begun = performance.now();
  const signal = AbortSignal.any([io.stop, AbortSignal.timeout(readyTimeoutMs)]);
  const lock = await takeStateDirectory(options.stateDir);
  scope.defer(() => lock.release());
  await checkTcpPort(options.port, '--port');
  await checkTcpPort(options.controlPort, '--control-port');
  await checkUdpPort(options.controlPort, '--control-port');
  const ca = await openLocalCa(join(options.stateDir, 'ca'));
  const kept = await loadKept(options.stateDir);
  const upstream = options.upstream ?? { protocol: 'http', host: '127.0.0.1', port: (await scopeApp(scope)).port };
  await writeConfigs(options, ca, formatHostPort(upstream.host, upstream.port));

  const restarted = (name: ProcessName, how: string): void => io.err(`The ${name} ${how}; starting it again.`);
  const child = (name: ProcessName): Child => scope.use(new Child({ ...childFiles(options, name), name, onRestart: restarted }));
  const server = child('server');
  await server.waitFor((status) => (status === undefined ? undefined : true), signal);
  // It serves for longer than the start may take.
  const api = scope.use(await ensureOwner({ api: controlUrl(options), ca: ca.certFile }, options.stateDir, kept, io.stop));
  await ensureKeys(api, options.stateDir, clusterOf(options));
  const agent = child('agent');
  const gateway = child('gateway');
  await ensureService(api, options, signal);
  await agent.waitFor((status) => (status === undefined ? undefined : true), signal);
  await gateway.waitFor((status) => (isServing(status, options.hostname) ? true : undefined), signal);
  for (const running of [server, agent, gateway]) running.settle();
  const certDir = join(options.stateDir, 'certs');
  scope.use(certifyServices(api, ca, { certDir, cluster: clusterOf(options), kept: options.hostname }));
  for (const line of greeting(options, kept, ca, performance.now() - begun)) io.out(line);
}

async function scopeApp(scope: Scope): ReturnType<typeof startSampleApp> {
  return scope.use(await startSampleApp(0));
}

/** Whether the gateway's status has the service active and reached its peer. */
function isServing(status: unknown, domain: string): boolean {
  const services = typeof status === 'object' && status !== null && 'services' in status && Array.isArray(status.services) ? status.services : [];
  return services.some((service: { readonly domain?: unknown; readonly state?: unknown }) => service.domain === domain && service.state === 'active');
}

function controlUrl(options: StartOptions): string {
  return `https://mesh.localhost:${options.controlPort}`;
}

function childFiles(options: StartOptions, name: ProcessName): { readonly configFile: string; readonly stateDir: string; readonly logFile: string } {
  const stateDir = join(options.stateDir, name);
  return { stateDir, configFile: join(stateDir, 'config.json'), logFile: join(options.stateDir, `${name}.log`) };
}

/** Configuration files such as a person would write, plus certificates from the local authority. */
async function writeConfigs(options: StartOptions, ca: LocalCa, upstream: string): Promise<void> {
  const { stateDir, logLevel } = options;
  const certDir = join(stateDir, 'certs');
  await mkdir(certDir, { recursive: true, mode: 0o700 });
  const serverCert = { certFile: join(stateDir, 'server', 'tls.crt'), keyFile: join(stateDir, 'server', 'tls.key') };
  await ca.ensure(['mesh.localhost', 'localhost'], serverCert.certFile, serverCert.keyFile);
  await ca.ensure([options.hostname], join(certDir, `${options.hostname}.crt`), join(certDir, `${options.hostname}.key`));
  const control = { url: controlUrl(options), caFile: ca.certFile };
  await writeConfig(options, 'server', {
    stateDir: join(stateDir, 'server'),
    logLevel,
    listen: `[::]:${options.controlPort}`,
    publicUrl: control.url,
    tls: serverCert,
    stun: { listen: `0.0.0.0:${options.controlPort}` },
  });
  await writeConfig(options, 'agent', {
    stateDir: join(stateDir, 'agent'),
    logLevel,
    hostname: agentName,
    control,
    setupKeyFile: join(stateDir, 'agent', 'setup-key'),
    targets: [80, 443].map((port) => ({ port, target: upstream })),
    defaultHost: '',
  });
  await writeConfig(options, 'gateway', {
    stateDir: join(stateDir, 'gateway'),
    logLevel,
    control,
    tokenFile: join(stateDir, 'gateway', 'token'),
    cluster: clusterOf(options),
    listen: `[::]:${options.port}`,
    publicPort: options.port,
    certDir,
  });
}

function writeConfig(options: StartOptions, name: ProcessName, config: unknown): Promise<void> {
  return writeFileAtomic(childFiles(options, name).configFile, `${JSON.stringify(config, undefined, 2)}\n`);
}

function greeting(options: StartOptions, kept: Kept, ca: LocalCa, tookMs: number): readonly string[] {
  const url = `https://${options.hostname}${options.port === 443 ? '' : `:${options.port}`}`;
  const short = (path: string): string => relative(process.cwd(), path) || path;
  return [
    '',
    `Meshgate runs (ready after ${(tookMs / 1000).toFixed(1)} s): control plane, gateway and agent, three processes.`,
    '',
    `  Open      ${url}`,
    `  E-mail    ${kept.email}`,
    `  Password  ${kept.password}`,
    '',
    `  curl      curl --cacert ${short(ca.certFile)} -H @${short(join(options.stateDir, 'curl-header'))} ${url}/`,
    '',
    `  The browser warns until it trusts ${short(ca.certFile)}. State and logs are in ${short(options.stateDir)}.`,
    ...(options.upstream?.protocol === 'https' ? ['  The certificate of the https upstream is not checked (skip_tls_verify).'] : []),
    '  Ctrl-C stops everything. `npm run meshgate -- status` tells how it is, `npm run meshgate -- service list` what is published.',
    '',
  ];
}

function untilAborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
}
