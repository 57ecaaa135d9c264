// What each state answers to RST, SYN, ACK and FIN, right and wrong (RFC 9293 §3.10.7, RFC 5961), as packet scripts.
import t from 'tap';
import { Script, brief } from './script.ts';

void t.test('SYN-SENT: offers every option and takes only an answer to its own SYN', async (t) => {
  const s = new Script();
  const syn = s.connect();
  t.match(syn, { flags: 'S', mss: 1240, scale: 7, sackPermitted: true, hasTimestamps: true, window: 65_535 });
  t.same(brief(s.send({ flags: 'SA', ack: 2 })), ['R 2+0 ack 0'], 'an ACK of what was never sent is reset');
  t.same(s.send({ flags: 'RA', ack: 2 }), [], 'a reset with a wrong ACK is ignored');
  t.same(s.send({ flags: 'R', ack: 0 }), [], 'a reset without ACK is ignored');
  t.same(s.send({ flags: 'A', ack: 1 }), [], 'a lone ACK is ignored');
  t.equal(s.endpoint.end, undefined);
  s.send({ flags: 'RA', ack: 1 });
  t.equal(s.endpoint.end, 'ECONNREFUSED');
  t.equal(s.stack.connectionCount(), 0);
  t.equal(new Script(6).connect().mss, 1220, 'IPv6 leaves twenty bytes less');
});

void t.test('SYN-SENT: repeats its SYN and gives up', async (t) => {
  const s = new Script();
  s.connect();
  t.same(brief(s.pass(1000)), ['S 0+0 ack 0']);
  t.same(brief(s.pass(2000)), ['S 0+0 ack 0']);
  s.pass(120_000);
  t.equal(s.endpoint.end, 'ETIMEDOUT');
});

void t.test('the handshake completes with what both sides offered', async (t) => {
  const s = new Script();
  s.connect();
  t.same(brief(s.send({ flags: 'SA', ack: 1, mss: 1000, scale: 3, sackPermitted: true, tsValue: 7 })), ['A 1+0 ack 1']);
  t.equal(s.endpoint.isEstablished, true);
  const [first] = (s.write(5000), s.take());
  t.match(first, { length: 988, hasTimestamps: true, tsEcho: 7 }, 'the peer’s MSS less the timestamps');
  const plain = new Script().established({ mss: 600 });
  plain.write(2000);
  t.match(plain.take()[0], { length: 600, hasTimestamps: false }, 'no option that the peer did not send');
  const bare = new Script();
  bare.connect();
  bare.send({ flags: 'SA', ack: 1 });
  bare.write(2000);
  t.match(bare.take()[0], { length: 536 }, 'no MSS option means 536 over IPv4');
});

void t.test('simultaneous open ends established on both sides', async (t) => {
  const s = new Script();
  s.connect();
  const [answer] = s.send({ flags: 'S', mss: 1240 });
  t.match(answer, { flags: 'SA', seq: 0, ack: 1 });
  t.same(brief(s.send({ flags: 'SA', ack: 1, mss: 1240 })), ['A 1+0 ack 1']);
  t.equal(s.endpoint.isEstablished, true);
});

void t.test('a listener: closed ports and refused callers get a reset, a repeated SYN its SYN-ACK again', async (t) => {
  const s = new Script();
  t.same(brief(s.send({ flags: 'S', mss: 1240 })), ['RA 0+0 ack 1'], 'nobody listens');
  t.same(s.send({ flags: 'R' }), [], 'a reset is never answered');
  t.same(brief(s.send({ flags: 'A', ack: 77 })), ['R 77+0 ack 0'], 'an ACK to nothing');
  s.listen();
  t.match(s.send({ flags: 'S', mss: 1240 }), [{ flags: 'SA', seq: 0, ack: 1, mss: 1240, scale: -1, sackPermitted: false, hasTimestamps: false }]);
  t.match(s.send({ flags: 'S', mss: 1240 }), [{ flags: 'SA', seq: 0, ack: 1 }]);
  t.match(s.pass(1000), [{ flags: 'SA', seq: 0, ack: 1 }], 'and by its timer');
  t.same(brief(s.send({ flags: 'A', seq: 1, ack: 9 })), ['R 9+0 ack 0'], 'a wrong ACK is reset, the handshake stays');
  t.equal(s.endpoint.isEstablished, false);
  s.send({ flags: 'A', seq: 1, ack: 1 });
  t.equal(s.endpoint.isEstablished, true);
  const refusing = new Script();
  refusing.listen(() => false);
  t.same(brief(refusing.send({ flags: 'S', mss: 1240 })), ['RA 0+0 ack 1']);
});

