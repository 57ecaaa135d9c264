// One request over HTTP/1.1 or HTTP/2 on a connection of its own: the same question, the same form of answer.
import { connect as h2Connect, type OutgoingHttpHeaders } from 'node:http2';
import { readAll, type Fixture as WholeFixture } from './harness.ts';

/** What leads to a gateway: a fixture's, or a process'. */
type Fixture = Pick<WholeFixture, 'connect'>;

export const versions = ['h1', 'h2'] as const;
export type Version = (typeof versions)[number];

export interface Question {
  readonly method?: string;
  readonly path?: string;
  readonly host?: string;
  /** Of the handshake, where it is not the host's. */
  readonly serverName?: string;
  readonly headers?: readonly (readonly [name: string, value: string])[];
  readonly body?: string;
}

export interface Told {
  readonly status: number;
  /** Every line, names in lower case. */
  readonly lines: readonly (readonly [name: string, value: string])[];
  /** The values of a field, joined by `|`; empty where there is none. */
  header(name: string): string;
  readonly body: Buffer;
  /** Whether the answer was complete. */
  readonly whole: boolean;
}

export async function ask(fixture: Fixture, version: Version, question: Question = {}): Promise<Told> {
  return version === 'h1' ? await askH1(fixture, question) : await askH2(fixture, question);
}

async function askH1(fixture: Fixture, { method = 'GET', path = '/', host = 'a.test', serverName, headers = [], body }: Question): Promise<Told> {
  const socket = await fixture.connect(serverName ?? host);
  const all = readAll(socket);
  const lines = headers.map(([name, value]) => `${name}: ${value}\r\n`).join('');
  const length = body === undefined ? '' : `Content-Length: ${body.length}\r\n`;
  socket.write(`${method} ${path} HTTP/1.1\r\nHost: ${host}\r\n${lines}${length}Connection: close\r\n\r\n${body ?? ''}`, 'latin1');
  let text = await all;
  while (/^HTTP\/1\.1 1\d\d /.test(text)) text = text.slice(text.indexOf('\r\n\r\n') + 4);
  const end = text.indexOf('\r\n\r\n');
  const [status = '', ...rest] = text.slice(0, end).split('\r\n');
  const fields = rest.map((line): [string, string] => [line.slice(0, line.indexOf(':')).toLowerCase(), line.slice(line.indexOf(':') + 2)]);
  const raw = Buffer.from(text.slice(end + 4), 'latin1');
  const chunked = fields.some(([name, value]) => name === 'transfer-encoding' && value === 'chunked');
  const plain = chunked ? unchunk(raw) : { body: raw, whole: true };
  return told(Number(status.split(' ')[1]), fields, plain.body, plain.whole);
}

function unchunk(raw: Buffer): { body: Buffer; whole: boolean } {
  const parts: Buffer[] = [];
  for (let at = 0; ;) {
    const eol = raw.indexOf('\r\n', at);
    if (eol < 0) return { body: Buffer.concat(parts), whole: false };
    const size = Number.parseInt(raw.toString('latin1', at, eol), 16);
    if (size === 0) return { body: Buffer.concat(parts), whole: true };
    parts.push(raw.subarray(eol + 2, eol + 2 + size));
    at = eol + 4 + size;
  }
}

async function askH2(fixture: Fixture, { method = 'GET', path = '/', host = 'a.test', serverName, headers = [], body }: Question): Promise<Told> {
  const socket = await fixture.connect(serverName ?? host, ['h2']);
  const connection = h2Connect(`https://${host}`, { createConnection: () => socket });
  connection.on('error', () => undefined);
  const out: OutgoingHttpHeaders = { ':method': method, ':path': path, ':authority': host };
  for (const [name, value] of headers) {
    const key = name.toLowerCase();
    const before = out[key];
    out[key] = before === undefined ? value : [before, value].flat().map(String);
  }
  if (body !== undefined) out['content-length'] = body.length;
  const stream = connection.request(out, { endStream: body === undefined });
  if (body !== undefined) stream.end(body);
  return await new Promise((resolve) => {
    let status = 0;
    const lines: [string, string][] = [];
    const parts: Buffer[] = [];
    let whole = false;
    stream.on('response', (found, _flags, raw: string[]) => {
      status = Number(found[':status']);
      for (let i = 0; i + 1 < raw.length; i += 2) if (!raw[i]?.startsWith(':')) lines.push([raw[i] ?? '', raw[i + 1] ?? '']);
    });
    stream.on('data', (chunk: Buffer) => parts.push(chunk));
    stream.on('end', () => (whole = true));
    stream.on('error', () => undefined);
    stream.on('close', () => {
      connection.destroy();
      resolve(told(status, lines, Buffer.concat(parts), whole && stream.rstCode === 0));
    });
  });
}

function told(status: number, lines: readonly (readonly [string, string])[], body: Buffer, whole: boolean): Told {
  const header = (name: string): string =>
    lines
      .filter(([other]) => other === name)
      .map(([, value]) => value)
      .join('|');
  return { status, lines, header, body, whole };
}
