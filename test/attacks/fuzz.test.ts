// Fuzz of everything that reads a stranger's bytes. Each input is drawn from a seed; what ever failed is kept in corpus.json and tried first.
// What is held: no parser throws or takes without bound; a cut anywhere changes nothing; what is accepted means the same to Node's parser and Python's.
import { spawn, spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createServer, request as httpRequest } from 'node:http';
import { connect, type AddressInfo } from 'node:net';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import t from 'tap';
import { parseIp, parsePrefix } from '#lib/ip.ts';
import { clientAddress } from '#publish/access/client-address.ts';
import { readOwnCookies, setsOwnCookie, stripOwnCookies } from '#publish/access/cookies.ts';
import { readChain } from '#publish/access/proxy-chain.ts';
import { canonicalHost } from '#publish/http/host.ts';
import { pathReadings } from '#publish/http/path-readings.ts';
import { ClientHelloReader, type HelloResult } from '#wire/client-hello.ts';
import { BodyReader } from '#wire/http1-body.ts';
import { addField, emptyFields } from '#wire/http1-fields.ts';
import { HeadReader, parseRequestHead, parseResponseHead, type Framing } from '#wire/http1-head.ts';
import { fieldLines } from '#wire/http1-write.ts';
import { listenTcp } from '../publish/harness.ts';
import { clientHello, Seeded } from '../support/hostile.ts';
import { pick, rounds, seed } from './harness.ts';

const corpus = JSON.parse(readFileSync(join(import.meta.dirname, 'corpus.json'), 'utf8')) as Readonly<
  Record<'request' | 'response' | 'chunked' | 'climbing', readonly string[]>
>;

/** The ways to hand over bytes: whole, one by one, and cut once at each of some places. */
function cuts(random: Seeded, bytes: Buffer): Buffer[][] {
  const ways = [[bytes], Array.from(bytes, (byte) => Buffer.from([byte]))];
  const places =
    bytes.length <= 60 ? Array.from({ length: bytes.length }, (_none, i) => i) : Array.from({ length: 30 }, () => random.below(bytes.length));
  for (const at of places) ways.push([bytes.subarray(0, at), bytes.subarray(at)].filter((part) => part.length > 0));
  return ways;
}

/** What a message read as: the text of what was understood, or the fault, or that it is not whole. */
interface Reading {
  readonly head: string;
  readonly body: string;
  readonly trailers: string;
  readonly end: 'done' | 'more' | 'fault';
  readonly rest: string;
}

type Head = { readonly kind: string; readonly framing?: Framing };

function readMessage(parts: readonly Buffer[], parse: (text: string) => Head): Reading {
  const heads = new HeadReader();
  let body: BodyReader | undefined;
  let head = '';
  let payload = '';
  let rest = '';
  const onData = (data: Buffer): void => {
    payload += data.toString('latin1');
  };
  for (const part of parts) {
    let at = 0;
    while (at < part.length) {
      if (body === undefined) {
        const next = heads.read(part, at);
        if (next === HeadReader.more) break;
        if (next === HeadReader.bad) return { head: '', body: '', trailers: '', end: 'fault', rest: '' };
        at = next;
        const parsed = parse(heads.text);
        head = JSON.stringify(parsed);
        if (parsed.framing === undefined) return { head: '', body: '', trailers: '', end: 'fault', rest: '' };
        body = new BodyReader(parsed.framing);
      } else if (body.done) {
        rest += part.toString('latin1', at);
        break;
      } else {
        at = body.read(part, at, onData);
        if (at < 0) return { head, body: payload, trailers: '', end: 'fault', rest: body.fault };
      }
    }
  }
  const trailers = body?.trailers === undefined ? '' : fieldLines(body.trailers);
  return { head, body: payload, trailers, end: body?.done === true || body?.endsAtClose === true ? 'done' : 'more', rest };
}

