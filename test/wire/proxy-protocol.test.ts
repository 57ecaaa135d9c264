// The PROXY protocol's codec against HAProxy's text, cut anywhere, and against what is nearly a header (attack row H-14).
import t from 'tap';
import { PROXY_V1_BYTES, PROXY_V2_BYTES, readProxyHeader, writeProxyHeader } from '#wire/proxy-protocol.ts';
import { seeded } from '../support/seeded.ts';

const sig = '\r\n\r\n\0\r\nQUIT\n';
const v4 = { source: { address: '192.0.2.1', port: 56_324 }, destination: { address: '198.51.100.2', port: 443 } };
const v6 = { source: { address: '2001:db8::1', port: 1 }, destination: { address: '2001:db8::2', port: 65_535 } };
/** Version 2 with a command, a kind and a body of these bytes. */
const binary = (command: number, kind: number, body: Buffer, stated = body.length): Buffer =>
  Buffer.concat([Buffer.from(sig, 'latin1'), Buffer.from([command, kind, stated >> 8, stated & 0xff]), body]);
const addresses = Buffer.from([192, 0, 2, 1, 198, 51, 100, 2, 0xdc, 0x04, 0x01, 0xbb]);

void t.test('golden headers are read, and written byte for byte', async (t) => {
  const text = Buffer.from('PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n');
  t.same(writeProxyHeader(1, v4.source, v4.destination), text);
  t.same(readProxyHeader(text), { kind: 'header', header: { kind: 'proxied', transport: 'tcp', ...v4 }, length: text.length });
  t.same(writeProxyHeader(2, v4.source, v4.destination), binary(0x21, 0x11, addresses));
  t.match(writeProxyHeader(1, v6.source, v6.destination).toString(), 'PROXY TCP6 2001:db8::1 2001:db8::2 1 65535\r\n');
  for (const version of [1, 2] as const) {
    for (const pair of [v4, v6]) {
      const bytes = writeProxyHeader(version, pair.source, pair.destination);
      t.same(readProxyHeader(Buffer.concat([bytes, Buffer.from('PROXY')])), {
        kind: 'header',
        header: { kind: 'proxied', transport: 'tcp', ...pair },
        length: bytes.length,
      });
      for (let cut = 0; cut < bytes.length; cut++) t.equal(readProxyHeader(bytes.subarray(0, cut)).kind, 'more', `v${version} cut at ${cut}`);
    }
    // Two families: the IPv4 one goes mapped, and comes back as what it is.
    const mixed = readProxyHeader(writeProxyHeader(version, v4.source, v6.destination));
    t.match(mixed, { kind: 'header', header: { source: v4.source, destination: v6.destination } });
  }
  t.equal(writeProxyHeader(1, { address: '?', port: 1 }, v4.destination).toString(), 'PROXY UNKNOWN\r\n');
  t.same(readProxyHeader(writeProxyHeader(2, { address: '?', port: 1 }, v4.destination)), { kind: 'header', header: { kind: 'local' }, length: 16 });
});

void t.test('vectors are skipped by their length, and have to fit', async (t) => {
  const vectors = Buffer.from([0x04, 0, 2, 9, 9, 0x20, 0, 0]);
  const whole = binary(0x21, 0x11, Buffer.concat([addresses, vectors]));
  t.match(readProxyHeader(Buffer.concat([whole, Buffer.from('x')])), { kind: 'header', length: whole.length, header: v4 });
  for (const junk of [[1], [1, 0], [1, 0, 1], [1, 0xff, 0xff], [4, 0, 0, 1]]) {
    t.same(readProxyHeader(binary(0x21, 0x11, Buffer.concat([addresses, Buffer.from(junk)]))), { kind: 'fault', fault: 'malformed' });
  }
  t.match(readProxyHeader(binary(0x20, 0x00, Buffer.from('anything'))), { kind: 'header', header: { kind: 'local' }, length: 24 });
  t.match(readProxyHeader(binary(0x21, 0x12, addresses)), { kind: 'header', header: { transport: 'udp' } });
});

