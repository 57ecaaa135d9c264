// Reading an overlay stream without copies: the same bytes in the same order as any other reader gets, and the window follows the reader.
import t from 'tap';
import type { TcpEnd } from '#netstack/types.ts';
import { OverlayStream } from '../../src/overlay/stream.ts';
import { ManualClock } from '../support/manual-clock.ts';
import { seeded, seededBytes } from '../support/seeded.ts';
import { prefix } from './pair.ts';

interface Line {
  readonly stream: OverlayStream;
  readonly consumed: () => number;
  /** Bytes from the other side, in memory that is overwritten afterwards. */
  receive(bytes: Uint8Array): void;
  endTurn(): void;
}

function line(): Line {
  let consumed = 0;
  const gathered: OverlayStream[] = [];
  const loop = { clock: new ManualClock(), touch: () => undefined, gather: (one: OverlayStream) => gathered.push(one) };
  const stream = new OverlayStream(loop, true, { opened: (_reason: TcpEnd | undefined) => undefined, gone: () => undefined });
  const at = { ip: prefix('100.92.0.2/32').address, port: 1 };
  stream.bind({
    local: at,
    remote: at,
    attach: () => undefined,
    write: (bytes) => bytes.length,
    consumed: (count) => (consumed += count),
    end: () => undefined,
    abort: () => undefined,
    hurry: () => undefined,
    sendBufferFree: 1,
    describe: () => '',
  });
  return {
    stream,
    consumed: () => consumed,
    receive: (bytes) => {
      const memory = Uint8Array.from(bytes);
      stream.handler.data(memory, 0);
      memory.fill(0xee);
    },
    endTurn: () => {
      for (const one of gathered.splice(0)) one.flush();
    },
  };
}

t.test('large and small pieces arrive in order, and all are told to the stack at the end of the turn', async (t) => {
  const { stream, consumed, receive, endTurn } = line();
  const random = seeded(1);
  const fill = seededBytes(2);
  const got: Uint8Array[] = [];
  const sent: Uint8Array[] = [];
  stream.lend((bytes) => {
    got.push(Uint8Array.from(bytes));
    return true;
  });
  let total = 0;
  for (let i = 0; i < 3000; i++) {
    const bytes = new Uint8Array(1 + Math.floor(random() ** 4 * 60_000));
    fill(bytes);
    sent.push(bytes);
    total += bytes.length;
    receive(bytes);
    if (random() < 0.3) endTurn();
  }
  endTurn();
  t.ok(Buffer.concat(got).equals(Buffer.concat(sent)));
  t.equal(consumed(), total);
  t.ok(got.length < sent.length, `${sent.length} pieces handed on in ${got.length}`);
  stream.destroy();
});

t.test('a reader without room holds the window, until it has room again', async (t) => {
  const { stream, consumed, receive, endTurn } = line();
  let room = true;
  let got = 0;
  const loan = stream.lend((bytes) => {
    got += bytes.length;
    return room;
  });
  const piece = new Uint8Array(20_000);
  receive(piece);
  endTurn();
  t.equal(consumed(), 20_000);
  room = false;
  for (let i = 0; i < 3; i++) receive(piece);
  receive(piece.subarray(0, 100));
  endTurn();
  t.equal(got, 80_100, 'what is under way still comes');
  t.equal(consumed(), 20_000);
  // Node looks for more of its own accord; that is no word of the reader.
  stream.read(0);
  t.equal(consumed(), 20_000);
  room = true;
  loan.resume();
  t.equal(consumed(), 80_100);
  receive(piece);
  endTurn();
  t.equal(consumed(), 100_100);
  stream.destroy();
});

t.test('what came before the loan comes first', async (t) => {
  const { stream, consumed, receive, endTurn } = line();
  receive(Buffer.from('one '));
  endTurn();
  let text = '';
  stream.lend((bytes) => {
    text += Buffer.from(bytes).toString('latin1');
    return true;
  });
  receive(Buffer.from(`two${' '.repeat(9000)}`));
  receive(Buffer.from('three '));
  endTurn();
  const ended = new Promise<void>((resolve) => void stream.once('end', resolve));
  receive(Buffer.from('four'));
  stream.handler.remoteEnded(0);
  await ended;
  t.equal(text.replaceAll(/ +/g, ' '), 'one two three four');
  t.equal(consumed(), text.length);
  stream.destroy();
});
