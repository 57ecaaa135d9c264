// The door of TCP, TLS and UDP services: which service a connection or datagram means, and what becomes of it. Knows no sockets' ports but by number.
import type { Socket } from 'node:net';
import type { Clock } from '#lib/clock.ts';
import type { Closable } from '#lib/lifecycle.ts';
import type { Endpoint, Ends, OpenUdpFlow } from '#lib/net.ts';
import { NetworkShares } from '#lib/network-shares.ts';
import type { ServiceId } from '#model/ids.ts';
import type { ClientHello } from '#wire/client-hello.ts';
import type { CertificateSource } from '../certs/directory.ts';
import { Stapler } from '../certs/ocsp/stapler.ts';
import { HELLOS, HELLOS_PER_ADDRESS } from '../constants.ts';
import { Deadlines } from '../http/deadlines.ts';
import { SecureContexts } from '../tls/secure-contexts.ts';
import { terminateTls, type ChallengeSource } from '../tls/terminate.ts';
import { StreamForwarder, type StreamForwarderDeps } from './forwarder.ts';
import { readHello } from './hello.ts';
import { plainSurroundings, type Surroundings } from '../access/surroundings.ts';
import { holdRefusal } from './admission.ts';
import { OpenConnections } from './open-connections.ts';
import { type AnyStreamService, namedService, noStreams, type StreamPort, type StreamTable } from './services.ts';
import { StreamTargets } from './targets.ts';
import { type Reply, UdpFlows } from './udp-flows.ts';

export interface StreamPublisher extends Closable {
  /**
   * Takes a connection to one of the table's ports. Where no service is meant, `otherwise` gets the socket, with every byte still in it, and the
   * hello where one was read; without it the socket is closed.
   */
  handleConnection(socket: Socket, ends: Ends, port: number, otherwise?: (hello: ClientHello | undefined) => void): void;
  /** A run of one sender's datagrams to one of the table's UDP ports; the bytes are valid only during the call. */
  handleDatagrams(run: Uint8Array, size: number, from: Endpoint, port: number, reply: Reply, via?: Endpoint): void;
  /** Takes nothing new, lets streams finish for at most `deadlineMs`, and closes. */
  drain(deadlineMs: number): Promise<void>;
  /** Swaps the table; what it does not keep is ended at once. */
  apply(table: StreamTable): void;
  /** A trust has ended at a service: so does what came in with its certificate. */
  endTrust(trustKey: string, serviceId: ServiceId): void;
  /** Whether a tls service has exactly this name, or this wildcard, on the port. */
  takesName(port: number, domain: string): boolean;
  /** Targets of the service that get nothing new now, and why. */
  targetProblems(service: ServiceId): ReturnType<StreamTargets['problems']>;
  stats(): { readonly streams: number; readonly udpFlows: number; readonly udpDropped: number };
}

export interface StreamPublisherDeps extends Omit<StreamForwarderDeps, 'around' | 'terminate' | 'opened'> {
  /** What policies are decided by besides the connection; left out, what they ask of data bases cannot be told. */
  readonly around?: Surroundings | undefined;
  /** For services at which TLS ends here. */
  readonly certificates: CertificateSource;
  /** TLS-ALPN-01 challenges; left out, none is answered. */
  readonly challenges?: ChallengeSource | undefined;
  /** Whether there is a path to a host of the overlay now; left out, nobody knows. */
  readonly reachable?: ((host: string) => boolean) | undefined;
  readonly openUdp: OpenUdpFlow;
  readonly openDirectUdp: OpenUdpFlow;
  /** The domain of the pages at a host, a wildcard among them. On the port of HTTPS the closer name wins, and any name before who takes the rest. */
  readonly webDomain: (host: string) => string | undefined;
  readonly clock: Clock;
}

