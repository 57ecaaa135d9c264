// A port that accepts, and how a SYN becomes a half-open connection.
import type { Admit, SocketAddress, SynVerdict, TcpConnection } from '../types.ts';
import type { PassiveOpen } from './state.ts';

export class Listener implements PassiveOpen {
  readonly port: number | 'any';
  readonly #admit: Admit;
  readonly #accept: (connection: TcpConnection, now: number) => void;
  readonly #withdrawn: ((local: SocketAddress, remote: SocketAddress) => void) | undefined;
  /** A closed listener admits nobody; handshakes that it had admitted end in a reset. */
  open = true;

  constructor(
    port: number | 'any',
    admit: Admit,
    accept: (connection: TcpConnection, now: number) => void,
    withdrawn?: (local: SocketAddress, remote: SocketAddress) => void,
  ) {
    this.port = port;
    this.#admit = admit;
    this.#accept = accept;
    this.#withdrawn = withdrawn;
  }

  judge(local: SocketAddress, remote: SocketAddress, syn: Uint8Array | undefined): SynVerdict {
    const verdict = this.open && this.#admit(local, remote, syn);
    return verdict === true ? 'accept' : verdict === false ? 'refuse' : verdict;
  }

  withdrawn(local: SocketAddress, remote: SocketAddress): void {
    if (this.open) this.#withdrawn?.(local, remote);
  }

  /** Not called for a closed listener's handshakes: without a handler they are reset by who calls. */
  accept(connection: TcpConnection, now: number): void {
    if (this.open) this.#accept(connection, now);
  }
}
