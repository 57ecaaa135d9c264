// Gathering datagrams: whatever comes in comes out, in order and cut as it came, in runs that the kernel takes.
import t from 'tap';
import { DatagramRun } from '#lib/datagram-run.ts';
import { seeded } from '../support/seeded.ts';

function gather(datagrams: readonly Uint8Array[]): { readonly out: readonly string[]; readonly runs: number } {
  const out: string[] = [];
  let runs = 0;
  const run = new DatagramRun((bytes, size) => {
    runs++;
    t.ok(bytes.length <= Math.max(65_507, size) && Math.ceil(bytes.length / Math.max(1, size)) <= 64);
    for (let at = 0; at === 0 || at < bytes.length; at += Math.max(1, size)) out.push(Buffer.from(bytes.subarray(at, at + size)).toString('hex'));
  });
  for (const datagram of datagrams) run.add(datagram, datagram.length);
  run.flush();
  run.flush();
  return { out, runs };
}

void t.test('equal ones are one run, a shorter one ends it, an empty one stands alone', async (t) => {
  const bytes = (length: number): Buffer => Buffer.alloc(length, length);
  t.equal(gather([bytes(5), bytes(5), bytes(3)]).runs, 1);
  t.equal(gather([bytes(5), bytes(3), bytes(3)]).runs, 2);
  t.equal(gather([bytes(3), bytes(5)]).runs, 2);
  t.same(gather([bytes(1), bytes(0), bytes(1)]).out, ['01', '', '01']);
  t.equal(gather(Array.from({ length: 130 }, () => bytes(9))).runs, 3);
});

void t.test('whatever comes in comes out', async (t) => {
  const random = seeded(7);
  const datagrams = Array.from({ length: 3000 }, (_, i) => Buffer.alloc(Math.floor(random() ** 4 * (i % 50 === 0 ? 65_507 : 40)), i));
  t.same(
    gather(datagrams).out,
    datagrams.map((datagram) => datagram.toString('hex')),
  );
});