export function createStreamPublisher(deps: StreamPublisherDeps): StreamPublisher {
  const deadlines = new Deadlines(deps.clock, () => recheck());
  const around = deps.around ?? plainSurroundings(deps.clock);
  const stapler = new Stapler(deps);
  const contexts = new SecureContexts();
  const terminate: StreamForwarderDeps['terminate'] = (socket, hello, { protocols, clients }) =>
    new Promise((done) => {
      const { certificates, challenges, log } = deps;
      terminateTls(
        socket,
        hello,
        { certificates, challenges, deadlines, contexts, stapler, protocols, clients: () => clients },
        done,
        (fault, detail) => {
          log.debug('TLS was not agreed on', { fault, detail, remote: socket.remoteAddress });
          done({ fault });
        },
      );
    });
  const opened = new OpenConnections();
  const targets = new StreamTargets({ ...deps, random: Math.random });
  const forwarder = new StreamForwarder({ ...deps, around, opened, terminate }, deadlines, targets);
  const flows = new UdpFlows({
    opened,
    open: deps.openUdp,
    openDirect: deps.openDirectUdp,
    targets,
    unlocks: deps.unlocks,
    around,
    accessLog: deps.accessLog,
    clock: deps.clock,
  });
  const waiting = new Set<Socket>();
  const shares = new NetworkShares(HELLOS_PER_ADDRESS);
  const stopWatching = deps.unlocks.onEnd((unlock) => {
    forwarder.endUnlock(unlock);
    flows.endUnlock(unlock);
  });
  let table: StreamTable = noStreams;

  let version = around.version();
  let minute = Math.floor(deps.clock.wall() / 60_000);

  /** For the sweep: what decides has changed, or the time of the day has. */
  function recheck(): void {
    forwarder.confirm();
    const before = { version, minute };
    version = around.version();
    minute = Math.floor(deps.clock.wall() / 60_000);
    const again = version === before.version ? (service: AnyStreamService) => service.policy.asksWhen : () => true;
    if (version !== before.version || minute !== before.minute) keep(again);
  }

  function keep(again: (service: AnyStreamService) => boolean): void {
    forwarder.sweep(table, again);
    flows.keep(table, again);
  }

  function choose(
    socket: Socket,
    ends: Ends,
    at: StreamPort,
    hello: ClientHello | undefined,
    otherwise?: (hello: ClientHello | undefined) => void,
  ): void {
    const name = hello?.serverName;
    const named = namedService(at, name);
    const web = otherwise === undefined || name === undefined || named?.domain === name ? undefined : deps.webDomain(name);
    const service = web !== undefined && (named === undefined || web === name) ? undefined : (named ?? at.rest);
    if (service !== undefined) return forwarder.handle(socket, service, ends, hello);
    if (otherwise !== undefined) return otherwise(hello);
    refuse(socket);
  }

  return {
    handleConnection(socket, ends, port, otherwise) {
      const at = table.ports.get(port);
      if (at === undefined || (at.names.size === 0 && otherwise === undefined))
        return choose(socket, ends, at ?? { names: new Map(), rest: undefined }, undefined, otherwise);
      const network = waiting.size >= HELLOS ? undefined : shares.take(ends.remote.address);
      if (network === undefined) return refuse(socket);
      waiting.add(socket);
      readHello(socket, deadlines, (seen) => {
        waiting.delete(socket);
        shares.give(network);
        if (seen.kind === 'gone') socket.destroy();
        else choose(socket, ends, table.ports.get(port) ?? at, seen.kind === 'hello' ? seen.hello : undefined, otherwise);
      });
    },
    apply(next) {
      table = next;
      targets.follow(next);
      deps.unlocks.keep((unlock, access) => {
        const service = next.service(unlock.serviceId);
        if (service === undefined || service.access === access) return service?.access;
        return holdRefusal(service, unlock.address, unlock, around) === undefined ? service.access : undefined;
      });
      keep(() => false);
    },
    endTrust(trustKey, serviceId) {
      forwarder.endTrust(trustKey, serviceId);
    },
    handleDatagrams(run, size, from, port, reply, via) {
      const service = table.udp.get(port);
      if (service !== undefined) flows.datagrams(run, size, from, service, reply, via);
    },
    targetProblems: (service) => targets.problems(service),
    takesName: (port, domain) => table.ports.get(port)?.names.has(domain) === true,
    stats: () => {
      const { open, dropped } = flows.counts;
      return { streams: forwarder.open, udpFlows: open, udpDropped: dropped };
    },
    async drain(deadlineMs) {
      flows.close();
      await forwarder.drain(deadlineMs);
      await this.close();
    },
    close: async () => {
      stopWatching();
      forwarder.close();
      flows.close();
      for (const socket of waiting) socket.destroy();
      targets.close();
      stapler.close();
      deadlines.close();
    },
  };
}

function refuse(socket: Socket): void {
  socket.on('error', () => undefined);
  socket.destroy();
}
