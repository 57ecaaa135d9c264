// Writes MaxMind DB files (format 2.0), as small as tests need them: a tree of 32-bit records over IPv6, IPv4 below ::/96.
import { asBuffer } from '#lib/bytes.ts';
import { parsePrefix } from '#lib/ip.ts';

type Value = string | number | readonly Value[] | { readonly [key: string]: Value };

interface Node {
  zero: Node | number | undefined;
  one: Node | number | undefined;
}

/** Records by prefix. A longer prefix has to come after the shorter one that holds it. */
export function writeMmdb(records: Readonly<Record<string, Value>>, type = 'Test'): Buffer {
  const root: Node = { zero: undefined, one: undefined };
  const data: Buffer[] = [];
  let offset = 0;
  for (const [text, value] of Object.entries(records)) {
    const encoded = encode(value);
    data.push(encoded);
    insert(root, bitsOf(text), offset);
    offset += encoded.length;
  }
  const nodes = numbered(root);
  const count = nodes.size;
  const tree = Buffer.alloc(count * 8);
  for (const [node, at] of nodes) {
    for (const [side, child] of [node.zero, node.one].entries()) {
      const pointer = child === undefined ? count : typeof child === 'number' ? count + 16 + child : (nodes.get(child) ?? count);
      tree.writeUInt32BE(pointer, at * 8 + side * 4);
    }
  }
  const metadata = encode({
    database_type: type,
    languages: [],
    description: {},
  });
  // The reader wants numbers of certain sizes here.
  const numbers = [
    ['node_count', typed(6, 4, count)],
    ['record_size', typed(5, 2, 32)],
    ['ip_version', typed(5, 2, 6)],
    ['binary_format_major_version', typed(5, 2, 2)],
    ['binary_format_minor_version', typed(5, 2, 0)],
    ['build_epoch', typed(9, 8, 1_700_000_000)],
  ] as const;
  const map = Buffer.concat([control(7, 3 + numbers.length), metadata.subarray(1), ...numbers.flatMap(([name, number]) => [encode(name), number])]);
  return Buffer.concat([tree, Buffer.alloc(16), ...data, Buffer.from('\xab\xcd\xefMaxMind.com', 'latin1'), map]);
}

function bitsOf(text: string): readonly number[] {
  const prefix = parsePrefix(text);
  if (prefix === undefined) throw new TypeError(text);
  const { address, bits } = prefix;
  const bytes = address.family === 4 ? Buffer.concat([Buffer.alloc(12), asBuffer(address.bytes)]) : asBuffer(address.bytes);
  const length = address.family === 4 ? 96 + bits : bits;
  return Array.from({ length }, (_none, i) => ((bytes[i >> 3] ?? 0) >> (7 - (i & 7))) & 1);
}

function insert(root: Node, bits: readonly number[], offset: number): void {
  let node = root;
  for (const [i, bit] of bits.entries()) {
    const side = bit === 0 ? 'zero' : 'one';
    if (i === bits.length - 1) {
      node[side] = offset;
      return;
    }
    const below = node[side];
    const next: Node = typeof below === 'object' ? below : { zero: below, one: below };
    node[side] = next;
    node = next;
  }
}

function numbered(root: Node): Map<Node, number> {
  const nodes = new Map<Node, number>();
  const waiting = [root];
  for (let node = waiting.pop(); node !== undefined; node = waiting.pop()) {
    nodes.set(node, nodes.size);
    for (const child of [node.zero, node.one]) if (typeof child === 'object') waiting.push(child);
  }
  return nodes;
}

function encode(value: Value): Buffer {
  if (typeof value === 'string') {
    const bytes = Buffer.from(value, 'utf8');
    return Buffer.concat([control(2, bytes.length), bytes]);
  }
  if (typeof value === 'number') return typed(6, 4, value);
  if (Array.isArray(value)) return Buffer.concat([control(11, value.length), ...value.map((entry: Value) => encode(entry))]);
  const entries = Object.entries(value);
  return Buffer.concat([control(7, entries.length), ...entries.flatMap(([key, entry]) => [encode(key), encode(entry as Value)])]);
}

function typed(type: number, size: number, value: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64BE(BigInt(value));
  return Buffer.concat([control(type, size), bytes.subarray(8 - size)]);
}

function control(type: number, size: number): Buffer {
  const long = size >= 29;
  const head = [type > 7 ? 0 : type << 5, ...(type > 7 ? [type - 7] : [])];
  head[0] = (head[0] ?? 0) | (long ? 29 : size);
  return Buffer.from(long ? [...head, size - 29] : head);
}
