// Our TURN client and STUN messages against coturn on loopback.
import { createHmac } from 'node:crypto';
import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import t, { type Test } from 'tap';
import { randomFillSync } from 'node:crypto';
import { decodeStun, encodeStun } from '#wire/stun.ts';
import { isChannelData } from '#wire/turn.ts';
import type { TransportAddress } from '../../../src/overlay/path/path.ts';
import { TurnClient } from '../../../src/overlay/path/turn-client.ts';
import { TURN_ATTEMPTS, TURN_IDLE_MS, TURN_RETRY_MS } from '../../../src/overlay/constants.ts';
import { until } from '../pair.ts';
import { type Coturn, startCoturn, whyNoCoturn } from './coturn.ts';

t.setTimeout(300_000);

const account = { username: 'anna', password: 'secret' };

/** A client on a real socket; its time is ours to move. */
class Bench {
  readonly socket: Socket = createSocket('udp4');
  readonly received: { readonly text: string; readonly from: TransportAddress }[] = [];
  readonly framed = { channel: 0, indication: 0 };
  readonly client: TurnClient;
  readonly #timer: NodeJS.Timeout;
  skewMs = 0;

  constructor(port: number, credentials: { readonly username: string; readonly password: string }, socket?: Socket) {
    if (socket !== undefined) this.socket = socket;
    this.client = new TurnClient({
      ...credentials,
      ipv6: false,
      random: (target) => void randomFillSync(target),
      send: (datagram) => this.socket.send(Buffer.from(datagram), port, '127.0.0.1'),
      changed: () => undefined,
      datagram: (datagram, address, from) => this.received.push({ text: Buffer.from(datagram).toString(), from: { address, port: from } }),
    });
    this.socket.on('message', (datagram) => {
      if (isChannelData(datagram)) this.framed.channel++;
      else this.framed.indication++;
      this.client.receive(datagram, this.now());
    });
    this.#timer = setInterval(() => this.client.poll(this.now()), 10);
  }

  now(): number {
    return performance.now() + this.skewMs;
  }

  async open(): Promise<TransportAddress> {
    this.client.want(this.now());
    await until(() => this.client.relayed.length > 0, 10_000);
    const [relayed] = this.client.relayed;
    if (relayed === undefined) throw new TypeError('no relayed address');
    return relayed;
  }

