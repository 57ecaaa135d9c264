// The ClientHello, as real clients send it and as attackers might.
import { connect } from 'node:tls';
import { Duplex } from 'node:stream';
import t from 'tap';
import { CLIENT_HELLO_BYTES, ClientHelloReader, type HelloResult } from '#wire/client-hello.ts';

/** The first flight of Node's own TLS client. */
function realHello(servername: string | undefined, alpn: string[]): Promise<Buffer> {
  return new Promise((resolve) => {
    const socket = new Duplex({
      read: () => undefined,
      write: (chunk: Buffer, _encoding, done) => {
        done();
        resolve(chunk);
      },
    });
    const client = connect({ socket, ...(servername === undefined ? {} : { servername }), ALPNProtocols: alpn });
    client.on('error', () => undefined);
  });
}

function vector(width: number, body: Buffer): Buffer {
  const length = Buffer.alloc(width);
  length.writeUIntBE(body.length, 0, width);
  return Buffer.concat([length, body]);
}

function extension(type: number, body: Buffer): Buffer {
  return Buffer.concat([Buffer.from([type >> 8, type & 0xff]), vector(2, body)]);
}

function sni(...names: string[]): Buffer {
  return extension(0, vector(2, Buffer.concat(names.map((name) => Buffer.concat([Buffer.from([0]), vector(2, Buffer.from(name, 'latin1'))])))));
}

/** A handshake message with these extensions, in records of at most `size` bytes. */
function hello(extensions: Buffer[], size = 16_000, after = Buffer.alloc(0)): Buffer {
  const body = Buffer.concat([
    Buffer.from([3, 3]),
    Buffer.alloc(32),
    vector(1, Buffer.alloc(0)),
    vector(2, Buffer.from([0x13, 1])),
    vector(1, Buffer.from([0])),
    vector(2, Buffer.concat(extensions)),
    after,
  ]);
  const message = Buffer.concat([Buffer.from([1]), vector(3, body)]);
  const records: Buffer[] = [];
  for (let at = 0; at < message.length; at += size) records.push(Buffer.from([22, 3, 1]), vector(2, message.subarray(at, at + size)));
  return Buffer.concat(records);
}

function read(...pieces: Buffer[]): HelloResult {
  const reader = new ClientHelloReader();
  let result: HelloResult = { kind: 'more' };
  for (const piece of pieces) {
    if (result.kind !== 'more') break;
    result = reader.push(piece);
  }
  return result;
}

void t.test('a real hello is read, wherever it is cut', async (t) => {
  const bytes = await realHello('App.Example.test', ['h2', 'http/1.1']);
  const expected = { kind: 'hello', hello: { serverName: 'app.example.test', alpn: ['h2', 'http/1.1'] } };
  t.same(read(bytes), expected);
  for (let cut = 1; cut < bytes.length; cut++) t.same(read(bytes.subarray(0, cut), bytes.subarray(cut)), expected);
  t.same(read(...[...bytes].map((byte) => Buffer.from([byte]))), expected);
  t.match(read(await realHello(undefined, ['h2'])), { hello: { serverName: undefined, alpn: ['h2'] } });
});

void t.test('a hello over many records, of nearly the greatest size, is read', async (t) => {
  const big = hello([extension(0xff01, Buffer.alloc(50_000)), sni('a.test.')], 700);
  t.ok(big.length > 50_000 && big.length < CLIENT_HELLO_BYTES);
  t.match(read(big), { kind: 'hello', hello: { serverName: 'a.test', alpn: [] } });
  t.match(read(hello([sni('a.test')], 1)), { hello: { serverName: 'a.test' } });
});

void t.test('what is no hello, or too large, is refused at once', async (t) => {
  t.same(read(Buffer.from('GET / HTTP/1.1\r\n')), { kind: 'bad', reason: 'not_tls' });
  t.same(read(Buffer.from([0x80, 0x2e, 1])), { kind: 'bad', reason: 'not_tls' });
  t.same(read(Buffer.from([22, 3, 1, 0, 0])), { kind: 'bad', reason: 'malformed' });
  t.same(read(Buffer.from([22, 3, 1, 0xff, 0xff])), { kind: 'bad', reason: 'malformed' });
  t.same(read(Buffer.from([22, 3, 1, 0, 4, 2, 0, 0, 0])), { kind: 'bad', reason: 'not_tls' });
  t.same(read(Buffer.from([22, 3, 1, 0, 4, 1, 0xff, 0xff, 0xff])), { kind: 'bad', reason: 'too_large' });
  const tiny = Buffer.from([22, 3, 1, 0, 1, 1]);
  const endless = Buffer.concat(Array.from({ length: 20_000 }, (_none, i) => (i === 0 ? tiny : Buffer.from([22, 3, 1, 0, 1, 0]))));
  t.match(read(endless), { kind: 'bad' });
});

void t.test('names that are no host names, and wrong lengths, are refused', async (t) => {
  const rows = [
    [sni('a.test', 'b.test')],
    [sni('')],
    [sni('a..test')],
    [sni('a\0.test')],
    [sni('a/b')],
    [sni('-é')],
    [sni('a.test'), sni('a.test')],
    [extension(0, Buffer.from([0, 9, 0, 0, 1, 97]))],
    [extension(16, Buffer.from([0, 2, 5, 104]))],
    [extension(16, Buffer.from([0, 1, 0]))],
    [Buffer.from([0, 0, 0xff, 0xff])],
  ];
  for (const [i, extensions] of rows.entries()) t.same(read(hello(extensions)), { kind: 'bad', reason: 'malformed' }, `row ${i}`);
  t.same(read(hello([sni('a.test')], 16_000, Buffer.from([1]))), { kind: 'bad', reason: 'malformed' });
});
