// STUN messages against the vectors of RFC 5769 and NetBird's attribute behind the fingerprint.
import t from 'tap';
import { fromHex, toHex } from '#lib/bytes.ts';
import { formatIp, parseIp, type IpAddress } from '#lib/ip.ts';
import { decodeStun, encodeStun, isStun, type StunMessage, verifyStunIntegrity } from '#wire/stun.ts';

/** RFC 5769 §2.1–2.3. */
const sampleRequest = fromHex(
  '000100582112a442b7e7a701bc34d686fa87dfae80220010535455' +
    '4e207465737420636c69656e74002400046e0001ff80290008932ff9b151263b36000600096576746a3a68367659202020' +
    '000800149aeaa70cbfd8cb56781ef2b5b2d3f249c1b571a280280004e57a3bcf',
);
const sampleResponse4 = fromHex(
  '0101003c2112a442b7e7a701bc34d686fa87dfae8022000b7465737420766563746f7220' +
    '002000080001a147e112a643000800142b91f599fd9e90c38c7489f92af9ba53f06be7d780280004c07d4c96',
);
const sampleResponse6 = fromHex(
  '010100482112a442b7e7a701bc34d686fa87dfae8022000b7465737420766563746f7220' +
    '002000140002a1470113a9faa5d3f179bc25f4b5bed2b9d900080014a382954e4be67bf11784c97c8292c275bfe3ed4180280004c8fb0b4c',
);
const password = 'VOkJxbRl1RmTxUk/WvJxBt';
const transactionId = fromHex('b7e7a701bc34d686fa87dfae');

function read(bytes: Uint8Array): StunMessage {
  const message = decodeStun(bytes);
  if (message === undefined) throw new TypeError('does not decode');
  return message;
}

function ip(text: string): IpAddress {
  const parsed = parseIp(text);
  if (parsed === undefined) throw new TypeError(text);
  return parsed;
}

t.test('the RFC’s sample request', async (t) => {
  const message = read(sampleRequest);
  t.match(message, { class: 'request', username: 'evtj:h6vY', priority: 0x6e0001ff, role: { controlling: false, tieBreaker: 0x932ff9b151263b36n } });
  t.same(message.unknownRequired, []);
  t.ok(verifyStunIntegrity(message, password));
  t.notOk(verifyStunIntegrity(message, 'another'));
});

t.test('the RFC’s sample responses', async (t) => {
  for (const [bytes, address] of [
    [sampleResponse4, '192.0.2.1'],
    [sampleResponse6, '2001:db8:1234:5678:11:2233:4455:6677'],
  ] as const) {
    const message = read(bytes);
    t.ok(verifyStunIntegrity(message, password));
    t.equal(message.mapped === undefined ? '' : formatIp(message.mapped.ip), address);
    t.equal(message.mapped?.port, 32853);
  }
});

t.test('what is written reads the same, with an attribute of NetBird’s behind the fingerprint too', async (t) => {
  const written = encodeStun(
    { class: 'request', transactionId, username: 'a:b', priority: 1234, role: { controlling: true, tieBreaker: 7n }, useCandidate: true },
    password,
  );
  // The length counts the foreign attribute, as that peer writes it.
  const withMore = Buffer.concat([written, fromHex('8100000761613a62623a6300')]);
  withMore.writeUInt16BE(withMore.length - 20, 2);
  for (const bytes of [written, withMore]) {
    const message = read(bytes);
    t.match(message, { class: 'request', username: 'a:b', priority: 1234, useCandidate: true, role: { controlling: true, tieBreaker: 7n } });
    t.ok(verifyStunIntegrity(message, password));
  }
  const answer = read(encodeStun({ class: 'success', transactionId, mapped: { ip: ip('2001:db8::7'), port: 9 } }));
  t.equal(toHex(answer.transactionId), toHex(transactionId));
  t.equal(answer.integrityAt, undefined);
  t.equal(read(encodeStun({ class: 'error', transactionId, error: { code: 487, reason: 'Role Conflict' } }, password)).errorCode, 487);
});

t.test('NetBird’s names of a pair stand behind the fingerprint, and change neither it nor the integrity', async (t) => {
  const written = encodeStun({ class: 'request', transactionId, username: 'a:b', candidatePair: 'one:two' }, password);
  const message = read(written);
  t.equal(message.candidatePair, 'one:two');
  t.ok(verifyStunIntegrity(message, password));
  t.equal(written.readUInt16BE(2), written.length - 20, 'the length counts it');
  t.equal(
    read(encodeStun({ class: 'request', transactionId, candidatePair: 'x'.repeat(66) }, password)).candidatePair,
    undefined,
    'too long to be one',
  );
});

t.test('attributes behind the integrity are not believed', async (t) => {
  const written = encodeStun({ class: 'request', transactionId, username: 'a:b' }, password, false);
  const forged = Buffer.concat([written, fromHex('00250000')]);
  forged.writeUInt16BE(forged.length - 20, 2);
  t.equal(read(forged).useCandidate, false);
});

t.test('unknown attributes that must be understood are named', async (t) => {
  const bytes = Buffer.concat([
    encodeStun({ class: 'request', transactionId }, undefined, false),
    fromHex('7777000400000000'),
    fromHex('c777000400000000'),
  ]);
  bytes.writeUInt16BE(bytes.length - 20, 2);
  t.same(read(bytes).unknownRequired, [0x7777]);
});

t.test('no flipped bit and no cut message passes both checks, and none throws', async (t) => {
  const fingerprintAt = sampleRequest.length - 8;
  for (let bit = 0; bit < sampleRequest.length * 8; bit++) {
    // Another type there makes it some attribute behind the integrity, which is ignored.
    if (bit >> 3 === fingerprintAt || bit >> 3 === fingerprintAt + 1) continue;
    const bytes = sampleRequest.slice();
    bytes[bit >> 3] = (bytes[bit >> 3] ?? 0) ^ (1 << (bit & 7));
    const message = decodeStun(bytes);
    if (message !== undefined && verifyStunIntegrity(message, password)) t.fail(`bit ${bit}`);
  }
  for (let length = 0; length < sampleRequest.length; length++) {
    if (decodeStun(sampleRequest.subarray(0, length)) !== undefined) t.fail(`${length} bytes`);
  }
  t.notOk(isStun(fromHex('04000000000000000000000000000000000000000000000000000000')), 'WireGuard is no STUN');
  t.equal(decodeStun(Buffer.alloc(1284)), undefined);
});
