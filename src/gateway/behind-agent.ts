// The composition root of a gateway without a door of its own: it serves the web services whose TLS ends at an agent, on connections that the
// agent's overlay brings. What it may know of sessions and people is its own cluster's, which is this agent alone; the key never leaves the host.
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import { createProxyControl } from '#control/index.ts';
import { AssertionSigner } from '#identity/assertion.ts';
import { CredentialCache } from '#identity/credential-cache.ts';
import { SessionCache, type EndedTrust } from '#identity/session-cache.ts';
import { systemClock } from '#lib/clock.ts';
import { readFileIfThere, writeFileAtomic } from '#lib/files.ts';
import { parsePrefix } from '#lib/ip.ts';
import { startScoped, type Closable } from '#lib/lifecycle.ts';
import type { Logger } from '#lib/log.ts';
import type { Dial, Ends } from '#lib/net.ts';
import { type ControlAddress, hostMeta } from '#mesh/index.ts';
import type { ProxyId } from '#model/ids.ts';
import type { MappingChange, ServiceMapping } from '#model/service.ts';
import type { CertificateStatus, LinkStatus } from '#model/status.ts';
import {
  createAccessBackend,
  createHttpPublisher,
  createIdentityHeaders,
  createSignIn,
  openCertificateDirectory,
  RouteTable,
  Unlocks,
  type CertificateDirectory,
  type HttpPublisher,
} from '#publish/index.ts';
import type { OwnAcmeSettings } from '#publish/certs/acme/settings.ts';
import { openCertificates, type GatewayCertificates } from './certificates.ts';
import { drainMs, reachableMs } from './constants.ts';
import { ProxyDoor } from './listen/proxy-door.ts';
import { holdRelyingParty } from './relying-party.ts';
import { openAccessLog } from './report/access-log.ts';
import { ServiceAccounts } from './report/accounts.ts';
import { CertificateReporter } from './report/certificate-reporter.ts';
import { ServiceReporter, type ServiceLine } from './report/service-reporter.ts';
import { serviceState } from './report/service-state.ts';
import { hostsWithCertificates, Mappings } from './routes/mappings.ts';
import { type GatewaySurroundings, openSurroundings } from './surroundings.ts';

export interface AgentDoorOptions {
  readonly control: ControlAddress;
  /** From the control plane, for this agent's own cluster. */
  readonly token: string;
  readonly cluster: string;
  readonly proxyId: ProxyId;
  /** A folder of its own. */
  readonly stateDir: string;
  readonly certDir: string;
  readonly acme: OwnAcmeSettings;
}

export interface AgentDoorDeps {
  /** To the host's own services. */
  readonly dial: Dial;
  readonly log: Logger;
}

export interface AgentDoorStatus {
  readonly link: LinkStatus;
  readonly services: readonly ServiceLine[];
  readonly certificates: readonly CertificateStatus[];
}

export interface AgentDoor extends Closable {
  /** Takes a connection from a gateway, which has to begin with a PROXY header. That it is a gateway's is the caller's to know. */
  accept(stream: Duplex, ends: Ends): void;
  status(): AgentDoorStatus;
  /** What is not well, each for people. */
  problems(): readonly string[];
}

