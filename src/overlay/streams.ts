// All open streams of an overlay: made here, counted, and ended when their peer or their permission goes.
import type { PublicKey } from '#model/ids.ts';
import type { IpAddress } from '#lib/ip.ts';
import type { TcpConnection } from '#netstack/types.ts';
import { MAX_STREAMS } from './constants.ts';
import type { Driver } from './driver.ts';
import { overlayError } from './errors.ts';
import type { Destination } from './peer-directory.ts';
import { OverlayStream, type StreamEvents } from './stream.ts';

interface Entry {
  readonly peer: PublicKey;
  readonly remote: IpAddress;
  /** The port it was accepted at; undefined for one of our own. */
  readonly acceptedAt: number | undefined;
}

export class Streams {
  readonly #driver: Driver;
  readonly #open = new Map<OverlayStream, Entry>();

  constructor(driver: Driver) {
    this.#driver = driver;
  }

  get full(): boolean {
    return this.#open.size >= MAX_STREAMS;
  }

  /** Throws ENOBUFS where too many are open. */
  connect(to: Destination, port: number, opened: StreamEvents['opened']): OverlayStream {
    if (this.full) throw overlayError('ENOBUFS');
    const stream = new OverlayStream(this.#driver, false, { opened, gone: (gone) => this.#open.delete(gone) });
    this.#open.set(stream, { peer: to.peer, remote: to.ip, acceptedAt: undefined });
    stream.bind(this.#driver.stack.connect({ ip: to.ip, port }, stream.handler, this.#driver.clock.now()));
    this.#driver.touch();
    return stream;
  }

  /** Makes the stream of a connection that the stack hands over. */
  accept(connection: TcpConnection, peer: PublicKey): OverlayStream {
    const stream = new OverlayStream(this.#driver, true, { opened: () => undefined, gone: (gone) => this.#open.delete(gone) });
    this.#open.set(stream, { peer, remote: connection.remote.ip, acceptedAt: connection.local.port });
    connection.attach(stream.handler);
    return stream.bind(connection);
  }

  /** Ends every stream whose peer no longer owns its address, or whose permission is gone. */
  recheck(ownerOf: (ip: IpAddress) => PublicKey | undefined, admits: (from: IpAddress, port: number) => boolean): void {
    for (const [stream, { peer, remote, acceptedAt }] of this.#open) {
      if (ownerOf(remote) !== peer) stream.destroy(overlayError('EHOSTUNREACH', 'the peer left the network'));
      else if (acceptedAt !== undefined && !admits(remote, acceptedAt)) stream.destroy(overlayError('ECONNRESET', 'the policy no longer admits it'));
    }
  }

  /** Resets all, without an error: whoever closes the overlay knows. */
  close(): void {
    for (const stream of this.#open.keys()) stream.destroy();
  }
}
