// Datagrams that leave together: in order, one run for equal sizes, within what the kernel takes.
import t from 'tap';
import { SEND_BATCH_BYTES, SEND_BATCH_DATAGRAMS } from '../../src/overlay/constants.ts';
import { SendBatch } from '../../src/overlay/send-batch.ts';
import { seeded } from '../support/seeded.ts';

interface Sent {
  readonly peer: string;
  readonly text: string;
  readonly size: number;
}

function batch(): { readonly batch: SendBatch; readonly sent: Sent[] } {
  const sent: Sent[] = [];
  return { sent, batch: new SendBatch((peer, run, size) => sent.push({ peer, text: Buffer.from(run).toString('latin1'), size })) };
}

t.test('equal sizes leave as one run, a shorter one ends it, a longer one begins another', async (t) => {
  const { batch: one, sent } = batch();
  for (const text of ['aaa', 'bbb', 'c', 'dd', 'eeee', 'ffff']) one.add('p', Buffer.from(text));
  one.flush();
  one.flush();
  t.same(sent, [
    { peer: 'p', text: 'aaabbbc', size: 3 },
    { peer: 'p', text: 'dd', size: 2 },
    { peer: 'p', text: 'eeeeffff', size: 4 },
  ]);
});

t.test('each peer has its own run; the bytes are the caller’s again at once', async (t) => {
  const { batch: one, sent } = batch();
  const bytes = Buffer.from('abc');
  one.add('p', bytes);
  bytes.fill('x');
  one.add('q', bytes);
  one.flush();
  t.same(
    sent.map(({ peer, text }) => peer + text),
    ['pabc', 'qxxx'],
  );
});

t.test('a run stays within what the kernel takes, and whatever comes is sent once and in order', async (t) => {
  const random = seeded(3);
  const { batch: one, sent } = batch();
  let expected = '';
  for (let i = 0; i < 20_000; i++) {
    const size = random() < 0.9 ? 32 : 1 + Math.floor(random() ** 4 * (SEND_BATCH_BYTES + 100));
    const bytes = Buffer.alloc(size, String.fromCharCode(97 + (i % 26)));
    expected += `${size}${bytes.toString('latin1', 0, 1)} `;
    one.add('p', bytes);
    if (random() < 0.01) one.flush();
  }
  one.flush();
  let seen = '';
  for (const { text, size } of sent) {
    if (text.length > size * SEND_BATCH_DATAGRAMS) t.fail(`${text.length} by ${size}`);
    if (text.length > SEND_BATCH_BYTES && text.length > size) t.fail(`${text.length} bytes`);
    for (let at = 0; at < text.length; at += size) seen += `${Math.min(size, text.length - at)}${text[at] ?? ''} `;
  }
  t.equal(seen, expected);
  t.ok(sent.length < 6000, `${sent.length} runs`);
});
