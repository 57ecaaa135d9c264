// The HTTP/1.1 codec: what it reads, what it refuses, and that cutting the bytes anywhere changes nothing.
import t from 'tap';
import { BodyReader } from '#wire/http1-body.ts';
import { fieldValue, joinedValue, listMembers } from '#wire/http1-fields.ts';
import { faultStatus, HeadReader, parseRequestHead, parseResponseHead, type Framing } from '#wire/http1-head.ts';
import { CHUNK_EXTENSION_BYTES, HEAD_BYTES, HEAD_FIELDS, TARGET_BYTES, TRAILER_BYTES } from '#wire/http1-limits.ts';
import { chunkBuffer, fieldLines, trailerText } from '#wire/http1-write.ts';

const host = 'Host: a.test\r\n';

/** Reads a whole head from one buffer: the parsed request, the fault, or undefined for unfinished. */
function readRequest(text: string): ReturnType<typeof parseRequestHead> | undefined {
  const reader = new HeadReader();
  const next = reader.read(Buffer.from(text, 'latin1'), 0);
  if (next === HeadReader.more) return undefined;
  return next === HeadReader.bad ? { kind: 'fault', fault: reader.fault } : parseRequestHead(reader.text);
}

function faultOf(text: string): string {
  const head = readRequest(text);
  return head?.kind === 'fault' ? head.fault : (head?.kind ?? 'unfinished');
}

void t.test('a request keeps target, order and spelling of its fields', async (t) => {
  const head = readRequest(`GET /a%2Fb//c?q=%20;x HTTP/1.1\r\n${host}X-Odd_Name: v\xe9\r\nx-odd_name:\tsecond \r\nEmpty:\r\n\r\n`);
  if (head?.kind !== 'request') {
    t.fail(`not a request: ${JSON.stringify(head)}`);
    return;
  }
  t.equal(head.target, '/a%2Fb//c?q=%20;x');
  t.same(head.fields.names, ['Host', 'X-Odd_Name', 'x-odd_name', 'Empty']);
  t.same(head.fields.values, ['a.test', 'v\xe9', 'second', '']);
  t.equal(joinedValue(head.fields, 'x-odd_name'), 'v\xe9, second');
  t.equal(fieldValue(head.fields, 'none'), undefined);
  t.equal(fieldLines(head.fields), `${host}X-Odd_Name: v\xe9\r\nx-odd_name: second\r\nEmpty: \r\n`);
  t.same(listMembers(' Close ,, X-A'), ['close', 'x-a']);
});

void t.test('persistence and framing follow RFC 9112', async (t) => {
  const rows: [string, object][] = [
    [`GET / HTTP/1.1\r\n${host}\r\n`, { keepAlive: true, framing: { kind: 'none' } }],
    [`GET / HTTP/1.1\r\n${host}Connection: x, Close\r\n\r\n`, { keepAlive: false }],
    ['GET / HTTP/1.0\r\n\r\n', { keepAlive: false, host: '' }],
    [`GET / HTTP/1.0\r\n${host}Connection: keep-alive\r\n\r\n`, { keepAlive: true }],
    [`POST / HTTP/1.1\r\n${host}Content-Length: 5\r\n\r\n`, { framing: { kind: 'length', length: 5 } }],
    [`POST / HTTP/1.1\r\n${host}Content-Length: 0\r\n\r\n`, { framing: { kind: 'none' } }],
    [`POST / HTTP/1.1\r\n${host}Transfer-Encoding: Chunked\r\n\r\n`, { framing: { kind: 'chunked' } }],
    [`POST / HTTP/1.1\r\n${host}Content-Length: 5\r\nExpect: 100-Continue\r\n\r\n`, { expectContinue: true }],
    [`GET / HTTP/1.1\r\n${host}Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n`, { upgrade: 'websocket' }],
    [`GET / HTTP/1.1\r\n${host}Upgrade: websocket\r\n\r\n`, { upgrade: undefined }],
    [`\r\nGET / HTTP/1.1\r\n${host}\r\n`, { method: 'GET' }],
  ];
  for (const [text, expected] of rows) t.match(readRequest(text), { kind: 'request', ...expected }, JSON.stringify(text));
});

