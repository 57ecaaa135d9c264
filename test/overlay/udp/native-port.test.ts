// The native port on a socket that fails as the kernel may: full buffers, ways without offload, errors while receiving.
import t from 'tap';
import { silentLogger } from '#lib/log.ts';
import {
  MAX_QUEUED_SEND_BYTES,
  MAX_RUN_DATAGRAMS,
  RECEIVE_CALLS_PER_TURN,
  RECEIVE_SLOT_BYTES,
  RECEIVE_SLOTS,
} from '../../../src/overlay/udp/constants.ts';
import { type RawUdpSocket, systemErrors } from '../../../src/overlay/udp/ffi-udp.ts';
import { MessageVector, vectorMemoryBytes } from '../../../src/overlay/udp/message-vector.ts';
import { NativePort } from '../../../src/overlay/udp/native-port.ts';
import { encodeSocketAddress } from '../../../src/overlay/udp/socket-address.ts';

class FakeSocket implements RawUdpSocket {
  readonly port = 7;
  readonly segments = true;
  readonly joins = true;
  readonly messages = new MessageVector(new Uint8Array(vectorMemoryBytes(RECEIVE_SLOTS)), RECEIVE_SLOTS, 0, 0, RECEIVE_SLOT_BYTES);
  readonly sent: { readonly text: string; readonly size: number }[] = [];
  roomWanted = false;
  answers: number[] = [];
  incoming: string[] = [];
  receiveError = 0;
  receiveCalls = 0;
  readonly ready: () => void;

  constructor(ready: () => void) {
    this.ready = ready;
  }

  receive(): number {
    this.receiveCalls++;
    if (this.receiveError !== 0) return -this.receiveError;
    const some = this.incoming.splice(0, RECEIVE_SLOTS);
    const from = encodeSocketAddress({ address: '10.1.1.1', port: 9 }, true) ?? new Uint8Array(0);
    for (const [i, text] of some.entries()) {
      const view = new DataView(this.messages.memory.buffer);
      view.setUint32(i * 64 + 56, text.length, true);
      view.setUint32(i * 64 + 40, 0, true);
      this.messages.memory.set(from, this.messages.nameAt(i));
    }
    this.#payloads = some;
    return some.length === 0 ? -systemErrors.EAGAIN : some.length;
  }

  #payloads: readonly string[] = [];

