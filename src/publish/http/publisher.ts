// The HTTP publisher: takes accepted connections, does TLS, serves HTTP/1.1 and HTTP/2, and answers every request with the one handler.
import { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { Clock } from '#lib/clock.ts';
import { parsePrefix } from '#lib/ip.ts';
import type { Closable } from '#lib/lifecycle.ts';
import type { Logger } from '#lib/log.ts';
import type { Dial, Endpoint } from '#lib/net.ts';
import { NetworkShares } from '#lib/network-shares.ts';
import type { AccessLogEntry } from '#model/access-log.ts';
import type { PublicKey, ServiceId } from '#model/ids.ts';
import type { ClientHello } from '#wire/client-hello.ts';
import type { DeviceAuthority } from '#model/identity.ts';
import type { AccessBackend, IdentityHeaders, SignIn } from '../access/backend.ts';
import { clientAddress } from '../access/client-address.ts';
import { plainSurroundings, type Surroundings } from '../access/surroundings.ts';
import type { CertificateSource } from '../certs/directory.ts';
import { Stapler } from '../certs/ocsp/stapler.ts';
import { CONNECTIONS, CONNECTIONS_PER_ADDRESS, KEEP_ALIVE_PROBE_MS } from '../constants.ts';
import { publishError } from '../errors.ts';
import { type Brand, plainBrand } from '../pages/brand.ts';
import { Pages } from '../pages/document.ts';
import type { Tracing } from '../tracing/trace-context.ts';
import { SecureContexts } from '../tls/secure-contexts.ts';
import { terminateTls, type ChallengeSource, type Terminated } from '../tls/terminate.ts';
import { Balancers, type TargetProblem } from './balance/balancers.ts';
import { createHttpChecks, type HttpChecks } from './balance/http-checks.ts';
import type { Unlocks } from '../stream/unlocks.ts';
import { Deadlines } from './deadlines.ts';
import type { Client, Exchange } from './exchange.ts';
import { LimitedDiagnoses, type DiagnosisAuthority } from './diagnose.ts';
import { Encoders } from './encoded-body.ts';
import { handleExchange } from './handler.ts';
import type { HandlerDeps } from './handler-deps.ts';
import { RequestFieldPolicy } from './headers.ts';
import { OpenStreams, type OpenStream } from './open-streams.ts';
import { Refusals } from './refusals.ts';
import { refusedEntry } from './refused-entry.ts';
import { createIdSource } from './request-id.ts';
import type { RouteTable } from './routes.ts';
import { H1Connection, type H1Owner } from './server-h1.ts';
import { H2Connection } from './server-h2.ts';
import { ServiceLoad } from './service-load.ts';
import { Upstreams } from './upstreams.ts';

export interface HttpPublisherDeps {
  /** The table now; asked for every request. */
  readonly routes: () => RouteTable;
  readonly dial: Dial;
  /** Whether there is a path to a host of the overlay now; left out, nobody knows. */
  readonly reachable?: (host: string) => boolean;
  /** For targets that are reached from the gateway's own network. */
  readonly directDial: Dial;
  readonly backend: AccessBackend;
  /** What policies are decided by besides the request; left out, what they ask of data bases cannot be told. */
  readonly around?: Surroundings | undefined;
  /** Where ports of stream services are opened by signing in. */
  readonly unlocks: Unlocks;
  readonly signIn: SignIn;
  readonly devices: DeviceAuthority;
  readonly identityHeaders: IdentityHeaders;
  readonly accessLog: (entry: AccessLogEntry) => void;
  /** Makes traces and tells upstreams of them; left out, there are none. */
  readonly tracing?: Tracing | undefined;
  /** Who knows whether a diagnosis may be told; left out, none is. */
  readonly diagnoses?: DiagnosisAuthority | undefined;
  /** How our own pages look; left out, plain. */
  readonly brand?: Brand | undefined;
  readonly certificates: CertificateSource;
  /** TLS-ALPN-01 challenges; left out, none is answered. */
  readonly challenges?: ChallengeSource | undefined;
  readonly log: Logger;
  readonly clock: Clock;
  /** Address ranges whose forwarding headers are believed; empty trusts nobody. Rejected where one is no range. */
  readonly trustedProxies?: readonly string[];
  /** More roots for TLS to upstreams, as PEM. */
  readonly upstreamCa?: string | undefined;
}

/** What is known of an accepted connection. */
export interface AcceptedInfo {
  /** The client: from the socket, or from a trusted PROXY header. */
  readonly remote: Endpoint;
  /** Where it connected to: of the socket, or from the same header. */
  readonly local: Endpoint;
  /** Set where the ClientHello has been read already; its bytes are back in the socket (`unshift`). */
  readonly hello?: ClientHello | undefined;
  /** Of the peer, where the connection came over the mesh. */
  readonly meshPeer?: PublicKey | undefined;
}

export interface HttpPublisher extends Closable {
  /** Takes a raw TCP socket over, or a stream of the overlay, TLS included. Never throws. */
  handleConnection(socket: Duplex, info: AcceptedInfo): void;
  /** Lets what is in work finish, at most `deadlineMs`; no further request is taken on kept connections. */
  drain(deadlineMs: number): Promise<void>;
  /** Closes everything now. */
  close(): Promise<void>;
  /** Cuts open requests and upgraded streams that the predicate names; returns how many. */
  endStreams(predicate: (stream: OpenStream) => boolean): number;
  /** Targets of the service that are left out now, and why. Targets without another beside them or checks are never among them. */
  targetProblems(service: ServiceId): readonly TargetProblem[];
  stats(): {
    readonly connections: number;
    readonly streams: number;
    /** Of the streams, those that were upgraded. */
    readonly upgrades: number;
    /** TLS handshakes that were completed. */
    readonly handshakes: number;
    readonly refusedConnections: number;
    /** How often each reason ended a connection or a request. */
    readonly refused: Readonly<Record<string, number>>;
  };
}

/** ALPN's wire form of h2 and http/1.1, in our order. */
const protocols = Buffer.from('\x02h2\x08http/1.1', 'latin1');

interface Serving {
  drain(): void;
  destroy(): void;
}

/** Throws PUBLISH_TRUSTED_PROXY. */
export function createHttpPublisher(deps: HttpPublisherDeps): HttpPublisher {
  return new Publisher(deps);
}

class Publisher implements HttpPublisher, H1Owner {
  readonly deadlines: Deadlines;
  readonly #deps: HttpPublisherDeps;
  readonly #handler: HandlerDeps;
  readonly #upstreams: Upstreams;
  readonly #balancers: Balancers;
  readonly #checks: HttpChecks;
  readonly #streams = new OpenStreams();
  readonly #encoders = new Encoders();
  readonly #refusals: Refusals;
  readonly #stapler: Stapler;
  readonly #contexts = new SecureContexts();
  readonly #sockets = new Set<Duplex>();
  readonly #serving = new Set<Serving>();
  readonly #shares = new NetworkShares(CONNECTIONS_PER_ADDRESS);
  #refused = 0;
  #lastClient = 0;
  #handshakes = 0;
  #draining = false;
  #closing: Promise<void> | undefined;
  #emptied: (() => void) | undefined;

  constructor(deps: HttpPublisherDeps) {
    const trustedProxies = (deps.trustedProxies ?? []).map((text) => {
      const prefix = parsePrefix(text);
      if (prefix === undefined) throw publishError('PUBLISH_TRUSTED_PROXY', text);
      return prefix;
    });
    this.#deps = deps;
    this.#stapler = new Stapler(deps);
    this.#refusals = new Refusals(deps.log, deps.clock);
    this.deadlines = new Deadlines(deps.clock, () => {
      this.#upstreams.sweep();
      this.#streams.sweep(deps.routes(), this.#handler.around.version(), deps.clock.wall(), deps.clock.now());
      this.#followTargets();
    });
    this.#upstreams = new Upstreams(deps, this.deadlines);
    this.#balancers = new Balancers(
      ({ upstream }) => this.#upstreams.reachable(upstream),
      () => deps.clock.now(),
    );
    this.#checks = createHttpChecks({ upstreams: this.#upstreams, clock: deps.clock, random: Math.random });
    this.#handler = {
      routes: deps.routes,
      backend: deps.backend,
      around: deps.around ?? plainSurroundings(deps.clock),
      unlocks: deps.unlocks,
      signIn: deps.signIn,
      devices: deps.devices,
      identityHeaders: deps.identityHeaders,
      diagnoses: deps.diagnoses === undefined ? undefined : new LimitedDiagnoses(deps.diagnoses),
      pages: new Pages(deps.brand ?? plainBrand),
      trustedProxies,
      accessLog: deps.accessLog,
      refusals: this.#refusals,
      log: deps.log,
      clock: deps.clock,
      forward: {
        upstreams: this.#upstreams,
        deadlines: this.deadlines,
        policy: new RequestFieldPolicy(deps.identityHeaders, deps.tracing !== undefined),
        encoders: this.#encoders,
        balancers: this.#balancers,
        random: Math.random,
      },
      streams: this.#streams,
      load: new ServiceLoad(),
      ids: createIdSource(),
      tracing: deps.tracing,
    };
  }

  handleConnection(socket: Duplex, info: AcceptedInfo): void {
    const network = this.#draining || this.#sockets.size >= CONNECTIONS ? undefined : this.#shares.take(info.remote.address);
    if (network === undefined) {
      this.#refused++;
      socket.on('error', () => undefined);
      socket.destroy();
      return;
    }
    this.#sockets.add(socket);
    socket.once('close', () => this.#forget(socket, network));
    if (socket instanceof Socket) keepAlive(socket);
    terminateTls(
      socket,
      info.hello,
      {
        certificates: this.#deps.certificates,
        challenges: this.#deps.challenges,
        deadlines: this.deadlines,
        contexts: this.#contexts,
        stapler: this.#stapler,
        protocols,
        clients: (host) => this.#deps.routes().service(host)?.clients,
      },
      (terminated) => this.#serve(terminated, info),
      (fault, detail) => {
        if (fault === 'challenge') this.#deps.log.info('a certificate authority saw the answer to its challenge', { host: detail });
        else this.#refusals.connection(`tls_${fault}`, { detail, remote: info.remote.address });
      },
    );
  }

  endStreams(predicate: (stream: OpenStream) => boolean): number {
    return this.#streams.end(predicate);
  }

  targetProblems(service: ServiceId): readonly TargetProblem[] {
    return this.#balancers.problems(service, this.#deps.clock.now());
  }

  stats(): ReturnType<HttpPublisher['stats']> {
    return {
      connections: this.#sockets.size,
      streams: this.#streams.size,
      upgrades: this.#streams.upgrades(),
      handshakes: this.#handshakes,
      refusedConnections: this.#refused,
      refused: this.#refusals.counts(),
    };
  }

  async drain(deadlineMs: number): Promise<void> {
    this.#draining = true;
    for (const connection of this.#serving) connection.drain();
    if (this.#sockets.size > 0) {
      await new Promise<void>((resolve) => {
        const timer = this.#deps.clock.after(deadlineMs, resolve);
        this.#emptied = () => {
          timer.cancel();
          resolve();
        };
      });
    }
    await this.close();
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    this.#draining = true;
    const closed = [...this.#sockets].map((socket) => new Promise<void>((resolve) => socket.once('close', () => resolve())));
    for (const connection of this.#serving) connection.destroy();
    for (const socket of this.#sockets) socket.destroy();
    this.#streams.end(() => true);
    this.#checks.close();
    this.#stapler.close();
    this.#upstreams.close();
    await Promise.all(closed);
    this.deadlines.close();
  }

  #serve(terminated: Terminated, info: AcceptedInfo): void {
    const { remote, local, meshPeer } = info;
    const peer = clientAddress(remote.address, undefined, []);
    const { serverName, shown } = terminated;
    const client: Client = { remote, peer, local, id: ++this.#lastClient, serverName, shown, meshPeer };
    this.#handshakes++;
    this.#serving.add(
      terminated.socket.alpnProtocol === 'h2' ? new H2Connection(terminated.socket, client, this) : new H1Connection(terminated.socket, client, this),
    );
  }

  /** What is checked follows the routes. */
  #followTargets(): void {
    const checked = this.#balancers.follow(this.#deps.routes());
    if (checked !== undefined) this.#checks.follow(checked);
  }

  #forget(socket: Duplex, network: string): void {
    this.#sockets.delete(socket);
    this.#shares.give(network);
    if (this.#sockets.size === 0) this.#emptied?.();
  }

  // For the connections.

  handle(exchange: Exchange): void {
    handleExchange(exchange, this.#handler);
  }

  refused(client: Client, fault: string, status: number): void {
    const entry = refusedEntry(client, fault, status, this.#handler);
    this.#refusals.request(fault, status, { id: entry.id, host: entry.host, remote: entry.sourceIp });
    this.#deps.accessLog(entry);
  }

  closed(connection: Serving): void {
    this.#serving.delete(connection);
  }
}

/** A client that is gone without a word is found within half a minute, even where nothing is sent to it (attack row W-7). The overlay sees to its own. */
function keepAlive(socket: Socket): void {
  socket.setNoDelay(true);
  socket.setKeepAlive(true, KEEP_ALIVE_PROBE_MS);
}
