// Answers compressed on their way: what the client's decoder makes of them, what their heads say, and when they are left alone.
import { brotliDecompressSync, createGunzip, gunzipSync, zstdDecompressSync } from 'node:zlib';
import type { Socket } from 'node:net';
import t, { type Test } from 'tap';
import { defaultWeb } from '#model/web.ts';
import { COMPRESSIONS } from '#publish/constants.ts';
import { chooseCoding } from '#publish/http/content-coding.ts';
import { Encoders } from '#publish/http/encoded-body.ts';
import type { Exchange } from '#publish/http/exchange.ts';
import { ask, versions, type Told } from './ask.ts';
import { listenTcp, mapping, path, readUntil, startFixture, type Fixture } from './harness.ts';

const text = Array.from({ length: 4_000 }, (_v, i) => `line ${i % 97} of a text that repeats itself\n`).join('');

async function withUpstream(t: Test, serve: (socket: Socket, request: string) => void, compression = true): Promise<Fixture> {
  const upstream = await listenTcp((socket) => socket.on('data', (chunk: Buffer) => serve(socket, chunk.toString('latin1'))));
  const fixture = await startFixture([mapping('a.test', [path(upstream.port)], { web: { ...defaultWeb, compression } })]);
  t.teardown(() => Promise.all([fixture.close(), upstream.close()]));
  return fixture;
}

function decode(told: Told): string {
  switch (told.header('content-encoding')) {
    case 'gzip':
      return gunzipSync(told.body).toString();
    case 'br':
      return brotliDecompressSync(told.body).toString();
    case 'zstd':
      return zstdDecompressSync(told.body).toString();
    default:
      return told.body.toString();
  }
}

void t.test('a client gets the coding that it likes best, and the same text', async (t) => {
  const fixture = await withUpstream(t, (socket) =>
    socket.write(
      `HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nETag: "v1"\r\nAccept-Ranges: bytes\r\nVary: Cookie\r\nContent-Length: ${text.length}\r\n\r\n${text}`,
    ),
  );
  for (const version of versions) {
    for (const [accepted, coding] of [
      ['gzip, deflate, br, zstd', 'zstd'],
      ['gzip, deflate, br', 'br'],
      ['gzip', 'gzip'],
      ['zstd;q=0.5, gzip', 'gzip'],
      ['deflate', ''],
      ['br;q=0', ''],
      ['*', 'zstd'],
      ['identity, gzip;q=0.5', ''],
    ] as const) {
      const got = await ask(fixture, version, { headers: [['Accept-Encoding', accepted]] });
      t.equal(got.header('content-encoding'), coding, `${version} ${accepted}`);
      t.equal(decode(got), text);
      t.ok(got.whole);
      t.equal(got.header('vary').replaceAll('|', ', '), 'Cookie, Accept-Encoding');
      t.equal(got.header('etag'), coding === '' ? '"v1"' : 'W/"v1"');
      t.equal(got.header('accept-ranges'), coding === '' ? 'bytes' : '');
      t.equal(got.header('content-length'), coding === '' ? String(text.length) : '');
      if (coding !== '') t.ok(got.body.length < text.length / 10);
    }
  }
});

void t.test('HEAD tells what GET would, and a 304 names the copy that the client holds', async (t) => {
  const fixture = await withUpstream(t, (socket, request) => {
    const head = `Content-Type: application/json\r\nETag: "v1"\r\n`;
    if (/if-none-match/i.test(request)) socket.write(`HTTP/1.1 304 Not Modified\r\nETag: "v1"\r\n\r\n`);
    else socket.write(`HTTP/1.1 200 OK\r\n${head}Content-Length: ${text.length}\r\n\r\n${request.startsWith('HEAD') ? '' : text}`);
  });
  for (const version of versions) {
    const headers = [['Accept-Encoding', 'br']] as const;
    const [get, head] = [await ask(fixture, version, { headers }), await ask(fixture, version, { method: 'HEAD', headers })];
    for (const name of ['content-encoding', 'etag', 'vary', 'content-length', 'content-type']) t.equal(head.header(name), get.header(name), name);
    t.equal(head.body.length, 0);
    t.equal((await ask(fixture, version, { headers: [...headers, ['If-None-Match', 'W/"v1"']] })).header('etag'), 'W/"v1"');
    t.equal((await ask(fixture, version, { headers: [...headers, ['If-None-Match', '"v1"']] })).header('etag'), '"v1"');
  }
});

