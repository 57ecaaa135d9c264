// UDP sockets with one remote end, as Node has them and with all of them in one: the same bytes, the same errors, the same ends.
import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import t, { type Test } from 'tap';
import { type Endpoint, sendRun } from '#lib/net.ts';
import { chooseHostUdp } from '#overlay/index.ts';

async function far(t: Test): Promise<{ readonly socket: Socket; readonly at: Endpoint }> {
  const socket = createSocket('udp4');
  socket.bind(0, '127.0.0.1');
  await once(socket, 'listening');
  t.teardown(() => void socket.close());
  return { socket, at: socket.address() };
}

/** The next so many datagrams, as text. */
function next(socket: Socket, count: number): Promise<{ readonly texts: readonly string[]; readonly from: Endpoint }> {
  return new Promise((resolve) => {
    const texts: string[] = [];
    socket.on('message', function take(bytes: Buffer, from: Endpoint) {
      texts.push(bytes.toString());
      if (texts.length < count) return;
      socket.off('message', take);
      resolve({ texts, from });
    });
  });
}

for (const choice of ['auto', 'off'] as const) {
  const { open } = chooseHostUdp(choice);
  void t.test(`${choice}: datagrams and runs go there, answers come back`, async (t) => {
    const { socket, at } = await far(t);
    const answers: string[] = [];
    const answered = Promise.withResolvers<void>();
    const take = (text: string): void => {
      answers.push(text);
      if (answers.length === 4) answered.resolve();
    };
    const flow = open(
      at,
      (bytes) => take(Buffer.from(bytes).toString()),
      () => t.fail('it failed'),
      (run, size) => {
        for (let i = 0; i < run.length; i += size) take(Buffer.from(run.subarray(i, i + size)).toString());
      },
    );
    const arrived = next(socket, 5);
    flow.send(Buffer.from('one'));
    flow.send(new Uint8Array(0));
    sendRun(flow, Buffer.from('aaabbbcc'), 3);
    const { texts, from } = await arrived;
    t.same(texts, ['one', '', 'aaa', 'bbb', 'cc']);
    for (const text of ['x1', 'x2', 'x3', 'y']) socket.send(text, from.port, from.address);
    await answered.promise;
    t.same(answers, ['x1', 'x2', 'x3', 'y']);
    flow.close();
    flow.send(Buffer.from('late'));
  });

  void t.test(`${choice}: a far end that is not there is told once, later than the call`, async (t) => {
    const dead = createSocket('udp4');
    dead.bind(0, '127.0.0.1');
    await once(dead, 'listening');
    const { port } = dead.address();
    await new Promise<void>((resolve) => void dead.close(() => resolve()));
    let failures = 0;
    const flow = open(
      { address: '127.0.0.1', port },
      () => t.fail('nobody answers'),
      () => failures++,
    );
    flow.send(Buffer.from('x'));
    t.equal(failures, 0);
    // A send may be told instead of the flow, which is no failure of the flow yet.
    while (failures === 0) {
      await new Promise((resolve) => setImmediate(resolve));
      flow.send(Buffer.from('y'));
    }
    await new Promise((resolve) => setImmediate(resolve));
    t.equal(failures, 1);
  });

  void t.test(`${choice}: what anybody else sends is not received, and one flow's end is not another's`, async (t) => {
    const [one, two] = [await far(t), await far(t)];
    const heard: string[] = [];
    const done = Promise.withResolvers<void>();
    const first = open(
      one.at,
      () => heard.push('first'),
      () => undefined,
    );
    const second = open(
      two.at,
      (bytes) => {
        heard.push(Buffer.from(bytes).toString());
        if (heard.includes('good')) done.resolve();
      },
      () => undefined,
    );
    const arrived = next(two.socket, 1);
    second.send(Buffer.from('hello'));
    const { from } = await arrived;
    first.close();
    one.socket.send('forged', from.port, from.address);
    two.socket.send('good', from.port, from.address);
    await done.promise;
    t.same(heard, ['good']);
    second.close();
  });
}
