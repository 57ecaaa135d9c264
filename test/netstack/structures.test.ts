// The structures under the stack against plain models: assembler, send ring, scoreboard, deadline heap, flow table, keyed hash, congestion.
import t from 'tap';
import { Deadlines } from '#netstack/deadlines.ts';
import { Flow, FlowTable } from '#netstack/flow.ts';
import type { FlowEntry } from '#netstack/flow.ts';
import { KeyedHash } from '#netstack/keyed-hash.ts';
import { Assembler } from '#netstack/tcp/assembler.ts';
import { Congestion } from '#netstack/tcp/congestion.ts';
import { SentRanges } from '#netstack/tcp/sent.ts';
import { SendRing } from '#netstack/tcp/send-ring.ts';
import { seqLess, seqMax, seqMin } from '#netstack/tcp/seq.ts';
import { fillWith, payload, seeded } from './link.ts';

const WRAP = 0x7fffff00; // ranges below cross the end of the signed numbers

void t.test('sequence numbers compare across the wrap', async (t) => {
  t.equal(seqLess(0x7fffffff, -0x80000000), true);
  t.equal(seqLess(-1, 0), true);
  t.equal(seqMax(0x7fffffff, -0x80000000), -0x80000000);
  t.equal(seqMin(-1, 5), -1);
});

void t.test('assembler: pieces in any order, overlapping, come out as the stream', async (t) => {
  for (let seed = 1; seed <= 60; seed++) {
    const random = seeded(seed);
    const { bytes } = payload(4096, seed);
    const assembler = new Assembler();
    const out = new Uint8Array(bytes.length);
    const have = new Uint8Array(bytes.length);
    let next = 0;
    for (let i = 0; next < bytes.length && i < 5000; i++) {
      const start = Math.max(0, Math.min(bytes.length - 1, next - 100 + Math.floor(random() * 1500)));
      const end = Math.min(bytes.length, start + 1 + Math.floor(random() * 300));
      if (end > next) {
        const from = Math.max(start, next);
        if (assembler.insert((WRAP + from) | 0, bytes.subarray(from, end))) have.fill(1, from, end);
      }
      if (random() < 0.3) {
        for (let piece = assembler.take((WRAP + next) | 0); piece !== undefined; piece = assembler.take((WRAP + next) | 0)) {
          out.set(piece, next);
          next += piece.length;
        }
      }
      let held = 0;
      for (let at = next; at < bytes.length; at++) held += have[at] ?? 0;
      if (held !== assembler.bytes) {
        t.fail(`seed ${seed}: holds ${assembler.bytes}, not ${held}`);
        return;
      }
    }
    if (next !== bytes.length || Buffer.compare(out, bytes) !== 0) {
      t.fail(`seed ${seed}: ${next}`);
      return;
    }
    if (!assembler.empty || assembler.pieces !== 0) {
      t.fail(`seed ${seed}: something is left`);
      return;
    }
  }
  t.pass('sixty streams');
});

void t.test('send ring: a queue of bytes that grows and wraps', async (t) => {
  const random = seeded(3);
  const { bytes } = payload(3_000_000, 3);
  const ring = new SendRing();
  let pushed = 0;
  let dropped = 0;
  while (dropped < bytes.length) {
    pushed += ring.push(bytes.subarray(pushed, pushed + Math.floor(random() * 60_000)));
    const count = Math.min(ring.length, 1 + Math.floor(random() * 1400));
    const offset = Math.floor(random() * (ring.length - count + 1));
    const copy = new Uint8Array(count);
    ring.copyTo(copy, 0, offset, count);
    if (Buffer.compare(copy, bytes.subarray(dropped + offset, dropped + offset + count)) !== 0) {
      t.fail(`at ${dropped}`);
      return;
    }
    const gone = Math.min(ring.length, Math.floor(random() * 50_000));
    ring.drop(gone);
    dropped += gone;
    if (ring.length !== pushed - dropped) {
      t.fail('length');
      return;
    }
  }
  t.equal(ring.length, 0);
});

void t.test('sent ranges: SACKed, lost and acknowledged bytes agree with a bitmap', async (t) => {
  const IN_FLIGHT = 0;
  const SACKED = 1;
  const LOST = 2;
  for (let seed = 1; seed <= 60; seed++) {
    const random = seeded(seed);
    const size = 2000;
    const bits = new Uint8Array(size);
    const sent = new SentRanges();
    const seq = (at: number): number => (WRAP + at) | 0;
    sent.reset(WRAP);
    let una = 0;
    let nxt = 0;
    for (let now = 0; now < 120; now++) {
      if (nxt < size && random() < 0.7) {
        const more = Math.min(size, nxt + 1 + Math.floor(random() * 90));
        sent.append(seq(nxt), seq(more), now);
        nxt = more;
      }
      sent.begin();
      let delivered = 0;
      const left = Math.floor(random() * size);
      const right = left + 1 + Math.floor(random() * 200);
      sent.sack(seq(left), seq(right), seq(una), seq(nxt));
      if (left >= una && right <= nxt) {
        for (let at = left; at < right; at++) if (bits[at] !== SACKED) delivered++;
        bits.fill(SACKED, left, right);
      }
      if (random() < 0.1) {
        const to = Math.min(nxt, una + Math.floor(random() * 100));
        for (let at = una; at < to; at++) if (bits[at] !== SACKED) delivered++;
        una = to;
        sent.advance(seq(una));
      }
      if (delivered !== sent.delivered) throw new TypeError(`seed ${seed}: ${sent.delivered} delivered, not ${delivered}`);
      if (random() < 0.05) {
        sent.markAll(false);
        for (let at = una; at < nxt; at++) if (bits[at] !== SACKED) bits[at] = LOST;
      }
      const found = sent.findLost(50);
      const first = bits.indexOf(LOST, una);
      if (found !== (first >= 0 && first < nxt) || (found && sent.lostStart !== seq(first))) throw new TypeError(`seed ${seed}: first lost`);
      if (found && random() < 0.5) {
        const end = Math.min((sent.lostEnd - WRAP) | 0, first + 40);
        if (bits.subarray(first, end).some((bit) => bit !== LOST)) throw new TypeError(`seed ${seed}: not all of it is lost`);
        sent.sentAgain(seq(first), seq(end), now);
        bits.fill(IN_FLIGHT, first, end);
      }
      let sacked = 0;
      let lost = 0;
      for (let at = una; at < nxt; at++) {
        if (bits[at] === SACKED) sacked++;
        if (bits[at] === LOST) lost++;
      }
      if (sacked !== sent.sackedBytes || lost !== sent.lostBytes) {
        throw new TypeError(`seed ${seed}: ${sent.sackedBytes} SACKed and ${sent.lostBytes} lost, not ${sacked} and ${lost}`);
      }
    }
  }
  t.pass('sixty windows');
});

