// Looks at the first bytes of a connection for the name that a TLS client asks for, and puts them back: nothing is answered.
import type { Socket } from 'node:net';
import { type ClientHello, ClientHelloReader, type HelloFault } from '#wire/client-hello.ts';
import { HANDSHAKE_MS } from '../constants.ts';
import type { Deadlined, Deadlines } from '../http/deadlines.ts';

export type HelloSeen =
  | { readonly kind: 'hello'; readonly hello: ClientHello }
  /** The bytes are back in the socket; they may be another protocol's. */
  | { readonly kind: 'other'; readonly fault: HelloFault }
  /** Nothing useful came: the socket is gone, or its time is over. */
  | { readonly kind: 'gone'; readonly fault: 'timeout' | 'closed' };

/** Calls `seen` once. The socket is paused then, with every byte that came. One deadline holds for the whole hello. */
export function readHello(socket: Socket, deadlines: Deadlines, seen: (seen: HelloSeen) => void): void {
  new HelloWatch(socket, deadlines, seen).begin();
}

class HelloWatch implements Deadlined {
  deadline: number;
  slot = -1;
  readonly #socket: Socket;
  readonly #deadlines: Deadlines;
  readonly #seen: (seen: HelloSeen) => void;
  readonly #reader = new ClientHelloReader();
  readonly #held: Buffer[] = [];

  constructor(socket: Socket, deadlines: Deadlines, seen: (seen: HelloSeen) => void) {
    this.#socket = socket;
    this.#deadlines = deadlines;
    this.#seen = seen;
    this.deadline = deadlines.now() + HANDSHAKE_MS;
  }

  begin(): void {
    this.#deadlines.add(this);
    this.#socket.on('data', this.#onData);
    this.#socket.on('end', this.#onClose);
    this.#socket.on('close', this.#onClose);
    this.#socket.on('error', this.#onClose);
  }

  expire(): void {
    this.#over({ kind: 'gone', fault: 'timeout' });
  }

  readonly #onData = (chunk: Buffer): void => {
    this.#held.push(chunk);
    const result = this.#reader.push(chunk);
    if (result.kind === 'more') return;
    this.#over(result.kind === 'hello' ? result : { kind: 'other', fault: result.reason });
  };

  readonly #onClose = (): void => {
    this.#over({ kind: 'gone', fault: 'closed' });
  };

  #over(result: HelloSeen): void {
    const socket = this.#socket;
    this.#deadlines.remove(this);
    socket.off('data', this.#onData);
    socket.off('end', this.#onClose);
    socket.off('close', this.#onClose);
    socket.off('error', this.#onClose);
    if (result.kind === 'gone') socket.on('error', () => undefined);
    else {
      socket.pause();
      socket.unshift(this.#held.length === 1 && this.#held[0] !== undefined ? this.#held[0] : Buffer.concat(this.#held));
    }
    this.#seen(result);
  }
}
