// A flood of SYNs must not stop anybody: beyond the bound on half-open handshakes nothing is kept, and an honest peer still gets in, with
// every option where it uses timestamps.
import t from 'tap';
import { COOKIE_PERIOD_MS, COOKIE_PERIODS, MAX_HALF_OPEN_PER_PEER } from '#netstack/constants.ts';
import { Flow } from '#netstack/flow.ts';
import { KeyedHash } from '#netstack/keyed-hash.ts';
import { SynCookies } from '#netstack/syn-cookies.ts';
import { emptyTcpSegment } from '#wire/tcp.ts';
import { Network, dial, payload } from './link.ts';
import { Script, brief } from './script.ts';

/** A stack whose backlog for the peer is full of handshakes that nobody will complete. */
function flooded(): Script {
  const s = new Script();
  s.listen();
  for (let port = 1; port <= MAX_HALF_OPEN_PER_PEER; port++) {
    s.peerPort = port;
    s.stackPort = 80;
    s.send({ flags: 'S', mss: 1240 });
  }
  s.peerPort = 60_000;
  s.stackPort = 80;
  return s;
}

void t.test('an honest handshake completes during a flood, and its options hold', async (t) => {
  const s = flooded();
  const [answer] = s.send({ flags: 'S', mss: 1240, scale: 9, sackPermitted: true, tsValue: 77 });
  t.match(answer, { flags: 'SA', ack: 1, mss: 1240, scale: 7, sackPermitted: true, hasTimestamps: true, tsEcho: 77 });
  t.equal(s.stack.connectionCount(), MAX_HALF_OPEN_PER_PEER, 'nothing is kept for it');
  s.now += 50;
  s.stamps = true;
  s.send({ flags: 'A', seq: 1, ack: 1, window: 100 });
  t.equal(s.endpoint.isEstablished, true);
  s.write(60_000);
  const sent = s.take();
  t.equal(
    sent.reduce((sum, { length }) => sum + length, 0),
    12_280,
    'the window is 100 << 9, so the initial window is what limits',
  );
  t.match(sent[0], { length: 1228, hasTimestamps: true });
  t.match(s.send({ flags: 'A', seq: 2001, ack: 1, data: 10, window: 100 })[0], { sack: [2001, 2011] }, 'SACK is on');
});

void t.test('without timestamps there is no room for options, but the segment size holds', async (t) => {
  const s = flooded();
  s.send({ flags: 'S', mss: 1100, scale: 9, sackPermitted: true });
  s.send({ flags: 'A', seq: 1, ack: 1, window: 50_000, data: 5 });
  t.equal(s.endpoint.received, 5, 'the first data may be the answer');
  s.write(60_000);
  t.match(s.take()[0], { length: 1024, hasTimestamps: false }, 'the next smaller of the sizes that a cookie can say');
});

void t.test('a made-up, altered or late answer is reset', async (t) => {
  const s = flooded();
  s.send({ flags: 'S', mss: 1240 });
  t.same(brief(s.send({ flags: 'A', seq: 1, ack: 2 })), ['R 2+0 ack 0']);
  t.same(brief(s.send({ flags: 'A', seq: 2, ack: 1 })), ['R 1+0 ack 0'], 'another first number');
  s.now += COOKIE_PERIOD_MS * (COOKIE_PERIODS + 1);
  t.same(brief(s.send({ flags: 'A', seq: 1, ack: 1 })), ['R 1+0 ack 0']);
  t.equal(s.endpoint.isEstablished, false);
});

void t.test('cookies: guessed numbers do not pass', async (t) => {
  const cookies = new SynCookies(new KeyedHash(1, 2));
  const flow = new Flow();
  const syn = { ...emptyTcpSegment(), seq: 5, mss: 1400 };
  const right = cookies.issue(flow, syn, 1000);
  t.match(cookies.check(flow, { ...syn, seq: 6, ack: right + 1 }, 1000), { mss: 1380, seq: 5 });
  let passed = 0;
  for (let i = 1; i < 100_000; i++) if (cookies.check(flow, { ...syn, seq: 6, ack: (right + 1 + Math.imul(i, 0x9e3779b1)) | 0 }, 1000)) passed++;
  t.ok(passed <= 2, `${passed} of 100,000`);
});

void t.test('a transfer begins and ends under a flood that goes on', async (t) => {
  const network = new Network({ delayMs: 10 });
  const flood = new Script(4);
  const junk = (port: number): Uint8Array => {
    flood.peerPort = port;
    flood.stackPort = 80;
    return flood.build({ flags: 'S', mss: 1240 });
  };
  // The script's peer is B to A; here the flood goes to A, which listens.
  const { client, server } = dial(network);
  network.a.listen(
    80,
    () => true,
    () => t.fail('nobody completes a flooding handshake'),
  );
  for (let port = 1; port < 4000; port++) network.a.receivePacket(junk(port), network.now);
  const { bytes, digest } = payload(300_000);
  client.send(bytes, true, network.now);
  t.ok(network.runUntil(() => client.end !== undefined && server.end !== undefined, 60_000));
  t.equal(server.hash.digest('hex'), digest);
});