void t.test('SYN-RECEIVED: a reset or silence ends it, and nobody is told', async (t) => {
  const s = new Script();
  s.listen();
  s.send({ flags: 'S', mss: 1240 });
  s.send({ flags: 'R', seq: 1 });
  t.equal(s.stack.connectionCount(), 0);
  s.send({ flags: 'S', mss: 1240 });
  t.equal(s.stack.connectionCount(), 1);
  s.pass(200_000);
  t.equal(s.stack.connectionCount(), 0);
  t.equal(s.endpoint.isEstablished, false);
  t.equal(s.stack.pollAt(), Infinity);
});

void t.test('a handler that is not attached in accept gets its peer reset', async (t) => {
  const s = new Script();
  s.stack.listen(
    80,
    () => true,
    () => {},
  );
  s.send({ flags: 'S', mss: 1240 });
  t.same(brief(s.send({ flags: 'A', seq: 1, ack: 1 })), ['RA 1+0 ack 1']);
  t.equal(s.stack.connectionCount(), 0);
});

void t.test('ESTABLISHED: only a reset at exactly the next byte counts (RFC 5961)', async (t) => {
  const s = new Script().established();
  t.same(s.send({ flags: 'R', seq: 0 }), [], 'before the window');
  t.same(s.send({ flags: 'R', seq: 5_000_000 }), [], 'after the window');
  t.same(brief(s.send({ flags: 'R', seq: 2 })), ['A 1+0 ack 1'], 'within: challenged');
  t.same(s.send({ flags: 'R', seq: 3 }), [], 'challenges are rare');
  t.equal(s.endpoint.end, undefined);
  s.send({ flags: 'R', seq: 1 });
  t.equal(s.endpoint.end, 'ECONNRESET');
});

void t.test('ESTABLISHED: a SYN is challenged, impossible ACKs too', async (t) => {
  const s = new Script().established();
  t.same(brief(s.send({ flags: 'S', seq: 100, mss: 1240 })), ['A 1+0 ack 1']);
  s.now += 1000;
  t.same(brief(s.send({ flags: 'A', seq: 1, ack: 2 })), ['A 1+0 ack 1'], 'never sent');
  s.now += 1000;
  t.same(brief(s.send({ flags: 'A', seq: 1, ack: -100_000 })), ['A 1+0 ack 1'], 'older than any window');
  s.now += 1000;
  t.same(s.send({ flags: '', seq: 1, data: 5 }), [], 'no ACK flag at all');
  t.equal(s.endpoint.received, 0);
  t.equal(s.endpoint.end, undefined);
});

void t.test('old data is answered with an ACK, old pure ACKs rarely, so that two ends never storm', async (t) => {
  const s = new Script().established();
  s.send({ flags: 'A', seq: 1, ack: 1, data: 100 });
  s.pass(50);
  t.same(brief(s.send({ flags: 'A', seq: 1, ack: 1, data: 100 })), ['A 1+0 ack 101']);
  t.same(brief(s.send({ flags: 'A', seq: 0, ack: 1 })), ['A 1+0 ack 101']);
  t.same(s.send({ flags: 'A', seq: 0, ack: 1 }), []);
  t.equal(s.endpoint.received, 100);
});

void t.test('PAWS: a segment with an older timestamp is answered and dropped, one without is dropped', async (t) => {
  const s = new Script().established({ tsValue: 500 });
  s.stamps = false;
  t.same(brief(s.send({ flags: 'A', seq: 1, ack: 1, data: 10, tsValue: 400 })), ['A 1+0 ack 1']);
  t.same(s.send({ flags: 'A', seq: 1, ack: 1, data: 10 }), []);
  t.equal(s.endpoint.received, 0);
  s.send({ flags: 'A', seq: 1, ack: 1, data: 10, tsValue: 501 });
  t.equal(s.endpoint.received, 10);
});

void t.test('we close first: FIN-WAIT-1, FIN-WAIT-2, TIME-WAIT, and the port stays reserved', async (t) => {
  const s = new Script().established();
  s.connection.end(s.now);
  t.same(brief(s.take()), ['FA 1+0 ack 1']);
  s.send({ flags: 'A', seq: 1, ack: 2 });
  s.send({ flags: 'A', seq: 1, ack: 2, data: 30 });
  t.equal(s.endpoint.received, 30, 'data still arrives');
  t.same(brief(s.send({ flags: 'FA', seq: 31, ack: 2 })), ['A 2+0 ack 32']);
  t.equal(s.endpoint.end, 'finished');
  t.equal(s.stack.connectionCount(), 0);
  t.same(brief(s.send({ flags: 'FA', seq: 31, ack: 2 })), ['A 2+0 ack 32'], 'a repeated FIN is answered again');
  t.same(s.send({ flags: 'R', seq: 32 }), [], 'a reset does not cut TIME-WAIT short');
  s.now += 1000;
  t.same(brief(s.send({ flags: 'A', seq: 31, ack: 2 })), ['A 2+0 ack 32'], 'still there');
  s.pass(61_000);
  t.equal(s.stack.pollAt(), Infinity);
});

