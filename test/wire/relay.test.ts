// Relay frames, peer ids and tokens against the golden vectors of netbird-wire §4.
import t from 'tap';
import { fromHex, toBase64, toHex, utf8 } from '#lib/bytes.ts';
import {
  decodeRelay,
  encodeRelayAuth,
  encodeRelayAuthResponse,
  encodeRelayClose,
  encodeRelayHealthCheck,
  encodeRelayList,
  encodeRelayToken,
  encodeRelayTransport,
  formatRelayPeerId,
  isRelayTransport,
  relayMaxIdsPerMessage,
  relayMaxMessageBytes,
  relayPeerId,
  relayPeerKey,
  relayTokenKey,
  signRelayToken,
  verifyRelayToken,
} from '#wire/relay.ts';

const keyA = 'B6N8vBQgk8i3VdwbEOhstCY3StFqqFPtC9/AsrhtHHw=';
const idA = relayPeerId(keyA);

t.test('the golden peer id', async (t) => {
  t.equal(toHex(idA), '7368612d7d786321554dfcfa7947b2cdbb132ac20312654d4c2f6db43fd0e3f0aebb7ad5');
  t.equal(formatRelayPeerId(idA), `sha-${toBase64(idA.subarray(4))}`);
  t.equal(relayPeerKey(Buffer.concat([utf8('xx'), idA]), 2), relayPeerKey(idA));
});

t.test('the golden token', async (t) => {
  const key = relayTokenKey('relay-secret');
  const token = signRelayToken(key, 1_893_456_000);
  t.same(token, { payload: '1893456000', signature: 'Fxt4wjD4kk6kI7LbeR+Q7/o2CwKliInTGOSrpb37Lv8=' });
  const wire = encodeRelayToken(token) ?? new Uint8Array(0);
  t.equal(toHex(wire), '01171b78c230f8924ea423b2db791f90effa360b02a58889d318e4aba5bdfb2eff31383933343536303030');
  t.ok(verifyRelayToken(key, wire, 1_893_456_000_000));
  t.notOk(verifyRelayToken(key, wire, 1_893_456_000_001), 'run out');
  t.notOk(verifyRelayToken(relayTokenKey('another'), wire, 0));
  for (let at = 0; at < wire.length; at++) {
    const flipped = wire.slice();
    flipped[at] = (flipped[at] ?? 0) ^ 1;
    if (verifyRelayToken(key, flipped, 0)) t.fail(`a flipped bit in byte ${at} is accepted`);
    if (verifyRelayToken(key, wire.subarray(0, at), 0)) t.fail(`${at} bytes are accepted`);
  }
  t.equal(encodeRelayToken({ payload: '12', signature: token.signature }), undefined);
  t.equal(encodeRelayToken({ payload: token.payload, signature: 'abcd' }), undefined);
});

t.test('every message reads as it was written', async (t) => {
  const idB = relayPeerId('b');
  t.match(decodeRelay(encodeRelayTransport(idA, utf8('packet'))), { kind: 'transport', peerId: idA, payload: utf8('packet') });
  t.ok(isRelayTransport(encodeRelayTransport(idA, utf8('p'))));
  t.same(decodeRelay(encodeRelayClose()), { kind: 'close' });
  t.same(decodeRelay(encodeRelayHealthCheck()), { kind: 'health-check' });
  t.match(decodeRelay(encodeRelayAuth(idA, fromHex('0102'))), { kind: 'auth', peerId: idA, token: fromHex('0102') });
  t.same(decodeRelay(encodeRelayAuthResponse('rel://x:1')), { kind: 'auth-response', instanceUrl: 'rel://x:1' });
  for (const kind of ['subscribe', 'unsubscribe', 'online', 'offline'] as const) {
    t.match(decodeRelay(encodeRelayList(kind, [idA, idB])[0] ?? Buffer.of()), { kind, peerIds: [idA, idB] });
  }
  t.same(encodeRelayList('online', []), []);
  const many = encodeRelayList(
    'subscribe',
    Array.from({ length: relayMaxIdsPerMessage + 1 }, () => idA),
  );
  t.equal(relayMaxIdsPerMessage, 244);
  t.same(
    many.map((frame) => frame.length),
    [2 + 244 * 36, 2 + 36],
  );
});

t.test('what is no message is refused', async (t) => {
  for (const hex of ['', '01', '0203', '0100', '0101', '0102', '010c', '01ff', '0103', '0107', '0108', '010800', '0106', '01062112a442']) {
    t.equal(decodeRelay(fromHex(hex)), undefined, hex);
  }
  t.equal(decodeRelay(encodeRelayTransport(idA, new Uint8Array(relayMaxMessageBytes))), undefined, 'too large');
  t.notOk(isRelayTransport(encodeRelayTransport(idA, new Uint8Array(relayMaxMessageBytes))));
  t.equal(decodeRelay(encodeRelayTransport(idA, new Uint8Array(0))), undefined, 'without a payload');
  t.equal(decodeRelay(encodeRelayAuth(idA, new Uint8Array(200))), undefined, 'a token too large');
  const auth = encodeRelayAuth(idA, fromHex('01'));
  auth[2] = 0;
  t.equal(decodeRelay(auth), undefined, 'wrong magic');
});
