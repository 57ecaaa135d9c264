// The device's tables by themselves: prefixes, indices, the replay window, the heap of due times.
import t from 'tap';
import { formatIp, type IpPrefix, ipFromBytes, maskPrefix, prefixContains } from '#lib/ip.ts';
import { PrefixTable } from '#lib/prefix-table.ts';
import { replayRingBits } from '#wireguard/constants.ts';
import { type Due, DueHeap } from '#wireguard/due-heap.ts';
import { IndexTable } from '#wireguard/index-table.ts';
import { ReplayWindow, replayWindow } from '#wireguard/replay.ts';
import { TimestampSource, isLater } from '#wireguard/timestamp.ts';
import { prefix, seededBytes, seededNumbers } from './pair.ts';

interface Owner {
  readonly name: string;
}

const at = (table: PrefixTable<Owner>, text: string): string | undefined => {
  const { address } = prefix(text);
  return table.lookup(address.family, address.bytes, 0)?.name;
};

void t.test('the prefix table finds the longest match and forgets what is deleted', async (t) => {
  const table = new PrefixTable<Owner>();
  for (const text of ['0.0.0.0/0', '10.0.0.0/8', '10.1.0.0/16', '10.1.2.3/32', '10.128.0.0/9', '::/0', 'fd00::/8', 'fd00::1/128']) {
    t.equal(table.set(prefix(text), { name: text }), undefined);
  }
  t.equal(table.size, 8);
  t.same(
    ['1.1.1.1', '10.0.0.1', '10.1.9.9', '10.1.2.3', '10.200.0.0', '2001::', 'fd00::2', 'fd00::1'].map((text) => at(table, text)),
    ['0.0.0.0/0', '10.0.0.0/8', '10.1.0.0/16', '10.1.2.3/32', '10.128.0.0/9', '::/0', 'fd00::/8', 'fd00::1/128'],
  );
  t.equal(table.set(prefix('10.1.99.99/16'), { name: 'new' })?.name, '10.1.0.0/16', 'host bits do not matter');
  t.equal(table.get(prefix('10.1.0.0/16'))?.name, 'new');
  t.equal(table.get(prefix('10.1.0.0/17')), undefined);
  t.equal(table.delete(prefix('10.1.0.0/16')), true);
  t.equal(table.delete(prefix('10.1.0.0/16')), false);
  t.equal(at(table, '10.1.9.9'), '10.0.0.0/8');
  t.equal(at(table, '10.1.2.3'), '10.1.2.3/32');
  t.equal(table.size, 7);
});

void t.test('the prefix table agrees with a plain list after thousands of changes', async (t) => {
  const random = seededNumbers('prefixes');
  const bytes = seededBytes('addresses');
  const table = new PrefixTable<Owner>();
  const list = new Map<string, { readonly prefix: IpPrefix; readonly owner: Owner }>();
  const anyPrefix = (): IpPrefix => {
    const raw = new Uint8Array(random() < 0.5 ? 4 : 16);
    bytes(raw);
    for (let i = 0; i < raw.length; i++) if (random() < 0.7) raw[i] = (raw[i] ?? 0) & 1; // many share their start
    const address = ipFromBytes(raw);
    if (address === undefined) throw new TypeError('unreachable');
    return { address, bits: Math.floor(random() * (raw.length * 8 + 1)) };
  };
  for (let i = 0; i < 6_000; i++) {
    const one = random() < 0.4 && list.size > 0 ? ([...list.values()][Math.floor(random() * list.size)]?.prefix ?? anyPrefix()) : anyPrefix();
    const masked = maskPrefix(one);
    const name = `${formatIp(masked.address)}/${masked.bits}`;
    if (random() < 0.6) {
      const owner = { name: `${name} ${i}` };
      if (table.set(one, owner)?.name !== list.get(name)?.owner.name) t.fail(`set ${name}`);
      list.set(name, { prefix: masked, owner });
    } else if (table.delete(one) !== list.delete(name)) {
      t.fail(`delete ${name}`);
    }
    if (table.size !== list.size) t.fail('size');
    const { address } = anyPrefix();
    let best: { readonly prefix: IpPrefix; readonly owner: Owner } | undefined;
    for (const entry of list.values()) if (prefixContains(entry.prefix, address) && entry.prefix.bits >= (best?.prefix.bits ?? 0)) best = entry;
    if (table.lookup(address.family, address.bytes, 0) !== best?.owner) t.fail(`lookup ${formatIp(address)}`);
  }
  for (const entry of list.values()) table.delete(entry.prefix);
  t.equal(table.size, 0);
  t.equal(at(table, '10.0.0.1'), undefined);
});

