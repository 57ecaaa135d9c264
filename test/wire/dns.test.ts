// DNS messages: known bytes, what comes back, and bytes of a liar.
import t from 'tap';
import { formatIp, parseIp, type IpAddress } from '#lib/ip.ts';
import { decodeDns, DNS_RCODE, DNS_TYPE, encodeDnsAnswer, encodeDnsQuery } from '#wire/dns.ts';
import { seeded } from '../support/seeded.ts';

function ip(text: string): IpAddress {
  const parsed = parseIp(text);
  if (parsed === undefined) throw new TypeError(text);
  return parsed;
}

function query(name: string, type: number = DNS_TYPE.a): NonNullable<ReturnType<typeof decodeDns>> {
  const message = decodeDns(encodeDnsQuery(7, { name, type }) ?? new Uint8Array(0));
  if (message === undefined) throw new TypeError(name);
  return message;
}

void t.test('a query has these bytes', async (t) => {
  const bytes = encodeDnsQuery(0x1234, { name: 'a.test', type: DNS_TYPE.aaaa });
  t.equal(Buffer.from(bytes ?? []).toString('hex'), '1234010000010000000000010161047465737400001c000100002904d0000000000000');
  t.match(decodeDns(bytes ?? new Uint8Array(0)), {
    id: 0x1234,
    response: false,
    opcode: 0,
    recursionDesired: true,
    question: { name: 'a.test', type: 28 },
    udpBytes: 1232,
  });
  for (const name of ['a..test', `${'a'.repeat(64)}.test`, 'abcdefg.'.repeat(40) + 'x']) t.equal(encodeDnsQuery(1, { name, type: 1 }), undefined);
});

void t.test('answers come back as they were, and say so where they were cut', async (t) => {
  const asked = query('App.Corp.test'.toLowerCase());
  const addresses = ['10.0.0.1', '10.0.0.2'].map(ip);
  const answer = decodeDns(encodeDnsAnswer(asked, DNS_RCODE.ok, addresses, 300));
  t.match(answer, { id: 7, response: true, truncated: false, rcode: 0, question: { name: 'app.corp.test', type: 1 } });
  t.same(
    answer?.answers.map(({ name, ttlSeconds, data }) => [name, ttlSeconds, data.kind === 'address' && formatIp(data.ip)]),
    [
      ['app.corp.test', 300, '10.0.0.1'],
      ['app.corp.test', 300, '10.0.0.2'],
    ],
  );
  const many = Array.from({ length: 100 }, (_, i) => ip(`fd00::${i.toString(16)}`));
  const cut = decodeDns(encodeDnsAnswer({ ...asked, udpBytes: 512 }, DNS_RCODE.ok, many, 1));
  t.equal(cut?.truncated, true);
  t.ok((cut?.answers.length ?? 0) > 10);
  t.match(decodeDns(encodeDnsAnswer(asked, DNS_RCODE.refused, [], 0)), { rcode: 5, answers: [] });
});

void t.test('names by pointers, CNAMEs, and the SOA that says how long nothing is', async (t) => {
  const hex =
    '0001818000010002000000000161047465737400000100010161' + // the question's name is at 12; then an answer "a" …
    'c00e' + // … and a pointer to "test"
    '00050001000000ff0004' +
    '0162c00e' + // b.test
    '0162c00e' +
    '00010001800000010004' +
    '0a000001';
  const message = decodeDns(Buffer.from(hex, 'hex'));
  t.match(message?.answers, [
    { name: 'a.test', ttlSeconds: 255, data: { kind: 'cname', target: 'b.test' } },
    { name: 'b.test', ttlSeconds: 0, data: { kind: 'address' } },
  ]);
  const soa =
    '000281830001000000010000' +
    '0161047465737400' +
    '00010001' +
    'c00e' +
    '00060001' +
    '00000e10' +
    '0018' +
    'c00e' +
    'c00e' +
    '00'.repeat(16) +
    '0000003c';
  t.match(decodeDns(Buffer.from(soa, 'hex')), { rcode: 3, negativeTtlSeconds: 60, answers: [] });
});

void t.test('pointers that lead nowhere, cut messages and random bytes are no message', async (t) => {
  const question = '000101000001000000000000';
  for (const tail of ['c00c00010001', 'c0ff00010001', '3f61', '0161', '016100', '80', '03612e620000010001'])
    t.equal(decodeDns(Buffer.from(question + tail, 'hex')), undefined, tail);
  t.match(decodeDns(Buffer.from('000101000000000000000000', 'hex')), { question: undefined });
  const whole = Buffer.from(encodeDnsAnswer(query('a.test'), 0, [ip('10.0.0.1')], 5));
  for (let length = 0; length < whole.length; length++) t.equal(decodeDns(whole.subarray(0, length)), undefined, `${length} bytes`);
  const random = seeded(11);
  for (let i = 0; i < 20_000; i++) {
    const bytes = Buffer.from(whole);
    for (let j = 0; j < 3; j++) bytes[Math.floor(random() * bytes.length)] = Math.floor(random() * 256);
    const message = decodeDns(bytes);
    if (message !== undefined && message.answers.length > 64) t.fail(bytes.toString('hex'));
  }
});
