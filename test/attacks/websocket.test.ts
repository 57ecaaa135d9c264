// Attack rows W, and WebSockets by their rules (RFC 6455) through the gateway: over an upgrade and over HTTP/2 (RFC 8441), to a real server behind it.
// The gateway parses no frame: what is right must pass whole, what is wrong may end its own connection and nobody else's.
import { createServer } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import t, { type Test } from 'tap';
import { WebSocketServer } from 'ws';
import { SWEEP_MS } from '#publish/constants.ts';
import { listenTcp, mapping, path, session, startFixture, withLogin, type Fixture } from '../publish/harness.ts';
import { Seeded } from '../support/hostile.ts';
import * as h2 from '#cli/attack/h2-raw.ts';
import { pick, rounds, seed, until } from './harness.ts';

type Over = 'HTTP/1.1' | 'HTTP/2';
const overs: readonly Over[] = ['HTTP/1.1', 'HTTP/2'];

/** The client's side of an open WebSocket: bytes both ways. */
interface Wire {
  /** 101 or 200 where it opened. */
  readonly status: number;
  readonly received: () => Buffer;
  readonly ended: () => boolean;
  send(bytes: Uint8Array): Promise<void>;
  destroy(): void;
}

const socketFields: readonly h2.Field[] = [
  ['sec-websocket-version', '13'],
  ['cookie', '__Host-meshgate=s1'],
];

async function open(fixture: Fixture, over: Over, more: readonly h2.Field[] = [], fields = socketFields): Promise<Wire> {
  return over === 'HTTP/1.1' ? openH1(fixture, [...fields, ...more]) : openH2(fixture, [...fields, ...more]);
}

async function openH1(fixture: Fixture, fields: readonly h2.Field[]): Promise<Wire> {
  const socket = await fixture.connect('a.test');
  const chunks: Buffer[] = [];
  let ended = false;
  socket.on('data', (chunk: Buffer) => chunks.push(chunk));
  socket.once('close', () => (ended = true));
  const lines = fields.map(([name, value]) => `${name}: ${value}\r\n`).join('');
  socket.write(
    `GET /ws HTTP/1.1\r\nHost: a.test\r\n${lines}Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n`,
  );
  const all = (): Buffer => Buffer.concat(chunks);
  await until(() => ended || all().includes('\r\n\r\n'));
  const head = all().indexOf('\r\n\r\n') + 4;
  return {
    status: Number(/^HTTP\/1\.1 (\d+)/.exec(all().toString('latin1'))?.[1] ?? 0),
    received: () => all().subarray(head),
    ended: () => ended,
    send: async (bytes) => {
      if (!socket.destroyed && !socket.write(bytes))
        await Promise.race([new Promise((resolve) => socket.once('drain', resolve)), new Promise((resolve) => socket.once('close', resolve))]);
    },
    destroy: () => socket.destroy(),
  };
}

async function openH2(fixture: Fixture, fields: readonly h2.Field[]): Promise<Wire> {
  const connection = new h2.RawH2(await fixture.connect('a.test', ['h2'])).hello();
  const settings = await connection.waitFor(({ type, flags }) => type === h2.SETTINGS && (flags & h2.ACK) === 0);
  // SETTINGS_ENABLE_CONNECT_PROTOCOL (RFC 8441 §3) is 8.
  let offered = false;
  for (let at = 0; at < (settings?.payload.length ?? 0); at += 6)
    offered ||= settings?.payload.readUInt16BE(at) === 8 && settings.payload.readUInt32BE(at + 2) === 1;
  if (!offered) throw new Error('the gateway offers no WebSocket over HTTP/2');
  const head: readonly h2.Field[] = [
    [':method', 'CONNECT'],
    [':protocol', 'websocket'],
    [':scheme', 'https'],
    [':path', '/ws'],
    [':authority', 'a.test'],
    ...fields,
  ];
  connection.send(h2.frame(h2.HEADERS, h2.END_HEADERS, 1, h2.block(head)));
  const on = (type: number): h2.Frame[] => connection.frames.filter((frame) => frame.type === type && frame.stream === 1);
  const ended = (): boolean =>
    connection.closed ||
    connection.frames.some(
      ({ type, flags, stream }) =>
        stream === 1 && (type === h2.RST_STREAM || ((type === h2.DATA || type === h2.HEADERS) && (flags & h2.END_STREAM) !== 0)),
    );
  await until(() => on(h2.HEADERS).length > 0 || ended());
  let sent = 0;
  const granted = (stream: number): number =>
    connection.frames.reduce(
      (sum, { type, stream: of, payload }) => (type === h2.WINDOW_UPDATE && of === stream ? sum + payload.readUInt32BE(0) : sum),
      65_535,
    );
  return {
    status: connection.statusOn(1),
    received: () => Buffer.concat(on(h2.DATA).map(({ payload }) => payload)),
    ended,
    send: async (bytes) => {
      for (let at = 0; at < bytes.length && !ended();) {
        const room = (): number => Math.min(granted(0), granted(1)) - sent;
        if (!(await until(() => room() > 0 || ended())) || ended()) return;
        const part = bytes.subarray(at, at + Math.min(16_384, room()));
        connection.send(h2.frame(h2.DATA, 0, 1, part));
        sent += part.length;
        at += part.length;
      }
    },
    destroy: () => connection.destroy(),
  };
}

