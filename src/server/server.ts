// The composition root of the control plane: the only file that knows all of its parts. Only the CLI may import it, through index.ts.
import { readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { systemClock } from '#lib/clock.ts';
import { describeError, errorCode } from '#lib/errors.ts';
import { writeFileAtomic } from '#lib/files.ts';
import { startScoped, type Closable, type Scope } from '#lib/lifecycle.ts';
import type { Logger } from '#lib/log.ts';
import { formatHostPort, parseHostPort } from '#lib/net.ts';
import { serveStatus } from '#lib/status-socket.ts';
import { serveMetrics } from '#metrics/index.ts';
import { parsePublicKey } from '#model/ids.ts';
import type { MeshEndpoints } from '#model/network-map.ts';
import { createRpcServer, type RpcServer, type RpcServerOptions } from '#rpc/server.ts';
import { createApi } from './api/index.ts';
import type { ServerConfig } from './config.ts';
import { openControlDomain, type ControlDomain } from './domain/index.ts';
import { serverError } from './errors.ts';
import { createFront } from './front.ts';
import { configuredIssuers, createIdentityProvider, type ConnectorConfig, type IdentityProvider } from './idp/index.ts';
import { createManagementServices } from './management/index.ts';
import { certificateOf, serverFamilies, timedMaps } from './metrics.ts';
import { createRelayServer, type RelayServer } from './relay/index.ts';
import { openSecrets, type ServerSecrets } from './secrets.ts';
import { createSignalService } from './signal/index.ts';
import { createStunServer } from './stun/index.ts';
import { createTurnAccounts } from './turn-accounts.ts';

/** How often abandoned peers, and the code of a set-up that is done, are looked for, milliseconds. */
const sweepIntervalMs = 60_000;
/** How often lapsed exposures are looked for at the least, milliseconds. */
const maxLapseIntervalMs = 15_000;
const relayTokenMs = 12 * 3_600_000;
const gatewayClientId = 'meshgate-gateway';
const version = '0.1.0';

export interface RunningServer extends Closable {
  readonly port: number;
  describe(): readonly string[];
}

/** Starts the control plane; where a step fails, what was started is ended and the error says what to do. */
export function startServer(config: ServerConfig, deps: { readonly log: Logger }): Promise<RunningServer> {
  return startScoped(async (scope) => {
    const { log } = deps;
    const clock = systemClock;
    const publicUrl = config.publicUrl.origin;
    const tls = await readCertificate(config);
    const secrets = await openSecrets(config.stateDir);
    const connectors = await readConnectors(config);
    const domain = await openControlDomain({
      storeUrl: config.store ?? `sqlite:${join(config.stateDir, 'server.db')}`,
      masterKey: secrets.masterKey,
      dnsDomain: config.dnsDomain,
      issuers: configuredIssuers(connectors),
      clock,
      log: log.with({ part: 'domain' }),
      exposureTtlMs: config.exposeTtl,
    });
    scope.use(domain);
    const idp = scope.use(await openIdentityProvider(connectors, publicUrl, secrets, domain, log));
    const relayUrl = `${config.publicUrl.protocol === 'https:' ? 'rels' : 'rel'}://${hostAndPort(config.publicUrl)}`;
    const relay = scope.use(createRelayServer({ secret: secrets.relaySecret, instanceUrl: () => relayUrl, log: log.with({ part: 'relay' }), clock }));
    const stun = scope.use(await createStunServer({ ...config.stun.listen, log: log.with({ part: 'stun' }) }));
    const stunUrl = `stun:${config.stun.publicAddress ?? formatHostPort(config.publicUrl.hostname, stun.port)}`;
    const turn = createTurnAccounts(config.turn, relayTokenMs);
    const timed = timedMaps(domain.maps, clock);
    const management = createManagementServices(
      { ...domain, maps: timed.maps },
      {
        privateKey: secrets.envelopeKey,
        endpoints: () => ({ ...endpoints(config.publicUrl, stunUrl, relay, relayUrl), turn: turn(clock.wall()) }),
        relayTokenMs,
        flows: { device: idp.cliSignIn, pkce: idp.cliSignIn },
        verifyLoginToken: (token) => idp.verifyLoginToken(token),
        verifyIdToken: (idToken, nonce, clientId) => idp.verifyIdToken(idToken, nonce, clientId),
        relyingParty: (cluster) => ({
          issuer: `${publicUrl}/oauth2`,
          clientId: gatewayClientId,
          clientSecret: secrets.gatewayClientSecret,
          stateKey: secrets.stateKey(cluster),
        }),
      },
      { log: log.with({ part: 'management' }), clock },
    );
    scope.use(management);
    const api = createApi({
      domain,
      verifyAccessToken: (jwt) => idp.verifyAccessToken(jwt),
      log: log.with({ part: 'api' }),
      clock,
      version,
      pathsOf: (peer) => management.pathsOf(peer),
    });
    const front = createFront({
      api: (request, response) => api.handle(request, response),
      identity: (request, response) => idp.handle(request, response),
      relay,
    });
    const signal = createSignalService({ log: log.with({ part: 'signal' }), isPeer: (key) => isPeer(domain, key) });
    const rpc = await listen(
      config,
      {
        ...config.listen,
        tls,
        services: [...management.services, signal.service],
        onRequest: (request, response) => front.request(request, response),
        onUpgrade: (request, socket, head) => front.upgrade(request, socket, head),
      },
      log,
    );
    scope.use(rpc);
    scope.defer(
      domain.changes.subscribe((change) => {
        if (change.kind !== 'revocation' || change.revocation.kind !== 'user') return;
        idp
          .endSessionsOf(change.revocation.userId)
          .catch((error: unknown) => log.error('sign-ins could not be ended', { reason: describeError(error) }));
      }),
    );
    let codeFile = await offerSetupCode(config.stateDir, domain);
    const sweeper = setInterval(() => {
      domain.peers.reapAbandoned().catch((error: unknown) => log.error('abandoned peers could not be removed', { reason: describeError(error) }));
      domain.clusters
        .recheckDomains()
        .catch((error: unknown) => log.error('custom domains could not be looked at', { reason: describeError(error) }));
      if (codeFile === undefined) return;
      offerSetupCode(config.stateDir, domain).then(
        (file) => (codeFile = file),
        (error: unknown) => log.error('the file of the set-up code could not be removed', { reason: describeError(error) }),
      );
    }, sweepIntervalMs);
    scope.defer(() => clearInterval(sweeper));
    const lapses = setInterval(
      () => {
        domain.exposures
          .reapLapsed()
          .catch((error: unknown) => log.error('exposed services that lapsed could not be removed', { reason: describeError(error) }));
      },
      Math.min(config.exposeTtl / 3, maxLapseIntervalMs),
    );
    scope.defer(() => clearInterval(lapses));
    await shareStatus(scope, config, log, () => ({
      process: 'server',
      pid: process.pid,
      version,
      url: publicUrl,
      port: rpc.port,
      relay: relay.stats(),
    }));
    if (config.metrics.listen !== undefined) {
      const families = serverFamilies({
        management,
        signal,
        relay,
        api,
        mapTime: timed.time,
        store: domain.storeTimes,
        certificates: certificateOf(tls?.certPem),
        clock,
      });
      const ready = (): Promise<string> => domain.ping().then(() => '');
      scope.use(await serveMetrics(config.metrics.listen, { families, ready }, { log: log.with({ part: 'metrics' }), clock }));
    }
    log.info('control plane is ready', { url: publicUrl, port: rpc.port, stun: stun.port });
    return {
      port: rpc.port,
      describe: () => [
        `Control plane at ${publicUrl}`,
        ...(codeFile === undefined
          ? []
          : [`First set-up: meshgate setup --api ${publicUrl} --email YOU@EXAMPLE.COM --name NAME --code-file ${codeFile}`]),
      ],
      close: () => scope.close(),
    };
  });
}

/** With the authorities of their certificates. */
function readConnectors(config: ServerConfig): Promise<readonly ConnectorConfig[]> {
  return Promise.all(
    config.connectors.map(async ({ caFile, ...connector }) => ({
      ...connector,
      ca: caFile === undefined ? undefined : await readConfigured(caFile),
    })),
  );
}

function openIdentityProvider(
  connectors: readonly ConnectorConfig[],
  publicUrl: string,
  secrets: ServerSecrets,
  domain: ControlDomain,
  log: Logger,
): Promise<IdentityProvider> {
  return createIdentityProvider({
    issuer: `${publicUrl}/oauth2`,
    domain,
    issuersAt: async (uri) => domain.services.issuersAt(URL.parse(uri)?.hostname ?? ''),
    gatewayRedirectAllowed: async (uri) => {
      const host = URL.parse(uri)?.hostname;
      return host !== undefined && (await domain.services.signsInAt(host));
    },
    gatewayClient: { id: gatewayClientId, secret: secrets.gatewayClientSecret },
    connectors,
    clock: systemClock,
    log: log.with({ part: 'identity' }),
  });
}

/** Whether signal may carry for this key. Yes while the database is away: peers find their paths then too, and nothing is granted by it. */
async function isPeer(domain: ControlDomain, key: string): Promise<boolean> {
  const publicKey = parsePublicKey(key);
  return publicKey !== undefined && (await domain.peers.isKnown(publicKey).catch(() => true));
}

function endpoints(publicUrl: URL, stunUrl: string, relay: RelayServer, relayUrl: string): MeshEndpoints {
  const token = relay.issueToken(Date.now());
  const { host, port } = parseHostPort(hostAndPort(publicUrl)) ?? { host: publicUrl.hostname, port: 443 };
  return {
    signal: { host, port, tls: publicUrl.protocol === 'https:' },
    stunUrls: [stunUrl],
    relay: { urls: [relayUrl], tokenPayload: token.payload, tokenSignature: token.signature },
  };
}

function hostAndPort(url: URL): string {
  return url.port === '' ? `${url.hostname}:${url.protocol === 'https:' ? 443 : 80}` : url.host;
}

async function readCertificate(config: ServerConfig): Promise<RpcServerOptions['tls']> {
  const { certFile, keyFile, insecure } = config.tls;
  if (insecure) return undefined;
  if (certFile === undefined || keyFile === undefined) throw serverError('SERVER_TLS_MISSING');
  return { certPem: await readConfigured(certFile), keyPem: await readConfigured(keyFile) };
}

async function readConfigured(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    throw serverError('SERVER_FILE_UNREADABLE', path, error);
  }
}