void t.test('deadlines come up in order, and never too late', async (t) => {
  const random = seeded(6);
  const heap = new Deadlines<{ dueAt: number; heapIndex: number; want: number }>();
  const entries = Array.from({ length: 300 }, () => ({ dueAt: Infinity, heapIndex: -1, want: Infinity }));
  let late = 0;
  for (let now = 0; now < 3000; now++) {
    const entry = entries[Math.floor(random() * entries.length)];
    if (entry === undefined) continue;
    if (random() < 0.1) {
      heap.remove(entry);
      entry.want = Infinity;
    } else {
      entry.want = now + Math.floor(random() * 100);
      heap.schedule(entry, entry.want);
    }
    for (let due = heap.takeDue(now); due !== undefined; due = heap.takeDue(now)) {
      if (due.want <= now) due.want = Infinity;
      else heap.schedule(due, due.want);
    }
    for (const { want } of entries) if (want <= now) late++;
    if (heap.next() <= now) late++;
  }
  t.equal(late, 0);
});

class Entry implements FlowEntry<Entry> {
  readonly flow: Flow;
  nextInBucket: Entry | undefined;
  constructor(flow: Flow) {
    this.flow = flow;
  }
}

void t.test('flow table: finds what was added, also where every hash collides', async (t) => {
  class Bad extends KeyedHash {
    override end(): number {
      return 1;
    }
  }
  const bytes = new Uint8Array(16);
  fillWith(seeded(1))(bytes);
  for (const hash of [new KeyedHash(1, 2), new Bad(1, 2)]) {
    const table = new FlowTable<Entry>(hash);
    const flows = Array.from({ length: 50 }, (_, i) => new Flow().set(i % 2 === 0 ? 4 : 6, bytes, 0, bytes, 0, 80, 1000 + i));
    const entries = flows.map((flow) => new Entry(flow.copy()));
    for (const entry of entries) table.add(entry);
    t.ok(flows.every((flow, i) => table.find(flow) === entries[i]));
    for (const entry of entries.slice(0, 25)) table.remove(entry);
    t.ok(flows.every((flow, i) => table.find(flow) === (i < 25 ? undefined : entries[i])));
    t.equal(table.size, 25);
    t.equal(table.entries().length, 25);
  }
});

void t.test('the keyed hash is HalfSipHash-2-4', async (t) => {
  // Key 00 01 … 07, no input: the first published vector.
  t.equal(new KeyedHash(0x03020100, 0x07060504).begin().end() >>> 0, 0x5b9f35a9);
  t.not(new KeyedHash(1, 2).begin().add(3).end(), new KeyedHash(1, 3).begin().add(3).end());
});

void t.test('CUBIC: slow start, decrease by 0.7, concave back to the old maximum, convex beyond', async (t) => {
  const mss = 1000;
  const cubic = new Congestion(mss);
  t.equal(cubic.window, 10 * mss);
  cubic.onAck(2000, 0, 100);
  t.equal(cubic.window, 12 * mss);
  cubic.window = 100 * mss;
  cubic.onLoss(100 * mss);
  t.equal(Math.round(cubic.threshold), 70 * mss);
  cubic.window = cubic.threshold;
  t.equal(cubic.slowStart, false);
  const windows: number[] = [];
  for (let round = 0; round < 120; round++) {
    for (let i = 0; i < 20; i++) cubic.onAck(cubic.window / 20, round * 100 + i * 5, 100);
    windows.push(cubic.window / mss);
  }
  const k = Math.cbrt(30 / 0.4);
  const atK = windows[Math.round(k * 10)] ?? 0;
  t.ok(Math.abs(atK - 100) < 5, `after K = ${k.toFixed(1)} s it is back: ${atK.toFixed(1)}`);
  const early = (windows[10] ?? 0) - (windows[0] ?? 0);
  const flat = (windows[45] ?? 0) - (windows[35] ?? 0);
  t.ok(early > 2 * flat, 'fast first, flat near the old maximum');
  t.ok((windows[119] ?? 0) > 150, 'and then beyond it');
  cubic.onTimeout(100 * mss, true);
  t.equal(cubic.window, mss);
  cubic.undo();
  t.ok(cubic.window > 100 * mss);
});