/** Rejects with the errors of certificates, and PUBLISH_LOG_FILE. */
export function openAgentDoor(options: AgentDoorOptions, { dial, log }: AgentDoorDeps): Promise<AgentDoor> {
  return startScoped(async (scope) => {
    const clock = systemClock;
    const { control: address, token, cluster, proxyId, stateDir, certDir } = options;
    const { version } = hostMeta(undefined);
    const control = createProxyControl({ address, token, proxyId, cluster, publicPort: 443, version }, { log: log.with({ part: 'control' }), clock });
    scope.use(control);
    const certificateLog = log.with({ part: 'certificates' });
    const directory = scope.use(await openCertificateDirectory(certDir, { clock, log: certificateLog }));
    const certificates = scope.use(
      await openCertificates(
        // The only challenge that the public gateway can pass on without reading it.
        { ...options.acme, challenge: 'tls-alpn-01', together: [], dns: undefined },
        stateDir,
        directory,
        { exchange: control.certificates, clock, log: certificateLog },
      ),
    );

    const accounts = new ServiceAccounts(() => mappings.current);
    const routes = new RouteTable((service, problem) => log.warn('a service cannot be served', { service, problem }));
    const mappings: Mappings = new Mappings(
      stateDir,
      { clock, log },
      {
        set: (mapping) => routes.set(mapping),
        removed: (mapping) => {
          accounts.remember([mapping]);
          routes.remove(mapping.id);
        },
        settled: () => certificates.want(hostsWithCertificates(mappings.current.values())),
      },
    );
    await mappings.load();

    const sessions = scope.use(new SessionCache({ authority: control, clock, log: log.with({ part: 'sessions' }) }));
    const credentials = scope.use(new CredentialCache({ authority: control, clock, ended: (ended) => cut(ended) }));
    const party = scope.use(holdRelyingParty(control.relyingParty.bind(control), address.ca, log.with({ part: 'sign-in' })));
    const keyFile = join(stateDir, 'assertion-keys.json');
    const signer = await AssertionSigner.open({
      store: { load: () => readFileIfThere(keyFile), save: (text) => writeFileAtomic(keyFile, text) },
      clock,
      log,
    });
    const accessLog = scope.use(
      await openAccessLog(
        { stateDir, accessLog: 'off', accessLogFormat: 'json', accessLogSpool: spoolMegabytes },
        {
          send: control.sendAccessLog.bind(control),
          accountOf: (service) => accounts.of(service),
          clock,
          log: log.with({ part: 'access-log' }),
        },
      ),
    );
    const unlocks = scope.use(new Unlocks({ clock, log }));
    const noFiles = { geo: { countryFile: undefined, asnFile: undefined }, crowdsec: { url: undefined, keyFile: undefined } };
    const around = await openSurroundings(noFiles, scope, { clock, log });
    const publisher = createHttpPublisher({
      around,
      routes: () => routes,
      dial,
      directDial: dial,
      backend: createAccessBackend(sessions, credentials),
      unlocks,
      signIn: createSignIn({
        relyingParty: party.current,
        reachable: async (signal) => {
          if (!control.status().connected) await control.relyingParty(AbortSignal.any([signal, AbortSignal.timeout(reachableMs)]));
        },
        authority: control,
        sessions,
        clock,
        log: log.with({ part: 'sign-in' }),
      }),
      identityHeaders: createIdentityHeaders(signer),
      devices: control,
      diagnoses: control,
      accessLog: (entry) => accessLog.push(entry),
      certificates,
      challenges: certificates.challenges,
      log: log.with({ part: 'http' }),
      clock,
    });
    scope.use(publisher);
    const cut = ({ sessionKey, serviceId }: EndedTrust): void => {
      publisher.endStreams((stream) => stream.serviceId === serviceId && stream.restsOn(sessionKey));
    };
    scope.defer(sessions.onEnd(cut));
    const door = scope.use(new ProxyDoor({ trusted: everybody, clock, log: log.with({ part: 'listen' }) }));
    scope.defer(() => publisher.drain(drainMs));

    const reporter = new ServiceReporter({
      mappings: () => mappings.current.values(),
      state: (mapping) => stateOf(mapping, certificates, directory, around, publisher),
      hasCertificate: (host) => certificates.find(host) !== undefined,
      send: control.reportStatus.bind(control),
      clock,
      log,
    });
    scope.defer(() => reporter.close());
    const certificateReporter = new CertificateReporter({ list: certificates.list, send: control.certificates.report, clock, log });
    scope.defer(() => certificateReporter.close());

    control.start({
      change: async (change) => {
        if (change.kind === 'snapshot-complete') {
          reporter.forgetTold();
          certificateReporter.forgetTold();
        }
        await mappings.apply(fromHere(change));
        if (change.kind === 'remove') reporter.forget(change.id);
      },
      revoked: (revocation) => {
        sessions.revoke(revocation);
        credentials.revoke(revocation);
      },
      peersChanged: () => sessions.recheckPeers(),
      resynced: () => {
        sessions.distrust();
        credentials.distrust();
      },
    });
    reporter.start();
    certificateReporter.start();
    return {
      accept: (stream, ends) => door.admit(stream, ends, (said) => publisher.handleConnection(stream, said)),
      status: () => ({ link: control.status(), services: reporter.status(), certificates: certificates.list() }),
      problems: () => [
        ...[accessLog.problem, mappings.problem, certificates.problem()].filter((problem) => problem !== ''),
        ...(control.status().connected ? [] : [`the link for services whose TLS ends here is down: ${control.status().reason}`]),
        ...reporter.status().flatMap(({ domain, state, reason }) => (state === 'active' ? [] : [`${domain}: ${reason === '' ? state : reason}`])),
      ],
      close: () => scope.close(),
    };
  });
}

/** Records that wait on disk while the control plane is away, megabytes. */
const spoolMegabytes = 16;

/** Whoever is let in here at all is a gateway and has to say whose a connection is. */
const everybody = ['0.0.0.0/0', '::/0'].flatMap((text) => parsePrefix(text) ?? []);

/** The targets are this host's: they are not dialled through the overlay. */
function fromHere(change: MappingChange): MappingChange {
  if (change.kind !== 'set') return change;
  const paths = change.mapping.paths.map((path) => ({ ...path, options: { ...path.options, directUpstream: true } }));
  return { ...change, mapping: { ...change.mapping, paths } };
}

function stateOf(
  mapping: ServiceMapping,
  certificates: GatewayCertificates,
  directory: CertificateDirectory,
  { geo, reputation }: GatewaySurroundings,
  publisher: HttpPublisher,
): ReturnType<typeof serviceState> {
  return serviceState(mapping, {
    certificate: (host) => certificates.find(host) !== undefined,
    automatic: certificates.status,
    certificateProblem: (host) => directory.problems().find(({ source }) => source.includes(host))?.problem ?? '',
    publicPort: 443,
    portProblem: () => '',
    nameTaken: () => false,
    leftOut: (host, port) => publisher.targetProblems(mapping.id).find((target) => target.host === host && target.port === port)?.problem ?? '',
    mesh: undefined,
    geo,
    reputation,
  });
}