void t.test('what two parsers could read in two ways is refused', async (t) => {
  const rows: [string, string][] = [
    [`POST / HTTP/1.1\r\n${host}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n`, 'length_with_coding'],
    [`POST / HTTP/1.1\r\n${host}Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n`, 'length_with_coding'],
    [`POST / HTTP/1.1\r\n${host}Content-Length: 5\r\nContent-Length: 5\r\n\r\n`, 'length_repeated'],
    ...['+5', '-1', '0x5', '5, 5', '5 5', '', '18446744073709551616', '5;', '1e1'].map((value): [string, string] => [
      `POST / HTTP/1.1\r\n${host}Content-Length: ${value}\r\n\r\n`,
      'length_malformed',
    ]),
    ...['5\t', '5 ', ' 5', '\t5'].map((value): [string, string] => [
      `POST / HTTP/1.1\r\n${host}Content-Length: ${value}\r\n\r\n`,
      'length_malformed',
    ]),
    ...['xchunked', 'gzip, chunked', 'chunked, chunked', 'identity', 'chunked, identity', '"chunked"', 'chunked;q=1'].map(
      (value): [string, string] => [`POST / HTTP/1.1\r\n${host}Transfer-Encoding: ${value}\r\n\r\n`, 'coding_unsupported'],
    ),
    [`POST / HTTP/1.1\r\n${host}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n`, 'coding_unsupported'],
    [`POST / HTTP/1.1\r\n${host}Transfer-Encoding: chunked\x0b\r\n\r\n`, 'control_character'],
    [`POST / HTTP/1.0\r\n${host}Transfer-Encoding: chunked\r\n\r\n`, 'coding_unsupported'],
    [`GET / HTTP/1.1\r\n${host}X : y\r\n\r\n`, 'field_malformed'],
    [`GET / HTTP/1.1\r\n X: y\r\n${host}\r\n`, 'field_malformed'],
    [`GET / HTTP/1.1\r\n${host}X: y\r\n folded\r\n\r\n`, 'field_malformed'],
    [`GET / HTTP/1.1\r\n${host}: y\r\n\r\n`, 'field_malformed'],
    [`GET / HTTP/1.1\r\n${host}no colon\r\n\r\n`, 'field_malformed'],
    [`GET / HTTP/1.1\r\n${host}X\xe9: y\r\n\r\n`, 'field_malformed'],
    [`GET / HTTP/1.1\r\n${host}X: a\nY: b\r\n\r\n`, 'control_character'],
    [`GET / HTTP/1.1\r\n${host}X: a\rY: b\r\n\r\n`, 'control_character'],
    [`GET / HTTP/1.1\r\n${host}X: a\0\r\n\r\n`, 'control_character'],
    [`GET / HTTP/1.1\n${host}\n`, 'control_character'],
    ['\nGET / HTTP/1.1\r\n\r\n', 'control_character'],
    ['GET / HTTP/1.1\r\n\r\n', 'host_missing'],
    [`GET / HTTP/1.1\r\n${host}${host}\r\n`, 'host_repeated'],
    [`GET / HTTP/1.1\r\n${host}Authorization: a\r\nAUTHORIZATION: b\r\n\r\n`, 'authorization_repeated'],
    [`GET / HTTP/1.1\r\n${host}Expect: 100-continue, x\r\n\r\n`, 'expectation_unsupported'],
    [`GET / HTTP/1.1\r\n${host}Expect: 100-continue\r\nExpect: 100-continue\r\n\r\n`, 'expectation_unsupported'],
    [`POST / HTTP/1.1\r\n${host}Connection: upgrade\r\nUpgrade: x\r\nContent-Length: 3\r\n\r\n`, 'upgrade_with_body'],
    [`get / HTTP/1.1\r\n${host}\r\n`, 'method_malformed'],
    [`GET  / HTTP/1.1\r\n${host}\r\n`, 'target_malformed'],
    [`GET /a b HTTP/1.1\r\n${host}\r\n`, 'target_malformed'],
    [`GET /a#b HTTP/1.1\r\n${host}\r\n`, 'target_malformed'],
    [`GET /\xe9 HTTP/1.1\r\n${host}\r\n`, 'target_malformed'],
    [`GET /\r\n${host}\r\n`, 'start_line_malformed'],
    [`GET / HTTP/1.2\r\n${host}\r\n`, 'version_unsupported'],
    ['PRI * HTTP/2.0\r\n\r\n', 'version_unsupported'],
    [`GET / http/1.1\r\n${host}\r\n`, 'start_line_malformed'],
    ['\r\n\r\nGET / HTTP/1.1\r\n\r\n', 'start_line_malformed'],
  ];
  for (const [text, fault] of rows) t.equal(faultOf(text), fault, JSON.stringify(text));
});

