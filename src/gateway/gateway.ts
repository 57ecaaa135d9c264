// The composition root of the gateway: the only file that knows all of its parts. Only the CLI may import it, through index.ts.
import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import { createProxyControl } from '#control/index.ts';
import { AssertionSigner } from '#identity/assertion.ts';
import { CredentialCache } from '#identity/credential-cache.ts';
import { SessionCache, type EndedTrust } from '#identity/session-cache.ts';
import { systemClock } from '#lib/clock.ts';
import { Durations } from '#lib/durations.ts';
import { readFileIfThere, writeFileAtomic } from '#lib/files.ts';
import { hostDial } from '#lib/host-dial.ts';
import { formatPrefix } from '#lib/ip.ts';
import { startScoped, type Closable } from '#lib/lifecycle.ts';
import type { Logger } from '#lib/log.ts';
import { formatHostPort } from '#lib/net.ts';
import { resolveHost } from '#lib/resolve.ts';
import { serveStatus } from '#lib/status-socket.ts';
import { chooseHostUdp, createMeshNode, hostMeta, type MeshNode, overlayOptions } from '#mesh/index.ts';
import { serveMetrics } from '#metrics/index.ts';
import type { AccessLogEntry } from '#model/access-log.ts';
import { asId, type ProxyId, type ServiceId } from '#model/ids.ts';
import {
  buildStreamTable,
  createHttpPublisher,
  createAccessBackend,
  createIdentityHeaders,
  createSignIn,
  createStreamPublisher,
  RouteTable,
  openCertificateDirectory,
  Unlocks,
  Tracing,
  Traffic,
  type CertificateDirectory,
} from '#publish/index.ts';
import { openBrand } from './brand.ts';
import type { GatewayConfig } from './config.ts';
import { openCertificates, type GatewayCertificates } from './certificates.ts';
import { readConfigured } from './configured-file.ts';
import { drainMs, reachableMs, visitorPort } from './constants.ts';
import { guardDirect, guardDirectUdp } from './direct-dial.ts';
import { gatewayError } from './errors.ts';
import { listenPlainHttp } from './listen/plain-http.ts';
import { ProxyDoor } from './listen/proxy-door.ts';
import { gatewayFamilies } from './metrics.ts';
import { openSurroundings } from './surroundings.ts';
import { openPublicSockets } from './listen/public-sockets.ts';
import { openOverlayUdp } from './overlay-udp.ts';
import { viewPaths } from './path-view.ts';
import { namedUdp } from './named-udp.ts';
import { Registration } from './registration.ts';
import { holdRelyingParty } from './relying-party.ts';
import { openAccessLog } from './report/access-log.ts';
import { ServiceAccounts } from './report/accounts.ts';
import { CertificateReporter } from './report/certificate-reporter.ts';
import { ServiceReporter } from './report/service-reporter.ts';
import { serviceState } from './report/service-state.ts';
import { hostsWithCertificates, Mappings } from './routes/mappings.ts';

export interface RunningGateway extends Closable {
  readonly port: number;
  describe(): readonly string[];
}

/**
 * Starts the gateway. It serves what it knew last at once, and follows the control plane as soon as that can be reached.
 * GATEWAY_* errors say what to change; so do those of certificates, identity and overlay.
 */