void t.test('what must not change, or gains nothing, is left alone', async (t) => {
  let answer = '';
  const fixture = await withUpstream(t, (socket) => socket.write(answer));
  const off = await withUpstream(t, (socket) => socket.write(answer), false);
  const body = text.slice(0, 4_000);
  const plain = `HTTP/1.1 200 OK\r\nContent-Type: text/css\r\nContent-Length: ${body.length}\r\n`;
  const headers = [['Accept-Encoding', 'gzip, br, zstd']] as const;
  for (const version of versions) {
    for (const [why, head, sent] of [
      ['encoded', `${plain}Content-Encoding: x-own\r\n`, body],
      ['no-transform', `${plain}Cache-Control: public, No-Transform\r\n`, body],
      ['a range', `${plain.replace('200 OK', '206 Partial Content')}Content-Range: bytes 0-3999/9000\r\n`, body],
      ['a digest', `${plain}Content-Digest: sha-256=:x:\r\n`, body],
      ['small', plain.replace(String(body.length), '100'), body.slice(0, 100)],
      ['an image', plain.replace('text/css', 'image/png'), body],
      ['events', plain.replace('text/css', 'Text/Event-Stream; charset=utf-8'), body],
      ['gRPC', plain.replace('text/css', 'application/grpc'), body],
      ['no type', plain.replace('Content-Type: text/css\r\n', ''), body],
    ] as const) {
      answer = `${head}\r\n${sent}`;
      const got = await ask(fixture, version, { headers });
      t.equal(got.body.toString(), sent, `${version} ${why}`);
      t.equal(got.header('content-encoding'), why === 'encoded' ? 'x-own' : '');
      t.equal(got.header('content-length'), String(sent.length));
      t.equal(got.header('vary'), '');
    }
    answer = `${plain}\r\n${body}`;
    t.equal((await ask(off, version, { headers })).header('content-encoding'), '', 'not asked for');
    t.equal((await ask(fixture, version, { headers })).header('content-encoding'), 'zstd');
  }
});

void t.test('a body goes out as it comes: what the upstream has said can be read before it says more', async (t) => {
  let send: (text: string) => void = () => undefined;
  const fixture = await withUpstream(t, (socket) => {
    socket.write('HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n');
    send = (line) => socket.write(`${line.length.toString(16)}\r\n${line}\r\n`);
    send('{"n":1}\n');
  });
  const socket = await fixture.connect('a.test');
  const gunzip = createGunzip();
  let read = '';
  gunzip.on('data', (chunk: Buffer) => (read += chunk.toString()));
  gunzip.on('error', () => undefined);
  const until = (wanted: string): Promise<void> =>
    new Promise((resolve) => {
      const look = (): void => {
        if (read.endsWith(wanted)) resolve();
        else gunzip.once('data', look);
      };
      look();
    });
  let head = true;
  let rest = Buffer.alloc(0);
  socket.on('data', (chunk: Buffer) => {
    rest = Buffer.concat([rest, chunk]);
    if (head && rest.includes('\r\n\r\n')) {
      head = false;
      rest = rest.subarray(rest.indexOf('\r\n\r\n') + 4);
    }
    for (;;) {
      const eol = head ? -1 : rest.indexOf('\r\n');
      const size = eol < 0 ? 0 : Number.parseInt(rest.toString('latin1', 0, eol), 16);
      if (eol < 0 || rest.length < eol + 2 + size + 2) return;
      gunzip.write(rest.subarray(eol + 2, eol + 2 + size));
      rest = rest.subarray(eol + 4 + size);
    }
  });
  socket.write('GET / HTTP/1.1\r\nHost: a.test\r\nAccept-Encoding: gzip\r\n\r\n');
  for (let n = 1; n < 6; n++) {
    await until(`{"n":${n}}\n`);
    send(`{"n":${n + 1}}\n`);
  }
  await until('{"n":6}\n');
  socket.destroy();
  gunzip.destroy();
  t.pass('each line was read before the next was sent');
});

