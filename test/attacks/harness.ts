// Runs one request through every way in: HTTP/1.1 and HTTP/2, direct and behind a trusted proxy; and keeps what the upstream received.
import type { TLSSocket } from 'node:tls';
import type { Test } from 'tap';
import type { ServiceMapping } from '#model/service.ts';
import type { HttpPublisherDeps } from '#publish/index.ts';
import { listenTcp, startFixture, type Fixture } from '../publish/harness.ts';
import { Seeded } from '../support/hostile.ts';
import { RawH2, type Field } from '#cli/attack/h2-raw.ts';

/** Kept small for every day; a longer hunt sets the variable. */
export const rounds = (usual: number): number => Math.ceil(usual * Number(process.env['MESHGATE_ATTACK_FACTOR'] ?? '1'));

/** The seed of every generator here; printed by a failing row, so that it can be had again. */
export const seed = Number(process.env['MESHGATE_ATTACK_SEED'] ?? '20261122');

export function pick<T>(random: Seeded, from: readonly T[]): T {
  return from[random.below(from.length)] as T;
}

/** Gives way to the loop until it is so, at most `ms`; tells whether it was. */
export async function until(so: () => boolean, ms = 10_000): Promise<boolean> {
  const end = performance.now() + ms;
  while (!so() && performance.now() < end) await new Promise((resolve) => setImmediate(resolve));
  return so();
}

/** What the proxy before us says of the client: a documentation address, so that nobody can mistake it for the connection's own. */
export const proxied = {
  client: '203.0.113.7',
  fields: [
    ['X-Forwarded-For', '203.0.113.7'],
    ['X-Forwarded-Proto', 'https'],
  ] as readonly Field[],
};

/** An upstream that keeps every byte. It answers each request that has arrived whole with its head as body. */
export interface Recorder {
  readonly port: number;
  /** Whole requests, in order. */
  readonly requests: string[];
  /** Every byte of every connection, also of requests that never became whole. */
  bytes(): number;
  /** Forgets what came so far. */
  clear(): void;
}

/** The end of the first whole request in `text`, read as simply as an upstream may; -1 while it is not whole. */
function wholeRequest(text: string): number {
  const end = text.indexOf('\r\n\r\n');
  if (end < 0) return -1;
  const head = text.slice(0, end + 2);
  const start = end + 4;
  if (/\r\ntransfer-encoding:/i.test(head)) {
    if (text.startsWith('0\r\n\r\n', start)) return start + 5;
    const last = text.indexOf('\r\n0\r\n', start);
    const finish = last < 0 ? -1 : text.indexOf('\r\n\r\n', last + 2);
    return finish < 0 ? -1 : finish + 4;
  }
  const size = start + Number(/\r\ncontent-length: *(\d+)/i.exec(head)?.[1] ?? 0);
  return text.length < size ? -1 : size;
}

export async function startRecorder(t: Test, answer?: (request: string) => string | undefined): Promise<Recorder> {
  const requests: string[] = [];
  let bytes = 0;
  const server = await listenTcp((socket) => {
    let pending = '';
    socket.on('data', (chunk: Buffer) => {
      bytes += chunk.length;
      pending += chunk.toString('latin1');
      for (let size = wholeRequest(pending); size >= 0; size = wholeRequest(pending)) {
        const request = pending.slice(0, size);
        pending = pending.slice(size);
        requests.push(request);
        const head = request.slice(0, request.indexOf('\r\n\r\n') + 4);
        const body = head.startsWith('HEAD ') ? '' : head;
        socket.write(answer?.(request) ?? `HTTP/1.1 200 OK\r\nContent-Length: ${head.length}\r\n\r\n${body}`, 'latin1');
      }
    });
  });
  t.teardown(server.close);
  return {
    port: server.port,
    requests,
    bytes: () => bytes,
    clear: () => {
      requests.length = 0;
      bytes = 0;
    },
  };
}

export interface Ask {
  readonly method?: string;
  readonly target?: string;
  readonly host?: string;
  readonly fields?: readonly Field[];
  /** With its length; `chunked` sends it without one. */
  readonly body?: string;
  readonly chunked?: boolean;
  readonly trailers?: readonly Field[];
  /** The name in TLS; the host of the request where it is left out. */
  readonly serverName?: string;
}

export interface Outcome {
  readonly variant: Variant;
  /** 0 where the request got no answer: a reset stream, a closed connection. */
  readonly status: number;
  /** The whole answer as text; of HTTP/2 only its body. */
  readonly text: string;
  /** What arrived at the upstreams meanwhile, whole requests in order. */
  readonly upstream: readonly string[];
  /** The connection ended with the answer, or the stream was reset. */
  readonly ended: boolean;
}