interface WsFrame {
  readonly opcode: number;
  readonly fin?: boolean;
  readonly reserved?: number;
  readonly payload?: Uint8Array | string;
  readonly unmasked?: boolean;
  /** A length that is not the payload's. */
  readonly claims?: bigint;
}

const TEXT = 1;
const BINARY = 2;
const CLOSE = 8;
const PING = 9;
const PONG = 10;

function encode({ opcode, fin = true, reserved = 0, payload = '', unmasked = false, claims }: WsFrame, mask = Buffer.from([1, 2, 3, 4])): Buffer {
  const body = Buffer.from(typeof payload === 'string' ? Buffer.from(payload) : payload);
  const length = claims ?? BigInt(body.length);
  const masked = unmasked ? 0 : 0x80;
  const first = (fin ? 0x80 : 0) | (reserved << 4) | opcode;
  let head: Buffer;
  if (length < 126n) {
    head = Buffer.from([first, masked | Number(length)]);
  } else if (length < 65_536n) {
    head = Buffer.from([first, masked | 126, 0, 0]);
    head.writeUInt16BE(Number(length), 2);
  } else {
    head = Buffer.alloc(10);
    head[0] = first;
    head[1] = masked | 127;
    head.writeBigUInt64BE(length, 2);
  }
  if (unmasked) return Buffer.concat([head, body]);
  for (let i = 0; i < body.length; i++) body[i] = (body[i] ?? 0) ^ (mask[i % 4] ?? 0);
  return Buffer.concat([head, mask, body]);
}

/** Whole frames of a server, which masks nothing. */
function decode(bytes: Buffer): { readonly opcode: number; readonly fin: boolean; readonly payload: Buffer }[] {
  const out = [];
  for (let at = 0; at + 2 <= bytes.length;) {
    const first = bytes[at] ?? 0;
    let length = bytes[at + 1] ?? 0;
    let start = at + 2;
    if (length === 126 && start + 2 <= bytes.length) {
      length = bytes.readUInt16BE(start);
      start += 2;
    } else if (length === 127 && start + 8 <= bytes.length) {
      length = Number(bytes.readBigUInt64BE(start));
      start += 8;
    } else if (length > 125) break;
    if (start + length > bytes.length) break;
    out.push({ opcode: first & 15, fin: first >= 128, payload: bytes.subarray(start, start + length) });
    at = start + length;
  }
  return out;
}

/** A server that echoes messages, behind a service that asks for sign-in. */
async function start(t: Test): Promise<{ fixture: Fixture; dialled: () => number; heads: string[]; reopen: () => void }> {
  const heads: string[] = [];
  let dialled = 0;
  const http = createServer();
  http.on('connection', () => dialled++);
  const server = new WebSocketServer({ server: http, maxPayload: 4 * 1024 * 1024 });
  server.on('connection', (client, request) => {
    heads.push(request.rawHeaders.join('\n'));
    client.on('error', () => undefined);
    client.on('message', (data, binary) => client.send(data, { binary }));
  });
  await new Promise<void>((resolve) => http.listen(0, '127.0.0.1', resolve));
  const mappings = [mapping('a.test', [path((http.address() as AddressInfo).port)], withLogin)];
  const fixture = await startFixture(mappings);
  fixture.identity.sessions.set('s1', { kind: 'live', session: session('s1', mapping('a.test', []).id) });
  t.teardown(async () => {
    await fixture.close();
    for (const client of server.clients) client.terminate();
    await new Promise((resolve) => http.close(resolve));
  });
  return { fixture, dialled: () => dialled, heads, reopen: () => fixture.setRoutes(mappings) };
}