void t.test('heads are bounded in bytes, fields and target', async (t) => {
  t.equal(faultOf(`GET / HTTP/1.1\r\n${host}X: ${'a'.repeat(HEAD_BYTES)}\r\n\r\n`), 'head_too_large');
  t.equal(faultOf(`GET / HTTP/1.1\r\n${host}X: ${'a'.repeat(HEAD_BYTES * 2)}`), 'head_too_large');
  t.equal(faultOf(`GET / HTTP/1.1\r\n${host}${'X: y\r\n'.repeat(HEAD_FIELDS - 1)}\r\n`), 'request');
  t.equal(faultOf(`GET / HTTP/1.1\r\n${host}${'X: y\r\n'.repeat(HEAD_FIELDS)}\r\n`), 'too_many_fields');
  t.equal(faultOf(`GET /${'a'.repeat(TARGET_BYTES - 1)} HTTP/1.1\r\n${host}\r\n`), 'request');
  t.equal(faultOf(`GET /${'a'.repeat(TARGET_BYTES)} HTTP/1.1\r\n${host}\r\n`), 'target_too_long');
  t.same([faultStatus('target_too_long'), faultStatus('head_too_large'), faultStatus('length_repeated')], [414, 431, 400]);
});

void t.test('a head cut at any byte is the same head, and what follows stays', async (t) => {
  const bytes = Buffer.from(`POST /x HTTP/1.1\r\n${host}Content-Length: 3\r\n\r\nabc`, 'latin1');
  const end = bytes.length - 3;
  for (let cut = 1; cut < bytes.length; cut++) {
    const reader = new HeadReader();
    let next = reader.read(bytes.subarray(0, cut), 0);
    if (cut < end) {
      t.equal(next, HeadReader.more);
      t.ok(reader.started);
      next = reader.read(bytes.subarray(cut), 0);
      t.equal(next, end - cut);
    } else {
      t.equal(next, end);
    }
    t.equal(reader.text, bytes.toString('latin1', 0, end - 2));
    t.notOk(reader.started);
  }
  const reader = new HeadReader();
  let result = HeadReader.more;
  for (let i = 0; i < end; i++) result = reader.read(bytes.subarray(i, i + 1), 0);
  t.equal(result, 1);
});

void t.test('answers', async (t) => {
  const rows: [string, string, object][] = [
    ['HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n', 'GET', { status: 200, reason: 'OK', framing: { kind: 'length', length: 4 }, keepAlive: true }],
    ['HTTP/1.1 200\r\nContent-Length: 4\r\n\r\n', 'HEAD', { reason: '', framing: { kind: 'none' }, keepAlive: false }],
    ['HTTP/1.1 204 No Content\r\n\r\n', 'GET', { framing: { kind: 'none' }, keepAlive: true }],
    ['HTTP/1.1 304 \r\nContent-Length: 9\r\n\r\n', 'GET', { framing: { kind: 'none' } }],
    ['HTTP/1.1 200 OK\r\n\r\n', 'GET', { framing: { kind: 'close' }, keepAlive: false }],
    ['HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n', 'GET', { keepAlive: false }],
    ['HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n', 'GET', { framing: { kind: 'chunked' } }],
    ['HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\n\r\n', 'GET', { upgrade: 'websocket' }],
  ];
  const parse = (text: string, method: string): unknown => parseResponseHead(text.slice(0, -2), method);
  for (const [text, method, expected] of rows) t.match(parse(text, method), { kind: 'response', ...expected }, JSON.stringify(text));
  const refused = [
    'HTTP/1.1 200 OK\r\nContent-Length: 4\r\nContent-Length: 4\r\n\r\n',
    'HTTP/1.1 200 OK\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n',
    'HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n',
    'HTTP/1.1 20 OK\r\n\r\n',
    'HTTP/2 200 OK\r\n\r\n',
    'HTTP/1.1 200 OK\r\nSet-Cookie: a\n\r\n\r\n',
    'HTTP/1.1 099 OK\r\n\r\n',
  ];
  for (const text of refused) t.match(parse(text, 'GET'), { kind: 'fault' }, JSON.stringify(text));
});

