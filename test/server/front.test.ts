// The front of the server's HTTP/1.1: what is asked for where nothing is must not hold a place.
import type { IncomingMessage } from 'node:http';
import { Duplex } from 'node:stream';
import t from 'tap';
import { createFront, type FrontParts } from '#server/front.ts';

void t.test('an upgrade to nothing is answered and closed, though the client stays', async (t) => {
  let answer = '';
  const socket = new Duplex({
    allowHalfOpen: true,
    read: () => undefined,
    write: (chunk: Buffer, _encoding, done) => {
      answer += chunk.toString('latin1');
      done();
    },
  });
  const nobody = {} as FrontParts;
  const closed = new Promise((resolve) => socket.once('close', resolve));
  createFront(nobody).upgrade({ url: '/elsewhere' } as IncomingMessage, socket, Buffer.alloc(0));
  await closed;
  t.match(answer, /^HTTP\/1\.1 404 /);
});
