// The layout of the WireGuard messages.
import t from 'tap';
import {
  cookieReplyBytes,
  decodeCookieReply,
  decodeInitiation,
  decodeResponse,
  encodeCookieReply,
  encodeInitiation,
  encodeResponse,
  initiationBytes,
  messageKind,
  responseBytes,
  transportCounter,
  transportReceiver,
  writeTransportHeader,
} from '#wire/wireguard.ts';

const run = (from: number, length: number): Uint8Array => Uint8Array.from({ length }, (_, i) => from + i);

void t.test('handshake messages have their sizes and come back as they were', async (t) => {
  const initiation = { sender: 0xfedcba98, ephemeral: run(1, 32), sealedStatic: run(50, 48), sealedTimestamp: run(100, 28) };
  const response = { sender: 0x80000001, receiver: 0x7fffffff, ephemeral: run(1, 32), sealedNothing: run(40, 16) };
  const reply = { receiver: 0xffffffff, nonce: run(1, 24), sealedCookie: run(100, 32) };
  t.equal(encodeInitiation(initiation).length, initiationBytes);
  t.equal(encodeResponse(response).length, responseBytes);
  t.equal(encodeCookieReply(reply).length, cookieReplyBytes);
  t.same([initiationBytes, responseBytes, cookieReplyBytes], [148, 92, 64]);
  t.same(decodeInitiation(encodeInitiation(initiation)), initiation);
  t.same(decodeResponse(encodeResponse(response)), response);
  t.same(decodeCookieReply(encodeCookieReply(reply)), reply);
  t.equal(messageKind(encodeInitiation(initiation)), 'initiation');
  t.equal(messageKind(encodeResponse(response)), 'response');
  t.equal(messageKind(encodeCookieReply(reply)), 'cookieReply');
  t.equal(Buffer.from(encodeInitiation(initiation).subarray(0, 8)).toString('hex'), '0100000098badcfe', 'little-endian');
});

void t.test('the transport header holds a counter of up to 2^53', async (t) => {
  const bytes = new Uint8Array(32);
  for (const counter of [0, 1, 2 ** 32 - 1, 2 ** 32, 2 ** 53 - 1]) {
    writeTransportHeader(bytes, 0, 0xdeadbeef, counter);
    t.equal(transportReceiver(bytes, 0), 0xdeadbeef);
    t.equal(transportCounter(bytes, 0), counter);
    t.equal(messageKind(bytes), 'transport');
  }
  bytes.fill(0xff, 8, 16);
  t.ok(transportCounter(bytes, 0) > Number.MAX_SAFE_INTEGER);
});

void t.test('anything else is no message', async (t) => {
  const transport = Uint8Array.of(4, 0, 0, 0, ...run(0, 28));
  t.equal(messageKind(transport), 'transport');
  t.equal(messageKind(transport.subarray(0, 31)), undefined, 'shorter than a keepalive');
  for (const at of [0, 1, 2, 3]) t.equal(messageKind(transport.map((byte, i) => (i === at ? 9 : byte))), undefined);
  for (const [type, length] of [
    [1, 147],
    [1, 149],
    [2, 91],
    [2, 148],
    [3, 63],
    [3, 65],
    [0, 148],
    [5, 148],
  ] as const) {
    const bytes = new Uint8Array(length);
    bytes[0] = type;
    t.equal(messageKind(bytes), undefined, `type ${type} of ${length} bytes`);
  }
  t.equal(messageKind(new Uint8Array(0)), undefined);
});
