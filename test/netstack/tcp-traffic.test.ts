// Sending and acknowledging as packet scripts: loss recovery with and without SACK, timers, windows, keep-alive, ICMP.
import t from 'tap';
import { IPV4_HEADER, PROTOCOL, writeIpv4 } from '#wire/ipv4.ts';
import { IPV6_HEADER, writeIpv6 } from '#wire/ipv6.ts';
import { RECEIVE_BUFFER_FIRST } from '../../src/netstack/constants.ts';
import { checksum, finishChecksum, pseudoSum, sumWords } from '#wire/checksum.ts';
import { A4, A6, B4, B6 } from './link.ts';
import { Script, brief } from './script.ts';

const SACK = { mss: 1240, scale: 5, sackPermitted: true, window: 65_535 } as const;

/** An ICMP error that quotes `packet`, from the peer. */
function icmpError(family: 4 | 6, type: number, code: number, rest: number, packet: Uint8Array): Uint8Array {
  const at = family === 4 ? IPV4_HEADER : IPV6_HEADER;
  const quoted = packet.subarray(0, Math.min(packet.length, at + 28));
  const message = new Uint8Array(at + 8 + quoted.length);
  message[at] = type;
  message[at + 1] = code;
  new DataView(message.buffer).setUint32(at + 4, rest);
  message.set(quoted, at + 8);
  if (family === 4) {
    new DataView(message.buffer).setUint16(at + 2, checksum(message, at, message.length));
    writeIpv4(message, message.length, PROTOCOL.icmp, B4.bytes, A4.bytes);
  } else {
    const pseudo = pseudoSum(B6.bytes, 0, A6.bytes, 0, 16, PROTOCOL.icmpv6) + message.length - at;
    new DataView(message.buffer).setUint16(at + 2, finishChecksum(sumWords(message, at, message.length, pseudo)));
    writeIpv6(message, message.length, PROTOCOL.icmpv6, B6.bytes, A6.bytes);
  }
  return message;
}

void t.test('the initial window is ten segments, and slow start doubles it', async (t) => {
  const s = new Script().established(SACK);
  t.equal(s.write(100_000), 100_000);
  t.equal(s.take().length, 10);
  t.equal(s.send({ flags: 'A', seq: 1, ack: 1 + 2480 }).length, 4, 'two acknowledged, four sent');
});

void t.test('SACK: limited transmit, then the hole at once, then only holes', async (t) => {
  const s = new Script().established(SACK);
  s.write(100_000);
  s.take();
  t.same(brief(s.send({ flags: 'A', seq: 1, ack: 1, sack: [1241, 2481] })), ['A 12401+1240 ack 1']);
  t.same(brief(s.send({ flags: 'A', seq: 1, ack: 1, sack: [1241, 3721] })), ['A 13641+1240 ack 1']);
  t.same(brief(s.send({ flags: 'A', seq: 1, ack: 1, sack: [1241, 4961] })), ['A 1+1240 ack 1'], 'fast retransmit');
  const more = s.send({ flags: 'A', seq: 1, ack: 1, sack: [6201, 12_401, 1241, 4961] });
  t.equal(brief(more)[0], 'A 4961+1240 ack 1', 'the second hole comes before new data');
  t.ok(
    more.slice(1).every(({ seq }) => seq > 14_000),
    'nothing SACKed is sent again',
  );
  s.send({ flags: 'A', seq: 1, ack: 12_401 });
  s.send({ flags: 'A', seq: 1, ack: 1, sack: [20_000, 10_000, -500, 0, 90_000_000, 90_001_000] });
  t.equal(s.endpoint.end, undefined, 'impossible blocks are ignored');
});

void t.test('NewReno: three duplicate ACKs, then one segment for each partial ACK', async (t) => {
  const s = new Script().established({ mss: 1240 });
  s.write(100_000);
  t.equal(s.take().length, 10);
  t.same(brief(s.send({ flags: 'A', seq: 1, ack: 1 })), ['A 12401+1240 ack 1']);
  t.same(brief(s.send({ flags: 'A', seq: 1, ack: 1 })), ['A 13641+1240 ack 1']);
  t.same(brief(s.send({ flags: 'A', seq: 1, ack: 1 })), ['A 1+1240 ack 1']);
  t.equal(brief(s.send({ flags: 'A', seq: 1, ack: 3721 }))[0], 'A 3721+1240 ack 1');
  s.send({ flags: 'A', seq: 1, ack: 14_881 });
  t.same(
    s.send({ flags: 'A', seq: 1, ack: 14_881, data: 10 }).filter(({ seq }) => seq < 14_881),
    [],
    'recovered',
  );
});

