// The STUN server answers who asks properly, and nobody else.
import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import t from 'tap';
import { formatIp } from '#lib/ip.ts';
import { silentLogger } from '#lib/log.ts';
import { createStunServer } from '#server/stun/index.ts';
import { decodeStun, encodeStun } from '#wire/stun.ts';

const transactionId = Buffer.from('0123456789ab');

async function client(type: 'udp4' | 'udp6', address: string): Promise<Socket> {
  const socket = createSocket(type);
  socket.bind(0, address);
  await once(socket, 'listening');
  return socket;
}

async function ask(socket: Socket, bytes: Uint8Array, port: number, address: string): Promise<Buffer> {
  const answer = once(socket, 'message', { signal: AbortSignal.timeout(3000) });
  socket.send(bytes, port, address);
  const [message] = (await answer) as [Buffer];
  return message;
}

t.test('both families learn their own address', async (t) => {
  const server = await createStunServer({ host: '::', port: 0, log: silentLogger });
  t.teardown(() => server.close());
  for (const [type, address] of [
    ['udp4', '127.0.0.1'],
    ['udp6', '::1'],
  ] as const) {
    const socket = await client(type, address);
    const answer = decodeStun(await ask(socket, encodeStun({ class: 'request', transactionId }, undefined, false), server.port, address));
    t.equal(answer?.class, 'success');
    t.ok(answer?.transactionId !== undefined && Buffer.from(answer.transactionId).equals(transactionId));
    t.equal(answer?.mapped === undefined ? '' : formatIp(answer.mapped.ip), address);
    t.equal(answer?.mapped?.port, socket.address().port);
    socket.close();
  }
});

t.test('everything else gets silence: garbage, answers, indications, wrong fingerprints, unknown requirements', async (t) => {
  const server = await createStunServer({ host: '127.0.0.1', port: 0, log: silentLogger });
  t.teardown(() => server.close());
  const socket = await client('udp4', '127.0.0.1');
  t.teardown(() => socket.close());
  const wrongFingerprint = encodeStun({ class: 'request', transactionId });
  wrongFingerprint[wrongFingerprint.length - 1] = (wrongFingerprint.at(-1) ?? 0) ^ 1;
  const required = Buffer.concat([encodeStun({ class: 'request', transactionId }, undefined, false), Buffer.from('7777000400000000', 'hex')]);
  required.writeUInt16BE(8, 2);
  const silent = [
    Buffer.alloc(0),
    Buffer.from('hello'),
    Buffer.alloc(4000, 1),
    encodeStun({ class: 'indication', transactionId }),
    encodeStun({ class: 'success', transactionId }),
    wrongFingerprint,
    required,
  ];
  let heard = 0;
  socket.on('message', () => heard++);
  for (const bytes of silent) socket.send(bytes, server.port, '127.0.0.1');
  // A proper question at the end: its answer comes alone.
  await ask(socket, encodeStun({ class: 'request', transactionId }), server.port, '127.0.0.1');
  t.equal(heard, 1);
});

t.test('a port in use is an error with a name, and closing twice is one closing', async (t) => {
  const server = await createStunServer({ host: '127.0.0.1', port: 0, log: silentLogger });
  await t.rejects(createStunServer({ host: '127.0.0.1', port: server.port, log: silentLogger }), { code: 'SERVER_STUN_BIND' });
  t.equal(server.close(), server.close());
  await server.close();
});
