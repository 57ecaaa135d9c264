import t from 'tap';
import { fromHex, toBase64 } from '#lib/bytes.ts';
import { MeshgateError } from '#lib/errors.ts';
import { publicFromPrivate } from '#crypto/x25519.ts';
import { Sealer } from '#rpc/sealed.ts';
import { errorOfStatus, statusOf } from '#rpc/status.ts';
import { parseRpcUrl } from '#rpc/client.ts';
import { LoginRequestSchema, ServerKeyResponseSchema } from '#wire/proto/gen/management_pb.ts';
import { rpcError } from '#rpc/errors.ts';

// netbird-wire §1.3: made with Go's x/crypto; the plaintext is a message whose first field is the text "abc"
const keyA = 'B6N8vBQgk8i3VdwbEOhstCY3StFqqFPtC9/AsrhtHHw=';
const keyB = 'YFpyXSpK3+6xop4X7dYhwbdZPujNvESsbEq24vgF0jw=';
const privateB = new Uint8Array(Buffer.from('oKGio6SlpqeoqaqrrK2ur7CxsrO0tba3uLm6u7y9vn8=', 'base64'));
const golden = '000102030405060708090a0b0c0d0e0f101112131415161706708d10e0fab903e452543f9f815ec2b779998c01';

void t.test('opens what a stock client seals', async (t) => {
  t.equal(toBase64(publicFromPrivate(privateB)), keyB);
  const opened = new Sealer(privateB).open(ServerKeyResponseSchema, fromHex(golden), keyA);
  t.equal(opened.key, 'abc');
});

void t.test('seals for the receiver only, with nonce, tag and as many bytes as the message', async (t) => {
  const a = new Uint8Array(Buffer.from('AAIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eH2A=', 'base64'));
  t.equal(toBase64(publicFromPrivate(a)), keyA);
  const sealed = new Sealer(a).seal(ServerKeyResponseSchema, { key: 'abc' }, keyB);
  t.equal(sealed.length, 24 + 16 + 5);
  t.equal(new Sealer(privateB).open(ServerKeyResponseSchema, sealed, keyA).key, 'abc');
  t.throws(() => new Sealer(a).open(ServerKeyResponseSchema, sealed, keyA), { code: 'RPC_UNSEALABLE' });
  for (let i = 0; i < sealed.length; i++) {
    const bent = sealed.map((byte, at) => (at === i ? byte ^ 1 : byte));
    t.throws(() => new Sealer(privateB).open(ServerKeyResponseSchema, bent, keyA), { code: 'RPC_UNSEALABLE' });
  }
});

void t.test('refuses keys that are none and contents that are no message', async (t) => {
  const sealer = new Sealer(privateB);
  for (const key of ['', 'abc', `${keyA} `, 'A'.repeat(10_000)])
    t.throws(() => sealer.open(LoginRequestSchema, fromHex(golden), key), { code: 'RPC_UNSEALABLE' });
  for (const length of [0, 1, 39]) t.throws(() => sealer.open(LoginRequestSchema, new Uint8Array(length), keyA), { code: 'RPC_UNSEALABLE' });
});

void t.test('statuses and errors: each row comes back as itself', async (t) => {
  const codes = [
    'RPC_CANCELLED',
    'RPC_UNKNOWN',
    'RPC_INVALID_ARGUMENT',
    'RPC_DEADLINE',
    'RPC_NOT_FOUND',
    'RPC_ALREADY_EXISTS',
    'RPC_PERMISSION_DENIED',
  ] as const;
  const more = [
    'RPC_RESOURCE_EXHAUSTED',
    'RPC_FAILED_PRECONDITION',
    'RPC_UNIMPLEMENTED',
    'RPC_INTERNAL',
    'RPC_UNAVAILABLE',
    'RPC_UNAUTHENTICATED',
  ] as const;
  for (const code of [...codes, ...more]) {
    const { code: number, details } = statusOf(rpcError(code));
    const back = errorOfStatus(Object.assign(new Error('status'), { code: number, details, metadata: {} }));
    t.equal(back.code, code);
  }
  t.same(statusOf(new TypeError('secret internals')), { code: 13, details: 'failed handling request' });
  const hostile = errorOfStatus(Object.assign(new Error('x'), { code: 7, details: `a\u001b[31m\n${'b'.repeat(9999)}` }));
  t.ok(hostile instanceof MeshgateError && hostile.detail.length <= 300 && !/[\n\u001b]/.test(hostile.detail));
});

void t.test('addresses', async (t) => {
  t.same(parseRpcUrl('https://a.test', undefined), { host: 'a.test', port: 443, tls: true, ca: undefined });
  t.same(parseRpcUrl('http://[::1]:8080', 'pem'), { host: '::1', port: 8080, tls: false, ca: 'pem' });
  for (const bad of ['', 'a.test', 'ftp://a.test', 'https://']) t.throws(() => parseRpcUrl(bad, undefined), { code: 'RPC_BAD_ADDRESS' });
});

void t.test('who merely claims keys does not push out those in use', async (t) => {
  const sealer = new Sealer(privateB);
  t.equal(sealer.sharedCount, 0);
  sealer.open(ServerKeyResponseSchema, fromHex(golden), keyA);
  t.equal(sealer.sharedCount, 1);
  for (let i = 1; i < 20; i++) {
    const claimed = toBase64(new Uint8Array(32).fill(i));
    t.throws(() => sealer.open(ServerKeyResponseSchema, fromHex(golden), claimed), { code: 'RPC_UNSEALABLE' });
  }
  t.equal(sealer.sharedCount, 1);
});