const names = [
  'Host',
  'Content-Length',
  'Transfer-Encoding',
  'Connection',
  'X',
  'x-long-name',
  'Expect',
  'Upgrade',
  'Cookie',
  'Authorization',
  'Te',
  'Via',
  '__proto__',
  'constructor',
  "!#$%&'*+-.^_`|~",
  '0',
];
const values = [
  'a.test',
  '3',
  '0',
  'chunked',
  'close',
  'keep-alive',
  '',
  'a b',
  '"quoted, list"',
  '100-continue',
  'websocket',
  '\xe9\xff',
  '\x85',
  'x'.repeat(300),
  'a,b;c=d',
  '\t',
  ':',
];
const lineEnds = [...Array.from({ length: 40 }, () => '\r\n'), '\n', '\r', '\r\n ', '\r\n\r\n'];

function drawFields(random: Seeded, count: number): string {
  return Array.from(
    { length: count },
    () => pick(random, names) + pick(random, [': ', ': ', ': ', ': ', ': ', ': ', ':', ':\t', ' : ']) + pick(random, values) + pick(random, lineEnds),
  ).join('');
}

function drawChunked(random: Seeded): string {
  const chunk = (): string => {
    const data = 'd'.repeat(random.below(20));
    const size = data.length.toString(16);
    return `${pick(random, [size, size, size, size.toUpperCase(), `00${size}`, `0x${size}`, `${size} `])}${pick(random, ['', '', '', ';a=b', ';"x"', ' ;y'])}\r\n${data}\r\n`;
  };
  return (
    Array.from({ length: random.below(4) }, chunk).join('') +
    pick(random, ['0\r\n\r\n', '0\r\n\r\n', '0\r\nX: y\r\n\r\n', '000\r\n\r\n', '0;e\r\n\r\n', '0\r\n', ''])
  );
}

/** Sometimes a few bytes are other ones. */
function maybeMutate(random: Seeded, text: string): string {
  return random.below(5) > 0 || text === '' ? text : random.mutate(Buffer.from(text, 'latin1')).toString('latin1');
}

function drawRequest(random: Seeded): string {
  const start = `${pick(random, ['GET', 'POST', 'PUT', 'HEAD', 'X-Y', 'get', ''])} ${pick(random, ['/', '/a/b?c=d', '*', 'http://a.test/x', '/%zz', '/\xe9', 'a.test:1'])} ${pick(random, ['HTTP/1.1', 'HTTP/1.1', 'HTTP/1.1', 'HTTP/1.0', 'HTTP/2.0'])}`;
  const framing = pick(random, ['', '', 'Content-Length: 5\r\n', 'Transfer-Encoding: chunked\r\n']);
  const body = framing.startsWith('C') ? 'abcde' : framing === '' ? '' : drawChunked(random);
  return maybeMutate(
    random,
    `${pick(random, ['', '', '', '\r\n'])}${start}${pick(random, lineEnds)}Host: a.test\r\n${drawFields(random, random.below(4))}${framing}\r\n${body}`,
  );
}

function drawResponse(random: Seeded): string {
  const start = `${pick(random, ['HTTP/1.1', 'HTTP/1.1', 'HTTP/1.0', 'HTTP/2'])} ${pick(random, ['200', '204', '304', '404', '500', '99', '1000', '200x'])}${pick(random, [' OK', ' ', '', ' \xe9t\xe9', '\tX'])}`;
  const framing = pick(random, ['', 'Content-Length: 5\r\n', 'Transfer-Encoding: chunked\r\n', 'Content-Length: 5\r\n']);
  const body = framing.startsWith('C') ? 'abcde' : framing === '' ? 'to the end' : drawChunked(random);
  return maybeMutate(
    random,
    `${start}${pick(random, lineEnds)}${drawFields(random, random.below(4)).replaceAll('Content-Length', 'X-Length')}${framing}\r\n${body}`,
  );
}

