// IPv6 headers: extension headers are walked under a bound, fragments and routing refused.
import t from 'tap';
import { emptyIpHeader } from '#wire/ipv4.ts';
import { readIpv6, readQuotedIpv6, writeIpv6 } from '#wire/ipv6.ts';

const source = new Uint8Array(16).fill(1);
const destination = new Uint8Array(16).fill(2);

/** A packet with these extension headers before TCP: [kind, bytes 1 to 7]. */
function packet(...extensions: readonly (readonly [number, readonly number[]])[]): Uint8Array {
  const bytes = new Uint8Array(40 + 8 * extensions.length + 20);
  writeIpv6(bytes, bytes.length, extensions[0]?.[0] ?? 6, source, destination);
  for (const [i, [, rest]] of extensions.entries()) {
    const at = 40 + 8 * i;
    bytes[at] = extensions[i + 1]?.[0] ?? 6;
    bytes.set(rest, at + 1);
  }
  return bytes;
}

void t.test('what was written is read', async (t) => {
  const header = emptyIpHeader();
  t.equal(readIpv6(packet(), header), 'ok');
  t.match(header, { family: 6, protocol: 6, payloadStart: 40, payloadEnd: 60, sourceAt: 8, destinationAt: 24, addressLength: 16 });
});

void t.test('hop-by-hop, destination, used-up routing and atomic fragment headers are skipped', async (t) => {
  const header = emptyIpHeader();
  t.equal(readIpv6(packet([0, [0]], [60, [0]], [43, [0, 0, 0]], [44, [0, 0, 0, 1, 2, 3, 4]]), header), 'ok');
  t.match(header, { protocol: 6, payloadStart: 72 });
});

void t.test('fragments, routes to follow, long chains and cut ones are refused', async (t) => {
  const header = emptyIpHeader();
  t.equal(readIpv6(packet([44, [0, 0, 1]]), header), 'fragment');
  t.equal(readIpv6(packet([44, [0, 1, 0]]), header), 'fragment');
  t.equal(readIpv6(packet([43, [0, 0, 1]]), header), 'parameter');
  t.match(header, { problemCode: 0, problemAt: 42 });
  t.equal(readIpv6(packet([0, [255]]), header), 'malformed');
  t.equal(readIpv6(packet(...Array.from({ length: 8 }, () => [60, [0]] as const)), header), 'ok');
  t.equal(readIpv6(packet(...Array.from({ length: 9 }, () => [60, [0]] as const)), header), 'malformed');
  for (let length = 0; length < 60; length++) t.equal(readIpv6(packet().subarray(0, length), header), 'malformed');
});

void t.test('options that we do not know: skipped, dropped, or complained about, as their type says', async (t) => {
  const header = emptyIpHeader();
  for (const kind of [0, 60]) {
    t.equal(readIpv6(packet([kind, [0, 0x1e, 4, 1, 2, 3, 4]]), header), 'ok');
    t.equal(readIpv6(packet([kind, [0, 0, 0, 0, 0x5e, 1, 9]]), header), 'malformed', 'dropped, after three bytes of padding');
    for (const type of [0x9e, 0xde]) {
      t.equal(readIpv6(packet([kind, [0, 1, 0, type, 2, 0, 0]]), header), 'parameter');
      t.match(header, { problemCode: 2, problemAt: 44, sourceAt: 8 });
    }
    t.equal(readIpv6(packet([kind, [0, 1, 9]]), header), 'malformed', 'padding longer than its header');
  }
  t.equal(readIpv6(packet([60, [0, 1, 4]], [0, [0, 1, 4]]), header), 'parameter', 'hop-by-hop stands first or not at all');
  t.match(header, { problemCode: 1, problemAt: 40 });
});

void t.test('unknown headers end the walk as the protocol', async (t) => {
  const header = emptyIpHeader();
  t.equal(readIpv6(packet([51, [0]]), header), 'ok');
  t.equal(header.protocol, 51);
  t.equal(readQuotedIpv6(packet([60, [0]]), 0, 56, header), true);
  t.equal(header.payloadStart, 48);
  t.equal(readQuotedIpv6(packet(), 0, 39, header), false);
});
