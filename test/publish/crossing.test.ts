// Attack row S-18: many users on one pool of connections to an upstream that misbehaves at random. Nobody ever gets a byte of another's answer.
import type { Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';
import t from 'tap';
import { listenTcp, mapping, path, startFixture, type Fixture } from './harness.ts';

const users = 6;
/** Requests go on for so long; a longer hunt (`MESHGATE_ATTACK_FACTOR`, 1,000 for a million requests) goes on until it has made so many. */
const huntMs = 10_000;
const factor = Number(process.env['MESHGATE_ATTACK_FACTOR'] ?? '1');
const requestsEach = 167 * factor;

/** A small generator (mulberry32), so that a failing run can be had again. */
function random(seed: number): () => number {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let z = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    z = (z + Math.imul(z ^ (z >>> 7), 61 | z)) ^ z;
    return ((z ^ (z >>> 14)) >>> 0) / 4_294_967_296;
  };
}

/** Answers with the token of the path, and in some of the wrong ways that there are. */
function misbehave(socket: Socket, next: () => number): void {
  let pending = '';
  /** Bytes that belong to the answer before and come only now. */
  let late = '';
  socket.on('data', (chunk: Buffer) => {
    pending += chunk.toString('latin1');
    for (let head = /^([A-Z]+) \/([\w-]+) .*?\r\n\r\n/s.exec(pending); head !== null; head = /^([A-Z]+) \/([\w-]+) .*?\r\n\r\n/s.exec(pending)) {
      pending = pending.slice(head[0].length).replace(/^a{0,5}/, '');
      if (late !== '') socket.write(late);
      late = answer(socket, head[1] ?? '', head[2] ?? '', Math.floor(next() * 14));
    }
  });
}

/** Returns what comes late. */
function answer(socket: Socket, method: string, token: string, way: number): string {
  const right = `HTTP/1.1 200 OK\r\nContent-Length: ${token.length}\r\n\r\n`;
  const whole = right + token;
  // A HEAD answered with a body, as careless servers do.
  if (method === 'HEAD') {
    socket.write(right);
    return whole;
  }
  switch (way) {
    case 0:
      socket.end(right + token.slice(1));
      break;
    case 1:
      socket.write(whole + whole);
      break;
    case 2:
      socket.write(`HTTP/1.1 204 None\r\nContent-Length: ${whole.length}\r\n\r\n`);
      return whole;
    case 3:
      socket.write(`HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nLink: ${token}\r\n\r\n${whole}`);
      break;
    case 4:
      socket.write(`HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n${token.length.toString(16)}\r\n${token}\r\n0\r\n\r\n`);
      break;
    case 5:
      socket.destroy();
      break;
    case 6:
      socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${token.length}\r\nTransfer-Encoding: chunked\r\n\r\n${token}`);
      break;
    case 7:
      socket.write(right + token.slice(0, 2));
      setImmediate(() => socket.write(token.slice(2)));
      break;
    case 8:
      socket.write(`HTTP/1.1 304 Not Modified\r\nContent-Length: ${whole.length}\r\n\r\n`);
      return whole;
    default:
      socket.write(whole);
  }
  return '';
}

const ways = [
  (token: string) => `GET /${token} HTTP/1.1\r\nHost: a.test\r\n\r\n`,
  (token: string) => `GET /${token} HTTP/1.1\r\nHost: a.test\r\n\r\n`,
  (token: string) => `HEAD /${token} HTTP/1.1\r\nHost: a.test\r\n\r\n`,
  (token: string) => `POST /${token} HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\n\r\naaaaa`,
  (token: string) => `POST /${token} HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n`,
  (token: string) => `POST /${token} HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\n\r\naa`,
  (token: string) => `GET /${token} HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n`,
  (token: string) => `GET /${token} HTTP/1.1\r\nHost: a.test\r\n\r\nGET /${token} HTTP/1.1\r\nHost: a.test\r\n\r\n`,
];

interface Heard {
  /** Requests sent, and answers with 200. */
  sent: number;
  answered: number;
  /** Tokens of this user, and of others. */
  own: number;
  foreign: number;
}

/** One user, who sends with tokens of the own name and reads what comes; a connection that closes or falls silent is replaced. */
async function user(fixture: Fixture, name: string, next: () => number): Promise<Heard> {
  const heard: Heard = { sent: 0, answered: 0, own: 0, foreign: 0 };
  /** What came, as far as a token may still be cut in two. */
  let rest = '';
  let bytes = 0;
  const hear = (chunk: Buffer): void => {
    bytes += chunk.length;
    const text = rest + chunk.toString('latin1');
    const cut = text.length - 16;
    for (const match of text.matchAll(/user\d|HTTP\/1\.1 200/g)) {
      if (match.index >= cut) break;
      if (match[0].startsWith('HTTP')) heard.answered++;
      else if (match[0] === name) heard.own++;
      else heard.foreign++;
    }
    rest = text.slice(Math.max(0, cut));
  };
  const until = performance.now() + huntMs;
  let socket: TLSSocket | undefined;
  for (let i = 0; i < requestsEach || (factor === 1 && performance.now() < until); i++) {
    const current: TLSSocket = socket === undefined || socket.destroyed || socket.closed ? await fixture.connect('a.test') : socket;
    socket = current;
    const before = bytes;
    const something = new Promise<void>((resolve) => {
      current.removeAllListeners('data');
      current.on('data', (chunk: Buffer) => {
        hear(chunk);
        resolve();
      });
      current.setMaxListeners(0).once('close', () => resolve());
    });
    heard.sent++;
    current.write((ways[Math.floor(next() * ways.length)] ?? ways[0])?.(`${name}-${i}`) ?? '', 'latin1');
    // Some leave in the middle; others wait for something, and give up where a body was promised that they do not send.
    if (next() < 0.15) current.destroy();
    else await Promise.race([something, new Promise((resolve) => setTimeout(resolve, 60))]);
    if (bytes === before || next() < 0.2) current.destroy();
  }
  socket?.destroy();
  hear(Buffer.alloc(16));
  return heard;
}

void t.test('answers never cross between users', async (t) => {
  const next = random(20_261_122);
  const upstream = await listenTcp((socket) => misbehave(socket, next));
  const fixture = await startFixture([mapping('a.test', [path(upstream.port)])]);
  t.teardown(() => Promise.all([fixture.close(), upstream.close()]));
  const names = Array.from({ length: users }, (_none, i) => `user${i}`);
  const heard = await Promise.all(names.map((name) => user(fixture, name, next)));
  for (const [i, { own, foreign }] of heard.entries()) {
    t.equal(foreign, 0, `user${i}`);
    t.ok(own > 0, `user${i} got answers`);
  }
  const sum = (of: (one: Heard) => number): number => heard.reduce((total, one) => total + of(one), 0);
  t.comment(`figure: ${sum(({ sent }) => sent)} requests, ${sum(({ answered }) => answered)} answered 200`);
});