void t.test('D-17: the codec reads the same however its bytes are cut', async (t) => {
  const random = new Seeded(seed);
  const kinds = [
    ['request', corpus.request, drawRequest, (text: string) => parseRequestHead(text)],
    ['response', corpus.response, drawResponse, (text: string) => parseResponseHead(text, 'GET')],
    ['answer to HEAD', corpus.response, drawResponse, (text: string) => parseResponseHead(text, 'HEAD')],
    ['chunked body', corpus.chunked, drawChunked, () => ({ kind: 'request', framing: { kind: 'chunked' } as const })],
  ] as const;
  for (const [what, kept, draw, parse] of kinds) {
    let accepted = 0;
    let failures = 0;
    const count = rounds(500);
    for (let i = 0; i < count + kept.length && failures < 3; i++) {
      const drawn = kept[i] ?? draw(random);
      const input = what === 'chunked body' ? `HEAD\r\n\r\n${drawn}` : drawn;
      const bytes = Buffer.from(input, 'latin1');
      const whole = readMessage([bytes], parse);
      if (whole.end === 'done') accepted++;
      for (const parts of cuts(random, bytes)) {
        const got = readMessage(parts, parse);
        // Payload that came before a fault, and which fault is seen first, may differ; nothing else.
        if (
          got.end !== whole.end ||
          got.head !== whole.head ||
          (whole.end !== 'fault' && (got.body !== whole.body || got.trailers !== whole.trailers || got.rest !== whole.rest))
        ) {
          t.fail(`${what}: ${JSON.stringify(input)} cut at ${parts[0]?.length}: ${JSON.stringify(got)} against ${JSON.stringify(whole)}`);
          failures++;
          break;
        }
      }
    }
    t.ok(accepted > count / 20, `${what}: ${accepted} of ${count} were accepted`);
  }
});

/** What another parser made of a request. */
interface Heard {
  readonly method: string;
  readonly target: string;
  readonly fields: readonly (readonly [string, string])[];
  readonly body: string;
}

const python = `
import http.server, json
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    def log_message(self, *args): pass
    def handle_any(self):
        body = self.rfile.read(int(self.headers.get('Content-Length', 0)))
        text = json.dumps({'method': self.command, 'target': self.path, 'fields': self.headers.items(), 'body': body.decode('latin1')}).encode()
        self.send_response(200)
        self.send_header('Content-Length', str(len(text)))
        self.send_header('Connection', 'close')
        self.end_headers()
        self.wfile.write(text)
        self.close_connection = True
    def __getattr__(self, name):
        if name.startswith('do_'): return self.handle_any
        raise AttributeError(name)
server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
`;

/** Sends text to a port and gives the body of the answer, where that is 200. */
function hear(port: number, text: string): Promise<Heard | string> {
  return new Promise((resolve) => {
    const socket = connect({ port, host: '127.0.0.1' });
    let got = '';
    socket.on('error', () => undefined);
    socket.on('data', (chunk: Buffer) => (got += chunk.toString('utf8')));
    socket.once('close', () => {
      const at = got.lastIndexOf('\r\n\r\n{');
      resolve(at < 0 ? got.slice(0, 80) : (JSON.parse(got.slice(at + 4)) as Heard));
    });
    socket.write(text, 'latin1');
  });
}