void t.test('a slow reader holds the upstream back, and both ways of leaving free the compressor', async (t) => {
  const size = 64 * 1024 * 1024;
  let written = 0;
  let stalled: () => void = () => undefined;
  let gone: () => void = () => undefined;
  const isStalled = new Promise<void>((resolve) => (stalled = resolve));
  const isGone = new Promise<void>((resolve) => (gone = resolve));
  const fixture = await withUpstream(t, (socket) => {
    socket.on('close', () => gone());
    socket.write(`HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: ${size}\r\n\r\n`);
    // Noise, so that what comes out is as large as what goes in.
    const block = Buffer.alloc(64 * 1024);
    let state = 1;
    for (let i = 0; i < block.length; i++) block[i] = (state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0) >>> 16;
    let quiet: NodeJS.Timeout | undefined;
    const more = (): void => {
      clearTimeout(quiet);
      while (written < size && socket.write(block)) written += block.length;
      quiet = setTimeout(stalled, 500);
    };
    socket.on('drain', more);
    more();
  });
  const socket = await fixture.connect('a.test');
  socket.pause();
  socket.write('GET / HTTP/1.1\r\nHost: a.test\r\nAccept-Encoding: gzip\r\n\r\n');
  await isStalled;
  t.ok(written < size / 2, `${written} bytes left the upstream`);
  socket.destroy();
  await isGone;
});

void t.test('an upstream that breaks off leaves a body that does not look complete', async (t) => {
  const fixture = await withUpstream(t, (socket) => {
    socket.write(`HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: ${text.length}\r\n\r\n${text.slice(0, 50_000)}`);
    socket.end();
  });
  for (const version of versions) {
    const got = await ask(fixture, version, { headers: [['Accept-Encoding', 'gzip']] });
    t.notOk(got.status === 200 && got.whole, version);
  }
});

void t.test('a kept connection goes on after a compressed answer', async (t) => {
  const fixture = await withUpstream(t, (socket) =>
    socket.write(`HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: ${text.length}\r\n\r\n${text}`),
  );
  const socket = await fixture.connect('a.test');
  const request = 'GET / HTTP/1.1\r\nHost: a.test\r\nAccept-Encoding: zstd\r\n\r\n';
  const answers = readUntil(socket, (got) => got.split('\r\n0\r\n\r\n').length === 4);
  socket.write(request.repeat(3));
  t.equal((await answers).split('HTTP/1.1 200 OK').length, 4);
  socket.destroy();
});

void t.test('only so many bodies are compressed at a time, and the choice of codings is exact', (t) => {
  const encoders = new Encoders();
  const exchange = { write: () => true, abort: () => undefined } as unknown as Exchange;
  const bodies = Array.from({ length: COMPRESSIONS }, () => {
    t.notOk(encoders.busy);
    return encoders.start(exchange, 'gzip', () => undefined);
  });
  t.ok(encoders.busy);
  for (const body of bodies) {
    body.destroy();
    body.destroy();
  }
  t.equal(encoders.open, 0);
  for (const [accepted, coding] of [
    [undefined, undefined],
    ['', undefined],
    ['x-gzip', 'gzip'],
    ['gzip;q=1.5', undefined],
    ['gzip; q=0.001', 'gzip'],
    ['gzip;q=0.8, br;q=0.9', 'br'],
    ['*;q=0', undefined],
    ['zstd;q=0, *', 'br'],
  ] as const) {
    t.equal(chooseCoding(accepted), coding, accepted ?? 'none');
  }
  t.end();
});
