// A port that accepts, and how a SYN becomes a half-open connection.
import type { SocketAddress, TcpConnection } from '../types.ts';
import type { PassiveOpen } from './state.ts';

export class Listener implements PassiveOpen {
  readonly port: number | 'any';
  readonly #admit: (local: SocketAddress, remote: SocketAddress) => boolean;
  readonly #accept: (connection: TcpConnection, now: number) => void;
  /** A closed listener admits nobody; handshakes that it had admitted end in a reset. */
  open = true;

  constructor(
    port: number | 'any',
    admit: (local: SocketAddress, remote: SocketAddress) => boolean,
    accept: (connection: TcpConnection, now: number) => void,
  ) {
    this.port = port;
    this.#admit = admit;
    this.#accept = accept;
  }

  admits(local: SocketAddress, remote: SocketAddress): boolean {
    return this.open && this.#admit(local, remote);
  }

  /** Not called for a closed listener's handshakes: without a handler they are reset by who calls. */
  accept(connection: TcpConnection, now: number): void {
    if (this.open) this.#accept(connection, now);
  }
}