void t.test('a lost retransmission is found by what is SACKed after it', async (t) => {
  const s = new Script().established(SACK);
  s.write(200_000);
  s.take();
  s.send({ flags: 'A', seq: 1, ack: 1, sack: [1241, 4961] });
  let top = 4961;
  const again: number[] = [];
  for (let i = 0; i < 30 && again.length === 0; i++) {
    top += 1240;
    s.now += 1;
    again.push(
      ...s
        .send({ flags: 'A', seq: 1, ack: 1, sack: [1241, top] })
        .filter(({ seq }) => seq === 1)
        .map(({ seq }) => seq),
    );
  }
  t.same(again, [1], 'without waiting for the timer');
});

void t.test('the timer doubles, sends one segment, and gives up in the end', async (t) => {
  const s = new Script().established({ mss: 1240 });
  s.write(5000);
  t.equal(s.take().length, 5);
  t.same(brief(s.pass(250)), ['A 1+1240 ack 1']);
  t.same(brief(s.pass(300)), []);
  t.same(brief(s.pass(150)), ['A 1+1240 ack 1']);
  const rest = s.send({ flags: 'A', seq: 1, ack: 1241 });
  t.same(brief(rest), ['A 1241+1240 ack 1', 'A 2481+1240 ack 1'], 'slow start from one segment');
  s.pass(400_000);
  t.equal(s.endpoint.end, 'ETIMEDOUT');
});

void t.test('a tail probe asks after the end of a flight, and finds what it lost', async (t) => {
  const s = new Script().established(SACK);
  s.write(5000);
  t.equal(s.take().length, 5);
  t.same(brief(s.pass(15)), ['A 3761+1240 ack 1'], 'the last segment again');
  t.same(s.pass(20), [], 'once');
  const holes = s.send({ flags: 'A', seq: 1, ack: 1241, sack: [3761, 5001] });
  t.same(brief(holes), ['A 1241+1240 ack 1', 'A 2481+1240 ack 1'], 'as many as have arrived');
  t.same(brief(s.send({ flags: 'A', seq: 1, ack: 2481, sack: [3761, 5001] })), ['A 3721+40 ack 1']);
  s.send({ flags: 'A', seq: 1, ack: 5001 });
  t.same(s.pass(1000), []);
  s.write(10);
  s.take();
  t.same(s.pass(85), [], 'a single segment may wait for a delayed ACK');
  t.same(brief(s.pass(15)), ['A 5001+10 ack 1']);
});

void t.test('a timeout that was not needed is undone (Eifel)', async (t) => {
  const s = new Script().established({ mss: 1240, tsValue: 900 });
  s.write(100_000);
  t.equal(s.take().length, 10);
  const before = s.lastStackStamp;
  t.equal(s.pass(250).length, 1);
  const after = s.send({ flags: 'A', seq: 1, ack: 1 + 12_280, tsEcho: before });
  t.ok(after.length >= 10, `back to the window of before: ${after.length} segments`);
});

void t.test('ACKs: two full segments at the next poll, less after 40 ms; at once with SACK blocks out of order, the newest first', async (t) => {
  const s = new Script().established(SACK);
  t.same(s.send({ flags: 'A', seq: 1, ack: 1, data: 1000 }), []);
  t.same(s.pass(39), []);
  t.same(brief(s.pass(1)), ['A 1+0 ack 1001']);
  t.same(s.send({ flags: 'A', seq: 1001, ack: 1, data: 1000 }), []);
  t.same(s.send({ flags: 'A', seq: 2001, ack: 1, data: 1000 }), []);
  t.same(brief(s.pass(0)), ['A 1+0 ack 3001']);
  t.same(s.send({ flags: 'A', seq: 4001, ack: 1, data: 1000 })[0]?.sack, [4001, 5001]);
  t.same(s.send({ flags: 'A', seq: 8001, ack: 1, data: 1000 })[0]?.sack, [8001, 9001, 4001, 5001]);
  t.same(s.send({ flags: 'A', seq: 5001, ack: 1, data: 1000 })[0]?.sack, [4001, 6001, 8001, 9001]);
  t.match(s.send({ flags: 'A', seq: 3001, ack: 1, data: 1000 }), [{ ack: 6001, sack: [8001, 9001] }]);
  t.match(s.send({ flags: 'A', seq: 6001, ack: 1, data: 2000 }), [{ ack: 9001, sack: [] }]);
  t.equal(s.endpoint.received, 9000);
});