export type Variant = 'h1 direct' | 'h1 behind' | 'h2 direct' | 'h2 behind';
export const variants: readonly Variant[] = ['h1 direct', 'h1 behind', 'h2 direct', 'h2 behind'];

/** A request as text, as it goes out on HTTP/1.1. */
function textOf({ method = 'GET', target = '/', host = 'a.test', fields = [], body, chunked = false, trailers = [] }: Ask): string {
  const lines = fields.map(([name, value]) => `${name}: ${value}\r\n`).join('');
  const head = `${method} ${target} HTTP/1.1\r\nHost: ${host}\r\n${lines}`;
  if (body === undefined) return `${head}\r\n`;
  if (!chunked && trailers.length === 0) return `${head}Content-Length: ${body.length}\r\n\r\n${body}`;
  const end = trailers.map(([name, value]) => `${name}: ${value}\r\n`).join('');
  return `${head}Transfer-Encoding: chunked\r\n\r\n${body === '' ? '' : `${body.length.toString(16)}\r\n${body}\r\n`}0\r\n${end}\r\n`;
}

/** The published services, once without trusted proxies and once with; connections are kept from row to row. */
export class Range {
  readonly direct: Fixture;
  readonly behind: Fixture;
  readonly recorders: readonly Recorder[];
  readonly #h1 = new Map<string, TLSSocket>();
  readonly #h2 = new Map<string, RawH2>();

  constructor(direct: Fixture, behind: Fixture, recorders: readonly Recorder[]) {
    this.direct = direct;
    this.behind = behind;
    this.recorders = recorders;
  }

  static async start(
    t: Test,
    mappings: readonly ServiceMapping[],
    recorders: readonly Recorder[],
    changes: Partial<HttpPublisherDeps> = {},
  ): Promise<Range> {
    const direct = await startFixture(mappings, changes);
    const behind = await startFixture(mappings, { ...changes, trustedProxies: ['127.0.0.0/8', '::1/128'] });
    const range = new Range(direct, behind, recorders);
    t.teardown(async () => {
      range.close();
      await Promise.all([direct.close(), behind.close()]);
    });
    return range;
  }

  fixture(variant: Variant): Fixture {
    return variant.endsWith('behind') ? this.behind : this.direct;
  }

  /** The request in one variant. */
  async ask(variant: Variant, ask: Ask): Promise<Outcome> {
    const more = variant.endsWith('behind') ? proxied.fields : [];
    const fields = [...(ask.fields ?? []), ...more];
    return variant.startsWith('h1')
      ? this.h1(variant, textOf({ ...ask, fields }), serverNameOf(ask), ask.method === 'HEAD')
      : this.#askH2(variant, { ...ask, fields });
  }

  /** The request in every variant. */
  async all(ask: Ask): Promise<Outcome[]> {
    const outcomes: Outcome[] = [];
    for (const variant of variants) outcomes.push(await this.ask(variant, ask));
    return outcomes;
  }

  /** Bytes as they are over HTTP/1.1, until one final answer is whole or the connection ends. */
  async h1(variant: Variant, bytes: string | readonly string[], serverName = 'a.test', headOnly = false): Promise<Outcome> {
    const before = this.#mark();
    const socket = await this.#connectH1(variant, serverName);
    const answer = readAnswer(socket, headOnly);
    for (const part of typeof bytes === 'string' ? [bytes] : bytes) {
      if (socket.writable) socket.write(part, 'latin1');
      if (typeof bytes !== 'string') await new Promise((resolve) => setImmediate(resolve));
    }
    const { text, ended } = await answer;
    if (ended || /\r\nConnection: close\r\n/i.test(text)) this.#dropH1(variant, serverName);
    // Interim answers come before the one that counts.
    const statuses = [...text.matchAll(/^HTTP\/1\.[01] (\d{3})/gm)].map((match) => Number(match[1]));
    return { variant, status: statuses.find((status) => status >= 200 || status === 101) ?? 0, text, upstream: this.#since(before), ended };
  }

  /** Fields as they are over HTTP/2. */
  async h2(variant: Variant, fields: readonly Field[], body?: string | Uint8Array, serverName = 'a.test'): Promise<Outcome> {
    const before = this.#mark();
    const connection = await this.#connectH2(variant, serverName);
    const end = await connection.ended(connection.open(fields, body));
    if (connection.closed || connection.nextStream > 1_000) this.#dropH2(variant, serverName);
    return { variant, status: end.status, text: end.body, upstream: this.#since(before), ended: end.closed || end.reset !== undefined };
  }

  /** Nothing arrived at an upstream that nobody has looked at; waits a little for what is on its way. */
  async quiet(): Promise<boolean> {
    const before = this.recorders.map((recorder) => recorder.bytes()).join();
    for (let i = 0; i < 20; i++) await new Promise((resolve) => setImmediate(resolve));
    return before === this.recorders.map((recorder) => recorder.bytes()).join();
  }

  close(): void {
    for (const socket of this.#h1.values()) socket.destroy();
    for (const connection of this.#h2.values()) connection.destroy();
    this.#h1.clear();
    this.#h2.clear();
  }

  #mark(): readonly number[] {
    return this.recorders.map(({ requests }) => requests.length);
  }

  #since(mark: readonly number[]): string[] {
    return this.recorders.flatMap(({ requests }, i) => requests.slice(mark[i]));
  }

  #askH2(variant: Variant, { method = 'GET', target = '/', host = 'a.test', fields = [], body, chunked, ...ask }: Ask): Promise<Outcome> {
    const length: Field[] = body === undefined || chunked === true ? [] : [['content-length', String(body.length)]];
    const head: Field[] = [
      [':method', method],
      [':scheme', 'https'],
      [':path', target],
      [':authority', host],
    ];
    const lower = fields.map(([name, value]): Field => [name.toLowerCase(), value]);
    return this.h2(variant, [...head, ...length, ...lower], body, serverNameOf({ host, ...ask }));
  }

  async #connectH1(variant: Variant, serverName: string): Promise<TLSSocket> {
    const key = `${variant} ${serverName}`;
    const kept = this.#h1.get(key);
    if (kept !== undefined && !kept.destroyed && kept.writable && !kept.readableEnded) return kept;
    const socket = await this.fixture(variant).connect(serverName);
    this.#h1.set(key, socket);
    return socket;
  }

