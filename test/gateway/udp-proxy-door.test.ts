// PROXY headers of UDP: what load balancers say is read from each of their datagrams, and from nobody else's.
import t from 'tap';
import { parsePrefix } from '#lib/ip.ts';
import type { Endpoint } from '#lib/net.ts';
import { createUdpProxyDoor } from '../../src/gateway/listen/udp-proxy-door.ts';
import { writeProxyHeader } from '#wire/proxy-protocol.ts';

const balancer: Endpoint = { address: '192.0.2.1', port: 4000 };
const client: Endpoint = { address: '203.0.113.7', port: 1234 };
const here: Endpoint = { address: '192.0.2.9', port: 53 };

function open(...trusted: readonly string[]) {
  const delivered: string[] = [];
  const dropped: string[] = [];
  const prefixes = trusted.map((text) => {
    const prefix = parsePrefix(text);
    if (prefix === undefined) throw new TypeError(text);
    return prefix;
  });
  const door = createUdpProxyDoor(prefixes, (_from, reason) => void dropped.push(reason));
  const admit = (bytes: Buffer, size: number, from: Endpoint): void =>
    door.admit(
      bytes,
      size,
      from,
      (run, each, who) => void delivered.push(`${who.address}:${who.port} ${Buffer.from(run).toString('latin1')} ${each}`),
    );
  return { delivered, dropped, admit };
}

const udpHeader = writeProxyHeader(2, client, here, { transport: 'udp' });

void t.test('each datagram of a load balancer is its client’s, in runs too; all else of it is dropped', async (t) => {
  const { delivered, dropped, admit } = open('192.0.2.1/32');
  const one = Buffer.concat([udpHeader, Buffer.from('one')]);
  admit(one, one.length, balancer);
  admit(Buffer.concat([one, udpHeader, Buffer.from('2')]), one.length, balancer);
  admit(udpHeader, udpHeader.length, balancer);
  t.same(delivered, ['203.0.113.7:1234 one 3', '203.0.113.7:1234 one 3', '203.0.113.7:1234 2 1', '203.0.113.7:1234  0']);
  delivered.length = 0;
  const local = writeProxyHeader(2, { address: '', port: 0 }, here);
  admit(Buffer.concat([local, Buffer.from('check')]), 100, balancer);
  t.same(delivered, ['192.0.2.1:4000 check 5'], 'its own');
  delivered.length = 0;
  const bad: readonly (readonly [Buffer, string])[] = [
    [Buffer.from('no header'), 'no_header'],
    [udpHeader.subarray(0, 20), 'truncated'],
    [Buffer.concat([writeProxyHeader(2, client, here), Buffer.from('x')]), 'not of UDP'],
    [Buffer.concat([writeProxyHeader(1, client, here), Buffer.from('x')]), 'not of UDP'],
    [Buffer.alloc(0), ''],
  ];
  for (const [bytes] of bad) admit(bytes, bytes.length, balancer);
  t.same(delivered, []);
  t.same(dropped, ['no_header', 'truncated', 'not of UDP', 'not of UDP']);
});

void t.test('a header from anybody else is bytes like others', async (t) => {
  const stranger = { address: '198.51.100.1', port: 9 };
  const bytes = Buffer.concat([udpHeader, Buffer.from('x')]);
  for (const door of [open('192.0.2.1/32'), open()]) {
    door.admit(bytes, bytes.length, stranger);
    t.same(door.delivered, [`198.51.100.1:9 ${bytes.toString('latin1')} ${bytes.length}`]);
  }
});