for (const over of overs) {
  void t.test(`RFC 6455 over ${over}: messages of every size, in one frame or many, cut anywhere, come back whole`, async (t) => {
    const { fixture } = await start(t);
    const random = new Seeded(seed);
    const wire = await open(fixture, over);
    t.ok([101, 200].includes(wire.status), `${wire.status}`);
    let seen = 0;
    for (const size of [0, 1, 125, 126, 127, 128, 1_000, 65_535, 65_536, 65_537, 300_000, 1_048_576, 1_300_000]) {
      for (const opcode of [TEXT, BINARY]) {
        const payload =
          opcode === TEXT
            ? Buffer.from('é€x'.repeat(Math.ceil(size / 6))).subarray(0, size - (size % 6))
            : random.bytes(Math.min(size, 4_096)).subarray(0, size);
        const body = opcode === TEXT ? payload : Buffer.concat(Array.from({ length: Math.ceil(size / 4_096) }, () => payload)).subarray(0, size);
        const parts = 1 + random.below(4);
        const frames: Buffer[] = [];
        for (let i = 0; i < parts; i++) {
          const from = Math.floor((body.length * i) / parts);
          frames.push(
            encode({ opcode: i === 0 ? opcode : 0, fin: i === parts - 1, payload: body.subarray(from, Math.floor((body.length * (i + 1)) / parts)) }),
          );
          // A ping may stand between the parts of a message.
          if (i < parts - 1 && random.below(2) === 0) frames.push(encode({ opcode: PONG, payload: 'between' }));
        }
        const bytes = Buffer.concat(frames);
        for (let at = 0; at < bytes.length;) {
          const length = size < 200 ? 1 + random.below(5) : 1 + random.below(100_000);
          await wire.send(bytes.subarray(at, at + length));
          at += length;
        }
        await until(() => decode(wire.received()).length > seen);
        const got = decode(wire.received())[seen++];
        t.ok(got?.opcode === opcode && got.payload.equals(body), `${opcode === TEXT ? 'text' : 'binary'} of ${body.length} bytes in ${parts} frames`);
      }
    }
    wire.destroy();
  });

  void t.test(`RFC 6455 over ${over}: pings, pongs and closing`, async (t) => {
    const { fixture } = await start(t);
    const wire = await open(fixture, over);
    for (const [i, size] of [0, 1, 60, 125].entries()) {
      await wire.send(encode({ opcode: PONG, payload: 'unasked' }));
      await wire.send(encode({ opcode: PING, payload: Buffer.alloc(size, 7) }));
      await until(() => decode(wire.received()).length > i);
      const got = decode(wire.received())[i];
      t.ok(got?.opcode === PONG && got.payload.equals(Buffer.alloc(size, 7)), `ping of ${size}`);
    }
    wire.destroy();
    for (const code of [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999]) {
      const closing = await open(fixture, over);
      await closing.send(encode({ opcode: CLOSE, payload: Buffer.concat([Buffer.from([code >> 8, code & 255]), Buffer.from('why')]) }));
      await until(() => closing.ended());
      const [last] = decode(closing.received());
      t.same([last?.opcode, last?.payload.readUInt16BE(0)], [CLOSE, code]);
      closing.destroy();
    }
  });

  const wrong: readonly (readonly [string, readonly WsFrame[]])[] = [
    ...[1, 2, 4, 7].map((reserved) => [`reserved bits ${reserved}`, [{ opcode: TEXT, reserved, payload: 'x' }]] as const),
    ...[3, 4, 7, 11, 15].map((opcode) => [`opcode ${opcode}`, [{ opcode, payload: 'x' }]] as const),
    ['a ping in parts', [{ opcode: PING, fin: false, payload: 'x' }]],
    ['a ping that is too long', [{ opcode: PING, payload: Buffer.alloc(126) }]],
    ['a continuation of nothing', [{ opcode: 0, payload: 'x' }]],
    [
      'a message within a message',
      [
        { opcode: TEXT, fin: false, payload: 'x' },
        { opcode: TEXT, payload: 'y' },
      ],
    ],
    ['no mask', [{ opcode: TEXT, payload: 'x', unmasked: true }]],
    ['a length of 2^63', [{ opcode: BINARY, payload: 'x', claims: 2n ** 63n }]],
    ['a length of 2^53', [{ opcode: BINARY, payload: 'x', claims: 2n ** 53n }]],
    ['text that is no UTF-8', [{ opcode: TEXT, payload: Buffer.from([0xce, 0xba, 0xe1, 0xbd, 0xb9, 0xff]) }]],
    ['surrogates as UTF-8', [{ opcode: TEXT, payload: Buffer.from([0xed, 0xa0, 0x80]) }]],
    ['a closing of one byte', [{ opcode: CLOSE, payload: Buffer.from([3]) }]],
    ...[0, 999, 1004, 1005, 1006, 1015, 2999, 5000, 65_535].map(
      (code) => [`closing with ${code}`, [{ opcode: CLOSE, payload: Buffer.from([code >> 8, code & 255]) }]] as const,
    ),
    ['a reason that is no UTF-8', [{ opcode: CLOSE, payload: Buffer.from([3, 232, 0xff, 0xfe]) }]],
  ];
  void t.test(`W-5: wrong frames over ${over} end their own connection at most`, async (t) => {
    const { fixture } = await start(t);
    const neighbour = await open(fixture, over);
    for (const [i, [what, frames]] of wrong.entries()) {
      const wire = await open(fixture, over);
      for (const frame of frames) await wire.send(encode(frame));
      t.ok(await until(() => wire.ended() || decode(wire.received()).some(({ opcode }) => opcode === CLOSE)), what);
      wire.destroy();
      await neighbour.send(encode({ opcode: TEXT, payload: what }));
      await until(() => decode(neighbour.received()).length > i);
      t.equal(decode(neighbour.received())[i]?.payload.toString(), what, `${what}: the neighbour goes on`);
    }
    neighbour.destroy();
  });
}