/** Reads a body cut into pieces; the payload with what was left over, or the fault. */
function readBody(framing: Framing, pieces: readonly Buffer[]): { payload: string; rest: string; done: boolean; fault?: string; trailers: string } {
  const reader = new BodyReader(framing);
  let payload = '';
  let rest = '';
  for (const piece of pieces) {
    const next = reader.done ? 0 : reader.read(piece, 0, (data) => (payload += data.toString('latin1')));
    if (next < 0) return { payload, rest, done: false, fault: reader.fault, trailers: '' };
    rest += piece.toString('latin1', next);
  }
  return { payload, rest, done: reader.done, trailers: reader.trailers === undefined ? '' : fieldLines(reader.trailers) };
}

function cuts(text: string): Buffer[][] {
  const bytes = Buffer.from(text, 'latin1');
  const ways = [[bytes], [...bytes].map((byte) => Buffer.from([byte]))];
  for (let cut = 1; cut < bytes.length; cut++) ways.push([bytes.subarray(0, cut), bytes.subarray(cut)]);
  return ways;
}

void t.test('bodies are read whole wherever they are cut', async (t) => {
  const chunked = '4;ext="x"\r\nWiki\r\n00a\r\n0123456789\r\n0\r\nExpires: never\r\nX: y\r\n\r\nNEXT';
  for (const pieces of cuts(chunked)) {
    t.match(readBody({ kind: 'chunked' }, pieces), { payload: 'Wiki0123456789', rest: 'NEXT', done: true, trailers: 'Expires: never\r\nX: y\r\n' });
  }
  for (const pieces of cuts('1\r\na\r\n0\r\n\r\n')) t.match(readBody({ kind: 'chunked' }, pieces), { payload: 'a', done: true, trailers: '' });
  for (const pieces of cuts('abcdeNEXT')) t.match(readBody({ kind: 'length', length: 5 }, pieces), { payload: 'abcde', rest: 'NEXT', done: true });
  for (const pieces of cuts('abc')) t.match(readBody({ kind: 'close' }, pieces), { payload: 'abc', rest: '', done: false });
});

void t.test('chunks that are not exactly chunks are refused', async (t) => {
  const rows = [
    '0x2\r\nab\r\n',
    '-2\r\nab\r\n',
    '\r\nab\r\n',
    '2 \r\nab\r\n',
    '2\nab\r\n',
    '2\r\nabX',
    '2\r\nab\n',
    '2;a\nb\r\nab',
    '2;\0\r\nab',
    '1000000000000000\r\n',
    `2;${'x'.repeat(CHUNK_EXTENSION_BYTES + 1)}\r\nab`,
    '0\r\nX : y\r\n\r\n',
    '0\r\nX: a\nb\r\n\r\n',
    `0\r\nX: ${'y'.repeat(TRAILER_BYTES)}\r\n\r\n`,
    `0\r\n${'X: y\r\n'.repeat(33)}\r\n`,
  ];
  for (const text of rows) t.ok(readBody({ kind: 'chunked' }, [Buffer.from(text, 'latin1')]).fault, JSON.stringify(text.slice(0, 40)));
});

void t.test('what is written is what is read', async (t) => {
  const text = chunkBuffer(Buffer.from('hello')).toString('latin1') + trailerText({ names: ['X'], keys: ['x'], values: ['y'] });
  t.match(readBody({ kind: 'chunked' }, [Buffer.from(text)]), { payload: 'hello', done: true, trailers: 'X: y\r\n' });
});