  #dropH1(variant: Variant, serverName: string): void {
    this.#h1.get(`${variant} ${serverName}`)?.destroy();
    this.#h1.delete(`${variant} ${serverName}`);
  }

  async #connectH2(variant: Variant, serverName: string): Promise<RawH2> {
    const key = `${variant} ${serverName}`;
    const kept = this.#h2.get(key);
    if (kept !== undefined && !kept.closed) return kept;
    const connection = new RawH2(await this.fixture(variant).connect(serverName, ['h2'])).hello();
    this.#h2.set(key, connection);
    return connection;
  }

  #dropH2(variant: Variant, serverName: string): void {
    this.#h2.get(`${variant} ${serverName}`)?.destroy();
    this.#h2.delete(`${variant} ${serverName}`);
  }
}

/** The name that a client would say in TLS for a host, which here may be anything. */
function serverNameOf({ host = 'a.test', serverName }: Ask): string {
  return serverName ?? (/^[a-z]+(?:\.[a-z]+)*\.test$/.test(host) ? host : 'a.test');
}

/** One final answer by its length, or everything until the connection ends. Rejects after ten seconds. */
function readAnswer(socket: TLSSocket, headOnly: boolean): Promise<{ text: string; ended: boolean }> {
  return new Promise((resolve, reject) => {
    let text = '';
    const timer = setTimeout(() => done(undefined), 10_000);
    const done = (ended: boolean | undefined): void => {
      clearTimeout(timer);
      socket.off('data', onData);
      socket.off('close', onClose);
      if (ended === undefined) reject(new Error(`no whole answer: ${JSON.stringify(text.slice(0, 200))}`));
      else resolve({ text, ended });
    };
    const onClose = (): void => done(true);
    const onData = (chunk: Buffer): void => {
      text += chunk.toString('latin1');
      const final = /(?:^|\r\n\r\n)(HTTP\/1\.[01] (?:[2-5]\d\d|101) [\s\S]*)$/.exec(text)?.[1];
      if (final === undefined) return;
      const end = final.indexOf('\r\n\r\n');
      if (end < 0) return;
      const head = final.slice(0, end + 2);
      if (/\r\nconnection: close\r\n/i.test(head)) return;
      if (headOnly || /^HTTP\/1\.1 (?:204|304|101)/.test(head)) return done(false);
      const length = /\r\ncontent-length: (\d+)\r\n/i.exec(head)?.[1];
      if (length === undefined ? final.endsWith('\r\n0\r\n\r\n') : final.length >= end + 4 + Number(length)) done(false);
    };
    socket.on('data', onData);
    socket.on('close', onClose);
  });
}

/** The request line's target of what an upstream received. */
export function targetOf(request: string): string {
  return request.slice(0, request.indexOf('\r\n')).split(' ')[1] ?? '';
}

/** Every spelling of field lines in what an upstream received. */
export function lines(request: string): readonly string[] {
  return request.slice(0, request.indexOf('\r\n\r\n')).split('\r\n').slice(1);
}