/** An upstream that switches, then does as told. */
async function startRaw(t: Test, serve: (socket: Socket) => void): Promise<{ fixture: Fixture; heads: string[] }> {
  const heads: string[] = [];
  const upstream = await listenTcp((socket) => {
    socket.once('data', (chunk: Buffer) => {
      const head = chunk.toString('latin1');
      heads.push(head);
      const key = /sec-websocket-key: (\S+)/i.exec(head)?.[1] ?? '';
      void import('node:crypto').then(({ createHash }) => {
        const accept = createHash('sha1').update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64');
        socket.write(`HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`);
        serve(socket);
      });
    });
  });
  const fixture = await startFixture([mapping('a.test', [path(upstream.port)], withLogin)]);
  fixture.identity.sessions.set('s1', { kind: 'live', session: session('s1', mapping('a.test', []).id) });
  t.teardown(() => Promise.all([fixture.close(), upstream.close()]));
  return { fixture, heads };
}

void t.test('W-5: after the switch any bytes pass both ways as they are', async (t) => {
  const { fixture } = await startRaw(t, (socket) => socket.pipe(socket));
  const random = new Seeded(seed);
  for (const over of overs) {
    const wire = await open(fixture, over, [['sec-websocket-extensions', 'permessage-deflate; client_max_window_bits']]);
    const sent: Buffer[] = [];
    for (let i = 0; i < rounds(40); i++) {
      const bytes = random.bytes(1 + random.below(random.below(4) === 0 ? 20_000 : 50));
      sent.push(bytes);
      await wire.send(bytes);
    }
    const all = Buffer.concat(sent);
    await until(() => wire.received().length >= all.length);
    t.ok(wire.received().equals(all), `${over}: ${all.length} bytes of noise`);
    wire.destroy();
  }
});