export function startGateway(config: GatewayConfig, deps: { readonly log: Logger }): Promise<RunningGateway> {
  return startScoped(async (scope) => {
    const { log } = deps;
    const clock = systemClock;
    if (config.control.url.startsWith('http:') && !config.control.allowInsecure) throw gatewayError('GATEWAY_CONTROL_INSECURE', config.control.url);
    const ca = config.control.caFile === undefined ? undefined : await readConfigured(config.control.caFile);
    const address = { url: config.control.url, ca };
    const control = createProxyControl(
      {
        address,
        token: await readToken(config),
        proxyId: await ownId(config.stateDir),
        cluster: config.cluster,
        publicPort: config.publicPort,
        version: hostMeta(undefined).version,
      },
      { log: log.with({ part: 'control' }), clock },
    );
    scope.use(control);
    const certificateLog = log.with({ part: 'certificates' });
    const directory = scope.use(await openCertificateDirectory(config.certDir, { clock, log: certificateLog }));
    const certificates = scope.use(
      await openCertificates(config.acme, config.stateDir, directory, { exchange: control.certificates, clock, log: certificateLog }),
    );
    const node = await createMeshNode(
      {
        control: address,
        stateFolder: config.stateDir,
        meta: hostMeta(`gateway-${config.cluster}`),
        setupKey: undefined,
        overlay: await overlayOptions(config.wireguard, log),
      },
      { log: log.with({ part: 'mesh' }), clock },
    );
    scope.use(node);
    const registration = new Registration({ node, createProxyPeer: control.createProxyPeer.bind(control), log });
    scope.defer(() => registration.close());

    let applyStreams = (): void => undefined;
    const accounts = new ServiceAccounts(() => mappings.current);
    const unserved = (service: ServiceId, problem: string): void => log.warn('a service cannot be served', { service, problem });
    const routes = new RouteTable(unserved);
    let streamsChanged = false;
    const mappings: Mappings = new Mappings(
      config.stateDir,
      { clock, log },
      {
        set: (mapping, before) => {
          routes.set(mapping);
          streamsChanged ||= mapping.mode !== 'http' || (before !== undefined && before.mode !== 'http');
        },
        removed: (mapping) => {
          accounts.remember([mapping]);
          log.info('service removed', { service: mapping.domain, id: mapping.id });
          routes.remove(mapping.id);
          streamsChanged ||= mapping.mode !== 'http';
        },
        settled: () => {
          if (streamsChanged) applyStreams();
          streamsChanged = false;
          certificates.want(hostsWithCertificates(mappings.current.values()));
        },
      },
    );
    scope.use(mappings);
    await mappings.load();

    const sessions = scope.use(new SessionCache({ authority: control, clock, log: log.with({ part: 'sessions' }) }));
    const credentials = scope.use(new CredentialCache({ authority: control, clock, ended: (ended) => cut(ended) }));
    const revocationTime = new Durations();
    const party = scope.use(holdRelyingParty(control.relyingParty.bind(control), ca, log.with({ part: 'sign-in' })));
    const keyFile = join(config.stateDir, 'assertion-keys.json');
    const signer = await AssertionSigner.open({
      store: { load: () => readFileIfThere(keyFile), save: (text) => writeFileAtomic(keyFile, text) },
      clock,
      log,
    });
    const accessLog = scope.use(
      await openAccessLog(config, {
        send: control.sendAccessLog.bind(control),
        accountOf: (service) => accounts.of(service),
        clock,
        log: log.with({ part: 'access-log' }),
      }),
    );
    const traffic = new Traffic((service) => mappings.current.has(service));
    const { collector, authorization, percent } = config.tracing;
    // Loaded only where there is a collector.
    const spans =
      collector === undefined
        ? undefined
        : scope.use(
            (await import('./report/spans.ts')).openSpanExporter(
              { collector, authorization },
              { version: hostMeta(undefined).version, clock, log: log.with({ part: 'tracing' }) },
            ),
          );
    const record = (entry: AccessLogEntry): void => {
      traffic.record(entry);
      accessLog.push(entry);
      spans?.push(entry);
    };
    const unlocks = scope.use(new Unlocks({ clock, log: log.with({ part: 'stream' }) }));
    const around = await openSurroundings(config, scope, { clock, log });
    const reachable = viewPaths(() => node.overlay.status().peers, clock);
    const directDial = guardDirect(hostDial);
    const publisher = createHttpPublisher({
      around,
      routes: () => routes,
      dial: node.overlay.dial,
      reachable,
      directDial,
      backend: createAccessBackend(sessions, credentials),
      unlocks,
      devices: control,
      signIn: createSignIn({
        relyingParty: party.current,
        // While the link is up nobody has to be asked; while it is down, it may only be on its way back.
        reachable: async (signal) => {
          if (!control.status().connected) await control.relyingParty(AbortSignal.any([signal, AbortSignal.timeout(reachableMs)]));
        },
        authority: control,
        sessions,
        clock,
        log: log.with({ part: 'sign-in' }),
      }),
      identityHeaders: createIdentityHeaders(signer),
      diagnoses: control,
      brand: await openBrand(config.pages),
      accessLog: record,
      tracing: spans === undefined ? undefined : new Tracing(percent / 100),
      certificates,
      challenges: certificates.challenges,
      log: log.with({ part: 'http' }),
      clock,
      trustedProxies: config.trustedProxies.map(formatPrefix),
    });
    scope.use(publisher);
    // Whatever was opened under a trust that has ended is cut.
    const cut = ({ sessionKey, serviceId }: EndedTrust): void => {
      publisher.endStreams((stream) => stream.serviceId === serviceId && stream.restsOn(sessionKey));
      unlocks.endTrust(sessionKey, serviceId);
      streams.endTrust(sessionKey, serviceId);
    };
    scope.defer(sessions.onEnd(cut));

    const udp = chooseHostUdp(config.wireguard.accelerators);
    const streams = scope.use(
      createStreamPublisher({
        around,
        certificateHolder: (secret, service, address, signal) =>
          credentials.verifyCredential({ kind: 'certificate', name: '', secret }, service, address, signal),
        dial: node.overlay.dial,
        directDial,
        certificates,
        challenges: certificates.challenges,
        reachable,
        webDomain: (host) => routes.service(host)?.domain,
        unlocks,
        openUdp: namedUdp(openOverlayUdp(node.overlay), (name, signal) => node.overlay.resolve(name, signal)),
        openDirectUdp: namedUdp(guardDirectUdp(udp.open), resolveHost),
        accessLog: record,
        clock,
        log: log.with({ part: 'stream' }),
      }),
    );
    node.overlay.accept(
      (port) => port === visitorPort,
      ({ stream, remote, local, peer }) => publisher.handleConnection(stream, { remote, local, meshPeer: peer }),
    );
    const door = new ProxyDoor({ trusted: config.proxyProtocol.trusted, clock, log: log.with({ part: 'listen' }) });
    const sockets = await openPublicSockets({
      loadBalancers: config.proxyProtocol.trusted,
      at: config.listen,
      door,
      http: publisher,
      streams,
      openUdp: udp.listen,
      clock,
      log: log.with({ part: 'listen' }),
    });
    scope.defer(async () => {
      const closed = sockets.close();
      await Promise.all([publisher.drain(drainMs), streams.drain(drainMs)]);
      await closed;
    });
    applyStreams = () => {
      const table = buildStreamTable(mappings.current.values(), unserved, sockets.port);
      streams.apply(table);
      sockets.open(table);
    };
    applyStreams();

    const reporter = new ServiceReporter({
      mappings: () => mappings.current.values(),
      state: (mapping) =>
        serviceState(mapping, {
          ...surroundings(certificates, directory, node, registration),
          geo: around.geo,
          reputation: around.reputation,
          leftOut: (host, port) => {
            const problems = mapping.mode === 'http' ? publisher.targetProblems(mapping.id) : streams.targetProblems(mapping.id);
            return problems.find((target) => target.host === host && target.port === port)?.problem ?? '';
          },
          publicPort: sockets.port,
          portProblem: (protocol, port) => sockets.problem(protocol, port),
          nameTaken: (domain) => streams.takesName(sockets.port, domain),
        }),
      hasCertificate: (host) => certificates.find(host) !== undefined,
      send: control.reportStatus.bind(control),
      clock,
      log,
    });
    scope.defer(() => reporter.close());
    const certificateReporter = new CertificateReporter({ list: certificates.list, send: control.certificates.report, clock, log });
    scope.defer(() => certificateReporter.close());

    const plainAt =
      config.httpListen ?? (config.acme.authorities.length > 0 && config.acme.challenge === 'http-01' ? { host: '::', port: 80 } : undefined);
    if (plainAt !== undefined) {
      // Also names of TLS services on HTTPS's port, such as those whose TLS ends at an agent.
      const known = (host: string): boolean => routes.service(host) !== undefined || streams.takesName(sockets.port, host);
      const token = async (host: string, asked: string): Promise<string | undefined> => await certificates.challenges?.token(host, asked);
      scope.use(await listenPlainHttp(plainAt, { known, token, httpsPort: sockets.port, door }));
    }

    control.start({
      change: async (change) => {
        if (change.kind === 'set') registration.offer(change.mapping);
        if (change.kind === 'snapshot-complete') {
          reporter.forgetTold();
          certificateReporter.forgetTold();
        }
        await mappings.apply(change);
        if (change.kind === 'remove') reporter.forget(change.id);
      },
      revoked: (revocation, at) => {
        sessions.revoke(revocation); // which also closes what is open, before it returns
        credentials.revoke(revocation);
        if (at !== undefined) revocationTime.observe(Math.max(0, clock.wall() - at));
      },
      peersChanged: () => sessions.recheckPeers(),
      resynced: () => {
        sessions.distrust();
        credentials.distrust();
      },
    });
    registration.start();
    reporter.start();
    certificateReporter.start();
    const socket = await serveStatus(config.stateDir, () => ({
      process: 'gateway',
      pid: process.pid,
      links: [control.status()],
      state: node.state(),
      joined: registration.reason === '',
      reason: registration.reason,
      mesh: node.status(),
      services: reporter.status(),
      certificates: certificates.list(),
      accessLog: { waiting: accessLog.waiting, dropped: accessLog.dropped },
      problems: [accessLog.problem, mappings.problem, certificates.problem(), around.crowdsec?.outage ?? ''].filter((problem) => problem !== ''),
      http: publisher.stats(),
      streams: { ...streams.stats(), unlocked: unlocks.size },
    }));
    if (socket === undefined) log.warn('the path of stateDir is too long for a status socket; `meshgate status` cannot ask this process');
    else scope.use(socket);
    if (config.metrics.listen !== undefined) {
      const families = gatewayFamilies({
        traffic,
        publisher,
        streams,
        revocationTime,
        spans,
        certificates: () =>
          certificates.list().flatMap(({ names, notAfter }) => (notAfter === undefined ? [] : [{ names, notAfter: Date.parse(notAfter) }])),
        accessLog,
        around,
        services: () => reporter.status(),
        node,
        link: () => control.status(),
        clock,
      });
      // What was kept from the last run is served, so it will do; the control plane is not asked.
      const ready = (): string => (mappings.known ? '' : 'no configuration has come from the control plane yet');
      scope.use(await serveMetrics(config.metrics.listen, { families, ready }, { log: log.with({ part: 'metrics' }), clock }));
    }
    log.info('gateway is ready', { listen: formatHostPort(config.listen.host, sockets.port), cluster: config.cluster });
    return {
      port: sockets.port,
      describe: () => [`Gateway for ${config.cluster} at ${formatHostPort(config.listen.host, sockets.port)}, control plane ${config.control.url}`],
      close: () => scope.close(),
    };
  });
}