async function listen(config: ServerConfig, options: RpcServerOptions, log: Logger): Promise<RpcServer> {
  try {
    return await createRpcServer(options, log.with({ part: 'rpc' }));
  } catch (error) {
    const code = errorCode(error);
    const row = code === 'EADDRINUSE' ? 'SERVER_PORT_IN_USE' : code === 'EACCES' ? 'SERVER_PORT_FORBIDDEN' : undefined;
    if (row === undefined && !String(code).startsWith('E')) throw error;
    throw serverError(row ?? 'SERVER_PORT_FAILED', formatHostPort(config.listen.host, config.listen.port), error);
  }
}

/** Writes the one-time code of the first set-up to `setup-code` (0600); removes a stale one. Returns the file where a set-up is due. */
async function offerSetupCode(stateDir: string, domain: ControlDomain): Promise<string | undefined> {
  const file = join(stateDir, 'setup-code');
  const code = await domain.users.setupCode();
  if (code === undefined) {
    await rm(file, { force: true });
    return undefined;
  }
  await writeFileAtomic(file, `${code}\n`);
  return file;
}

async function shareStatus(scope: Scope, config: ServerConfig, log: Logger, read: () => unknown): Promise<void> {
  const socket = await serveStatus(config.stateDir, read);
  if (socket === undefined) log.warn('the path of stateDir is too long for a status socket; `meshgate status` cannot ask this process');
  else scope.use(socket);
}
