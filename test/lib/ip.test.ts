// Addresses and prefixes: RFC 5952 text, strict parsing, random round trips, membership against plain arithmetic.
import { isIP } from 'node:net';
import t from 'tap';
import {
  formatIp,
  formatPrefix,
  hostPrefix,
  ipFromBytes,
  maskPrefix,
  parseIp,
  parsePrefix,
  prefixContains,
  sameIp,
  unmapIp,
  type IpAddress,
} from '#lib/ip.ts';

/** mulberry32: the same sequence on every run. */
function seeded(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}

const random = seeded(20_261_122);

function randomIp(family: 4 | 6): IpAddress {
  // Many zero bytes, so that folding of zero runs is met in every place.
  const bytes = Uint8Array.from({ length: family === 4 ? 4 : 16 }, () => (random() < 0.6 ? 0 : Math.floor(random() * 256)));
  return { family, bytes };
}

function asNumber(ip: IpAddress): bigint {
  return ip.bytes.reduce((sum, byte) => (sum << 8n) | BigInt(byte), 0n);
}

t.test('every address reads back from its text, and Node agrees that it is one', async (t) => {
  for (let i = 0; i < 20_000; i++) {
    const ip = randomIp(i % 2 === 0 ? 4 : 6);
    const text = formatIp(ip);
    const back = parseIp(text);
    if (back === undefined || !sameIp(back, ip) || isIP(text) !== ip.family || formatIp(back) !== text) return t.fail(text);
  }
  return t.pass();
});

t.test('IPv6 text is what RFC 5952 asks for', async (t) => {
  const known: Record<string, string> = {
    '2001:0DB8:0:0:0:0:2:1': '2001:db8::2:1',
    '2001:db8:0:1:1:1:1:1': '2001:db8:0:1:1:1:1:1',
    '2001:0:0:1:0:0:0:1': '2001:0:0:1::1',
    '2001:db8:0:0:1:0:0:1': '2001:db8::1:0:0:1',
    '0:0:0:0:0:0:0:0': '::',
    '::1': '::1',
    '1::': '1::',
    '::ffff:192.0.2.1': '::ffff:c000:201',
    '64:ff9b::192.0.2.33': '64:ff9b::c000:221',
  };
  for (const [text, canonical] of Object.entries(known)) {
    const ip = parseIp(text);
    t.equal(ip === undefined ? undefined : formatIp(ip), canonical, text);
  }
});

t.test('what is no address is refused', async (t) => {
  const wrong = ['', '1.2.3', '1.2.3.4.5', '1.2.3.256', '01.2.3.4', '1.2.3.4 ', ' 1.2.3.4', '1.2.3.-4', '0x1.2.3.4', '1.2.3.٤'];
  const wrong6 = [
    ':',
    ':::',
    '1::2::3',
    '1:2:3:4:5:6:7',
    '1:2:3:4:5:6:7:8:9',
    '1:2:3:4:5:6:7:8::',
    '12345::',
    'g::',
    '::1%eth0',
    '::1.2.3',
    '1.2.3.4::',
    '[::1]',
    '::1/64',
    ':1',
    '1:',
  ];
  for (const text of [...wrong, ...wrong6]) t.equal(parseIp(text), undefined, JSON.stringify(text));
});

t.test('random text never reads as an address that Node refuses', async (t) => {
  const letters = '0123456789abcdef:.';
  for (let i = 0; i < 50_000; i++) {
    const text = Array.from({ length: 1 + Math.floor(random() * 12) }, () => letters[Math.floor(random() * letters.length)]).join('');
    const ours = parseIp(text)?.family ?? 0;
    if (ours !== isIP(text)) return t.fail(`${text}: ${ours}, Node says ${isIP(text)}`);
  }
  return t.pass();
});

t.test('a prefix contains what arithmetic says it contains', async (t) => {
  for (let i = 0; i < 20_000; i++) {
    const family = i % 2 === 0 ? 4 : 6;
    const width = family === 4 ? 32 : 128;
    const prefix = { address: randomIp(family), bits: Math.floor(random() * (width + 1)) };
    const ip = random() < 0.5 ? randomIp(family) : prefix.address;
    const shift = BigInt(width - prefix.bits);
    const expected = asNumber(ip) >> shift === asNumber(prefix.address) >> shift;
    const masked = maskPrefix(prefix);
    const text = formatPrefix(prefix);
    const back = parsePrefix(text);
    if (prefixContains(prefix, ip) !== expected) return t.fail(`${text} ${formatIp(ip)}`);
    if (asNumber(masked.address) !== (asNumber(prefix.address) >> shift) << shift) return t.fail(`mask ${text}`);
    if (back === undefined || back.bits !== prefix.bits || !sameIp(back.address, prefix.address)) return t.fail(`round trip ${text}`);
  }
  return t.pass();
});

t.test('families never contain each other, and mapped addresses unmap', async (t) => {
  const all4 = parsePrefix('0.0.0.0/0');
  const all6 = parsePrefix('::/0');
  const v4 = parseIp('192.0.2.1');
  const mapped = parseIp('::ffff:192.0.2.1');
  if (all4 === undefined || all6 === undefined || v4 === undefined || mapped === undefined) return t.fail('does not parse');
  t.notOk(prefixContains(all4, mapped));
  t.notOk(prefixContains(all6, v4));
  t.ok(sameIp(unmapIp(mapped), v4));
  t.equal(unmapIp(v4), v4);
  const compatible = parseIp('::192.0.2.1');
  return t.equal(compatible && unmapIp(compatible), compatible, 'only ::ffff:0:0/96 is mapped');
});

t.test('prefixes: a bare address is a host, wrong lengths are refused', async (t) => {
  t.equal(parsePrefix('192.0.2.1')?.bits, 32);
  t.equal(parsePrefix('::1')?.bits, 128);
  const host = parseIp('::1');
  t.equal(host && formatPrefix(hostPrefix(host)), '::1/128');
  for (const text of ['1.2.3.4/', '1.2.3.4/33', '::/129', '1.2.3.4/01', '1.2.3.4/-1', '1.2.3.4/1/2', '/8', '1.2.3.4/ 8'])
    t.equal(parsePrefix(text), undefined, text);
});

t.test('bytes are copied, other lengths refused', async (t) => {
  const bytes = new Uint8Array([1, 2, 3, 4]);
  const ip = ipFromBytes(bytes);
  bytes[0] = 9;
  t.equal(ip && formatIp(ip), '1.2.3.4');
  t.equal(ipFromBytes(new Uint8Array(5)), undefined);
  t.equal(ipFromBytes(new Uint8Array(16))?.family, 6);
});