void t.test('what is nearly a header is none', async (t) => {
  for (const line of [
    'PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\n',
    'PROXY TCP4  192.0.2.1 198.51.100.2 56324 443\r\n',
    'PROXY TCP4 192.0.2.1 198.51.100.2 56324 443 \r\n',
    'PROXY TCP4 192.0.2.1 198.51.100.2 056324 443\r\n',
    'PROXY TCP4 192.0.2.1 198.51.100.2 65536 443\r\n',
    'PROXY TCP4 192.0.2.01 198.51.100.2 1 443\r\n',
    'PROXY TCP4 2001:db8::1 2001:db8::2 1 443\r\n',
    'PROXY TCP6 192.0.2.1 198.51.100.2 1 443\r\n',
    'PROXY TCP5 192.0.2.1 198.51.100.2 1 443\r\n',
    'PROXY TCP4 192.0.2.1 198.51.100.2 1\r\n',
    'PROXY TCP4 192.0.2.1\t198.51.100.2 1 443\r\n',
    'PROXY \r\n',
  ]) {
    t.same(readProxyHeader(Buffer.from(line, 'latin1')), { kind: 'fault', fault: 'malformed' }, JSON.stringify(line));
  }
  for (const line of ['PROXY UNKNOWN\r\n', 'PROXY UNKNOWN 192.0.2.1 198.51.100.2 1 443\r\n']) {
    t.same(readProxyHeader(Buffer.from(line)), { kind: 'fault', fault: 'unknown_family' });
  }
  t.same(readProxyHeader(Buffer.from('PROXY '.padEnd(PROXY_V1_BYTES, 'x'))), { kind: 'fault', fault: 'too_large' });
  t.same(readProxyHeader(Buffer.from('PROXY '.padEnd(PROXY_V1_BYTES - 1, 'x'))), { kind: 'more' });
  for (const text of ['proxy TCP4', 'GET / HTTP/1.1', '\x16\x03\x01', '\r\n\r\n\r\n', `${sig.slice(0, 11)}x`]) {
    t.same(readProxyHeader(Buffer.from(text, 'latin1')), { kind: 'fault', fault: 'no_header' }, JSON.stringify(text));
  }
  for (const [bytes, name] of [
    [binary(0x11, 0x11, addresses), 'malformed'],
    [binary(0x22, 0x11, addresses), 'malformed'],
    [binary(0x21, 0x11, addresses.subarray(1)), 'malformed'],
    [binary(0x21, 0x00, addresses), 'unknown_family'],
    [binary(0x21, 0x31, Buffer.alloc(216)), 'unknown_family'],
    [binary(0x21, 0x13, addresses), 'unknown_family'],
    [binary(0x21, 0x11, addresses, PROXY_V2_BYTES), 'too_large'],
    [binary(0x20, 0x00, addresses, 0xffff), 'too_large'],
  ] as const) {
    t.same(readProxyHeader(bytes), { kind: 'fault', fault: name });
  }
});

void t.test('whatever comes is read without a throw, and a header never past its bytes', async (t) => {
  const next = seeded(7);
  const bases = [writeProxyHeader(1, v4.source, v4.destination), writeProxyHeader(2, v6.source, v6.destination), binary(0x21, 0x11, addresses)];
  for (let i = 0; i < 20_000; i++) {
    const bytes = Buffer.concat([bases[i % bases.length] ?? Buffer.alloc(0), Buffer.alloc(Math.floor(next() * 20))]);
    for (let flips = Math.floor(next() * 4); flips >= 0; flips--) bytes[Math.floor(next() * bytes.length)] = Math.floor(next() * 256);
    const cut = bytes.subarray(0, Math.floor(next() * (bytes.length + 1)));
    const read = readProxyHeader(cut);
    if (read.kind === 'header' && (read.length > cut.length || read.length < 16)) t.fail(cut.toString('hex'));
  }
});
