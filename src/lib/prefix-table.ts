// Longest-prefix table for IPv4 and IPv6: a binary trie whose single-child paths are folded, so that its depth follows the number of
// prefixes and not the width of an address. Looks up straight from a packet's bytes.
import { type IpPrefix, maskPrefix } from './ip.ts';

class Node<T> {
  readonly bytes: Uint8Array;
  readonly bits: number;
  value: T | undefined;
  zero: Node<T> | undefined;
  one: Node<T> | undefined;

  constructor(bytes: Uint8Array, bits: number, value: T | undefined) {
    this.bytes = bytes;
    this.bits = bits;
    this.value = value;
  }
}

/** Maps prefixes to values and finds the most specific one for an address. */
export class PrefixTable<T extends object> {
  #v4: Node<T> | undefined;
  #v6: Node<T> | undefined;
  #size = 0;

  /** Prefixes in the table. */
  get size(): number {
    return this.#size;
  }

  /** Sets the value of exactly this prefix (host bits are ignored) and returns the one it replaces. */
  set(prefix: IpPrefix, value: T): T | undefined {
    const { address, bits } = maskPrefix(prefix);
    const fresh = new Node(address.bytes, bits, value);
    let at = this.#root(address.family);
    let parent: Node<T> | undefined;
    while (at !== undefined && at.bits <= bits && commonBits(at, fresh) === at.bits) {
      if (at.bits === bits) {
        const before = at.value;
        at.value = value;
        if (before === undefined) this.#size++;
        return before;
      }
      parent = at;
      at = childOf(at, fresh.bytes, 0);
    }
    this.#size++;
    if (at === undefined) {
      this.#link(address.family, parent, fresh);
      return undefined;
    }
    // `at` and the new prefix part ways: at the new prefix itself, or at a node of their common bits
    const shared = commonBits(at, fresh);
    if (shared === bits) {
      this.#link(address.family, parent, fresh);
      attach(fresh, at);
      return undefined;
    }
    const fork = new Node<T>(maskPrefix({ address, bits: shared }).address.bytes, shared, undefined);
    this.#link(address.family, parent, fork);
    attach(fork, at);
    attach(fork, fresh);
    return undefined;
  }

  /** The value of exactly this prefix. */
  get(prefix: IpPrefix): T | undefined {
    return this.#path(prefix).at(-1)?.value;
  }

  /** Removes exactly this prefix; false where it was not there. */
  delete(prefix: IpPrefix): boolean {
    const path = this.#path(prefix);
    const node = path.pop();
    if (node?.value === undefined) return false;
    node.value = undefined;
    this.#size--;
    // a node without a value is kept only where two paths part
    let bare: Node<T> | undefined = node;
    while (bare !== undefined && bare.value === undefined && (bare.zero === undefined || bare.one === undefined)) {
      const parent = path.pop();
      const rest: Node<T> | undefined = bare.zero ?? bare.one;
      if (parent === undefined) this.#setRoot(prefix.address.family, rest);
      else if (parent.zero === bare) parent.zero = rest;
      else parent.one = rest;
      bare = rest === undefined ? parent : undefined;
    }
    return true;
  }

  /** The value of the longest prefix that holds the address at `offset` of `bytes`, whose family is given. */
  lookup(family: 4 | 6, bytes: Uint8Array, offset: number): T | undefined {
    const width = family === 4 ? 32 : 128;
    let node = this.#root(family);
    let best: T | undefined;
    while (node !== undefined && holds(node, bytes, offset)) {
      if (node.value !== undefined) best = node.value;
      if (node.bits === width) break;
      node = childOf(node, bytes, offset);
    }
    return best;
  }

  /** The nodes from the root to exactly this prefix; empty where it is not there. */
  #path(prefix: IpPrefix): Node<T>[] {
    const { address, bits } = maskPrefix(prefix);
    const path: Node<T>[] = [];
    let node = this.#root(address.family);
    while (node !== undefined && node.bits <= bits && holds(node, address.bytes, 0)) {
      path.push(node);
      if (node.bits === bits) return path;
      node = childOf(node, address.bytes, 0);
    }
    return [];
  }

  #root(family: 4 | 6): Node<T> | undefined {
    return family === 4 ? this.#v4 : this.#v6;
  }

  #setRoot(family: 4 | 6, node: Node<T> | undefined): void {
    if (family === 4) this.#v4 = node;
    else this.#v6 = node;
  }

  #link(family: 4 | 6, parent: Node<T> | undefined, child: Node<T>): void {
    if (parent === undefined) this.#setRoot(family, child);
    else attach(parent, child);
  }
}

function attach<T>(parent: Node<T>, child: Node<T>): void {
  if (bitAt(child.bytes, 0, parent.bits) === 0) parent.zero = child;
  else parent.one = child;
}

function childOf<T>(node: Node<T>, bytes: Uint8Array, offset: number): Node<T> | undefined {
  return bitAt(bytes, offset, node.bits) === 0 ? node.zero : node.one;
}

function bitAt(bytes: Uint8Array, offset: number, bit: number): number {
  return ((bytes[offset + (bit >>> 3)] ?? 0) >>> (7 - (bit & 7))) & 1;
}

/** Whether the address starts with the node's bits. */
function holds<T>(node: Node<T>, bytes: Uint8Array, offset: number): boolean {
  const whole = node.bits >>> 3;
  for (let i = 0; i < whole; i++) if (node.bytes[i] !== bytes[offset + i]) return false;
  const rest = node.bits & 7;
  return rest === 0 || (((node.bytes[whole] ?? 0) ^ (bytes[offset + whole] ?? 0)) & (0xff00 >>> rest) & 0xff) === 0;
}

/** How many leading bits two prefixes share, at most the length of the shorter. */
function commonBits<T>(a: Node<T>, b: Node<T>): number {
  const most = Math.min(a.bits, b.bits);
  let bits = 0;
  for (let i = 0; bits < most; i++, bits += 8) {
    const differing = (a.bytes[i] ?? 0) ^ (b.bytes[i] ?? 0);
    if (differing !== 0) return Math.min(most, bits + Math.clz32(differing) - 24);
  }
  return most;
}
