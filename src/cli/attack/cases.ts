// Classes of hostile input that the attack command sends as they are, and that the suites of test/attacks draw from.

/** Content-Length values that are not one plain number. */
export const badLengths: readonly string[] = [
  '+5',
  '-5',
  '0x5',
  '5, 5',
  '5,5',
  '5 5',
  '5\t',
  ' 5',
  '\t5',
  '5;',
  '5.0',
  '1e1',
  '',
  '18446744073709551616',
  '9999999999999999',
  '5\u00b2',
  '\u0665',
  'five',
];

/** Transfer-Encoding values that some parser takes for `chunked`, and that are not. */
export const disguisedCodings: readonly string[] = [
  'xchunked',
  'chunkedx',
  'chunke',
  '  chunked',
  'chunked ',
  '\tchunked',
  'chunked\t',
  'chunked\x0b',
  '\x0cchunked',
  'chunked\x00',
  '"chunked"',
  'chunked;q=1',
  'chunked,',
  ',chunked',
  'identity',
  'chunked, identity',
  'identity, chunked',
  'chunked, chunked',
  'ch\u00fcnked',
  'chunked\x7f',
  '(chunked)',
  '',
];

/** Codings that may stand before `chunked` in RFC 9112, and that a gateway which does not know them must not pass by. */
export const otherCodings: readonly string[] = ['gzip', 'x-gzip', 'deflate', 'compress', 'br', 'identity', 'trailers', 'zstd', 'foo'];

/** Chunked bodies with a chunk, its end or a trailer that is not exactly one. */
export const badChunks: readonly string[] = [
  '0x2\r\nab\r\n0\r\n\r\n',
  '-2\r\nab\r\n0\r\n\r\n',
  '+2\r\nab\r\n0\r\n\r\n',
  ' 2\r\nab\r\n0\r\n\r\n',
  '2 \r\nab\r\n0\r\n\r\n',
  '2\nab\r\n0\r\n\r\n',
  '2\r\nab0\r\n\r\n',
  '2\r\nabc\r\n0\r\n\r\n',
  '2\r\na\r\n0\r\n\r\n',
  '2\r\nab\n0\r\n\r\n',
  '2;a\nb\r\nab\r\n0\r\n\r\n',
  '2;\0\r\nab\r\n0\r\n\r\n',
  '2\r\r\nab\r\n0\r\n\r\n',
  'fffffffffffffffff\r\nab\r\n0\r\n\r\n',
  '10000000000000002\r\nab\r\n0\r\n\r\n',
  '\r\nab\r\n0\r\n\r\n',
  'g\r\nab\r\n0\r\n\r\n',
  '0\r\nX : y\r\n\r\n',
  '0\r\n X: y\r\n\r\n',
  '0\r\nX: a\nb\r\n\r\n',
  '0\n\n',
  '0\r\n\n',
  '0\r\nno colon\r\n\r\n',
  '0\r\nX: \0\r\n\r\n',
];

/** Trailer fields that would frame, route or authenticate if somebody merged them into the header. */
export const hostileTrailers: readonly string[] = [
  'Host',
  'Content-Length',
  'Transfer-Encoding',
  'Authorization',
  'Remote-User',
  'Remote_User',
  'X-Forwarded-For',
  'Cookie',
  'X-Identity-User',
  'X-Meshgate-Assertion',
  'Connection',
  'TE',
  'Content-Type',
  'Set-Cookie',
  'X-Forwarded-Host',
  'Expect',
  'Upgrade',
  'Trailer',
  'X-HTTP-Method-Override',
];

/** Values of Expect (one a line of the request) that are not exactly one `100-continue`. */
export const badExpectations: readonly (readonly string[])[] = [
  ['100-continue, x'],
  ['x'],
  [''],
  ['100-continue', '100-continue'],
  ['200-ok'],
  ['100-continue;q=1'],
  ['100 continue'],
];

/** Protocols that Upgrade must not lead to. */
export const httpUpgrades: readonly string[] = ['h2c', 'H2C', 'h2', 'HTTP/2.0', 'h2c, websocket', 'websocket, h2c', 'TLS/1.2', 'http/3'];

/** Targets of CONNECT. */
export const connectTargets: readonly string[] = ['a.test:443', 'evil.test:22', '/', '*', 'http://a.test/', '127.0.0.1:1', '[::1]:80'];

/** Targets with a fragment, which no client sends. */
export const fragmentTargets: readonly string[] = ['/admin#/public', '/public#/../admin', '/#', '#', '/public/a%20b#x', '/public?q#f'];

/** Targets that are no path, on GET. */
export const pathlessTargets: readonly string[] = [
  '*',
  'a.test:443',
  'evil.test:80',
  'admin',
  '?x',
  '.',
  '..',
  '\\admin',
  'mailto:x',
  'http:',
  'http:/admin',
  '%2fadmin',
];

/** Names that upstreams and other proxies read an identity from, besides the gateway's own. */
export const foreignIdentityFields: readonly string[] = [
  'Remote-User',
  'Remote-Email',
  'Remote-Groups',
  'Remote-Name',
  'X-Remote-User',
  'X-Auth-Request-User',
  'X-Auth-Request-Email',
  'X-Forwarded-User',
  'X-Forwarded-Email',
  'X-Forwarded-Groups',
];

/** Forms of TLS below what is offered. */
export const oldTls: readonly {
  readonly minVersion?: 'TLSv1' | 'TLSv1.1';
  readonly maxVersion: 'TLSv1' | 'TLSv1.1' | 'TLSv1.2';
  readonly ciphers: string;
}[] = [
  { minVersion: 'TLSv1', maxVersion: 'TLSv1', ciphers: 'ALL@SECLEVEL=0' },
  { minVersion: 'TLSv1.1', maxVersion: 'TLSv1.1', ciphers: 'ALL@SECLEVEL=0' },
  ...['AES128-SHA', 'AES128-GCM-SHA256', 'ECDHE-ECDSA-AES128-SHA', 'ECDHE-RSA-AES256-SHA384', 'NULL-SHA256', 'ADH-AES128-SHA', 'DES-CBC3-SHA'].map(
    (ciphers) => ({ maxVersion: 'TLSv1.2' as const, ciphers: `${ciphers}@SECLEVEL=0` }),
  ),
];