void t.test('D-17: what the codec accepts and writes again, Node and Python read the same way', async (t) => {
  const node = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      const raw = request.rawHeaders;
      const fields = Array.from({ length: raw.length / 2 }, (_none, i) => [raw[2 * i], raw[2 * i + 1]]);
      response.setHeader('Connection', 'close');
      response.end(JSON.stringify({ method: request.method, target: request.url, fields, body: Buffer.concat(chunks).toString('latin1') }));
    });
  });
  await new Promise<void>((resolve) => node.listen(0, '127.0.0.1', resolve));
  t.teardown(() => new Promise((resolve) => node.close(resolve)));
  const parsers: [string, number][] = [['node:http', (node.address() as AddressInfo).port]];
  if (spawnSync('python3', ['--version']).status === 0) {
    const child = spawn('python3', ['-c', python], { stdio: ['ignore', 'pipe', 'ignore'] });
    t.teardown(() => child.kill('SIGKILL'));
    const port = await new Promise<string>((resolve) => createInterface({ input: child.stdout }).once('line', resolve));
    parsers.push(['http.server', Number(port)]);
  } else {
    t.comment('no Python here: only Node reads it again');
  }
  const random = new Seeded(seed + 1);
  let compared = 0;
  let refused = 0;
  for (let i = 0; i < rounds(800) + corpus.request.length; i++) {
    const input = corpus.request[i] ?? drawRequest(random);
    const bytes = Buffer.from(input, 'latin1');
    const heads = new HeadReader();
    const next = heads.read(bytes, 0);
    if (next < 0) continue;
    const head = parseRequestHead(heads.text);
    if (head.kind === 'fault' || head.upgrade !== undefined || !head.target.startsWith('/') || head.method === 'HEAD') continue;
    const whole = readMessage([bytes], (text) => parseRequestHead(text));
    if (whole.end !== 'done') continue;
    const { body } = whole;
    // As the gateway writes it: the fields in order, framing and persistence anew.
    const keep = head.fields.keys.map(
      (key) => !['content-length', 'transfer-encoding', 'connection', 'expect', 'upgrade', 'host', 'te'].includes(key),
    );
    const fields = {
      names: head.fields.names.filter((_name, at) => keep[at]),
      keys: head.fields.keys.filter((_key, at) => keep[at]),
      values: head.fields.values.filter((_value, at) => keep[at]),
    };
    const text = `${head.method} ${head.target} HTTP/1.1\r\nHost: a.test\r\n${fieldLines(fields)}Content-Length: ${body.length}\r\n\r\n${body}`;
    compared++;
    for (const [name, port] of parsers) {
      const heard = await hear(port, text);
      if (typeof heard === 'string') {
        // Refusing what we let through harms nobody.
        refused++;
        continue;
      }
      const mine = { method: head.method, target: head.target, fields: fields.names.map((field, at) => [field, fields.values[at]]), body };
      const theirs = { ...heard, fields: heard.fields.filter(([field]) => !['host', 'content-length'].includes(field.toLowerCase())) };
      if (name === 'http.server') for (const field of theirs.fields) (field as [string, string])[1] = field[1].trim();
      if (
        JSON.stringify(theirs) !==
        JSON.stringify({ ...mine, fields: name === 'http.server' ? mine.fields.map(([field, value]) => [field, (value ?? '').trim()]) : mine.fields })
      )
        t.fail(`${name}: ${JSON.stringify(theirs)} of ${JSON.stringify(text)}`);
    }
  }
  t.ok(compared - refused > 30, `${compared} requests were compared, ${refused} times one of the others refused it`);
});

void t.test('D-17: answers that the codec accepts, Node reads the same way', async (t) => {
  const random = new Seeded(seed + 2);
  let text = '';
  const server = await listenTcp((socket) => {
    socket.once('data', () => socket.end(text, 'latin1'));
  });
  t.teardown(server.close);
  let compared = 0;
  let refused = 0;
  for (let i = 0; i < rounds(700); i++) {
    const input = drawResponse(random);
    const mine = readMessage([Buffer.from(input, 'latin1')], (head) => parseResponseHead(head, 'GET'));
    if (mine.end !== 'done' || mine.rest !== '') continue;
    const head = JSON.parse(mine.head) as { status: number; fields: { names: string[]; values: string[] } };
    text = input;
    const theirs = await new Promise<{ status: number; fields: string[]; body: string } | undefined>((resolve) => {
      const asked = httpRequest({ port: server.port, host: '127.0.0.1', agent: false }, (answer) => {
        const chunks: Buffer[] = [];
        answer.on('data', (chunk: Buffer) => chunks.push(chunk));
        answer.once('error', () => resolve(undefined));
        answer.once('end', () =>
          resolve({ status: answer.statusCode ?? 0, fields: answer.rawHeaders, body: Buffer.concat(chunks).toString('latin1') }),
        );
      });
      asked.once('error', () => resolve(undefined));
      asked.end();
    });
    if (theirs === undefined) {
      refused++;
      continue;
    }
    compared++;
    t.same(
      theirs,
      { status: head.status, fields: head.fields.names.flatMap((name, at) => [name, head.fields.values[at]]), body: mine.body },
      JSON.stringify(input),
    );
  }
  t.ok(compared > 20, `${compared} answers were compared, Node refused ${refused} others`);
});

function readHello(parts: readonly Buffer[]): HelloResult {
  const reader = new ClientHelloReader();
  let result: HelloResult = { kind: 'more' };
  for (const part of parts) {
    result = reader.push(part);
    if (result.kind !== 'more') break;
  }
  return result;
}