void t.test('segments that arrive together are acknowledged together, sixteen at the most', async (t) => {
  const s = new Script().established({ mss: 1240 });
  let seq = 1;
  const arrive = (count: number, size: number): readonly string[] =>
    Array.from({ length: count }, () => {
      const answers = s.send({ flags: 'A', seq, ack: 1, data: size });
      seq += size;
      return answers;
    }).flatMap(brief);
  t.same(arrive(15, 1240), []);
  t.same(brief(s.pass(0)), [`A 1+0 ack ${seq}`]);
  t.same(arrive(16, 1240), [`A 1+0 ack ${seq}`]);
  t.same(arrive(2, 600), [], 'one full segment in two parts');
  t.same(s.pass(39), []);
  t.same(brief(s.pass(1)), [`A 1+0 ack ${seq}`]);
});

void t.test('an answer carries the ACK', async (t) => {
  const s = new Script().established(SACK);
  s.endpoint.data = (_bytes, now) => void s.connection.write(new Uint8Array(50), now);
  t.same(brief(s.send({ flags: 'A', seq: 1, ack: 1, data: 10 })), ['PA 1+50 ack 11']);
});

void t.test('small writes go out at once: no Nagle', async (t) => {
  const s = new Script().established(SACK);
  s.write(10);
  s.write(10);
  t.same(brief(s.take()), ['PA 1+10 ack 1', 'PA 11+10 ack 1']);
});

void t.test('a closed window is probed, less and less often, for as long as the peer answers', async (t) => {
  const s = new Script().established(SACK);
  s.send({ flags: 'A', seq: 1, ack: 1, window: 0 });
  s.write(3000);
  t.same(s.take(), []);
  const gaps: number[] = [];
  let last = s.now;
  for (let i = 0; i < 5; i++) {
    for (let waited = 0; s.packets.length === 0 && waited < 100_000; waited++) {
      s.now++;
      if (s.stack.pollAt() <= s.now) s.stack.poll(s.now);
    }
    t.same(brief(s.take()), ['A 0+0 ack 1']);
    gaps.push(s.now - last);
    last = s.now;
    s.send({ flags: 'A', seq: 1, ack: 1, window: 0 });
  }
  t.ok(
    gaps.every((gap, i) => i === 0 || gap > 1.5 * (gaps[i - 1] ?? 0)),
    gaps.join(' '),
  );
  t.same(brief(s.send({ flags: 'A', seq: 1, ack: 1, window: 1000 })).length, 3, 'it opens');
  const silent = new Script().established(SACK);
  silent.send({ flags: 'A', seq: 1, ack: 1, window: 0 });
  silent.write(10);
  silent.pass(400_000);
  t.equal(silent.endpoint.end, 'ETIMEDOUT');
});

void t.test('silly windows: nothing small while more is to come, but not forever', async (t) => {
  const s = new Script().established({ mss: 1240 });
  s.send({ flags: 'A', seq: 1, ack: 1, window: 500 });
  s.write(5000);
  t.same(s.take(), []);
  t.same(brief(s.pass(300)), ['A 1+500 ack 1']);
});

void t.test('a reader that stops closes the window at the buffer, and opens it with one update', async (t) => {
  const s = new Script().established(SACK);
  s.endpoint.reading = false;
  let seq = 1;
  let window = -1;
  for (let i = 0; i < 300; i++) {
    const [answer] = s.send({ flags: 'A', seq, ack: 1, data: 1240 });
    if (answer !== undefined) ({ window } = answer);
    seq = 1 + s.endpoint.received;
  }
  t.equal(window, 0);
  t.ok(
    s.endpoint.received >= RECEIVE_BUFFER_FIRST && s.endpoint.received < RECEIVE_BUFFER_FIRST * 1.02,
    'the buffer, and what rounding up to the scale adds',
  );
  t.match(s.send({ flags: 'A', seq, ack: 1, data: 1 }), [{ window: 0, ack: seq }], 'a probe is answered');
  s.connection.consumed(1000, s.now);
  t.same(s.take(), [], 'a little room is no news');
  s.connection.consumed(60_000, s.now);
  t.ok((s.take()[0]?.window ?? 0) << 7 >= 58_000);
});