  /** As a process that dies: nothing is said to the server. */
  die(): void {
    clearInterval(this.#timer);
  }

  close(): void {
    this.die();
    this.client.close();
    this.socket.close();
  }
}

function withCoturn(
  name: string,
  options: Omit<Parameters<typeof startCoturn>[0], 'host' | 'port'>,
  body: (t: Test, coturn: Coturn) => Promise<void>,
): void {
  const reason = whyNoCoturn();
  void t.test(name, async (t) => {
    if (reason !== '') return t.plan(0, reason);
    const coturn = await startCoturn({ host: '127.0.0.1', port: 0, ...options });
    t.teardown(() => coturn.stop());
    return body(t, coturn);
  });
}

const longTerm = { user: 'anna:secret' };

withCoturn('both ways through the relay: by indication, then by channel', longTerm, async (t, coturn) => {
  const [a, b] = [new Bench(coturn.port, account), new Bench(coturn.port, account)];
  t.teardown(() => [a, b].forEach((bench) => bench.close()));
  const started = performance.now();
  const atA = await a.open();
  t.comment(`figure: an allocation with its first refusal took ${(performance.now() - started).toFixed(1)} ms`);
  const atB = await b.open();
  a.client.permit('127.0.0.1', a.now());
  b.client.permit('127.0.0.1', b.now());
  await until(() => {
    a.client.send(Buffer.from('hello'), atB);
    return b.received.length > 0;
  }, 3000);
  t.same(b.received[0], { text: 'hello', from: atA });
  t.equal(b.framed.channel, 0);
  a.client.bind(atB, a.now());
  b.client.bind(atA, b.now());
  await until(() => {
    a.client.send(Buffer.from('short'), atB);
    b.client.send(Buffer.from('answer'), atA);
    return a.framed.channel > 0 && b.framed.channel > 0;
  }, 3000);
  t.match(b.received.at(-1), { text: 'short', from: atA });
  t.match(a.received.at(-1), { text: 'answer', from: atB });
});

withCoturn('only who was permitted comes through', longTerm, async (t, coturn) => {
  const a = new Bench(coturn.port, account);
  const stranger = createSocket('udp4');
  t.teardown(() => {
    a.close();
    stranger.close();
  });
  const at = await a.open();
  stranger.send('early', at.port, at.address);
  // The server has dealt with that one before it answers this one.
  const answered = once(stranger, 'message');
  stranger.send(encodeStun({ class: 'request', transactionId: Buffer.alloc(12, 1) }, undefined, false), coturn.port, '127.0.0.1');
  await answered;
  a.client.permit('127.0.0.1', a.now());
  await until(() => {
    stranger.send('late', at.port, at.address);
    return a.received.length > 0;
  }, 3000);
  t.equal(a.received[0]?.text, 'late');
});

withCoturn(
  'an account made from a shared secret; a nonce that went stale is replaced',
  { secret: 'shared', extra: ['--stale-nonce=1'] },
  async (t, coturn) => {
    const username = `${Math.floor(Date.now() / 1000) + 600}:peer`;
    const a = new Bench(coturn.port, { username, password: createHmac('sha1', 'shared').update(username).digest('base64') });
    t.teardown(() => a.close());
    const first = await a.open();
    const asked = performance.now();
    a.client.permit('127.0.0.1', a.now());
    // The nonce is good for a second; each refresh after that is refused first.
    for (let i = 0; i < 3; i++) {
      await until(() => performance.now() - asked > 1100 * (i + 1), 3000);
      a.client.verify(a.now());
    }
    await until(() => performance.now() - asked > 3600, 3000);
    t.same(a.client.relayed[0], first, 'the allocation holds');
  },
);

withCoturn('given back when nobody wants it, and to be had again at the same port', longTerm, async (t, coturn) => {
  const a = new Bench(coturn.port, account);
  await a.open();
  a.skewMs += TURN_IDLE_MS + 1;
  await until(() => a.client.relayed.length === 0, 1000);
  await a.open();
  // A process that died and came back has the same port and knows nothing of its allocation: 437, and then a new one.
  a.die();
  const again = new Bench(coturn.port, account, a.socket);
  t.teardown(() => again.close());
  const late = performance.now();
  await again.open();
  t.comment(`figure: an allocation at a port that has one already took ${(performance.now() - late).toFixed(0)} ms`);
});

withCoturn('a wrong password is told, and a silent server', longTerm, async (t, coturn) => {
  const a = new Bench(coturn.port, { username: 'anna', password: 'wrong' });
  const silent = new Bench(9, account);
  t.teardown(() => [a, silent].forEach((bench) => bench.close()));
  a.client.want(a.now());
  silent.client.want(silent.now());
  await until(() => a.client.reason !== '', 3000);
  t.equal(a.client.reason, 'the server refuses with 401');
  silent.skewMs += TURN_RETRY_MS * 2 ** TURN_ATTEMPTS;
  for (let i = 0; i < TURN_ATTEMPTS; i++) {
    silent.client.poll(silent.now());
    silent.skewMs += TURN_RETRY_MS * 2 ** TURN_ATTEMPTS;
  }
  silent.client.poll(silent.now());
  t.equal(silent.client.reason, 'the server does not answer');
});

withCoturn('coturn reads our binding request, and we its answer', longTerm, async (t, coturn) => {
  const socket = createSocket('udp4');
  socket.bind(0, '127.0.0.1');
  await once(socket, 'listening');
  t.teardown(() => socket.close());
  const transactionId = Buffer.alloc(12, 7);
  const answered = once(socket, 'message');
  socket.send(encodeStun({ class: 'request', transactionId }, undefined, false), coturn.port, '127.0.0.1');
  const [datagram] = (await answered) as [Buffer];
  const message = decodeStun(datagram);
  t.match(message, { class: 'success', mapped: { port: socket.address().port } });
});