void t.test('the replay window agrees with a set of all counters seen', async (t) => {
  const random = seededNumbers('window');
  for (const base of [0, 2 ** 32 - 50_000, 2 ** 52]) {
    const window = new ReplayWindow();
    const seen = new Set<number>();
    let highest = -1;
    for (let i = 0; i < 20_000; i++) {
      const jump = random() < 0.001 ? replayRingBits * 2 : random() < 0.1 ? 300 : 3;
      const counter = Math.max(
        0,
        base +
          (highest < 0 ? 0 : highest - base) +
          Math.floor((random() - 0.5) * (random() < 0.1 ? 2 * replayWindow + 200 : 40)) +
          (random() < 0.5 ? jump : 0),
      );
      const expected = !seen.has(counter) && highest - counter < replayWindow;
      if (window.fresh(counter) !== expected || window.accept(counter) !== expected) t.fail(`counter ${counter} with highest ${highest}`);
      if (expected) seen.add(counter);
      highest = Math.max(highest, expected ? counter : highest);
    }
    t.ok(replayWindow >= 2_048 && seen.size > 1_000);
  }
});

void t.test('indices are unique, also where randomness repeats', async (t) => {
  let count = 0;
  const table = new IndexTable<string>((target) => target.fill(Math.floor(count++ / 3)));
  const indices = ['a', 'b', 'c', 'd'].map((name) => table.add(name));
  t.equal(new Set(indices).size, 4);
  t.equal(table.size, 4);
  const [first = 0] = indices;
  table.replace(first, 'z');
  t.equal(table.get(first), 'z');
  table.delete(first);
  t.equal(table.get(first), undefined);
});

void t.test('the heap names who is due first, while due times move both ways', async (t) => {
  const random = seededNumbers('heap');
  class Item implements Due {
    heapPlace = -1;
    heapAt = Infinity;
    at = Infinity;
    dueAt(): number {
      return this.at;
    }
  }
  const heap = new DueHeap<Item>();
  const items = Array.from({ length: 50 }, () => new Item());
  const present = new Set<Item>();
  t.equal(heap.first(), undefined);
  for (let i = 0; i < 20_000; i++) {
    const item = items[Math.floor(random() * items.length)];
    if (item === undefined) continue;
    if (random() < 0.1) {
      heap.remove(item);
      present.delete(item);
    } else {
      item.at = random() < 0.2 ? Infinity : Math.floor(random() * 1_000);
      heap.update(item);
      present.add(item);
    }
    const first = Math.min(Infinity, ...[...present].map((one) => one.at));
    if ((heap.first()?.at ?? Infinity) !== first) t.fail(`step ${i}`);
  }
});

void t.test('timestamps grow while the clock stands still, goes back, or leaves 32 bits', async (t) => {
  let wall = 1_700_000_000_999;
  const source = new TimestampSource(() => wall);
  const stamps = [source.next(), source.next()];
  t.equal(Buffer.from(stamps[0] ?? []).toString('hex'), `40000000${(1_700_000_000 + 10).toString(16)}${(999_000_000).toString(16)}`);
  wall -= 10_000;
  stamps.push(source.next());
  wall = 2 ** 32 * 1000 + 5;
  stamps.push(source.next());
  for (let i = 1; i < stamps.length; i++) t.ok(isLater(stamps[i] ?? new Uint8Array(0), stamps[i - 1] ?? new Uint8Array(0)));
});
