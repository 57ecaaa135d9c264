// Clients that hold on to what they were given: each is cut off in time, and none takes the places of all the others.
import { connect as h2Connect } from 'node:http2';
import { connect as tlsConnect } from 'node:tls';
import { connect as tcpConnect, Socket } from 'node:net';
import { Duplex } from 'node:stream';
import t from 'tap';
import { CONNECTIONS_PER_ADDRESS, IDLE_MS, LINGER_MS, SWEEP_MS, WRITE_STALL_MS } from '#publish/constants.ts';
import { listenTcp, mapping, path, startEcho, startFixture } from './harness.ts';
import { ManualClock } from '../support/manual-clock.ts';

/** What a TLS client says first. */
async function helloFor(servername: string): Promise<Buffer> {
  const hello = Promise.withResolvers<Buffer>();
  const server = await listenTcp((socket) => socket.once('data', hello.resolve));
  const client = tlsConnect({ host: '127.0.0.1', port: server.port, servername });
  client.on('error', () => undefined);
  const bytes = await hello.promise;
  client.destroy();
  await server.close();
  return bytes;
}

/** Lets what is on the loopback arrive. */
async function settle(): Promise<void> {
  for (let i = 0; i < 20; i++) await new Promise((resolve) => setImmediate(resolve));
}

void t.test('who asks for an unknown name and stays is cut off', async (t) => {
  const clock = new ManualClock();
  const fixture = await startFixture([], { clock });
  t.teardown(fixture.close);
  const hello = await helloFor('unknown.test');
  const raw = tcpConnect({ host: '127.0.0.1', port: fixture.port, allowHalfOpen: true });
  raw.on('error', () => undefined);
  raw.write(hello);
  await new Promise((resolve) => raw.once('data', resolve));
  while (fixture.publisher.stats().connections === 0) await settle();
  await settle();
  t.equal(fixture.publisher.stats().connections, 1, 'the client has not closed its side');
  clock.advance(LINGER_MS + 2 * SWEEP_MS);
  // Virtual time has passed; the socket's end takes real turns of the loop. A connection that stays fails by the suite's timeout.
  while (fixture.publisher.stats().connections > 0) await settle();
  t.equal(fixture.publisher.stats().connections, 0);
  raw.destroy();
});

void t.test('an HTTP/2 stream that is never taken is closed, and its connection with it', async (t) => {
  const clock = new ManualClock();
  const echo = await startEcho();
  const fixture = await startFixture([mapping('a.test', [path(echo.port)])], { clock });
  t.teardown(() => Promise.all([fixture.close(), echo.close()]));
  const socket = await fixture.connect('a.test', ['h2']);
  const connection = h2Connect('https://a.test', { createConnection: () => socket, settings: { initialWindowSize: 0 } });
  connection.on('error', () => undefined);
  const stream = connection.request({ ':path': '/', ':authority': 'a.test' });
  stream.on('error', () => undefined);
  const entry = fixture.nextEntry();
  const closed = new Promise((resolve) => stream.once('close', resolve));
  await new Promise((resolve) => stream.once('response', resolve));
  await entry;
  await settle();
  t.equal(stream.closed, false);
  clock.advance(WRITE_STALL_MS + 2 * SWEEP_MS);
  await closed;
  await settle();
  clock.advance(IDLE_MS + 2 * SWEEP_MS);
  await settle();
  clock.advance(LINGER_MS + 2 * SWEEP_MS);
  await settle();
  t.equal(fixture.publisher.stats().connections, 0);
});

/** A socket of a client that never says anything. */
class Silent extends Duplex {
  setNoDelay(): void {}
  setKeepAlive(): void {}
  override _read(): void {}
  override _write(_chunk: unknown, _encoding: string, done: () => void): void {
    done();
  }
}

void t.test('the connections of an IPv6 network count together, those of IPv4 addresses each', async (t) => {
  const fixture = await startFixture([]);
  t.teardown(fixture.close);
  const { publisher } = fixture;
  const take = (address: string): void => {
    publisher.handleConnection(new Silent() as unknown as Socket, { remote: { address, port: 1 }, local: { address: '192.0.2.2', port: 443 } });
  };
  for (let i = 0; i < CONNECTIONS_PER_ADDRESS; i++) take(`2001:db8::${i.toString(16)}:1`);
  t.equal(publisher.stats().refusedConnections, 0);
  take('2001:db8::ffff:ffff:ffff:ffff');
  t.equal(publisher.stats().refusedConnections, 1);
  take('2001:db8:0:1::1');
  for (let i = 0; i < CONNECTIONS_PER_ADDRESS; i++) take(`::ffff:192.0.2.${i % 250}`);
  t.equal(publisher.stats().refusedConnections, 1);
});