void t.test('both close at once: CLOSING', async (t) => {
  const s = new Script().established();
  s.connection.end(s.now);
  s.take();
  t.same(brief(s.send({ flags: 'FA', seq: 1, ack: 1 })), ['A 2+0 ack 2']);
  t.equal(s.endpoint.ended, true);
  t.equal(s.endpoint.end, undefined);
  s.send({ flags: 'A', seq: 2, ack: 2 });
  t.equal(s.endpoint.end, 'finished');
});

void t.test('the peer closes first: CLOSE-WAIT, LAST-ACK', async (t) => {
  const s = new Script().established();
  t.same(brief(s.send({ flags: 'FA', seq: 1, ack: 1, data: 7 })), ['A 1+0 ack 9']);
  t.equal(s.endpoint.received, 7);
  t.equal(s.endpoint.ended, true);
  s.write(10);
  t.same(brief(s.take()), ['PA 1+10 ack 9']);
  s.connection.end(s.now);
  t.same(brief(s.take()), ['FA 11+0 ack 9']);
  t.equal(s.write(1), 0, 'nothing can be written after end');
  s.send({ flags: 'A', seq: 9, ack: 11 });
  t.equal(s.endpoint.end, undefined);
  s.send({ flags: 'A', seq: 9, ack: 12 });
  t.equal(s.endpoint.end, 'finished');
  t.equal(s.stack.pollAt(), Infinity, 'no TIME-WAIT for who closes last');
});

void t.test('a FIN that comes before its data waits for it; data beyond a FIN is ignored', async (t) => {
  const s = new Script().established();
  s.send({ flags: 'FA', seq: 101, ack: 1, data: 50 });
  t.equal(s.endpoint.ended, false);
  s.send({ flags: 'A', seq: 151, ack: 1, data: 50 });
  s.send({ flags: 'A', seq: 1, ack: 1, data: 100 });
  t.equal(s.endpoint.received, 150);
  t.equal(s.endpoint.ended, true);
  t.same(brief(s.send({ flags: 'A', seq: 151, ack: 1, data: 10 })), ['A 1+0 ack 152']);
  t.equal(s.endpoint.received, 150);
});

void t.test('abort sends a reset and tells nobody; a reset in LAST-ACK is an error only for lost bytes', async (t) => {
  const s = new Script().established();
  s.connection.abort(s.now);
  t.same(brief(s.take()), ['RA 1+0 ack 1']);
  t.equal(s.endpoint.end, undefined);
  t.equal(s.stack.connectionCount(), 0);
  const done = new Script().established();
  done.send({ flags: 'FA', seq: 1, ack: 1 });
  done.connection.end(done.now);
  done.send({ flags: 'R', seq: 2 });
  t.equal(done.endpoint.end, 'finished');
  const lost = new Script().established();
  lost.send({ flags: 'FA', seq: 1, ack: 1 });
  lost.write(10);
  lost.connection.end(lost.now);
  lost.send({ flags: 'R', seq: 2 });
  t.equal(lost.endpoint.end, 'ECONNRESET');
});

void t.test('TIME-WAIT gives way to a SYN that cannot be old', async (t) => {
  const s = new Script();
  s.listen();
  s.send({ flags: 'S', mss: 1240 });
  s.send({ flags: 'A', seq: 1, ack: 1 });
  s.connection.end(s.now);
  s.send({ flags: 'FA', seq: 1, ack: 2 });
  t.equal(s.endpoint.end, 'finished');
  const iss = s.iss;
  s.now += 1000;
  t.same(brief(s.send({ flags: 'S', seq: 1, mss: 1240 })), ['A 2+0 ack 2'], 'an old SYN is answered with where we are');
  const [answer] = s.send({ flags: 'S', seq: 5000, mss: 1240 });
  t.match(answer, { flags: 'SA', ack: 5001 });
  t.ok(((s.iss - iss) | 0) > 0, 'the new initial number is beyond the old');
});

void t.test('what was written and ended before the handshake goes out with it', async (t) => {
  const s = new Script();
  s.connect();
  t.equal(s.write(20), 20);
  s.connection.end(s.now);
  t.same(s.take(), []);
  t.same(brief(s.send({ flags: 'SA', ack: 1, mss: 1240 })), ['FPA 1+20 ack 1']);
});

void t.test('a connection whose own address goes is reset, others stay', async (t) => {
  const s = new Script().established();
  const { A6 } = await import('./link.ts');
  s.stack.setAddresses([A6], s.now);
  t.equal(s.endpoint.end, 'ECONNRESET');
  t.same(s.send({ flags: 'S', mss: 1240 }), [], 'packets to it are dropped');
});