function surroundings(
  certificates: GatewayCertificates,
  directory: CertificateDirectory,
  node: MeshNode,
  registration: Registration,
): Omit<Parameters<typeof serviceState>[1], 'portProblem' | 'publicPort' | 'nameTaken' | 'leftOut' | 'geo' | 'reputation'> {
  return {
    certificate: (host) => certificates.find(host) !== undefined,
    automatic: certificates.status,
    certificateProblem: (host) => directory.problems().find(({ source }) => source.includes(host))?.problem ?? '',
    mesh: registration.reason === '' || node.state().kind === 'running' ? node.status() : undefined,
  };
}

/** A gateway's name on the proxy stream, kept so that a restart takes its own place. */
async function ownId(stateDir: string): Promise<ProxyId> {
  const file = join(stateDir, 'proxy-id');
  const kept = (await readFileIfThere(file))?.trim();
  if (kept !== undefined && kept !== '') return asId<ProxyId>(kept);
  const made = randomUUID();
  await writeFileAtomic(file, `${made}\n`);
  return asId<ProxyId>(made);
}

async function readToken(config: GatewayConfig): Promise<string> {
  const token = config.token ?? (config.tokenFile === undefined ? undefined : (await readConfigured(config.tokenFile)).trim());
  if (token === undefined || token === '') throw gatewayError('GATEWAY_TOKEN_MISSING');
  return token;
}
