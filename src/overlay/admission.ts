// Who may connect, and which connections go on: the map's filter, whoever accepts here, and the routes, asked in one place.
import type { Duplex } from 'node:stream';
import type { Clock } from '#lib/clock.ts';
import { describeError } from '#lib/errors.ts';
import { formatIp, type IpAddress, type IpPrefix, sameIp } from '#lib/ip.ts';
import type { Logger } from '#lib/log.ts';
import type { PublicKey } from '#model/ids.ts';
import type { SocketAddress, SynVerdict } from '#netstack/types.ts';
import { overlayError } from './errors.ts';
import type { OverlayFilter } from './filter.ts';
import type { AcceptedConnection, OpenConnection } from './inner-face.ts';
import { Openings } from './openings.ts';
import type { OverlayRoutes } from './routes.ts';
import type { Overlay, OverlayConnection } from './types.ts';

export interface AdmissionDeps {
  readonly clock: Clock;
  readonly log: Logger;
  readonly filter: OverlayFilter;
  readonly routes: OverlayRoutes;
  /** Our overlay addresses. */
  readonly own: () => readonly IpPrefix[];
  /** The peer that has the overlay address. */
  readonly ownerOf: (ip: IpAddress) => PublicKey | undefined;
}

export class Admission {
  readonly #deps: AdmissionDeps;
  #wants: (port: number) => boolean = () => false;
  #handler: ((connection: OverlayConnection, way: Duplex | undefined) => void) | undefined;
  #openings: Openings | undefined;

  constructor(deps: AdmissionDeps) {
    this.#deps = deps;
  }

  /** Says who accepts at our own addresses, and how the way to a port's target is opened before. */
  accept(...[wants, handler, open]: Parameters<Overlay['accept']>): void {
    this.#wants = wants;
    this.#handler = handler;
    this.#openings?.close();
    this.#openings = open === undefined ? undefined : new Openings(this.#deps.clock, ({ port }, signal) => open(port, signal));
  }

  close(): void {
    this.#openings?.close();
  }

  /** The peer that packets to the address go to: whose it is, or who carries it. */
  leadsTo(ip: IpAddress): PublicKey | undefined {
    return this.#deps.ownerOf(ip) ?? this.#deps.routes.routerOf(ip);
  }

  /** Whether `remote` may open a connection to `local`, one of our own addresses. */
  admits(local: SocketAddress, remote: SocketAddress): boolean {
    return this.#isOwn(local.ip) && this.#handler !== undefined && this.passesFilter(local, remote) && this.#wants(local.port);
  }

  /** What becomes of a SYN to an address that is ours, or that we carry. */
  judge(local: SocketAddress, remote: SocketAddress, again: (() => void) | undefined): SynVerdict {
    if (!this.#isOwn(local.ip)) return this.#deps.ownerOf(remote.ip) === undefined ? 'refuse' : this.#deps.routes.judge(local, remote, again);
    const openings = this.#openings;
    // One that is on its way was wanted, and counts among those that are open.
    if (openings?.has(local, remote) === true) return this.passesFilter(local, remote) ? openings.judge(local, remote, again) : 'refuse';
    if (!this.admits(local, remote)) return 'refuse';
    return openings === undefined ? 'accept' : openings.judge(local, remote, again);
  }

  withdrawn(local: SocketAddress, remote: SocketAddress): void {
    if (this.#isOwn(local.ip)) this.#openings?.withdraw(local, remote);
    else this.#deps.routes.withdrawn(local, remote);
  }

  passesFilter(local: SocketAddress, remote: SocketAddress): boolean {
    return this.#deps.filter.admitsTcp(remote.ip, local.port) && this.#deps.ownerOf(remote.ip) !== undefined;
  }

  /** Why an open connection has to end; undefined where it may go on. */
  verdict({ peer, remote, acceptedAt }: OpenConnection): Error | undefined {
    const { filter, routes, ownerOf } = this.#deps;
    if ((acceptedAt === undefined ? this.leadsTo(remote.ip) : ownerOf(remote.ip)) !== peer) {
      return overlayError('EHOSTUNREACH', 'the address leads to another peer now, or to none');
    }
    const goesOn =
      acceptedAt === undefined
        ? !filter.forbids('tcp', remote.ip, remote.port)
        : this.#isOwn(acceptedAt.ip)
          ? filter.admitsTcp(remote.ip, acceptedAt.port)
          : routes.keeps(acceptedAt, remote);
    return goesOn ? undefined : overlayError('ECONNRESET', 'the policy no longer admits it');
  }

  /** Hands an accepted connection to whoever takes it. What changed since its SYN counts: a caller may let the last ACK wait. */
  accepted({ stream, local, remote, peer }: AcceptedConnection): void {
    const { routes, log } = this.#deps;
    const own = this.#isOwn(local.ip);
    const way = own ? this.#openings?.take(local, remote) : undefined;
    const handler = this.#handler;
    const take = own
      ? handler && ((connection: OverlayConnection) => handler(connection, way))
      : (connection: OverlayConnection) => routes.take(connection, local, remote);
    try {
      // Whoever accepted may be gone, too.
      if (take === undefined || this.verdict({ peer, remote, acceptedAt: local }) !== undefined) {
        stream.destroy();
        way?.destroy();
      } else {
        take({
          stream,
          local: { address: formatIp(local.ip), port: local.port },
          remote: { address: formatIp(remote.ip), port: remote.port },
          peer,
        });
      }
    } catch (error) {
      log.error('overlay: what accepts connections failed', { reason: describeError(error) });
      stream.on('error', () => undefined).destroy();
      way?.destroy();
    }
  }

  #isOwn(ip: IpAddress): boolean {
    return this.#deps.own().some(({ address }) => sameIp(address, ip));
  }
}