void t.test('the receive buffer grows for a sender that fills it each round trip', async (t) => {
  const s = new Script();
  s.connect();
  s.now += 100;
  s.send({ flags: 'SA', ack: 1, ...SACK });
  let seq = 1;
  let window = 0;
  for (let round = 0; round < 10; round++) {
    for (let i = 0; i < 180 << Math.min(round, 4); i++) {
      const [answer] = s.send({ flags: 'A', seq, ack: 1, data: 1240 });
      seq += 1240;
      if (answer !== undefined) window = answer.window << 7;
    }
    s.now += 101;
  }
  t.equal(window, 4 * 1024 * 1024);
});

void t.test('keep-alive: an idle peer is asked, a dead one found', async (t) => {
  const s = new Script().established(SACK);
  t.same(s.pass(119_000), []);
  t.same(brief(s.pass(1001)), ['A 0+0 ack 1']);
  s.send({ flags: 'A', seq: 1, ack: 1 });
  t.same(s.pass(119_000), []);
  t.equal(s.pass(1001 + 3 * 30_000).length, 4);
  t.equal(s.endpoint.end, undefined);
  t.same(brief(s.pass(30_000)), ['RA 1+0 ack 1']);
  t.equal(s.endpoint.end, 'ETIMEDOUT');
});

void t.test('ICMP errors end an attempt to connect, but only for a segment in flight', async (t) => {
  const rows = [
    [4, 3, 1, 'EHOSTUNREACH'],
    [4, 3, 0, 'ENETUNREACH'],
    [4, 3, 3, 'ECONNREFUSED'],
    [4, 11, 0, 'EHOSTUNREACH'],
    [6, 1, 0, 'ENETUNREACH'],
    [6, 1, 3, 'EHOSTUNREACH'],
    [6, 1, 4, 'ECONNREFUSED'],
  ] as const;
  for (const [family, type, code, end] of rows) {
    const s = new Script(family);
    s.endpoint.connection = s.stack.connect({ ip: family === 4 ? B4 : B6, port: 80 }, s.endpoint, s.now);
    const packet = s.packets[0] ?? new Uint8Array(0);
    const forged = packet.slice();
    const seqAt = (family === 4 ? IPV4_HEADER : IPV6_HEADER) + 4;
    forged[seqAt] = (forged[seqAt] ?? 0) ^ 0x40;
    s.stack.receivePacket(icmpError(family, type, code, 0, forged), s.now);
    t.equal(s.endpoint.end, undefined, 'a guess at the sequence number');
    s.stack.receivePacket(icmpError(family, type, code, 0, packet), s.now);
    t.equal(s.endpoint.end, end, `IPv${family} ${type}/${code}`);
  }
});

void t.test('ICMP errors on an open connection only explain its later end', async (t) => {
  const s = new Script().established(SACK);
  s.write(10);
  const packet = s.packets[0] ?? new Uint8Array(0);
  s.stack.receivePacket(icmpError(4, 3, 1, 0, packet), s.now);
  t.equal(s.endpoint.end, undefined);
  s.pass(400_000);
  t.equal(s.endpoint.end, 'EHOSTUNREACH');
});

void t.test('"too big" makes segments smaller, not below the least MTU', async (t) => {
  const s = new Script().established(SACK);
  s.write(3000);
  const packet = s.packets[0] ?? new Uint8Array(0);
  s.take();
  s.stack.receivePacket(icmpError(4, 3, 4, 900, packet), s.now);
  t.equal(s.take()[0]?.length, 860, 'sent again at once, smaller');
  s.stack.receivePacket(icmpError(4, 3, 4, 68, packet), s.now);
  t.equal(s.take()[0]?.length, 536);
  s.send({ flags: 'A', seq: 1, ack: 3001 });
  s.write(5000);
  t.ok(s.take().every(({ length }) => length <= 536));
  const six = new Script(6).established({ ...SACK, mss: 1220 });
  six.write(3000);
  const big = six.packets[0] ?? new Uint8Array(0);
  six.take();
  six.stack.receivePacket(icmpError(6, 2, 0, 600, big), six.now);
  t.same(six.take(), [], 'IPv6 paths carry 1280');
});