void t.test('W-1: no upgrade without a session, and nothing is dialled for one', async (t) => {
  const { fixture, dialled } = await start(t);
  fixture.identity.sessions.set('old', { kind: 'none', why: 'expired' } as never);
  fixture.identity.sessions.set('other', { kind: 'live', session: session('other', mapping('b.test', []).id) });
  for (const over of overs) {
    for (const cookie of [
      undefined,
      '__Host-meshgate=old',
      '__Host-meshgate=other',
      '__Host-meshgate=unknown',
      '__Host-meshgate=s1; __Host-meshgate=s1',
      '__host-meshgate=s1',
      'meshgate=s1',
    ]) {
      const wire = await open(
        fixture,
        over,
        [],
        cookie === undefined
          ? [['sec-websocket-version', '13']]
          : [
              ['sec-websocket-version', '13'],
              ['cookie', cookie],
            ],
      );
      t.equal(wire.status, 401, `${over} ${cookie}`);
      wire.destroy();
    }
  }
  t.equal(dialled(), 0);
});

void t.test('W-2: a page of another origin has no session here', async (t) => {
  const { fixture, dialled } = await start(t);
  const random = new Seeded(seed);
  for (const over of overs) {
    for (let i = 0; i < rounds(12); i++) {
      const origin = pick(random, [
        'https://evil.test',
        'http://a.test',
        'null',
        'https://a.test.evil.test',
        'https://a.test:8443',
        'https://sub.a.test',
        'https://a.test/',
        'https://a.test@evil.test',
        '',
        'file://',
        'https://A.test.',
        'https://a.test, https://a.test',
      ]);
      const wire = await open(fixture, over, [['origin', origin]]);
      t.equal(wire.status, 401, `${over} ${origin}`);
      wire.destroy();
    }
  }
  t.equal(dialled(), 0);
  for (const over of overs) {
    const wire = await open(fixture, over, [['origin', 'https://a.test']]);
    t.ok([101, 200].includes(wire.status), over);
    wire.destroy();
  }
});

void t.test('W-3: the end of trust closes what is open within a second', async (t) => {
  const { fixture, reopen } = await start(t);
  for (const over of overs) {
    for (const end of ['revoked', 'route'] as const) {
      const wire = await open(fixture, over);
      await until(() => fixture.publisher.stats().streams > 0);
      const before = performance.now();
      if (end === 'revoked') fixture.publisher.endStreams((stream) => stream.session?.id === 's1');
      else fixture.setRoutes([]);
      t.ok(await until(() => wire.ended(), 1_000 + SWEEP_MS), `${over} ${end}`);
      t.comment(`figure: ${over} ${end}: closed after ${Math.round(performance.now() - before)} ms`);
      wire.destroy();
      reopen();
    }
  }
});

void t.test('W-4: the upgrade carries the identity, and no more than ours', async (t) => {
  const { fixture, heads } = await start(t);
  for (const over of overs) {
    const wire = await open(fixture, over, [
      ['x-identity-user', 'root'],
      ['x-forwarded-for', '6.6.6.6'],
    ]);
    await until(() => heads.length > 0);
    t.match(heads.at(-1), /X-Identity-User\nalice@example\.test/);
    t.notMatch(heads.at(-1), /root|6\.6\.6\.6|__Host-meshgate/);
    heads.length = 0;
    wire.destroy();
  }
});

void t.test('W-8: a client that does not read holds the upstream back', async (t) => {
  let sent = 0;
  const { fixture } = await startRaw(t, (socket) => {
    const more = (): void => {
      while (!socket.destroyed && sent < 512 * 1024 * 1024 && socket.write(Buffer.alloc(65_536))) sent += 65_536;
    };
    socket.on('drain', more);
    more();
  });
  const slow = await fixture.connect('a.test');
  slow.pause();
  slow.write(
    'GET /ws HTTP/1.1\r\nHost: a.test\r\nCookie: __Host-meshgate=s1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n',
  );
  await until(() => sent > 0);
  let before = -1;
  // Until nothing more moves for a while of turns.
  for (let still = 0; still < 50;) {
    for (let i = 0; i < 20; i++) await new Promise((resolve) => setImmediate(resolve));
    still = sent === before ? still + 1 : 0;
    before = sent;
  }
  t.ok(sent < 64 * 1024 * 1024, `${Math.round(sent / 1_048_576)} MB`);
  t.comment(`figure: the upstream of a WebSocket that is not read could send ${Math.round(sent / 1_048_576)} MB`);
  slow.destroy();
});
