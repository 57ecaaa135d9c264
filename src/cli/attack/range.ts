// The one port that is attacked: connections to an address that has proven whose it is, one request at a time, with a pause before each.
import { connect as connectTcp, type Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { connect as connectTls, type ConnectionOptions, type TLSSocket } from 'node:tls';
import { answerMs, maxAttackAnswer, paceMs, settleMs } from './constants.ts';
import { RawH2, type Field } from './h2-raw.ts';

/** A gateway that has proven to serve the host for this account. */
export interface ProvenTarget {
  readonly host: string;
  readonly address: string;
  readonly port: number;
  /** PEM of a private authority that its certificate comes from. */
  readonly ca: string | undefined;
}

export interface Answer {
  readonly variant: 'HTTP/1.1' | 'HTTP/2';
  /** 0 where there was no answer. */
  readonly status: number;
  /** Final answers on the connection; of HTTP/2 on the stream. */
  readonly answers: number;
  /** The head, of HTTP/1.1 only. */
  readonly head: string;
  readonly body: string;
  /** The other side ended the connection, or the stream without an answer. */
  readonly ended: boolean;
}

export interface Ask {
  readonly method?: string;
  readonly target?: string;
  /** In the Host field; the target's host and port where it is left out. */
  readonly host?: string;
  readonly fields?: readonly Field[];
}

export class Range {
  readonly target: ProvenTarget;
  /** An answer said 429: what comes after says nothing of the gateway's parsers. */
  limited = false;
  readonly #stop: AbortSignal;
  #h2: RawH2 | undefined;
  #speaksH2: boolean | undefined;

  constructor(target: ProvenTarget, stop: AbortSignal) {
    this.target = target;
    this.#stop = stop;
  }

  /** The host as it stands in a Host field. */
  get authority(): string {
    return this.target.port === 443 ? this.target.host : `${this.target.host}:${this.target.port}`;
  }

  /** Bytes as they are, over a connection of their own. Rejects where there is no connection. */
  async h1(bytes: string): Promise<Answer> {
    const socket = await this.tls({ ALPNProtocols: ['http/1.1'] });
    try {
      socket.write(bytes, 'latin1');
      const { text, ended } = await untilSettled(socket, this.#stop);
      // Only a line that begins where the answer before may have ended counts: bodies are the upstream's.
      const heads = [...text.matchAll(/(?:^|\r\n\r\n|\r\n0\r\n\r\n|[^\r\n])HTTP\/1\.[01] ([1-5]\d\d)\b/g)].map((match) => Number(match[1]));
      const finals = heads.filter((status) => status >= 200 || status === 101);
      const begins = text.search(/HTTP\/1\.[01] (?:[2-5]\d\d|101)\b/);
      const headEnd = text.indexOf('\r\n\r\n', Math.max(0, begins));
      const [head, body] = headEnd < 0 ? [text, ''] : [text.slice(Math.max(0, begins), headEnd + 2), text.slice(headEnd + 4)];
      return this.#note({ variant: 'HTTP/1.1', status: finals[0] ?? 0, answers: finals.length, head, body, ended });
    } finally {
      socket.destroy();
    }
  }

  /** Fields as they are, on a stream of the connection that is kept; undefined where the port does not speak HTTP/2. */
  async h2(fields: readonly Field[], body?: string): Promise<Answer | undefined> {
    if (this.#speaksH2 === false) return undefined;
    if (this.#h2 === undefined || this.#h2.closed) {
      const socket = await this.tls({ ALPNProtocols: ['h2', 'http/1.1'] });
      this.#speaksH2 = socket.alpnProtocol === 'h2';
      if (!this.#speaksH2) {
        socket.destroy();
        return undefined;
      }
      this.#h2 = new RawH2(socket).hello();
    } else await this.#pause();
    const connection = this.#h2;
    const stream = connection.open(fields, body);
    const end = await connection.ended(stream, answerMs).catch(() => undefined);
    // A server that waits for more is not asked again over this connection.
    if (end === undefined) connection.destroy();
    const status = end?.status ?? connection.statusOn(stream);
    const ended = end !== undefined && (end.closed || end.reset !== undefined);
    return this.#note({ variant: 'HTTP/2', status, answers: status === 0 ? 0 : 1, head: '', body: end?.body ?? '', ended });
  }

  /** A plain request in both versions. */
  async both({ method = 'GET', target = '/', host = this.authority, fields = [] }: Ask = {}): Promise<readonly Answer[]> {
    const lines = fields.map(([name, value]) => `${name}: ${value}\r\n`).join('');
    // Whoever names what Connection lists says so with its own field.
    const close = fields.some(([name]) => name.toLowerCase() === 'connection') ? '' : 'Connection: close\r\n';
    const first = await this.h1(`${method} ${target} HTTP/1.1\r\nHost: ${host}\r\n${lines}${close}\r\n`);
    const second = await this.h2([
      [':method', method],
      [':scheme', 'https'],
      [':path', target],
      [':authority', host],
      ...fields.filter(([name]) => name.toLowerCase() !== 'connection').map(([name, value]): Field => [name.toLowerCase(), value]),
    ]);
    return second === undefined ? [first] : [first, second];
  }

  /** A TLS connection to the target, checked for its host. `options` may name another server, or older versions. */
  async tls(options: ConnectionOptions = {}): Promise<TLSSocket> {
    await this.#pause();
    const { host, address, port, ca } = this.target;
    return new Promise((resolve, reject) => {
      const socket = connectTls({ host: address, port, servername: host, ...(ca === undefined ? {} : { ca }), ...options });
      this.#settle(socket, 'secureConnect', resolve, reject);
    });
  }

  /** A TCP connection to the target. */
  async tcp(): Promise<Socket> {
    await this.#pause();
    return new Promise((resolve, reject) => {
      this.#settle(connectTcp({ host: this.target.address, port: this.target.port }), 'connect', resolve, reject);
    });
  }

  close(): void {
    this.#h2?.destroy();
  }

  #settle<S extends Socket>(socket: S, event: string, resolve: (socket: S) => void, reject: (reason: Error) => void): void {
    const limit = AbortSignal.any([this.#stop, AbortSignal.timeout(answerMs)]);
    const fail = (): void => {
      socket.destroy();
      reject(new Error('no connection in time'));
    };
    limit.addEventListener('abort', fail, { once: true });
    socket.on('error', reject);
    socket.once('close', () => reject(new Error('the connection was closed')));
    socket.once(event, () => {
      limit.removeEventListener('abort', fail);
      resolve(socket);
    });
  }

  async #pause(): Promise<void> {
    await delay(paceMs, undefined, { signal: this.#stop });
  }

  #note(answer: Answer): Answer {
    if (answer.status === 429) this.limited = true;
    return answer;
  }
}

/** Everything that comes until the other side ends, or says nothing more after an answer. */
function untilSettled(socket: Socket, stop: AbortSignal): Promise<{ readonly text: string; readonly ended: boolean }> {
  return new Promise((resolve) => {
    let text = '';
    const done = (ended: boolean): void => {
      clearTimeout(timer);
      stop.removeEventListener('abort', stopped);
      resolve({ text, ended });
    };
    const stopped = (): void => done(false);
    let timer = setTimeout(() => done(false), answerMs);
    stop.addEventListener('abort', stopped, { once: true });
    socket.on('data', (chunk: Buffer) => {
      text = (text + chunk.toString('latin1')).slice(0, maxAttackAnswer);
      if (!/HTTP\/1\.[01] (?:[2-5]\d\d|101)\b/.test(text)) return;
      clearTimeout(timer);
      timer = setTimeout(() => done(false), settleMs);
    });
    socket.once('end', () => done(true));
    socket.once('close', () => done(true));
  });
}