  payload(i: number): Uint8Array {
    return Buffer.from(this.#payloads[i] ?? '');
  }

  send(bytes: Uint8Array, from: number, length: number, size: number): number {
    const answer = this.answers.shift() ?? 0;
    if (answer === 0) this.sent.push({ text: Buffer.from(bytes.subarray(from, from + length)).toString(), size });
    return -answer;
  }

  awaitRoom(wanted: boolean): void {
    this.roomWanted = wanted;
  }

  close(): Promise<void> {
    return Promise.resolve();
  }
}

function open(events = { receive: (): void => undefined, drained: (): void => undefined }): { port: NativePort; socket: FakeSocket } {
  let socket: FakeSocket | undefined;
  const port = new NativePort((ready) => (socket = new FakeSocket(ready)), true, events, silentLogger);
  if (socket === undefined) throw new TypeError('no socket');
  return { port, socket };
}

const to = { address: '10.1.1.1', port: 9 };
const run = Buffer.from('aaabbbcccd');

t.test('a full buffer: the rest waits, in order, until there is room', async (t) => {
  const { port, socket } = open();
  socket.answers = [systemErrors.EAGAIN];
  port.sendRun(run, 3, to);
  t.equal(socket.roomWanted, true);
  port.send(Buffer.from('later'), to);
  t.same(socket.sent, [], 'nothing overtakes');
  socket.answers = [systemErrors.EAGAIN];
  socket.ready();
  t.same(socket.sent, [], 'still none');
  socket.ready();
  t.same(socket.sent, [
    { text: 'aaabbbcccd', size: 3 },
    { text: 'later', size: 0 },
  ]);
  t.equal(socket.roomWanted, false);
  port.send(Buffer.from('now'), to);
  t.equal(socket.sent.length, 3);
});

t.test('what waits is bounded, and the bytes are the caller’s again at once', async (t) => {
  const { port, socket } = open();
  socket.answers = [systemErrors.EAGAIN];
  const bytes = Buffer.alloc(50_000, 'x');
  port.send(bytes, to);
  bytes.fill('y');
  for (let i = 0; i < 100; i++) port.send(bytes, to);
  socket.ready();
  t.equal(socket.sent.length, Math.floor(MAX_QUEUED_SEND_BYTES / 50_000));
  t.equal(socket.sent[0]?.text[0], 'x');
  t.equal(socket.sent[1]?.text[0], 'y');
  socket.answers = [systemErrors.EAGAIN];
  port.send(bytes, to);
  socket.ready();
  t.equal(socket.sent.length, Math.floor(MAX_QUEUED_SEND_BYTES / 50_000) + 1, 'its bytes were given back');
});

for (const refusal of ['EIO', 'EINVAL', 'EMSGSIZE'] as const) {
  t.test(`a way without offload (${refusal}): one by one to there, whole elsewhere, and smaller ones again`, async (t) => {
    const { port, socket } = open();
    socket.answers = [systemErrors[refusal]];
    port.sendRun(run, 3, to);
    t.same(
      socket.sent.map(({ text }) => text),
      ['aaa', 'bbb', 'ccc', 'd'],
    );
    port.sendRun(run, 3, to);
    t.equal(socket.sent.length, 8, 'it is not tried again');
    port.sendRun(run, 3, { ...to });
    port.sendRun(run, 2, to);
    t.same(socket.sent.slice(8), [
      { text: 'aaabbbcccd', size: 3 },
      { text: 'aaabbbcccd', size: 2 },
    ]);
  });
}

t.test('an error of the way is a loss of that datagram, not of the next', async (t) => {
  const { port, socket } = open();
  socket.answers = [101];
  port.send(Buffer.from('lost'), to);
  port.send(Buffer.from('sent'), to);
  t.same(socket.sent, [{ text: 'sent', size: 0 }]);
});

t.test('a run of more datagrams than the kernel takes is cut at a datagram', async (t) => {
  const { port, socket } = open();
  port.sendRun(Buffer.alloc(2 * (MAX_RUN_DATAGRAMS + 3), 'ab'), 2, to);
  t.same(
    socket.sent.map(({ text, size }) => [text.length, size]),
    [
      [2 * MAX_RUN_DATAGRAMS, 2],
      [6, 2],
    ],
  );
});

t.test('one turn receives a bounded number of messages; an error ends it', async (t) => {
  let got = 0;
  let turns = 0;
  const { port, socket } = open({ receive: () => void got++, drained: () => void turns++ });
  socket.incoming = Array.from({ length: 1000 }, (_, i) => `datagram ${i}`);
  socket.ready();
  t.equal(got, RECEIVE_SLOTS * RECEIVE_CALLS_PER_TURN);
  t.equal(turns, 1);
  socket.ready();
  t.equal(turns, 2);
  socket.receiveError = 103;
  const calls = socket.receiveCalls;
  socket.ready();
  t.equal(socket.receiveCalls, calls + 1);
  t.equal(turns, 3);
  socket.receiveError = 0;
  got = 0;
  socket.incoming = Array.from({ length: 1000 }, () => 'x'.repeat(60_000));
  socket.ready();
  t.equal(got, RECEIVE_SLOTS, 'long ones end the turn at the first call');
  turns--;
  await port.close();
  socket.ready();
  t.equal(turns, 3, 'nothing after the close');
});

t.test('a receiver that throws does not keep the turn from its end', async (t) => {
  let turns = 0;
  const { socket } = open({
    receive: () => {
      throw new TypeError('mine');
    },
    drained: () => void turns++,
  });
  socket.incoming = ['x', 'y'];
  t.throws(() => socket.ready(), { message: 'mine' });
  t.equal(turns, 1);
});