void t.test('D-17: a ClientHello of any bytes is read, refused or awaited; cuts change nothing', async (t) => {
  const random = new Seeded(seed);
  const real = await clientHello('a.test');
  let read = 0;
  for (let i = 0; i < rounds(600); i++) {
    const bytes = pick(random, [
      () => random.mutate(real),
      () => random.mutate(real).subarray(0, random.below(real.length)),
      () => Buffer.concat([Buffer.from([22, 3, 1]), random.bytes(1 + random.below(100))]),
      () => random.bytes(1 + random.below(50)),
    ])();
    const whole = readHello([bytes]);
    if (whole.kind === 'hello') {
      read++;
      const { serverName, alpn } = whole.hello;
      if (serverName !== undefined) t.equal(canonicalHost(serverName), serverName, 'a name is canonical or none');
      t.ok(alpn.every((name) => name !== ''));
    }
    for (const parts of cuts(random, bytes)) {
      const got = readHello(parts);
      if (JSON.stringify(got) !== JSON.stringify(whole)) {
        t.fail(`${bytes.toString('hex')} cut at ${parts[0]?.length}: ${JSON.stringify(got)} against ${JSON.stringify(whole)}`);
        break;
      }
    }
  }
  t.ok(read > 10, `${read} were read`);
});

function noise(random: Seeded, alphabet: readonly string[], most: number): string {
  return Array.from({ length: random.below(most) }, () =>
    random.below(6) === 0 ? String.fromCharCode(random.below(256)) : pick(random, alphabet),
  ).join('');
}

void t.test('D-17: hosts, addresses, cookies and paths of any text keep their promises', async (t) => {
  const random = new Seeded(seed);
  const trusted = ['10.0.0.0/8', '::1/128'].map((text) => parsePrefix(text)).filter((prefix) => prefix !== undefined);
  for (let i = 0; i < rounds(5_000); i++) {
    const host = noise(random, ['a', 'B', '.', '-', '_', ':', '4', '443', 'test', '[', ']', '@', '/', '%41', 'xn--'], 12);
    const canonical = canonicalHost(host);
    if (canonical !== undefined && (canonicalHost(canonical) !== canonical || !/^[a-z0-9_](?:[a-z0-9_.-]*[a-z0-9_])?$/.test(canonical)))
      t.fail(`host ${JSON.stringify(host)}`);

    const chain = noise(
      random,
      ['10.0.0.1', '9.9.9.9', ', ', ',', ' ', '::1', '::ffff:10.0.0.2', '"', 'for=', '%eth0', '[', ']:80', '256.1.1.1', '1'],
      14,
    );
    const said = emptyFields();
    addField(said, i % 2 === 0 ? 'X-Forwarded-For' : 'Forwarded', chain);
    const nodes = readChain(said)?.nodes;
    const address = clientAddress('10.0.0.9', nodes, trusted);
    if (address !== undefined && parseIp(address.text) === undefined) t.fail(`chain ${JSON.stringify(chain)}`);
    if (clientAddress('9.9.9.1', nodes, trusted)?.text !== '9.9.9.1') t.fail(`a stranger is believed: ${JSON.stringify(chain)}`);

    const cookie = noise(
      random,
      ['a=1', '; ', ';', ' ', '=', '__Host-meshgate', '__Host-meshgate=s1', '__Host-meshgate-login1=x', '"', ',', '\t'],
      12,
    );
    const left = stripOwnCookies(cookie) ?? '';
    if (readOwnCookies([left]).session !== undefined) t.fail(`cookie ${JSON.stringify(cookie)} leaves ${JSON.stringify(left)}`);
    const others = cookie.split(';').filter((pair) => pair !== '' && !pair.includes('__Host-meshgate'));
    if (!others.every((pair) => left.includes(pair.trim()))) t.fail(`cookie ${JSON.stringify(cookie)} loses in ${JSON.stringify(left)}`);
    setsOwnCookie(cookie);

    const path = `/${noise(random, ['a', '/', '..', '.', '%2e', '%2f', '%5c', '\\', ';', '%25', '%', '%00', '%zz'], 14)}`;
    const readings = pathReadings(path);
    if (readings?.some((reading) => /\/\.\.?(?:\/|$)|^\.\./.test(reading)) === true)
      t.fail(`path ${JSON.stringify(path)} ${JSON.stringify(readings)}`);
  }
  for (const path of corpus.climbing) t.equal(pathReadings(path), undefined, path);
});
