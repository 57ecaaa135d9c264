// Who may connect, and which connections go on: the map's filter, whoever accepts here, and the routes, asked in one place.
import { describeError } from '#lib/errors.ts';
import { formatIp, type IpAddress, type IpPrefix, sameIp } from '#lib/ip.ts';
import type { Logger } from '#lib/log.ts';
import type { PublicKey } from '#model/ids.ts';
import type { SocketAddress } from '#netstack/types.ts';
import { overlayError } from './errors.ts';
import type { OverlayFilter } from './filter.ts';
import type { AcceptedConnection, OpenConnection } from './inner-face.ts';
import type { OverlayRoutes } from './routes.ts';
import type { OverlayConnection } from './types.ts';

export interface AdmissionDeps {
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
  #handler: ((connection: OverlayConnection) => void) | undefined;

  constructor(deps: AdmissionDeps) {
    this.#deps = deps;
  }

  /** Says who accepts at our own addresses. */
  accept(wants: (port: number) => boolean, handler: (connection: OverlayConnection) => void): void {
    this.#wants = wants;
    this.#handler = handler;
  }

  /** The peer that packets to the address go to: whose it is, or who carries it. */
  leadsTo(ip: IpAddress): PublicKey | undefined {
    return this.#deps.ownerOf(ip) ?? this.#deps.routes.routerOf(ip);
  }

  /** Whether `remote` may open a connection to `local`, ours or one that we carry. */
  admits(local: SocketAddress, remote: SocketAddress): boolean {
    if (!this.#isOwn(local.ip)) return this.#deps.ownerOf(remote.ip) !== undefined && this.#deps.routes.admits(local, remote);
    return this.#handler !== undefined && this.passesFilter(local, remote) && this.#wants(local.port);
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
    const take = this.#isOwn(local.ip) ? this.#handler : (connection: OverlayConnection) => routes.take(connection, local, remote);
    try {
      // Whoever accepted may be gone, too.
      if (take === undefined || this.verdict({ peer, remote, acceptedAt: local }) !== undefined) stream.destroy();
      else {
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
    }
  }

  #isOwn(ip: IpAddress): boolean {
    return this.#deps.own().some(({ address }) => sameIp(address, ip));
  }
}
