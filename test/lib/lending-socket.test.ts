// A kernel socket that lends, and one that is read in the usual way: every byte once and in order, with readers that stop and go on.
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type AddressInfo, type Socket } from 'node:net';
import t, { type Test } from 'tap';
import { LendingSocket } from '#lib/lending-socket.ts';

const bytes = randomBytes(8_000_000);
const digest = createHash('sha256').update(bytes).digest('hex');

/** A connection whose far end sends all of it and ends. */
async function connected(t: Test): Promise<LendingSocket> {
  const server = createServer({ allowHalfOpen: true }, (far: Socket) => {
    far.on('error', () => undefined);
    far.end(bytes);
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const socket = new LendingSocket();
  socket.connect((server.address() as AddressInfo).port, '127.0.0.1');
  t.teardown(() => {
    socket.destroy();
    server.close();
  });
  await once(socket, 'connect');
  return socket;
}

t.test('lent, with pauses', async (t) => {
  const socket = await connected(t);
  const hash = createHash('sha256');
  let pauses = 0;
  let pieces = 0;
  const loan = socket.lend((piece) => {
    hash.update(piece);
    if (++pieces % 3 !== 0) return true;
    pauses++;
    const seen = pieces;
    setImmediate(() => {
      if (pieces !== seen) t.fail('bytes came while there was no room');
      loan.resume();
    });
    return false;
  });
  await once(socket, 'end');
  t.equal(hash.digest('hex'), digest);
  t.ok(pauses > 0);
});

t.test('read in the usual way, slowly; the memory is the reader’s own', async (t) => {
  const socket = await connected(t);
  const kept: Buffer[] = [];
  for await (const piece of socket as AsyncIterable<Buffer>) {
    kept.push(piece);
    if (kept.length % 4 === 0) await new Promise((resolve) => setImmediate(resolve));
  }
  t.equal(createHash('sha256').update(Buffer.concat(kept)).digest('hex'), digest);
});

t.test('first read, then lent', async (t) => {
  const socket = await connected(t);
  const hash = createHash('sha256');
  await once(socket, 'readable');
  hash.update(socket.read(10) as Buffer);
  await new Promise((resolve) => setImmediate(resolve));
  socket.lend((piece) => {
    hash.update(piece);
    return true;
  });
  socket.resume();
  await once(socket, 'end');
  t.equal(hash.digest('hex'), digest);
});

t.test('lent for a while, taken back within a loan, and lent to another', async (t) => {
  const socket = await connected(t);
  const hash = createHash('sha256');
  let first = 0;
  socket.lend((piece) => {
    first++;
    hash.update(piece.subarray(0, 10));
    // What the first reader leaves goes back, as a copy: the piece is only lent.
    socket.takeBack();
    socket.pause();
    socket.unshift(Buffer.from(piece.subarray(10)));
    setImmediate(() => {
      socket.lend((rest) => {
        hash.update(rest);
        return true;
      });
      socket.resume();
    });
    return true;
  });
  await once(socket, 'end');
  t.equal(first, 1);
  t.equal(hash.digest('hex'), digest);
});
